"""What the ledger holds of a search beside its rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row

from oracle.errors import Refused
from trials.recipe import Execution


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
        way: How its trainings are computed.
        way_reason: Why.
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
