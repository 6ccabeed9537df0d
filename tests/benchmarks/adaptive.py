"""What an adaptive Oracle finds with some of the trainings: replayed from landscapes of which all are known.

    python -m tests.benchmarks.adaptive [--draws 16] [--shares 0.2 0.25 0.5] [--keep]

A draw is a search with 3 or 5 of the recorded replicates, as in ``confidence``; its chain of networks is the
recorded one, whatever rates it chooses. Compared are, by the mean over all replicates (raw), or that mean
without its noise (smooth):

    means      the Oracle's rule on the means of all rates' trainings
    model      what ``silo.landscape`` tells of all rates' trainings
    adaptive   ``silo.landscape.adaptive`` with a share of the trainings that 3 replicates of all rates take
    edge       the rule of the edge of collapse

at the time of each cycle's decision ("then"), and with what later cycles tell of it ("in the end"). A grid of
50 rates, which nobody recorded, is drawn from the generator that the tests have. Then CPU time per decision.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from oracle.cycles import Grid, Learned
from oracle.policies import EdgePolicy
from oracle.search import Rules
from oracle.testing.replay import replay
from silo._arrays import FloatArray
from silo.landscape import CycleScores, Known, Landscape
from silo.landscape.adaptive import Adaptive, Begun, Pair
from silo.measured import TOLERANCE
from tests.benchmarks.confidence import Figures, Truth, draws, point
from tests.benchmarks.landscapes import NAMES, Recorded, recorded
from tests.benchmarks.machine import header, keep
from tests.silo.landscape.worlds import world

_REPLICATES = 3
_COLUMNS = {
    "trainings": "{:.1f}", "of r=3": "{:.0%}", "rounds": "{:.1f}", "optimum's loss": "{:.3%}",
    "Jaccard then": "{:.3f}", "both ±1 then": "{:.0%}", "sure then": "{:.0%}",
    "Jaccard in the end": "{:.3f}", "both ±1 in the end": "{:.0%}",
}  # fmt: skip
# Of a grid of 50 rates about as many trainings as a quarter of 14 rates'.
_FINE, _FINE_SHARES = 50, (0.07, 0.12)


@dataclass
class Searched:
    """A search's cycles."""

    known: list[Known | None] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    trainings: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def adaptive(landscape: Landscape, accuracies: FloatArray, settings: Adaptive) -> Searched:
    """Replays an adaptive search from (cycles, n, replicates)."""
    found = Searched()
    before: Known | None = None
    for cycle, scores in enumerate(accuracies):
        begun = Begun(
            cycle=cycle, grid=landscape.rates, replicates=scores.shape[1], before=before,
            earlier=cycle, spent=sum(found.trainings),
        )  # fmt: skip
        trained: dict[Pair, float] = {}
        decision = settings.decide(landscape, begun, trained)
        while decision.asks:
            trained |= {pair: float(scores[pair]) for pair in decision.asks}
            begin = time.process_time()
            decision = settings.decide(landscape, begun, trained, decision.rounds)
            found.seconds.append(time.process_time() - begin)
        assert decision.chosen is not None
        found.known.append(decision.known)
        found.chosen.append(decision.chosen)
        found.trainings.append(len(trained))
        found.rounds.append(len(decision.rounds))
        before = decision.known or before
    return found


def edge(rates: FloatArray, accuracies: FloatArray) -> Searched:
    """Replays a search by the edge of collapse from (cycles, n, replicates)."""
    values = tuple(rates.tolist())
    rules = Rules(
        policy=EdgePolicy(grid=Grid(values=values, scale="log", limit=0)),
        cycles=len(accuracies), replicates=accuracies.shape[2], tolerance=TOLERANCE,
    )  # fmt: skip
    places = {rate: k for k, rate in enumerate(values)}
    search = replay(rules, lambda cycle, replicate, rate: float(accuracies[cycle, places[rate], replicate]))
    return Searched(
        known=Learned(TOLERANCE, None).from_cycles(search.decisions),
        chosen=[places[each.chosen] for each in search.decisions],
        trainings=[len(each.trials) for each in search.decisions],
        rounds=[len(search.rounds(each.cycle)) for each in search.decisions],
    )


def modelled(landscape: Landscape, accuracies: FloatArray) -> Searched:
    """What the model tells of a search of all rates."""
    found = Searched()
    before: Known | None = None
    for cycle, scores in enumerate(accuracies):
        n, replicates = scores.shape
        known = landscape.given(
            CycleScores(
                cycle=cycle, grid=landscape.rates, index=np.repeat(np.arange(n), replicates),
                replicate=np.tile(np.arange(replicates), n), score=scores.ravel(),
            ),
            before,
        )  # fmt: skip
        means = scores.mean(axis=1)
        found.known.append(known)
        found.chosen.append(
            int(means.argmax())
            if known is None
            else landscape.belief(known, landscape.drawn(known)).optimum()
        )
        found.trainings.append(scores.size)
        found.rounds.append(1)
        before = known or before
    return found


