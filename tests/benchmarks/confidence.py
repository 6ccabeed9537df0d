"""How far a search's statements hold: replayed from landscapes of which 40 or 24 replicates are known.

    python -m tests.benchmarks.confidence [--draws 16] [--keep]

A draw is a search with 1, 3, 5 or 10 of the recorded replicates: two draws for each of the seeds 0, 1, …,
without a common one, the first and the next of numpy's default_rng(seed).permutation. It states optimum,
interval, and of 27 rates whether they lose more than the tolerance, by

    point   the Oracle's rule on the means: in the interval, or outside
    model   ``silo.landscape.learn``: inside, outside, or can't be told

and is held against the mean over all replicates (raw), or that mean without its noise (smooth: see
``Recorded.smooth``). Then CPU time. Draws share replicates and truths: figures are good to some per cent.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from silo import SiloCurve
from silo._arrays import FloatArray, IntArray
from silo.landscape import CycleBelief, CycleScores, Known, Landscape, learn
from silo.measured import TOLERANCE, CycleAccuracies, optimized
from tests.benchmarks.landscapes import NAMES, Recorded, recorded
from tests.benchmarks.machine import header, keep

_REPLICATES = 1, 3, 5, 10
_DEMO = SiloCurve(q=1, beta=5, epsilon=0.03, delta=0.07, pruning_rate=0.2)
_DECISIONS = {
    "optimum's loss": "{:.3%}", "Jaccard": "{:.3f}", "low ±1": "{:.0%}", "high ±1": "{:.0%}",
    "both ±1": "{:.0%}", "low off": "{:+.2f}", "high off": "{:+.2f}",
}  # fmt: skip
_STATEMENTS = {
    "low in 90 %": "{:.0%}", "high in 90 %": "{:.0%}", "both stated": "{:.0%}", "both seen": "{:.0%}",
    "inside": "{:.0%}", "of these wrong": "{:.1%}", "outside": "{:.0%}", "of those wrong": "{:.1%}",
    "can't tell": "{:.0%}",
    "rates contradict": "{:.1%}", "SILO's contradict": "{:.1%}",
}  # fmt: skip
_SIGNS = {"inside": 1, "outside": -1, "unknown": 0}
Figures = dict[str, float]


class Truth:
    """A landscape's own optimum, interval and verdicts, and how statements compare with them."""

    def __init__(self, landscape: Recorded) -> None:
        self.means, self.rates = landscape.truth, landscape.rates
        _, self.low, self.high = optimized(self.means, TOLERANCE)
        x = np.log(self.rates)
        self.tried = np.exp(np.linspace(x[0], x[-1], 2 * x.size - 1))
        lost = self.means.max(axis=1, keepdims=True) - self.means
        self.within = np.array([np.interp(np.log(self.tried), x, row) for row in lost]) <= TOLERANCE

    def decision(self, cycle: int, best: int, first: int, last: int) -> Figures:
        """How far an optimum and an interval's ends, as indices, are right."""
        low, high = int(self.low[cycle]), int(self.high[cycle])
        common = max(0, min(last, high) - max(first, low) + 1)
        near = abs(first - low) <= 1, abs(last - high) <= 1
        return {
            "optimum's loss": float(self.means[cycle].max() - self.means[cycle][best]),
            "Jaccard": common / (last - first + 1 + high - low + 1 - common),
            "low ±1": near[0],
            "high ±1": near[1],
            "both ±1": all(near),
            "low off": first - low,
            "high off": last - high,
        }


def point(truth: Truth, cycle: int, scores: FloatArray) -> tuple[Figures, IntArray]:
    """What the point rule's statements are worth; per tried rate 1 for inside and -1 for outside."""
    best, first, last = (int(each[0]) for each in optimized(scores.mean(axis=1)[None], TOLERANCE))
    # A candidate is in its own interval, whatever the last bits of its rate.
    low, high = truth.rates[first] * (1 - 1e-9), truth.rates[last] * (1 + 1e-9)
    inside = (truth.tried >= low) & (truth.tried <= high)
    return truth.decision(cycle, best, first, last), np.where(inside, 1, -1)


def model(truth: Truth, belief: CycleBelief) -> tuple[Figures, IntArray]:
    """The same of the model, with 0 for a rate of which it can't tell."""
    found = truth.decision(belief.cycle, belief.optimum(), *belief.stated)
    for end, true in (("low", truth.low), ("high", truth.high)):
        first, last = belief.end_range(end)  # type: ignore[arg-type]
        found[f"{end} in 90 %"] = first <= truth.rates[true[belief.cycle]] <= last
    found |= {"both stated": belief.sure, "both seen": found["both ±1"]}
    return found, np.array([_SIGNS[belief.loss(float(rate)).verdict] for rate in truth.tried])


