"""What a policy that leaves trainings out has asked for, round by round: written before it is trained."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from sqlalchemy import delete, insert, select

from oracle.ledger.database import asked
from oracle.ledger.ledger import Ledger
from oracle.ledger.values import checked, reading
from oracle.policies import Round

_PLACE = ("cycle", "round", "replicate")


def add_rounds(ledger: Ledger, search: str, cycles: Mapping[int, Sequence[Round]]) -> None:
    """Writes the rounds of some cycles, in place of what is there of them."""
    if cycles:
        ledger.retries.call(lambda _: _write(ledger, search, cycles))


def _write(ledger: Ledger, search: str, cycles: Mapping[int, Sequence[Round]]) -> None:
    rows = [
        {"search": search, "cycle": cycle, "round": turn, "replicate": replicate, "max_lr": rate}
        for cycle, rounds in cycles.items()
        for turn, each in enumerate(rounds)
        for replicate, rates in each.items()
        for rate in rates
    ]
    with ledger.engine.begin() as connection:
        connection.execute(delete(asked).where(asked.c.search == search, asked.c.cycle.in_(list(cycles))))
        if rows:
            connection.execute(insert(asked), rows)


def read_rounds(ledger: Ledger, search: str) -> dict[int, tuple[Round, ...]]:
    """Cycle to its rounds, as they were asked for."""
    return ledger.retries.call(lambda _: _read(ledger, search))


def _read(ledger: Ledger, search: str) -> dict[int, tuple[Round, ...]]:
    order = asked.c.cycle, asked.c.round, asked.c.replicate, asked.c.max_lr
    with ledger.engine.connect() as connection:
        rows = connection.execute(select(*order).where(asked.c.search == search).order_by(*order)).all()
    found: dict[int, dict[int, dict[int, list[float]]]] = {}
    for row in rows:
        with reading(search, f"cycle {row.cycle} of oracle_asked"):
            cycle, turn, replicate = (checked(name, getattr(row, name), int, low=0) for name in _PLACE)
            rate = checked("max_lr", row.max_lr, float, low=sys.float_info.min)
        found.setdefault(cycle, {}).setdefault(turn, {}).setdefault(replicate, []).append(rate)
    return {
        cycle: tuple({r: tuple(rates) for r, rates in rounds[turn].items()} for turn in sorted(rounds))
        for cycle, rounds in found.items()
    }
