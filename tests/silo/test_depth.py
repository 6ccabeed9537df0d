import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo import CycleAccuracies, InvalidInput, SiloCurve, fit_curve
from silo.fit.rivals import compare_rivals
from tests.effort import tries
from tests.silo.fit.consistency import around, check_regions

# Half of the weights at once, as 2:4 does, then other shares.
DENSITIES = (1.0, 0.5, 0.45, 0.3, 0.15, 0.12, 0.06, 0.05, 0.02, 0.012, 0.006)
CURVE = SiloCurve(q=1, beta=3.0, epsilon=0.03, delta=0.06, pruning_rate=0.2, densities=DENSITIES)
PLAIN = SiloCurve(q=1, beta=3.0, epsilon=0.03, delta=0.06, pruning_rate=0.2)


def by_hand(cycle: int) -> float:
    """γ = 1 − λ(m) / λ(q): what was pruned since cycle q."""
    gamma = 1 - DENSITIES[cycle] / DENSITIES[1]
    return 0.03 + 0.06 / (1 + (gamma / (1 - gamma)) ** -3.0)


def test_the_curve_goes_by_the_densities_that_there_were() -> None:
    assert [CURVE.max_lr(m) for m in (0, 1)] == [0.03, 0.03]
    assert CURVE.max_lr(list(range(2, 11))) == pytest.approx([by_hand(m) for m in range(2, 11)])
    # At cycle 3 by p alone it would be far lower.
    assert CURVE.max_lr(3) > PLAIN.max_lr(3) * 1.1


def test_beyond_the_known_densities_p_is_pruned_and_between_cycles_the_same_share() -> None:
    assert CURVE.max_lr(10.5) == pytest.approx(CURVE.max_lr_at_density(0.006 * 0.8**0.5))
    assert CURVE.max_lr(14) == pytest.approx(CURVE.max_lr_at_density(0.006 * 0.8**4))
    assert CURVE.max_lr(3.5) == pytest.approx(CURVE.max_lr_at_density((0.3 * 0.15) ** 0.5))
    assert CURVE.max_lr(4) == pytest.approx(CURVE.max_lr_at_density(0.15))


@settings(max_examples=tries(30), deadline=None)
@given(cycles=st.integers(1, 12), q=st.integers(0, 4), rate=st.floats(0.05, 0.6), share=st.floats(0.01, 0.99))
def test_the_densities_of_p_change_nothing(cycles: int, q: int, rate: float, share: float) -> None:
    plain = SiloCurve(q=q, beta=4.0, epsilon=0.03, delta=0.06, pruning_rate=rate)
    same = SiloCurve(
        q=q,
        beta=4.0,
        epsilon=0.03,
        delta=0.06,
        pruning_rate=rate,
        densities=tuple((1 - rate) ** np.arange(cycles)),
    )
    places = np.linspace(0, 20, 41)
    assert same.max_lr(places) == pytest.approx(plain.max_lr(places), rel=1e-9)
    assert same.cycle_at(share) == pytest.approx(plain.cycle_at(share), rel=1e-9)


@settings(max_examples=tries(30), deadline=None)
@given(share=st.floats(0.01, 0.999))
def test_a_share_of_the_rise_is_reached_at_its_cycle(share: float) -> None:
    assert CURVE.max_lr(CURVE.cycle_at(share)) == pytest.approx(0.03 + 0.06 * share, rel=1e-9)


def test_it_goes_through_json_and_a_plain_curve_has_no_densities_there() -> None:
    assert SiloCurve.from_dict(json.loads(json.dumps(CURVE.to_dict()))) == CURVE
    assert set(PLAIN.to_dict()) == {"q", "beta", "epsilon", "delta", "pruning_rate"}


@pytest.mark.parametrize(
    ("densities", "message"),
    [
        ((1.0, 0.5, 0.6), "don't rise"),
        ((1.2,), "shares of at most 1"),
        ((1.0, 0.0), "above 0"),
        (0.5, "must be a list of shares"),
        ((1.0, "half"), "must be a number"),
    ],
)
def test_densities_that_are_none_are_refused(densities: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        SiloCurve(q=1, beta=3, epsilon=0.03, delta=0.06, pruning_rate=0.2, densities=densities)  # type: ignore[arg-type]


def test_a_fit_by_the_densities_finds_the_curve_again_and_says_so() -> None:
    intervals = around(CURVE, range(11))
    fit = fit_curve(intervals, pruning_rate=0.2, densities=DENSITIES)
    assert (fit.curve.q, fit.curve.densities) == (1, DENSITIES)
    assert fit.curve.beta == pytest.approx(3.0, rel=1e-6)
    assert (fit.curve.epsilon, fit.curve.delta) == pytest.approx((0.03, 0.06), rel=1e-6)
    check_regions(fit, intervals)
    assert any("Other shares of the weights were pruned than 0.2" in note for note in fit.notes)
    plain = fit_curve(intervals, pruning_rate=0.2)
    assert plain.weighted_rmse > 1e-4 and not any("Other shares" in note for note in plain.notes)


def test_rivals_and_draws_go_by_them_too() -> None:
    intervals = around(CURVE, range(11))
    table = compare_rivals(intervals, pruning_rate=0.2, densities=DENSITIES)
    silo = table.rivals[-1]
    assert silo.max_lr(range(11)) == pytest.approx(CURVE.max_lr(list(range(11))), rel=1e-6)
    assert set(silo.values) == {"q", "beta", "epsilon", "delta", "pruning_rate"}
    rates = np.geomspace(0.01, 0.3, 15)
    measured = [
        CycleAccuracies(
            cycle=m,
            rates=rates,
            accuracies=np.tile((0.9 - 0.05 * np.log(rates / CURVE.max_lr(m)) ** 2)[:, None], (1, 2)),
        )
        for m in range(11)
    ]
    drawn = fit_curve(measured, pruning_rate=0.2, densities=DENSITIES, draws=20).drawn
    assert drawn is not None
    curves = [
        SiloCurve(q=q, beta=b, epsilon=e, delta=d, pruning_rate=0.2, densities=DENSITIES).max_lr(range(11))
        for q, b, e, d in zip(
            *(getattr(drawn, name).tolist() for name in ("q", "beta", "epsilon", "delta")), strict=True
        )
    ]
    low, high = drawn.band(range(11))
    assert low == pytest.approx(np.quantile(curves, 0.05, axis=0))
    assert high == pytest.approx(np.quantile(curves, 0.95, axis=0))
