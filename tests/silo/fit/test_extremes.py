"""Inputs that no Oracle gives, but that a fit must get through without a warning or a contradiction."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo import CurveFit, CycleInterval, SiloCurve, fit_curve
from tests.effort import tries
from tests.silo.fit.consistency import around, check_regions

Result = list[CycleInterval]


def check(result: Result, **options: Any) -> CurveFit:
    fit = fit_curve(result, **options)
    check_regions(fit, result)
    assert np.isfinite([fit.margin, fit.weighted_rmse]).all()
    assert np.isfinite(fit.curve.max_lr([i.cycle for i in result])).all()
    assert json.dumps(fit.to_dict(), allow_nan=False) and str(fit)
    return fit


@st.composite
def extremes(draw: st.DrawFn) -> tuple[Result, dict[str, Any]]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.sampled_from([1, 2, 3, 5, 8]))
    cycles = np.sort(random.choice(draw(st.sampled_from([n, 15, 1001])), n, replace=False))
    pruning_rate = draw(st.sampled_from([1e-6, 0.05, 0.2, 0.999]))
    true = SiloCurve(q=1, beta=random.uniform(0.6, 15), epsilon=0.03, delta=0.06, pruning_rate=pruning_rate)
    optima = draw(
        st.sampled_from([true.max_lr(cycles), 10 ** random.uniform(-8, 0, n), random.integers(1, 9, n) / 100])
    )
    width = draw(st.sampled_from([0.0, 1e-7, 1e-3, 0.3])) * random.uniform(size=(2, n))
    scale = draw(st.sampled_from([1.0, 1e-12, 1e6]))
    cut = random.uniform(size=(2, n)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    result = [
        CycleInterval(
            cycle=int(m),
            optimum=rate * scale,
            low=rate * (1 - width[0, k]) * scale,
            high=rate * (1 + width[1, k]) * scale,
            low_cut=bool(cut[0, k]),
            high_cut=bool(cut[1, k]) and draw(st.booleans()),
        )
        for k, (m, rate) in enumerate(zip(cycles, optima, strict=True))
    ]
    return result, {
        "pruning_rate": pruning_rate,
        "q_values": draw(st.sampled_from([range(6), [0], [3, 50], [2000]])),
        "beta_bounds": draw(st.sampled_from([(0.5, 20.0), (1e-3, 1e3), (5.0, 5.0)])),
        "weighting": draw(st.sampled_from(["interval", "uniform"])),
    }


@settings(max_examples=tries(40), deadline=None)
@given(extreme=extremes())
def test_nothing_warns_or_contradicts_itself(extreme: tuple[Result, dict[str, Any]]) -> None:
    result, options = extreme
    check(result, **options)


PAPERS = SiloCurve(q=1, beta=4.0, epsilon=0.03, delta=0.06, pruning_rate=0.2)


def test_intervals_without_width_but_for_two_that_are_moved() -> None:
    fit = check(around(PAPERS, range(12), width=0.0, moved=(3, 7)), pruning_rate=0.2)
    assert fit.feasible_q == () and fit.missed_cycles == (3, 7) and fit.fewest_misses.q == 1
    assert fit.fewest_misses.beta == pytest.approx(4.0, rel=1e-6)


def test_a_thousand_cycles_with_a_tiny_pruning_rate() -> None:
    true = SiloCurve(q=1, beta=4.0, epsilon=0.03, delta=1e12, pruning_rate=1e-6)
    fit = check(around(true, range(0, 1001, 50), width=0.01), pruning_rate=1e-6)
    assert fit.curve.beta == pytest.approx(4.0, rel=1e-4) and 1 in fit.feasible_q


def test_q_beyond_all_cycles_leaves_only_epsilon() -> None:
    fit = check(around(PAPERS, range(5), width=0.0), pruning_rate=0.2, q_values=[2000])
    assert fit.curve.delta == 0 and fit.hitting is None
    flat = check(around(PAPERS, [0, 1], width=0.1), pruning_rate=0.2, q_values=[2000])
    assert flat.regions[0].beta == (0.5, 20.0)
    assert flat.regions[0].epsilon == pytest.approx((0.027, 0.033))
    assert flat.regions[0].delta == (0.0, np.inf)


def test_a_rise_beyond_all_sense_is_none() -> None:
    """With delta = 1e+104 the steep curve would rise in time, and show at cycles where it counts as 0."""
    result = [
        CycleInterval(cycle=32, optimum=0.02, low=0.01, high=0.025, low_cut=True),
        CycleInterval(cycle=49, optimum=3.4e3, low=2.5e3, high=4.2e3, low_cut=True),
        CycleInterval(cycle=54, optimum=3.7e5, low=3.1e5, high=5.3e5, high_cut=True),
    ]
    fit = check(result, pruning_rate=1e-6, beta_bounds=(1e-3, 1e3))
    assert fit.hitting is None and len(fit.missed_cycles) == 1


def test_a_nearly_flat_curve_is_found_where_no_sum_of_squares_can_tell_it_from_rounding() -> None:
    """Its squares are 1e-16 of the rates': sums of large squares would lose them."""
    true = SiloCurve(q=0, beta=10.0, epsilon=0.03, delta=1e27, pruning_rate=1e-6)
    fit = check(around(true, [64, 189, 944], width=0.0), pruning_rate=1e-6, q_values=[0])
    assert fit.curve.beta == pytest.approx(10.0, rel=1e-3)
    assert fit.weighted_rmse < 1e-12
