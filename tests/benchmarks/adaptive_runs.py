"""What really run searches of the demo's network find with a share of the trainings.

    python -m tests.benchmarks.adaptive_runs FOLDER [--seeds 5] [--keep]

Under each seed (other data splits, weights and batches) the demo is run with policy ``oracle``, all rates in
all replicates, with ``adaptive`` at its default share, and with ``edge``, each in a process and a ledger of
its own in FOLDER; what is there already is not run again. They are held against the exhaustive search with 40
replicates that ``landscapes`` keeps: its mean (raw), and that mean without its noise (smooth). That one had
seed 0's data split: the others make a difference that is none of the policies' doing.

    means      the Oracle's rule on the means of all rates' trainings, and the rate that these choose
    model      what all of them tell of the landscape in the end, and the rate that was pruned
    adaptive, edge   what their trainings tell in the end, and the rate that was pruned
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from oracle.cycles import Cycle
from oracle.policies import restated
from oracle.results.results import Results
from silo.measured import TOLERANCE
from tests.benchmarks.agreement import Setting, results
from tests.benchmarks.confidence import Figures, Truth
from tests.benchmarks.landscapes import recorded
from tests.benchmarks.machine import header, keep

_LANDSCAPE = "digits-weight-rewinding-40"
_COLUMNS = {
    "trainings": "{:.0f}", "optimum's loss": "{:.3%}",
    "Jaccard": "{:.3f}", "low ±1": "{:.0%}", "high ±1": "{:.0%}", "both ±1": "{:.0%}",
}  # fmt: skip


def settings(seeds: int) -> Iterator[Setting]:
    """All runs, the cheap ones first."""
    for policy in ("adaptive", "edge", "oracle"):
        for seed in range(seeds):
            yield Setting(f"{policy}-{seed}", seed, policy=policy)


def figures(truth: Truth, cycles: tuple[Cycle, ...], by_means: bool) -> list[Figures]:
    """How far the cycles' intervals and rates are right; an end beyond the grid counts as the grid's."""

    def at(rate: float) -> int:
        return int(abs(np.log(truth.rates / rate)).argmin())

    found = []
    for each in cycles:
        rate = each.interval.optimum if by_means else each.chosen
        found.append(truth.decision(each.cycle, at(rate), at(each.interval.low), at(each.interval.high)))
    return found


def row(searches: list[Results], truth: Truth, by_means: bool) -> Figures:
    """The mean figures of a rule over all seeds and cycles, and the median number of trainings."""
    told = []
    for each in searches:
        chance = each.chance.highest if each.chance else None
        cycles = each.decided if by_means else restated(each.decided, TOLERANCE, chance)
        told += figures(truth, cycles, by_means)
    return {
        "trainings": statistics.median(len(each.outcomes) for each in searches),
        **{name: float(np.mean([one[name] for one in told])) for name in list(_COLUMNS)[1:]},
    }


def main() -> None:
    """Runs what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="write results/DATE-adaptive-runs.json")
    options = parser.parse_args()
    found: dict[str, list[Results]] = {}
    for setting in settings(options.seeds):
        found.setdefault(setting.policy, []).append(results(setting, options.folder.resolve()))
    kept: dict[str, Any] = {"seeds": options.seeds}
    raw = recorded(_LANDSCAPE)
    for kind, landscape in {"raw": raw, "smooth": raw.smooth()}.items():
        truth = Truth(landscape)
        rows = {"means, all rates": row(found["oracle"], truth, True)}
        rows["model, all rates"] = row(found["oracle"], truth, False)
        rows |= {policy: row(found[policy], truth, False) for policy in ("adaptive", "edge")}
        table = Table("rule", *_COLUMNS, title=f"really run, against 40 replicates, {kind}")
        for name, one in rows.items():
            table.add_row(name, *(form.format(one[column]) for column, form in _COLUMNS.items()))
        Console(width=160).print(table)
        kept[kind] = rows
    print(", ".join(f"{key} {value}" for key, value in header().items()))
    if options.keep:
        print(f"kept as {keep('adaptive-runs', kept)}")


if __name__ == "__main__":
    main()
