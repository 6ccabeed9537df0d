"""The tables that Optuna has no place for."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

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
    Column("state", String(16), nullable=False),  # running, done, failed, interrupted
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