def draws(landscape: Recorded, replicates: int, count: int) -> Iterator[FloatArray]:
    """Searches of some of the replicates, (cycles, n, replicates) each."""
    for index in range(count):
        order = np.random.default_rng(index // 2).permutation(landscape.accuracies.shape[2])
        first = replicates * (index % 2)
        yield landscape.accuracies[:, :, order[first : first + replicates]]


def measured(landscape: Recorded, replicates: int, count: int) -> dict[str, Figures]:
    """The figures of both rules, over all draws and cycles."""
    truth, rates = Truth(landscape), landscape.rates
    rows: dict[str, list[Figures]] = {"point": [], "model": []}
    signs: dict[str, list[list[IntArray]]] = {"point": [], "model": []}
    silo_signs: dict[str, list[list[int]]] = {"point": [], "model": []}
    silo = [float(_DEMO.max_lr(m)) for m in range(len(truth.means))]
    for scores in draws(landscape, replicates, count):
        cycles = [CycleAccuracies(cycle=m, rates=rates, accuracies=s) for m, s in enumerate(scores)]
        beliefs = learn(cycles, tolerance=TOLERANCE)
        found = {
            "point": [point(truth, m, each) for m, each in enumerate(scores)],
            "model": [model(truth, belief) for belief in beliefs],
        }
        held = [each.interval().contains(rate) for each, rate in zip(cycles, silo, strict=True)]
        silo_signs["point"].append([1 if each else -1 for each in held])
        told = [belief.loss(rate).verdict for belief, rate in zip(beliefs, silo, strict=True)]
        silo_signs["model"].append([_SIGNS[each] for each in told])
        for rule, pairs in found.items():
            rows[rule] += [figures for figures, _ in pairs]
            signs[rule].append([each for _, each in pairs])
    return {
        rule: {
            **{name: float(np.mean([row[name] for row in rows[rule]])) for name in rows[rule][0]},
            **verdicts(np.array(signs[rule]), truth.within),
            "rates contradict": contradicting(np.array(signs[rule])),
            "SILO's contradict": contradicting(np.array(silo_signs[rule])),
        }
        for rule in rows
    }


def verdicts(signs: IntArray, within: np.ndarray) -> Figures:
    """How often each verdict is given, and how often wrongly; ``signs`` (draws, cycles, rates)."""
    truth = np.broadcast_to(within, signs.shape)
    return {
        "inside": float((signs == 1).mean()),
        "of these wrong": float((~truth[signs == 1]).mean()),
        "outside": float((signs == -1).mean()),
        "of those wrong": float(truth[signs == -1].mean()),
        "can't tell": float((signs == 0).mean()),
    }


def contradicting(signs: IntArray) -> float:
    """How often one of two draws without a common replicate says inside, and the other outside."""
    return float((signs[0::2] * signs[1::2] == -1).mean())


def speed(repeats: int) -> Figures:
    """CPU seconds: of a cycle's update and draws, the median over cycles, and of a whole search's."""
    found: Figures = {}
    for n, replicates in ((14, 3), (50, 5)):
        cycles = finer(recorded(NAMES[0]), n, replicates, cycles=25)
        begin = time.process_time()
        learn(cycles)
        found[f"25 cycles × {n} × {replicates}"] = time.process_time() - begin
        seconds: list[float] = []
        for _ in range(repeats):
            seconds += _per_cycle([CycleScores.of(each) for each in cycles])
        found[f"a cycle's update and draws, {n} × {replicates}"] = statistics.median(seconds)
    return found


def finer(landscape: Recorded, n: int, replicates: int, cycles: int) -> list[CycleAccuracies]:
    """A landscape's means on ``n`` rates, its last cycle again and again, with a noise of 0.4 %."""
    random = np.random.default_rng(0)
    x, known = np.linspace(*np.log(landscape.rates[[0, -1]]), n), np.log(landscape.rates)
    found = []
    for m in range(cycles):
        means = np.interp(x, known, landscape.truth[min(m, len(landscape.truth) - 1)])
        scores = means[:, None] + 0.004 * random.normal(size=(n, replicates))
        found.append(CycleAccuracies(cycle=m, rates=np.exp(x), accuracies=scores.clip(0, 1)))
    return found


def _per_cycle(scores: Sequence[CycleScores]) -> list[float]:
    landscape = Landscape(scores[0].grid)
    last: Known | None = None
    seconds = []
    for each in scores:
        begin = time.process_time()
        known = landscape.given(each, last)
        landscape.beliefs([each], [known])[0].sure  # noqa: B018
        seconds.append(time.process_time() - begin)
        last = known or last
    return seconds[1:]  # the first makes what all need


def table(title: str, columns: dict[str, str], found: dict[str, Figures]) -> Table:
    """One row per landscape, truth, number of replicates and rule."""
    shown = Table("truth, replicates, rule", *columns, title=title)
    for name, figures in found.items():
        shown.add_row(name, *(form.format(figures[c]) if c in figures else "" for c, form in columns.items()))
    return shown


def main() -> None:
    """Prints the tables, and keeps them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=16, help="searches replayed per row; even")
    parser.add_argument("--replicates", type=int, nargs="*", default=_REPLICATES)
    parser.add_argument("--keep", action="store_true", help="write results/DATE-confidence.json")
    options = parser.parse_args()
    kept: dict[str, Any] = {"draws": options.draws, "seeds": f"0 to {options.draws // 2 - 1}"}
    console = Console(width=200)
    for name in NAMES:
        found: dict[str, Figures] = {}
        raw = recorded(name)
        truths = {"raw": raw, "smooth": raw.smooth()}
        for (kind, landscape), replicates in itertools.product(truths.items(), options.replicates):
            for rule, figures in measured(landscape, replicates, options.draws).items():
                found[f"{kind}, {replicates}, {rule}"] = figures
        console.print(table(f"{name}: decisions", _DECISIONS, found))
        console.print(table(f"{name}: statements, of 27 rates per cycle", _STATEMENTS, found))
        kept[name] = found
    kept["CPU seconds"] = speed(repeats=3)
    for name, seconds in kept["CPU seconds"].items():
        print(f"{name}: {1000 * seconds:,.1f} ms of CPU")
    print(", ".join(f"{key} {value}" for key, value in header().items()))
    if options.keep:
        print(f"kept as {keep('confidence', kept)}")


if __name__ == "__main__":
    main()
