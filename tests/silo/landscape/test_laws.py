"""Laws that what is known of a landscape keeps, whatever the trainings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo import CycleAccuracies
from silo.landscape import CycleBelief, CycleScores, best_constant, judge, learn
from silo.landscape.parts import PRIOR, Components, curve_evidence
from tests.effort import tries
from tests.silo.landscape.worlds import KINDS, world

# A hundredth of chance: rounding may move a few of the 1,024 draws past a limit.
LEVELS = 0.01


def scores(kind: str = "moving", rates: int = 8, cycles: int = 4, replicates: int = 3) -> list[CycleScores]:
    return [CycleScores.of(each) for each in world(kind, rates, cycles).search(replicates)]


def only(one: CycleScores, kept: np.ndarray) -> CycleScores:
    return replace(one, index=one.index[kept], replicate=one.replicate[kept], score=one.score[kept])


def check_sound(belief: CycleBelief) -> None:
    """What holds of any cycle that says something: chances, ends in order, a loss that is none below zero."""
    assert not belief.silent and belief.draws is not None
    assert np.isfinite(belief.draws).all()
    for chances in (belief.inside, belief.best):
        assert ((chances >= 0) & (chances <= 1)).all()
    assert belief.best.sum() == pytest.approx(1)
    assert (belief.means >= 0).all()
    low, high = belief.end_range("low"), belief.end_range("high")
    assert belief.rates[0] <= low[0] <= low[1] <= belief.rates[-1]
    assert belief.rates[0] <= high[0] <= high[1] <= belief.rates[-1]
    assert low[0] <= high[0] and low[1] <= high[1]
    first, last = belief.stated
    assert 0 <= first <= belief.optimum() <= last < belief.rates.size
    assert 0 <= belief.sure <= 1 and 0 <= belief.jumped <= 1
    for rate in belief.rates:
        loss = belief.loss(float(rate))
        assert 0 <= loss.low <= loss.high and loss.mean >= 0 and 0 <= loss.within <= 1
    assert belief.noise > 0


def same(left: CycleBelief, right: CycleBelief, *, within: float = 0.0) -> None:
    """The same chances, but for the chance that ``within`` allows."""
    for name in ("inside", "best"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), rtol=0, atol=within)
    assert left.sure == pytest.approx(right.sure, abs=within)
    assert left.jumped == pytest.approx(right.jumped, abs=within)


@given(order=st.randoms(use_true_random=False), kind=st.sampled_from(KINDS))
@settings(max_examples=tries(10), deadline=None)
def test_the_order_of_arrival_plays_no_part(order, kind: str) -> None:  # type: ignore[no-untyped-def]
    given_first = scores(kind)
    mixed = []
    for one in given_first:
        at = list(range(one.score.size))
        order.shuffle(at)
        mixed.append(only(one, np.array(at)))
    order.shuffle(mixed)
    for left, right in zip(learn(given_first), learn(mixed), strict=True):
        assert left.cycle == right.cycle
        if left.draws is None or right.draws is None:
            assert left.silent and right.silent
        else:
            assert left.draws.tobytes() == right.draws.tobytes()


@given(factor=st.floats(1e-4, 1e4))
@settings(max_examples=tries(6), deadline=None)
def test_other_units_of_the_rate_change_nothing_else(factor: float) -> None:
    one = scores()
    other = [replace(each, grid=each.grid * factor) for each in one]
    for left, right in zip(learn(one), learn(other), strict=True):
        same(left, right, within=LEVELS)
        assert right.rates[right.optimum()] == pytest.approx(factor * left.rates[left.optimum()])
        for end in ("low", "high"):
            assert right.end_range(end) == pytest.approx([factor * rate for rate in left.end_range(end)])
        assert right.loss(0.06 * factor).mean == pytest.approx(left.loss(0.06).mean, abs=1e-4)


@given(level=st.floats(-50, 50), scale=st.floats(1e-3, 1e3))
@settings(max_examples=tries(6), deadline=None)
def test_other_units_of_the_score_change_nothing_else(level: float, scale: float) -> None:
    one = scores()
    other = [replace(each, score=scale * (each.score + level)) for each in one]
    for left, right in zip(learn(one, tolerance=0.005), learn(other, tolerance=0.005 * scale), strict=True):
        same(left, right, within=LEVELS)
        assert right.noise == pytest.approx(scale * left.noise, rel=1e-3)
        assert right.loss(0.06).mean == pytest.approx(scale * left.loss(0.06).mean, rel=0.02)


@given(data=st.data(), kind=st.sampled_from(["moving", "jump", "edge", "humps"]))
@settings(max_examples=tries(15), deadline=None)
def test_holes_are_no_trouble(data: st.DataObject, kind: str) -> None:
    holed = []
    for one in scores(kind):
        kept = data.draw(st.sets(st.integers(0, one.score.size - 1), min_size=1))
        holed.append(only(one, np.array(sorted(kept))))
    for one, belief in zip(holed, learn(holed), strict=True):
        assert (belief.trained == np.bincount(one.index, minlength=8)).all()
        if not belief.silent:
            check_sound(belief)


@pytest.mark.parametrize("rates", [1, 2, 3, 100])
def test_a_grid_of_any_size(rates: int) -> None:
    for belief in learn(scores(rates=rates, replicates=1)):
        check_sound(belief)
        assert belief.rates.size == rates
    if rates == 1:
        assert belief.inside.tolist() == belief.best.tolist() == [1.0]


def test_one_training_alone_leaves_all_open() -> None:
    first = scores()[0]
    (belief,) = learn([only(first, np.array([10]))])
    check_sound(belief)
    assert belief.sure < 0.5
    assert belief.core() is None or belief.core() == (belief.rates[3],) * 2


def test_cycles_far_apart_tell_less_of_each_other() -> None:
    whole = scores(cycles=8)
    apart = []
    for gap in (1, 4, 400):  # the second cycle has one training, so what is known of it is the first's
        few = replace(only(whole[1], np.array([9])), cycle=gap)
        apart.append(learn([whole[0], few])[1])
    spread = [float(np.abs(belief.inside - 0.5).mean()) for belief in apart]
    assert spread[0] > spread[1] > spread[2]
    for belief in learn([whole[m] for m in (0, 3, 4, 7)]):
        check_sound(belief)


def test_later_cycles_speak_of_earlier_ones() -> None:
    few = [only(one, np.arange(4, 6)) if one.cycle == 1 else one for one in scores(cycles=3)]
    assert learn(few)[1].sure > learn(few[:2])[1].sure > learn(few[1:2])[0].sure
    # Of a cycle with two trainings they tell what its own would have told.
    whole = scores("sharp", cycles=3)
    holed = [only(whole[0], np.arange(4, 6)), *whole[1:]]
    assert abs(learn(holed)[0].inside - learn(whole)[0].inside).mean() <= 0.15


def test_cycles_with_grids_of_their_own_share_one_lattice() -> None:
    true = world("moving", rates=12)
    grids = [slice(0, 6), slice(0, 9), slice(3, 12), slice(0, 12)]
    found = [
        replace(one, rates=one.rates[at], accuracies=one.accuracies[at])
        for one, at in zip(true.search(3), grids, strict=False)
    ]
    for one, belief in zip(found, learn(found), strict=True):
        check_sound(belief)
        assert belief.rates.tolist() == one.rates.tolist()
        assert (belief.trained == 3).all()
        assert belief.loss(one.rates[-1] * 5).verdict != "inside"
    # Much the same as in a search with whole grids throughout, of the rates that they share.
    for one, other, at in zip(learn(found), learn(true.search(3)[:4]), grids, strict=True):
        if one.cycle >= 2:
            np.testing.assert_allclose(one.inside, other.inside[at], atol=0.3)


def test_a_cycles_level_is_no_evidence() -> None:
    one = scores()[0]
    components = Components(np.log(one.grid), PRIOR)
    low, high = (
        curve_evidence(components, one.index, one.replicate, one.score / 0.005 + up) for up in (0, 300)
    )
    np.testing.assert_allclose(low.vector, high.vector, atol=1e-6)
    np.testing.assert_allclose(low.square, high.square, rtol=1e-6)
    np.testing.assert_allclose(low.precision.sum(axis=2), 0, atol=1e-9)


def test_beyond_the_grid_nothing_is_inside() -> None:
    for belief in learn(scores("edge")):  # the best rate is the grid's last
        beyond = belief.loss(float(belief.rates[-1]) * 1.5)
        assert beyond.verdict == "unknown" and np.isnan(beyond.mean)
        assert belief.loss(float(belief.rates[0]) / 2).verdict == "outside"


def test_a_curve_along_the_best_rates_loses_least() -> None:
    true = world("moving")
    beliefs = learn(true.search(5))
    best = true.rates[true.truth.argmax(axis=1)]
    along, far = judge(beliefs, lambda m: best[m]), judge(beliefs, lambda m: max(best[m] / 6, true.rates[0]))
    constant = best_constant(beliefs)
    assert along and far and constant
    assert along.better_than(far) > 0.99
    assert far.better_than(along) == pytest.approx(1 - along.better_than(far))
    assert along.better_than(along) == 0.5
    assert len(along.cycles("inside")) > 12 and not along.cycles("outside")
    assert not far.cycles("inside") and far.mean.within == 0
    assert along.mean.low <= along.mean.mean <= along.mean.high
    assert len(set(constant.rates)) == 1 and constant.mean.mean < far.mean.mean
    for rate in np.geomspace(0.02, 0.2, 9):  # none of these constants loses less, but for the tries' spacing
        tried = judge(beliefs, lambda _, rate=rate: float(rate))  # type: ignore[misc]
        assert tried and tried.mean.mean >= constant.mean.mean - 1e-5


def test_accuracies_are_scores_without_holes() -> None:
    measured = world("moving", 8, 4).search(3)
    assert isinstance(measured[0], CycleAccuracies)
    for left, right in zip(learn(measured), learn(scores()), strict=True):
        same(left, right)
