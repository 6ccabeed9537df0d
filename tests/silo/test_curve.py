""""""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from silo import PHASES, CycleAccuracies, InvalidInput, SiloCurve, cycle_at_density, fit_curve, shape
from silo.fit.rivals import compare_rivals
from tests.effort import tries
from tests.silo.fit.consistency import around, check_regions

VGG = SiloCurve(q=1, beta=5, epsilon=0.04, delta=0.06, pruning_rate=0.2)
RESNET = SiloCurve(q=1, beta=5, epsilon=0.03, delta=0.04, pruning_rate=0.2)

curves = st.builds(
    SiloCurve,
    q=st.integers(0, 30),
    beta=st.floats(1e-3, 1e3),
    epsilon=st.floats(0, 10),
    delta=st.floats(1e-6, 10),
    pruning_rate=st.floats(1e-6, 1 - 1e-6),
)


def equation_3(curve: SiloCurve, cycle: float) -> float:
    """As the paper writes it: divides by zero where γ is 0 or rounds to 1."""
    if cycle <= curve.q:
        return curve.epsilon
    gamma = 1 - (1 - curve.pruning_rate) ** (cycle - curve.q)
    return curve.epsilon + curve.delta / (1 + (gamma / (1 - gamma)) ** -curve.beta)


@pytest.mark.parametrize(
    ("curve", "cycle", "rate"),
    [
        (VGG, 0, 4.0),
        (VGG, 1, 4.0),
        (VGG, 3, 4.320),
        (VGG, 5, 9.169),
        (VGG, 7, 9.966),
        (RESNET, 3, 3.213),
        (RESNET, 4, 4.761),
        (RESNET, 5, 6.446),
        (RESNET, 7, 6.977),
    ],
)
def test_golden_rates(curve: SiloCurve, cycle: int, rate: float) -> None:
    assert curve.max_lr(cycle) == pytest.approx(rate * 1e-2, abs=0.5e-5)


@settings(deadline=None)
@given(curve=curves, cycle=st.floats(0, 40))
def test_is_equation_3_wherever_that_can_be_evaluated(curve: SiloCurve, cycle: float) -> None:
    try:
        expected = equation_3(curve, cycle)
    except (ZeroDivisionError, OverflowError):
        return
    gamma = 1 - (1 - curve.pruning_rate) ** (cycle - curve.q)
    # The written form loses the digits of γ near 0 and of 1 − γ near 1, times β.
    lost = 1e-15 * max(1.0, curve.beta) / min(abs(gamma), abs(1 - gamma)) if 0 < gamma < 1 else 0.0
    assert curve.max_lr(cycle) == pytest.approx(expected, rel=1e-9, abs=curve.delta * lost)


@settings(deadline=None)
@given(curve=curves, cycles=st.lists(st.floats(0, 1e300), min_size=2, max_size=20))
def test_is_finite_monotone_and_bounded(curve: SiloCurve, cycles: list[float]) -> None:
    rates = curve.max_lr(np.sort(cycles))
    assert np.isfinite(rates).all()
    assert (np.diff(rates) >= -1e-12 * (curve.epsilon + curve.delta)).all()
    assert (rates >= curve.epsilon).all()
    assert (rates <= curve.epsilon + curve.delta).all()


@settings(deadline=None)
@given(curve=curves)
def test_stays_at_epsilon_up_to_q_and_ends_at_the_top(curve: SiloCurve) -> None:
    assert curve.max_lr(np.arange(curve.q + 1)).tolist() == [curve.epsilon] * (curve.q + 1)
    assert curve.max_lr(1e300) == curve.epsilon + curve.delta


@settings(deadline=None)
@given(curve=curves)
def test_survives_json(curve: SiloCurve) -> None:
    assert SiloCurve.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve


@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1 - 2**-53])
@pytest.mark.parametrize("beta", [5e-324, 1e-3, 1e3, 1e308])
def test_is_finite_for_extreme_parameters(rate: float, beta: float) -> None:
    curve = SiloCurve(q=0, beta=beta, epsilon=1.0, delta=2.0, pruning_rate=rate)
    rates = curve.max_lr([0.0, 5e-324, 0.3, 1, 7, 1e15, 1e308])
    assert ((rates >= 1) & (rates <= 3)).all()


def test_shape_is_accurate_where_gamma_is_tiny() -> None:
    assert shape(1, 0, 2.0, 1e-20) == pytest.approx(1e-40, rel=1e-12, abs=0)
    assert shape(1, 0, 1.0, 0.2) == pytest.approx(0.2, rel=1e-15)


