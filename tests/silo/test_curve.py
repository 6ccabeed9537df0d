import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo import InvalidInput, SiloCurve, shape

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
        ("q", "1"),
        ("beta", 0),
        ("beta", -2.0),
        ("beta", math.inf),
        ("epsilon", -0.1),
        ("epsilon", math.nan),
        ("epsilon", "0.1"),
        ("delta", -1e-9),
        ("delta", None),
        ("delta", 10**400),
        ("pruning_rate", 0.0),
        ("pruning_rate", 1.0),
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
    assert {type(value) for value in curve.to_dict().values()} == {int, float}
    assert type(curve.q) is int and type(curve.beta) is float


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
