"""One rule for what a curve misses and what is proven: inside is what ``CycleInterval.compatible`` says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo import CycleInterval, SiloCurve, fit_curve
from silo.curve import shape
from silo.measured import SLACK
from tests.effort import tries
from tests.silo.fit.all_lines import crossings, misses
from tests.silo.fit.consistency import check_regions, missed_by

# Touching where a curve is saturated: only the slack lets one into all of them.
TOUCHING = [
    CycleInterval(cycle=m, optimum=optimum, low=low, high=high)
    for m, optimum, low, high in [
        (1, 0.0155, 0.015441940282648954, 0.015558059717351044),
        (4, 0.018202563439637002, 0.01813438049200024, 0.018270746387273763),
        (5, 0.036900014527787364, 0.036761794888191694, 0.03703823416738303),
        (7, 0.06262591382483093, 0.06239133041479734, 0.06286049723486452),
        (20, 0.064, 0.064, 0.0768),
        (39, 0.064, 0.0512, 0.064),
    ]
]
PRUNING_RATE = 0.2


@st.composite
def touching(draw: st.DrawFn) -> list[CycleInterval]:
    """Intervals around a curve that is saturated early, the late ones with one end at its last rate."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = float(random.choice([0.032, 0.064, 0.1]))
    epsilon = top * random.uniform(0.1, 0.5)
    beta = random.uniform(2, 8)
    curve = SiloCurve(q=2, beta=beta, epsilon=epsilon, delta=top - epsilon, pruning_rate=PRUNING_RATE)
    early = random.choice(np.arange(1, 12), draw(st.integers(1, 4)), replace=False)
    late = random.choice(np.arange(14, 45), draw(st.integers(1, 3)), replace=False)
    width = 10.0 ** random.uniform(-4, -1)
    found = []
    for m in sorted(early.tolist()):
        rate = curve.max_lr(float(m))
        found.append(CycleInterval(cycle=m, optimum=rate, low=rate * (1 - width), high=rate * (1 + width)))
    for m in sorted(late.tolist()):
        low, high = [(top, top * 1.2), (top * 0.8, top), (top, top)][random.integers(3)]
        found.append(CycleInterval(cycle=m, optimum=top, low=low, high=high))
    return found


@st.composite
def on_a_grid(draw: st.DrawFn) -> list[CycleInterval]:
    """Ends on few values, so that many of them touch."""
    cycles = draw(st.lists(st.integers(0, 40), min_size=2, max_size=7, unique=True))
    found = []
    for m in sorted(cycles):
        low, optimum, high = sorted(draw(st.lists(st.integers(1, 6), min_size=3, max_size=3)))
        cuts = {"low_cut": draw(st.integers(0, 9)) == 0, "high_cut": draw(st.integers(0, 9)) == 0}
        found.append(CycleInterval(cycle=m, optimum=optimum / 50, low=low / 50, high=high / 50, **cuts))
    return found


def fewest_by_hand(result: list[CycleInterval], q: int, beta_bounds: tuple[float, float]) -> int:
    """The fewest misses of all lines, over many betas: no fewer are possible there, more are elsewhere."""
    betas = np.geomspace(*beta_bounds, 300)
    shapes = np.stack([shape([i.cycle for i in result], q, beta, PRUNING_RATE) for beta in betas])
    low = np.array([0.0 if i.low_cut else i.low for i in result])
    high = np.array([np.inf if i.high_cut else i.high for i in result])
    # A little less than the slack: the last bits are not what is tried here.
    slack = SLACK * (1 - 1e-3)
    epsilon, delta = crossings(shapes, low * (1 - slack), high * (1 + slack))
    flat = low.max() if low.max() > 0 else min(i.high for i in result)
    epsilon = np.concatenate([epsilon, np.full((betas.size, 1), flat)], axis=1)
    delta = np.concatenate([delta, np.zeros((betas.size, 1))], axis=1)
    missed = misses(epsilon, delta, shapes, low, high, slack * (1 + 1e-6))
    return int(missed[epsilon + delta > 0].min())


@settings(max_examples=tries(30), deadline=None)
@given(result=st.one_of(touching(), on_a_grid()), low=st.floats(0.6, 6), width=st.floats(1.01, 3))
def test_empty_is_what_misses_and_wider_bounds_of_beta_take_nothing_away(
    result: list[CycleInterval], low: float, width: float
) -> None:
    inner = (low, low * width)
    narrow = fit_curve(result, pruning_rate=PRUNING_RATE, q_values=[0, 2], beta_bounds=inner)
    for bounds in ((0.5, 20.0), (0.5, 20.5), (low / 1.1, 20.0)):
        wide = fit_curve(result, pruning_rate=PRUNING_RATE, q_values=[0, 2], beta_bounds=bounds)
        check_regions(wide, result)
        for inside, outside in zip(narrow.regions, wide.regions, strict=True):
            assert len(outside.missed_cycles) <= len(inside.missed_cycles)
            assert outside.empty <= inside.empty
    for region in narrow.regions:
        assert region.empty == bool(region.missed_cycles) == bool(missed_by(region.curve, result))
        assert len(region.missed_cycles) <= fewest_by_hand(result, region.q, inner)


@pytest.mark.parametrize("bounds", [(0.5, 20.0), (4.9, 5.05), (0.5, 20.5), (4.0, 6.0), (4.95, 5.0)])
def test_intervals_that_touch_leave_the_same_region_whatever_the_bounds(bounds: tuple[float, float]) -> None:
    curve = SiloCurve(
        q=2,
        beta=4.968385043813956,
        epsilon=0.01553108682257958,
        delta=0.04846891323455585,
        pruning_rate=PRUNING_RATE,
    )
    assert not missed_by(curve, TOUCHING)
    fit = fit_curve(TOUCHING, pruning_rate=PRUNING_RATE, q_values=[2], beta_bounds=bounds)
    assert fit.hitting is not None and not fit.missed_cycles and fit.margin == 0
    assert fit.regions[0].beta == pytest.approx((max(4.940, bounds[0]), min(5.0041, bounds[1])), rel=1e-3)


def test_a_slack_that_is_not_enough_leaves_nothing() -> None:
    apart = [*TOUCHING[:-1], replace(TOUCHING[-1], high=0.064 * (1 - 4e-9), optimum=0.063)]
    fit = fit_curve(apart, pruning_rate=PRUNING_RATE, q_values=[2])
    assert fit.hitting is None and len(fit.missed_cycles) == 1
