"""What the model states of landscapes whose truth is known holds as often as it says."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

from silo.landscape import CycleBelief, learn
from silo.measured import TOLERANCE
from tests.silo.landscape.worlds import KINDS, World, world

SEEDS = 2
UNIMODAL = [kind for kind in KINDS if kind != "humps"]


@dataclass
class Tally:
    """Statements about a kind of landscape, each beside the truth."""

    covered: list[tuple[bool, bool]] = field(default_factory=list)
    near: list[tuple[float, bool]] = field(default_factory=list)
    chances: list[tuple[float, bool]] = field(default_factory=list)
    verdicts: list[tuple[str, bool]] = field(default_factory=list)
    humps: list[bool] = field(default_factory=list)

    def add(self, true: World, belief: CycleBelief) -> None:
        low, high = (int(end[belief.cycle]) for end in true.ends)
        ranges = belief.end_range("low"), belief.end_range("high")
        at = true.rates[low], true.rates[high]
        covers = [first <= rate <= last for rate, (first, last) in zip(at, ranges, strict=True)]
        self.covered.append((covers[0], covers[1]))
        first, last = belief.stated
        self.near.append((belief.sure, abs(first - low) <= 1 and abs(last - high) <= 1))
        inside = (np.arange(true.rates.size) >= low) & (np.arange(true.rates.size) <= high)
        self.chances += zip(belief.inside.tolist(), inside.tolist(), strict=True)
        means, x = true.truth[belief.cycle], np.log(true.rates)
        for rate in np.geomspace(true.rates[0], true.rates[-1], 27):
            lost = means.max() - np.interp(np.log(rate), x, means)
            self.verdicts.append((belief.loss(float(rate)).verdict, bool(lost <= TOLERANCE)))
        self.humps.append(belief.two_humps)

    def share(self, verdict: str) -> float:
        """How often a verdict is given."""
        return float(np.mean([stated == verdict for stated, _ in self.verdicts]))

    def within(self, verdict: str) -> float:
        """How often the truth is within the tolerance where a verdict is given."""
        return float(np.mean([true for stated, true in self.verdicts if stated == verdict]))


@cache
def tally(kind: str, replicates: int) -> Tally:
    true, found = world(kind), Tally()
    for seed in range(SEEDS):
        for belief in learn(true.search(replicates, seed)):
            if not belief.silent:
                found.add(true, belief)
    return found


@pytest.mark.parametrize("replicates", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_ranges_of_the_ends_hold(kind: str, replicates: int) -> None:
    low, high = np.mean(tally(kind, replicates).covered, axis=0)
    assert min(low, high) >= 0.85


@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_are_right_and_given(kind: str) -> None:
    found = tally(kind, 3)
    assert found.within("inside") >= 0.9
    assert found.within("outside") <= 0.1
    assert found.share("unknown") <= 0.35
    assert found.share("inside") >= 0.05
    assert found.share("outside") >= 0.2


@pytest.mark.parametrize("replicates", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_chance_that_both_ends_are_right_is_no_boast(kind: str, replicates: int) -> None:
    stated, true = np.mean(tally(kind, replicates).near, axis=0)
    assert true >= stated - 0.1


def test_chances_of_being_inside_hold() -> None:
    pairs = np.array([pair for kind in UNIMODAL for r in (1, 3) for pair in tally(kind, r).chances])
    for low, high in ((0, 0.05), (0.05, 0.3), (0.3, 0.7), (0.7, 0.95), (0.95, 1.001)):
        mine = pairs[(pairs[:, 0] >= low) & (pairs[:, 0] < high)]
        stated, true = mine.mean(axis=0)
        # Shy in the middle: a rate's loss is known to a few tenths of the tolerance at most.
        assert abs(true - stated) <= 0.3
        assert low - 0.12 <= true <= high + 0.2
    assert np.mean((pairs[:, 0] - pairs[:, 1]) ** 2) <= 0.06  # a coin's is 0.25


def test_more_replicates_narrow_the_ranges() -> None:
    widths = {}
    for replicates in (1, 3, 9):
        beliefs = learn(world("moving").search(replicates))
        ends = [belief.end_range(end) for belief in beliefs for end in ("low", "high")]
        widths[replicates] = np.mean([np.log(last / first) for first, last in ends])
    assert widths[1] > 1.2 * widths[3] > 1.2**2 * widths[9]


def test_many_replicates_agree_with_the_point_rule_where_the_truth_is_clear() -> None:
    true = world("sharp")
    for measured, belief in zip(true.search(40), learn(true.search(40)), strict=True):
        interval = measured.interval()
        first, last = belief.stated
        steps = np.log(np.array([interval.low, interval.high]) / true.rates[[first, last]])
        assert (abs(steps) <= 1.01 * np.log(true.rates[1] / true.rates[0])).all()
        assert belief.sure >= 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_two_humps_are_noticed_where_they_are(kind: str) -> None:
    noticed = np.mean(tally(kind, 3).humps)
    assert noticed >= 0.7 if kind == "humps" else noticed <= 0.05


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_jump_stands_out_in_its_cycle(seed: int) -> None:
    jumped = np.array([belief.jumped for belief in learn(world("jump").search(3, seed))])
    # By three steps alone: of many cycles the likeliest, seldom near certainty. Beforehand it was 0.03.
    assert jumped.argmax() == 6
    assert jumped[6] >= 0.08
    assert np.delete(jumped, 6).max() <= 0.25


@pytest.mark.parametrize("chance", [None, 0.12])
@pytest.mark.parametrize("replicates", [1, 3])
def test_cycles_in_which_nothing_was_learned_say_nothing(replicates: int, chance: float | None) -> None:
    for seed in range(SEEDS):
        for kind, expected in (("collapse", [5, 6]), ("sharp", [])):
            beliefs = learn(world(kind).search(replicates, seed), chance=chance)
            assert [belief.cycle for belief in beliefs if belief.silent] == expected
