"""The tables that Optuna has no place for, and what is read from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, Text
from sqlalchemy.engine import Row

from oracle.errors import Refused
from trials.recipe import Execution

SCHEMA_VERSION = 4

metadata = MetaData()

schema = Table(
    "oracle_schema",
    metadata,
    Column("version", Integer, primary_key=True),
)

searches = Table(
    "oracle_searches",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("spec", Text, nullable=False),  # JSON: the spec as it was last run
    Column("identity", Text, nullable=False),  # JSON: what determines the outcomes
    Column("execution", Text, nullable=False),  # JSON: how the trainings are computed
    Column("execution_reason", Text, nullable=False),
    Column("created", Float, nullable=False),  # seconds since 1970, as all times here
)

runs = Table(
    "oracle_runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("search", String(63), ForeignKey("oracle_searches.name"), nullable=False, index=True),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("state", String(16), nullable=False),  # running, done, failed, interrupted, taken over
    Column("driver", String(32), nullable=False),
    Column("host", String(255), nullable=False),
    Column("versions", Text, nullable=False),  # JSON: package to version
    Column("error", Text),  # the first traceback of a run that failed
)

prunings = Table(
    "oracle_prunings",
    metadata,
    Column("search", String(63), ForeignKey("oracle_searches.name"), primary_key=True),
    Column("cycle", Integer, primary_key=True),
    Column("replicate", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("alive", Integer, nullable=False),
    Column("prunable", Integer, nullable=False),
    Column("parameters", Integer, nullable=False),
    Column("norm_drop", Float, nullable=False),
)

choices = Table(
    "oracle_choices",
    metadata,
    Column("search", String(63), ForeignKey("oracle_searches.name"), primary_key=True),
    Column("cycle", Integer, primary_key=True),
    Column("max_lr", Float, nullable=False),
    Column("rule", String(16), nullable=False),  # point, posterior
    Column("replicates", Integer, nullable=False),  # how many there were then
)

rewritten = Table(
    "oracle_rewritten",
    metadata,
    Column("key", String(64), primary_key=True),  # of a finished trial whose first file was lost
    Column("search", String(63), nullable=False, index=True),
    Column("sha256", String(64), nullable=False),
)

leases = Table(
    "oracle_leases",
    metadata,
    Column("search", String(63), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),
    Column("beat", Integer, nullable=False),
)

stops = Table(
    "oracle_stops",
    metadata,
    Column("owner", String(32), primary_key=True),  # of a lease: who is asked to give it back
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a driver.

    Attributes:
        started: Seconds since 1970.
        ended: Seconds since 1970; None if it has not ended, or was killed.
        state: ``running``, ``done``, ``failed`` or ``interrupted``.
        driver: What drove it.
        host: Where.
        versions: Package to version.
        error: First traceback of a run that failed.
    """

    started: float
    ended: float | None
    state: str
    driver: str
    host: str
    versions: dict[str, str]
    error: str | None


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """A search as the ledger knows it.

    Attributes:
        name: The search's name.
        spec: The spec as it was last run, as JSON-able data.
        identity: What determines its outcomes.
        execution: How its trainings are computed.
        execution_reason: Why.
        created: Seconds since 1970.
    """

    name: str
    spec: dict[str, Any]
    identity: dict[str, Any]
    execution: Execution
    execution_reason: str
    created: float


def read_record(row: Row[Any]) -> SearchRecord:
    """A search from its row.

    Raises:
        Refused: The row can't be read.
    """
    fields = row._mapping
    try:
        spec, identity = json.loads(fields["spec"]), json.loads(fields["identity"])
        execution = Execution(**json.loads(fields["execution"]))
    except (ValueError, TypeError) as error:
        raise Refused(f"ledger: the record of search {fields['name']!r} can't be read ({error})") from error
    return SearchRecord(
        name=fields["name"],
        spec=spec,
        identity=identity,
        execution=execution,
        execution_reason=fields["execution_reason"],
        created=fields["created"],
    )
