import json
import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from silo import CurveFit, CycleInterval, Region, SiloCurve, fit_curve, shape
from tests.effort import tries
from tests.silo.fit.consistency import around, check_regions, missed_by


@st.composite
def results(draw: st.DrawFn) -> list[CycleInterval]:
    """An Oracle's result of 1 to 7 cycles on a grid of steps of 0.01, which no curve need explain."""
    cycles = draw(st.lists(st.integers(0, 14), min_size=1, max_size=7, unique=True))
    found = []
    for m in cycles:
        low = draw(st.integers(1, 12))
        optimum = low + draw(st.integers(0, 3))
        high = optimum + draw(st.integers(0, 3))
        cuts = {"low_cut": draw(st.integers(0, 9)) == 0, "high_cut": draw(st.integers(0, 9)) == 0}
        found.append(CycleInterval(cycle=m, optimum=optimum / 100, low=low / 100, high=high / 100, **cuts))
    return found


@settings(max_examples=tries(20), deadline=None)
@given(
    q=st.integers(0, 3),
    beta=st.floats(1.5, 7),
    epsilon=st.floats(0.005, 0.1),
    delta=st.floats(0.02, 0.2),
    pruning_rate=st.floats(0.06, 0.35),
    weighting=st.sampled_from(["interval", "uniform"]),
)
def test_a_curve_without_noise_is_found_again(
    q: int, beta: float, epsilon: float, delta: float, pruning_rate: float, weighting: str
) -> None:
    true = SiloCurve(q=q, beta=beta, epsilon=epsilon, delta=delta, pruning_rate=pruning_rate)
    cycles = list(range(30))
    rise = shape(cycles, q, beta, pruning_rate)
    assume(((rise > 0.001) & (rise < 0.999)).sum() >= 6)
    intervals = around(true, cycles)
    fit = fit_curve(intervals, pruning_rate=pruning_rate, weighting=weighting)  # type: ignore[arg-type]
    assert fit.curve.q == q
    assert fit.curve.beta == pytest.approx(beta, rel=1e-6)
    assert fit.curve.epsilon == pytest.approx(epsilon, rel=1e-6)
    assert fit.curve.delta == pytest.approx(delta, rel=1e-6)
    assert all(fit.inside.values()) and q in fit.feasible_q and fit.missed_cycles == ()
    assert fit.weighted_rmse < 1e-9


@settings(max_examples=tries(20), deadline=None)
@given(result=results(), power=st.integers(-10, 10))
def test_scaling_all_rates_scales_the_curve(result: list[CycleInterval], power: int) -> None:
    """By powers of two, so that no rounding decides a tie."""
    factor = 2.0**power
    scaled = [
        replace(i, optimum=i.optimum * factor, low=i.low * factor, high=i.high * factor) for i in result
    ]
    before, after = fit_curve(result, pruning_rate=0.2), fit_curve(scaled, pruning_rate=0.2)
    for old, new in [(before.curve, after.curve), (before.fewest_misses, after.fewest_misses)]:
        assert new == replace(old, epsilon=old.epsilon * factor, delta=old.delta * factor)
    assert (after.weighted_rmse, after.margin) == (before.weighted_rmse * factor, before.margin * factor)
    assert (after.inside, after.missed_cycles) == (before.inside, before.missed_cycles)
    assert after.regions == tuple(scaled_region(region, factor) for region in before.regions)
    assert without_rates(after.notes) == without_rates(before.notes)


def scaled_region(region: Region, factor: float) -> Region:
    curve = replace(region.curve, epsilon=region.curve.epsilon * factor, delta=region.curve.delta * factor)
    ranges = {
        name: ends and (ends[0] * factor, ends[1] * factor)
        for name, ends in (("epsilon", region.epsilon), ("delta", region.delta))
    }
    return replace(region, curve=curve, margin=region.margin * factor, **ranges)  # type: ignore[arg-type]


def without_rates(notes: tuple[str, ...]) -> list[str]:
    """The notes, but for those numbers in them that scale, and for that on the unit of the rates."""
    scaled = ("epsilon is unidentified", "delta is unidentified")
    kept = [note for note in notes if not note.startswith("Every rate is above 1")]
    return [note.split(":")[0] if note.startswith(scaled) else note for note in kept]


@settings(max_examples=tries(30), deadline=None)
@given(result=results(), data=st.data())
def test_widening_an_interval_takes_nothing_away(result: list[CycleInterval], data: st.DataObject) -> None:
    before = fit_curve(result, pruning_rate=0.2)
    k = data.draw(st.integers(0, len(result) - 1))
    change: dict[str, float | bool] = data.draw(
        st.sampled_from(
            [
                {"low": result[k].low / 2},
                {"high": result[k].high * 1.5},
                {"low_cut": True},
                {"high_cut": True},
            ]
        )
    )
    wider = [replace(i, **change) if i is result[k] else i for i in result]  # type: ignore[arg-type]
    after = fit_curve(wider, pruning_rate=0.2)
    assert set(before.feasible_q) <= set(after.feasible_q)
    assert after.hitting is not None or before.hitting is None
    assert len(after.missed_cycles) <= len(before.missed_cycles)
    for old, new in zip(before.regions, after.regions, strict=True):
        assert len(new.missed_cycles) <= len(old.missed_cycles)
        for name in ("beta", "epsilon", "delta"):
            if not old.empty:
                assert covers(getattr(new, name), getattr(old, name))


def covers(wider: tuple[float, float], ends: tuple[float, float]) -> bool:
    """Up to what a range may fall short by."""
    return wider[0] <= ends[0] * (1 + 2e-4) + 1e-12 and wider[1] >= ends[1] * (1 - 2e-4)


@settings(max_examples=tries(25), deadline=None)
@given(result=results())
def test_what_a_fit_says_holds(result: list[CycleInterval]) -> None:
    fit = fit_curve(result, pruning_rate=0.2)
    by_cycle = {i.cycle: i for i in result}
    assert fit.inside == {m: by_cycle[m].contains(fit.curve.max_lr(m)) for m in sorted(by_cycle)}
    missed = missed_by(fit.fewest_misses, result)
    assert fit.missed_cycles == missed
    assert (fit.hitting is None) == bool(missed) == (not fit.feasible_q) == (fit.margin < 0)
    check_regions(fit, result)
    assert fit_curve(result[::-1], pruning_rate=0.2) == fit
    assert all(note.endswith(".") and "\n" not in note for note in fit.notes)
    said = {note.split()[0] for note in fit.notes if "is unidentified by the intervals" in note}
    assert said == unidentified(fit)
    read = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert read["missed_cycles"] == list(fit.missed_cycles)
    for region, written in zip(fit.regions, read["regions"], strict=True):
        assert written["empty"] == region.empty
        if region.delta is not None:
            highest = None if math.isinf(region.delta[1]) else region.delta[1]
            assert written["delta"] == [region.delta[0], highest]


def unidentified(fit: CurveFit) -> set[str]:
    """The parameters of which some curve in all intervals has more than twice another's."""
    expected = {"q"} if len(fit.feasible_q) > 1 else set()
    for name in ("beta", "epsilon", "delta"):
        ranges = [getattr(region, name) for region in fit.regions if not region.empty]
        if ranges and max(high for _, high in ranges) > 2 * min(low for low, _ in ranges):
            expected.add(name)
    return expected