def test_a_number_gives_a_float_and_an_array_its_shape() -> None:
    assert isinstance(VGG.max_lr(3), float)
    assert isinstance(VGG.max_lr(np.int64(3)), float)
    assert VGG.max_lr(np.arange(6).reshape(2, 3)).shape == (2, 3)
    assert VGG.max_lr(range(3)).dtype == np.float64


def test_shape_broadcasts() -> None:
    betas = np.array([3.0, 5.0])[:, None]
    together = shape([2, 3, 4], 1, betas, 0.2)
    assert together.shape == (2, 3)
    assert together[1].tolist() == shape([2, 3, 4], 1, 5.0, 0.2).tolist()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("q", -1),
        ("q", 1.0),
        ("q", True),
        ("beta", 0),
        ("beta", math.inf),
        ("epsilon", -0.1),
        ("epsilon", math.nan),
        ("delta", None),
        ("delta", 10**400),
        ("pruning_rate", 0.0),
        ("pruning_rate", 20),
    ],
)
def test_bad_parameters_are_named(name: str, value: object) -> None:
    good = VGG.to_dict()
    with pytest.raises(InvalidInput) as raised:
        SiloCurve(**(good | {name: value}))  # type: ignore[arg-type]
    message = str(raised.value)
    assert message.startswith(name) and repr(value) in message and "give" in message and "\n" not in message


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1e308, 1e308)])
def test_a_curve_needs_a_positive_finite_top(epsilon: float, delta: float) -> None:
    with pytest.raises(InvalidInput, match=r"epsilon \+ delta"):
        SiloCurve(q=1, beta=5, epsilon=epsilon, delta=delta, pruning_rate=0.2)


def test_numbers_become_plain() -> None:
    curve = SiloCurve(q=np.int64(1), beta=5, epsilon=0, delta=np.float32(0.5), pruning_rate=0.2)  # type: ignore[arg-type]
    assert [type(value) for value in curve.to_dict().values()] == [int, *[float] * 4]


def test_unknown_and_missing_keys_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"'epsilom'.*known are q, beta.*did you mean 'epsilon'\?"):
        SiloCurve.from_dict(VGG.to_dict() | {"epsilom": 1})
    without = {name: value for name, value in VGG.to_dict().items() if name != "delta"}
    with pytest.raises(InvalidInput, match=r"needs delta"):
        SiloCurve.from_dict(without)


@pytest.mark.parametrize("cycle", [-1, math.nan, math.inf, [0, -2.5]])
def test_bad_cycles_are_named(cycle: object) -> None:
    value = float(np.min(cycle))  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match=rf"cycle .* not {value!r}"):
        VGG.max_lr(cycle)  # type: ignore[call-overload]


@pytest.mark.parametrize(("name", "value"), [("q", -1), ("beta", 0.0), ("pruning_rate", 1.0), ("cycle", "a")])
def test_shape_checks_its_arguments(name: str, value: object) -> None:
    good: dict[str, object] = {"cycle": 3, "q": 1, "beta": 5.0, "pruning_rate": 0.2}
    with pytest.raises(InvalidInput, match=rf"{name} must .* not {value!r}"):
        shape(**(good | {name: value}))  # type: ignore[arg-type]


@settings(deadline=None)
@given(curve=curves, cycle=st.floats(0, 40), factor=st.floats(-0.5, 0.5))
def test_a_little_more_beta_moves_the_rate_a_little(curve: SiloCurve, cycle: float, factor: float) -> None:
    """dS / dlog β = x·S·(1 − S) with x = logit S, which is at most 0.2239 in size."""
    other = replace(curve, beta=curve.beta * math.exp(factor))
    assert abs(other.max_lr(cycle) - curve.max_lr(cycle)) <= curve.delta * (0.2239 * abs(factor) + 1e-12)


@settings(deadline=None)
@given(curve=curves, cycles=st.lists(st.floats(0, 60), min_size=1, max_size=6), kept=st.floats(0, 0.5))
def test_a_density_is_its_cycle(curve: SiloCurve, cycles: list[float], kept: float) -> None:
    x = -math.log1p(-curve.pruning_rate)
    share = np.exp(-x * np.array(cycles))
    assume((share > 1e-8).all())
    densities = kept + (1 - kept) * share
    found = cycle_at_density(densities, curve.pruning_rate, never_pruned=kept)
    # The density's last bits count for so much of a cycle.
    error = 1e-15 / (share * (1 - kept) * x)
    assert (np.abs(found - cycles) <= error + 1e-12 * np.array(cycles)).all()
    assert curve.max_lr_at_density(densities, never_pruned=kept).tolist() == curve.max_lr(found).tolist()


