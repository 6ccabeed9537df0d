"""Exceptions of the service that a command turns into its exit code."""

from __future__ import annotations

from silo.errors import SiloOracleError


class Refused(SiloOracleError):
    """The search can't run here and now, though its spec is right; the message is one line."""


class LeaseLost(SiloOracleError):
    """Another driver has taken this search over."""