def judged(truth: Truth, landscape: Landscape, found: Searched) -> Iterator[Figures]:
    """A search's figures, per cycle that says something."""
    told = [one for one in found.known if one is not None]
    beliefs = landscape.beliefs([one.scores for one in told], told)
    for one, later in zip(told, beliefs, strict=True):
        m = one.scores.cycle
        then = landscape.belief(one, landscape.drawn(one))
        at_the_time = truth.decision(m, found.chosen[m], *then.stated)
        in_the_end = truth.decision(m, later.optimum(), *later.stated)
        yield {
            "trainings": found.trainings[m],
            "of r=3": found.trainings[m] / (_REPLICATES * landscape.rates.size),
            "rounds": found.rounds[m],
            "optimum's loss": at_the_time["optimum's loss"],
            "Jaccard then": at_the_time["Jaccard"],
            "both ±1 then": at_the_time["both ±1"],
            "sure then": then.sure,
            "Jaccard in the end": in_the_end["Jaccard"],
            "both ±1 in the end": in_the_end["both ±1"],
        }


def of_means(truth: Truth, accuracies: FloatArray) -> Iterator[Figures]:
    """The figures of the Oracle's rule on the means."""
    for cycle, scores in enumerate(accuracies):
        figures, _ = point(truth, cycle, scores)
        yield {
            "trainings": scores.size,
            "of r=3": scores.shape[1] / _REPLICATES,
            "rounds": 1,
            "optimum's loss": figures["optimum's loss"],
            "Jaccard then": figures["Jaccard"],
            "both ±1 then": figures["both ±1"],
        }


def mean(rows: Iterable[Figures]) -> Figures:
    """The mean of each figure."""
    kept = list(rows)
    return {name: float(np.mean([row[name] for row in kept])) for name in kept[0]}


def compared(
    recorded_truth: Recorded,
    three: Sequence[FloatArray],
    five: Sequence[FloatArray],
    shares: Sequence[float],
) -> dict[str, Figures]:
    """All rules' figures, over the cycles of all draws with three replicates, and with five."""
    truth, landscape = Truth(recorded_truth), Landscape(recorded_truth.rates)

    def over(searches: Iterable[Iterator[Figures]]) -> Figures:
        return mean(itertools.chain.from_iterable(searches))

    found = {
        "means, r=3": over(of_means(truth, each) for each in three),
        "means, r=5": over(of_means(truth, each) for each in five),
        "model, r=3": over(judged(truth, landscape, modelled(landscape, each)) for each in three),
    }
    for share in shares:
        settings = Adaptive(share=share)
        searched = (adaptive(landscape, each, settings) for each in three)
        found[f"adaptive, {share:.0%}"] = over(judged(truth, landscape, each) for each in searched)
    edged = (edge(landscape.rates, each) for each in three)
    found["edge"] = over(
        judged(truth, landscape, each) for each in edged if len(each.chosen) == len(three[0])
    )
    return found


def fine(count: int) -> dict[str, Figures]:
    """The same of a grid of many rates, drawn from a landscape whose truth is known."""
    true = world("moving", rates=_FINE)
    found = {
        replicates: [
            np.stack([cycle.accuracies for cycle in true.search(replicates, seed)]) for seed in range(count)
        ]
        for replicates in (3, 5)
    }
    return compared(Recorded(true.rates, true.truth[:, :, None]), found[3], found[5], _FINE_SHARES)


def speed() -> Figures:
    """CPU seconds of a decision, the rounds before it kept: median and longest."""
    found: Figures = {}
    for n, share in ((14, 0.25), (_FINE, _FINE_SHARES[0])):
        true = world("moving", rates=n)
        accuracies = np.stack([cycle.accuracies for cycle in true.search(_REPLICATES)])
        seconds = adaptive(Landscape(true.rates), accuracies, Adaptive(share=share)).seconds[1:]
        found[f"a decision, {n} × {_REPLICATES}"] = statistics.median(seconds)
        found[f"the longest, {n} × {_REPLICATES}"] = max(seconds)
    return found


def table(title: str, found: dict[str, Figures]) -> Table:
    """One row per rule."""
    shown = Table("rule", *_COLUMNS, title=title)
    for name, figures in found.items():
        shown.add_row(
            name, *(form.format(figures[c]) if c in figures else "" for c, form in _COLUMNS.items())
        )
    return shown


def main() -> None:
    """Prints the tables, and keeps them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=16, help="searches replayed per row; even")
    parser.add_argument("--shares", type=float, nargs="*", default=(0.2, 0.25, 0.5))
    parser.add_argument("--keep", action="store_true", help="write results/DATE-adaptive.json")
    options = parser.parse_args()
    kept: dict[str, Any] = {"draws": options.draws, "seeds": f"0 to {options.draws // 2 - 1}"}
    console = Console(width=200)
    for name in NAMES:
        raw = recorded(name)
        for kind, landscape in {"raw": raw, "smooth": raw.smooth()}.items():
            drawn = {r: list(draws(landscape, r, options.draws)) for r in (3, 5)}
            kept[f"{name}, {kind}"] = compared(landscape, drawn[3], drawn[5], options.shares)
            console.print(table(f"{name}, {kind}", kept[f"{name}, {kind}"]))
    few = max(options.draws // 4, 1)
    title = f"{_FINE} rates, synthetic, {few} draws"
    kept[title] = fine(few)
    console.print(table(title, kept[title]))
    kept["CPU seconds"] = speed()
    for name, seconds in kept["CPU seconds"].items():
        print(f"{name}: {1000 * seconds:,.1f} ms of CPU")
    print(", ".join(f"{key} {value}" for key, value in header().items()))
    if options.keep:
        print(f"kept as {keep('adaptive', kept)}")


if __name__ == "__main__":
    main()
