"""Exceptions of the service that a command turns into its exit code."""

from __future__ import annotations

from silo.errors import SiloOracleError


class Refused(SiloOracleError):
    """The search can't run here and now, though its spec is right; the message is one line."""


class LedgerFailed(SiloOracleError):
    """The database stopped answering while a search ran; the search can go on from what it holds."""


class LeaseLost(SiloOracleError):
    """Another driver has taken this search over."""


class TrialsFailed(SiloOracleError):
    """A task of a search failed as often as it may; what has finished is in the ledger."""


class ReportFailed(SiloOracleError):
    """A search's report can't be written; the ledger has everything that goes into it."""