def test_densities_golden() -> None:
    assert VGG.max_lr_at_density(0.8**5) == pytest.approx(VGG.max_lr(5), rel=1e-12)
    assert VGG.max_lr_at_density(0.1 + 0.9 * 0.8**3, never_pruned=0.1) == pytest.approx(
        VGG.max_lr(3), rel=1e-12
    )
    assert VGG.max_lr_at_density(1) == VGG.epsilon
    assert [str(m) for m in cycle_at_density([1.0, 1], 0.2, never_pruned=0.3)] == ["0.0", "0.0"]
    assert str(cycle_at_density(1, 0.2)) == "0.0"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (32.8, r"share above 0 and at most 1, not 32.8: 32.8 % is 0.328"),
        (0, r"above 0 .* not 0.0: "),
        (math.nan, "not nan: "),
        ([0.5, 1 + 1e-9], r"not 1.000000001: "),
        ("dense", "a number or an array of them, not 'dense': give 0.328"),
    ],
)
def test_bad_densities_are_named(value: object, message: str) -> None:
    for give in (lambda: VGG.max_lr_at_density(value), lambda: cycle_at_density(value, 0.2)):  # type: ignore[call-overload]
        with pytest.raises(InvalidInput, match=rf"density must be .*{message}") as raised:
            give()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "below 1, not 1: give 0.0024"),
        (-0.1, "at least 0, not -0.1"),
    ],
)
def test_a_bad_share_never_pruned_is_named(value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"never_pruned must be .*{message}"):
        VGG.max_lr_at_density(0.5, never_pruned=value)  # type: ignore[arg-type]


@settings(deadline=None)
@given(curve=curves, share=st.floats(1e-9, 1 - 1e-9))
def test_cycle_at_is_the_inverse_of_the_shape(curve: SiloCurve, share: float) -> None:
    cycle = curve.cycle_at(share)
    # A gentle curve rises at once, a steep one nearly jumps: then a cycle's last bits count.
    ends = np.maximum([cycle * (1 - 1e-13) - 1e-300, cycle * (1 + 1e-13) + 1e-300], 0)
    before, after = shape(ends, curve.q, curve.beta, curve.pruning_rate)
    assert curve.q <= cycle and before - 1e-12 <= share <= after + 1e-12
    start = replace(curve, q=0)
    assume(abs(math.log(share / (1 - share))) < 600 * curve.beta)
    assert shape(start.cycle_at(share), 0, curve.beta, curve.pruning_rate) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("share", [0, 1, math.nan, "0.5"])
def test_bad_shares_are_named(share: object) -> None:
    with pytest.raises(InvalidInput, match=rf"share must .* not {share!r}: give"):
        VGG.cycle_at(share)  # type: ignore[arg-type]


@settings(deadline=None)
@given(curve=curves)
def test_the_phases_follow_each_other_and_name_their_cycles(curve: SiloCurve) -> None:
    phases = curve.phases()
    assert tuple(phases) == PHASES
    begins, ends = zip(*phases.values(), strict=True)
    assert (begins[0], ends[-1], begins[1:]) == (0, math.inf, ends[:-1])
    assert list(begins) == sorted(begins) and ends[0] == curve.q
    for before, after, border in zip(PHASES, PHASES[1:], begins[1:], strict=False):
        slack = 1e-13 * border + 1e-300
        assert PHASES.index(curve.phase(max(border - slack, 0))) <= PHASES.index(before)
        assert PHASES.index(curve.phase(border + slack)) >= PHASES.index(after)


def test_the_papers_phases_golden() -> None:
    found = [VGG.phase(m) for m in range(8)]
    assert found == [PHASES[k] for k in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert VGG.phases()["fast growth"] == pytest.approx((3.2289, 5.1983), abs=1e-4)
    assert replace(VGG, q=0).phase(0) == "no growth"


def test_the_larger_beta_is_the_later_the_fast_growth_begins_and_the_sooner_it_ends() -> None:
    phases = [replace(VGG, beta=beta).phases()["fast growth"] for beta in np.geomspace(0.5, 100, 30)]
    begins, ends = zip(*phases, strict=True)
    assert (np.diff(begins) > 0).all() and (np.diff(ends) < 0).all()


@pytest.mark.parametrize("cycle", [-1, math.nan, "3"])
def test_a_phase_needs_a_cycle(cycle: object) -> None:
    with pytest.raises(InvalidInput, match=rf"cycle must be .* not {cycle!r}: give"):
        VGG.phase(cycle)  # type: ignore[arg-type]


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
