"""The command that says how sparse a search's networks are, tensor by tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table

from oracle.cli.show import LEDGER, TARGET, TRUST, console, open_search, own_spec
from oracle.cli.specs import JSON, echo_json
from oracle.errors import Refused
from oracle.results import load_search, spec_to_build
from silo.errors import InvalidInput

if TYPE_CHECKING:
    from trials.pruning.masks import Row, Sparsity

_COLLAPSED = 0.01
"""A tensor of which a smaller share is left may have cut the network in two."""


@click.command()
@TARGET
@LEDGER
@click.option("--cycle", type=int, help="Times that the network has been pruned; by default the last.")
@click.option("--replicate", type=int, default=0, show_default=True, help="Index of the independent seed.")
@TRUST
@JSON
def sparsity(
    target: str, ledger: str | None, cycle: int | None, replicate: int, trust: bool, as_json: bool
) -> None:
    """Show what is left of each tensor of a pruned network.

    And of the whole, by all weights and by those that can be pruned. It builds the network. Code of your own
    is taken from your spec file; by its name alone a search's code is what the ledger says, and is run with
    --trust only.

    \b
    Example:
      oracle sparsity mine.yaml --cycle 2
    """
    from oracle.preflight import open_runner
    from trials.checkpoints import DamagedFile

    opened, record = open_search(target, ledger)
    spec = spec_to_build(record, own_spec(target, record), trust=trust)
    search = load_search(opened, record)
    pruned = {(p.cycle, p.replicate): p for p in opened.prunings(record.name)}
    if not pruned:
        raise InvalidInput(f"sparsity: search {record.name!r} has pruned nothing yet: let it run on")
    chosen = max(known for known, _ in pruned) if cycle is None else cycle
    if (chosen, replicate) not in pruned:
        raise InvalidInput(
            f"sparsity: there is no pruned network of cycle {chosen}, replicate {replicate}: cycles go from "
            f"1 to {max(known for known, _ in pruned)}, replicates from 0 to {search.rules.replicates - 1}"
        )
    try:
        found = open_runner(spec).sparsity(pruned[chosen, replicate].start)
    except DamagedFile as error:
        raise Refused(f"sparsity: {error}; 'oracle run' makes it again") from error
    rows = [*found.tensors, found.prunable, found.network]
    if as_json:
        echo_json(
            {
                "search": record.name,
                "cycle": chosen,
                "replicate": replicate,
                "rows": [_facts(r) for r in rows],
                "collapsed": [row.name for row in _collapsed(found)],
            }
        )
        return
    table = Table(
        "tensor",
        "shape",
        "left",
        "of",
        "density (%)",
        title=f"{record.name}, cycle {chosen}, replicate {replicate}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        name = {"prunable": "prunable weights", "network": "whole network"}.get(row.name, row.name)
        shape = "×".join(map(str, row.shape))
        marked = f"{name} *" if row.prunable and row.shape else name
        table.add_row(
            marked,
            shape,
            f"{row.alive:,}",
            f"{row.total:,}",
            f"{100 * row.density:.2f}",
            end_section=row is found.tensors[-1],
        )
    table.caption = "* prunable weights: the density that cycles are counted by."
    table.caption_justify = "left"
    console().print(table)
    if collapsed := _collapsed(found):
        console().print(_warning(collapsed), style="yellow", highlight=False, markup=False, soft_wrap=True)


def _collapsed(found: Sparsity) -> list[Row]:
    """The prunable tensors of which next to nothing is left, much less than of the whole."""
    limit = min(_COLLAPSED, found.prunable.density / 2)
    return [row for row in found.tensors if row.prunable and row.density < limit]


def _warning(collapsed: list[Row]) -> str:
    names = ", ".join(f"{row.name} ({row.alive:,} of {row.total:,})" for row in collapsed)
    return (
        f"Warning: next to nothing is left of {names}: hardly anything passes such a layer. In a new search, "
        f"pruning: {{keep: [{collapsed[0].name}]}} spares it."
    )


def _facts(row: Any) -> dict[str, Any]:
    return {
        "name": row.name,
        "shape": list(row.shape),
        "alive": row.alive,
        "total": row.total,
        "density": row.density,
        "prunable": row.prunable,
    }
