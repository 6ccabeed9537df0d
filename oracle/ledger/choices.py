"""What was chosen to be pruned, cycle by cycle: written before anything is pruned.

A choice stays as long as anything of what it was made among does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast, get_args

from sqlalchemy import Row, delete, insert, select

from oracle.cycles import Choice, Rule
from oracle.ledger.database import choices
from oracle.ledger.digests import check_digest, with_digests, write_digests
from oracle.ledger.ledger import Ledger
from oracle.ledger.values import DamagedValue, checked, reading

_MEND = "put back what was there, or delete the row and run the search again"


def add_choices(ledger: Ledger, search: str, chosen: Sequence[Choice]) -> None:
    """Writes choices; a cycle that has one keeps it."""
    if chosen:
        ledger.retries.call(lambda _: _add(ledger, search, chosen))


def _add(ledger: Ledger, search: str, chosen: Sequence[Choice]) -> None:
    cycles = choices.c.cycle.in_([choice.cycle for choice in chosen])
    with ledger.engine.connect() as connection:
        query = select(choices.c.cycle).where(choices.c.search == search, cycles)
        known = set(connection.execute(query).scalars())
    rows = [
        {
            "search": search,
            "cycle": choice.cycle,
            "max_lr": choice.max_lr,
            "rule": choice.rule,
            "replicates": choice.replicates,
        }
        for choice in chosen
        if choice.cycle not in known
    ]
    if rows:
        with ledger.engine.begin() as connection:
            connection.execute(insert(choices), rows)
            write_digests(connection, choices, search, [row["cycle"] for row in rows])


def forget_choices(ledger: Ledger, search: str, cycles: Sequence[int]) -> None:
    """Removes the choices of cycles whose trainings are no more."""

    def forget(_again: bool) -> None:
        with ledger.engine.begin() as connection:
            gone = (choices.c.search == search) & choices.c.cycle.in_(cycles)
            connection.execute(delete(choices).where(gone))
            write_digests(connection, choices, search, cycles)

    if cycles:
        ledger.retries.call(forget)


def read_choices(ledger: Ledger, search: str) -> tuple[Choice, ...]:
    """The choices of a search, by cycle; none of one that was run before they were kept."""
    return ledger.retries.call(lambda _: _read(ledger, search))


def _read(ledger: Ledger, search: str) -> tuple[Choice, ...]:
    with ledger.engine.connect() as connection:
        query = with_digests(choices).where(choices.c.search == search).order_by(choices.c.cycle)
        rows = connection.execute(query).all()
    return tuple(_choice(search, row) for row in rows)


def _choice(search: str, row: Row[Any]) -> Choice:
    with reading(search, f"cycle {row.cycle} of oracle_choices; {_MEND}"):
        if row.rule not in get_args(Rule):
            raise DamagedValue(f"rule is {row.rule!r}, none of {', '.join(get_args(Rule))}")
        choice = Choice(
            cycle=checked("cycle", row.cycle, int, low=0),
            max_lr=checked("max_lr", row.max_lr, float, low=sys.float_info.min),
            rule=cast(Rule, row.rule),
            replicates=checked("replicates", row.replicates, int, low=1),
        )
        check_digest(row)
        return choice
