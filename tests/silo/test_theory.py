import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.theory import (
    activation_bound,
    kept_power,
    max_lr_bound,
)
from tests.effort import tries

Array = np.ndarray[Any, Any]
RATES = [0.1, 0.5]
CYCLES = [0, 1, 3, 10, 20]
SIGMA_X, SIGMA_W = 0.7, 0.3

cycles = st.floats(0, 200)
rates = st.floats(1e-6, 1 - 1e-6)
powers = st.floats(0, 1e6)


def prune(weights: Array, pruning_rate: float, times: int) -> Array:
    """What is alive after ``times`` prunings of round(p × alive) of the smallest, ranked among the alive."""
    magnitudes, alive = np.abs(weights).ravel(), np.ones(weights.size, dtype=bool)
    for _ in range(times):
        index = np.flatnonzero(alive)
        smallest = np.argsort(magnitudes[index])[: round(pruning_rate * index.size)]
        alive[index[smallest]] = False
    return alive.reshape(weights.shape)


def relu(values: Array) -> Array:
    return np.maximum(values, 0)


def measured(k: int, p: float, *, inputs: int, biases: str = "kept", seed: int = 0) -> tuple[float, float]:
    """E_AA of a pruned layer of 8000 nodes on 500 samples, and four standard errors of it.

    Nodes are independent for given samples, and samples for given nodes: the sum of both variances is no
    smaller than the variance of the mean.
    """
    random = np.random.default_rng(seed)
    parameters = random.normal(0, SIGMA_W, (8000, inputs + 1))
    if biases == "pruned":
        parameters *= prune(parameters, p, k)
    else:
        parameters[:, :-1] *= prune(parameters[:, :-1], p, k)
    bias = 0 if biases == "none" else parameters[:, -1]
    activations = relu(random.normal(0, SIGMA_X, (500, inputs)) @ parameters[:, :-1].T + bias)
    squares = np.square(activations)
    error = math.hypot(*(squares.mean(axis).std() / squares.shape[1 - axis] ** 0.5 for axis in (0, 1)))
    return float(squares.mean()), 4 * error


@pytest.mark.parametrize("p", RATES)
def test_kept_power_is_what_pruning_leaves(p: float) -> None:
    weights = np.random.default_rng(1).standard_normal((400, 500))
    for k in CYCLES:
        left = np.square(weights) * prune(weights, p, k)
        error = left.std() / left.size**0.5
        assert left.mean() == pytest.approx(kept_power(k, p), abs=5 * error + 1e-4)


@settings(max_examples=tries(20), deadline=None)
@given(cycle=st.floats(0, 100), p=st.floats(0.01, 0.9))
def test_kept_power_is_the_integral_over_the_tails(cycle: float, p: float) -> None:
    threshold = norm.isf((1 - p) ** cycle / 2)
    tail, _ = quad(lambda w: w**2 * norm.pdf(w), threshold, threshold + 40, epsabs=0, epsrel=1e-11, limit=200)
    assert kept_power(cycle, p) == pytest.approx(2 * tail, rel=1e-8)


@settings(deadline=None)
@given(some=st.lists(cycles, min_size=2, max_size=20), p=rates)
def test_kept_power_falls_from_1_to_0(some: list[float], p: float) -> None:
    kept = kept_power(np.sort(some), p)
    assert ((kept >= 0) & (kept <= 1)).all()
    assert (np.diff(kept) <= 1e-14).all()
    assert kept_power(0, p) == 1.0
    assert kept_power(1e9, p) == 0.0


def test_kept_power_is_accurate_where_all_is_pruned() -> None:
    # By mpmath with 60 digits.
    expected = [0.99999999999999418, 0.046368373409913093, 5.4344302526075613e-95, 2.482335493996349e-288]
    assert kept_power([1e-4, 24, 1000, 3000], 0.2) == pytest.approx(expected, rel=1e-12, abs=0)
    extreme = kept_power([0, 5e-324, 3330, 3338, 3340, 1e308], 0.2)
    assert np.isfinite(extreme).all() and (np.diff(extreme) <= 0).all() and extreme[-1] == 0


@pytest.mark.parametrize(("p", "k"), [(0.1, 0), (0.2, 3), (0.5, 1), (0.2, 20)])
def test_theorem_1_holds_and_is_loose_by_a_factor_of_2(p: float, k: int) -> None:
    activation, error = measured(k, p, inputs=10, seed=k)
    bound = activation_bound(k, pruning_rate=p, input_power=10 * SIGMA_X**2, sigma_w=SIGMA_W)
    assert error < 0.15 * activation
    assert 4 * activation >= bound
    assert 2 * activation == pytest.approx(bound, abs=2 * error)


@pytest.mark.parametrize("biases", ["pruned", "none"])
def test_theorem_1_fails_where_biases_are_pruned_with_the_weights_or_there_are_none(biases: str) -> None:
    power, p = 10 * SIGMA_X**2, 0.2
    fails = []
    for k in (0, 10, 20, 30):
        kept = kept_power(k, p)
        activation, error = measured(k, p, inputs=10, biases=biases, seed=k)
        bound = activation_bound(k, pruning_rate=p, input_power=power, sigma_w=SIGMA_W)
        left = kept * (1 + power) * SIGMA_W**2 if biases == "pruned" else bound - SIGMA_W**2
        assert 2 * activation == pytest.approx(left, abs=2 * error)
        fails.append(4 * activation < bound)
        assert fails[-1] == (kept * (2 + power) < 1 if biases == "pruned" else kept * power < 1)
    assert fails == [False, False, True, True]


def last_layer_gradients(k: int, seed: int, labels: Array) -> tuple[Array, Array]:
    """The mask of W2, and ∂L/∂W2 of each of 200 examples by itself: y = W2·relu(W1·x + b), p = 0.2."""
    random = np.random.default_rng(seed)
    w1, w2 = random.normal(0, 0.1, (1000, 20)), random.normal(0, 0.1, 1000)
    w1 *= prune(w1, 0.2, k)
    active = prune(w2, 0.2, k)
    w2 *= active
    hidden = relu(random.normal(0, 1, (200, 20)) @ w1.T + random.normal(0, 0.1, 1000))
    return active, (expit(hidden @ w2) - labels)[:, None] * hidden * active


def gradient_norms(k: int, alpha: float, labels: Array) -> float:
    """Mean of E_WG / C over 12 networks, each of which takes 200 steps of its own, one on each example."""
    norms = []
    for seed in range(12):
        active, gradients = last_layer_gradients(k, seed, labels)
        norms += [np.square(alpha * gradient[active]).mean() for gradient in gradients]
    return float(np.mean(norms) / activation_bound(k, pruning_rate=0.2, input_power=20, sigma_w=0.1))


def test_theorem_2_for_a_step_on_one_example() -> None:
    """E_WG ≥ α²·C/8, as (σ(y) − Y)² has a mean of at least 1/4 and h² one of C/2; at most twice that."""
    labels = np.arange(200) % 2
    seen = np.array([gradient_norms(k, 0.1, labels) for k in (0, 5, 10, 15)])
    assert ((seen >= 0.97 * 0.1**2 / 8) & (seen <= 1.03 * 0.1**2 / 4)).all()
    bound = activation_bound([0, 5, 10, 15], pruning_rate=0.2, input_power=20, sigma_w=0.1)
    assert (np.diff(seen * bound) < 0).all()
    assert gradient_norms(5, 0.2, labels) == pytest.approx(4 * seen[1], rel=1e-9)


def test_theorem_2_has_no_constant_for_examples_that_differ_in_the_label_alone() -> None:
    # The mean gradient of labels 0 and 1 is that of 1/2.
    seen = [gradient_norms(k, 1.0, np.full(200, 0.5)) for k in (0, 5, 10, 20)]
    assert (np.diff(seen) < 0).all() and seen[-1] < seen[0] / 10


@settings(deadline=None)
@given(some=st.lists(cycles, min_size=2, max_size=20), p=rates, power=powers, rate=st.floats(1e-6, 10))
def test_the_bound_of_the_rate_rises_and_is_limited(
    some: list[float], p: float, power: float, rate: float
) -> None:
    bounds = max_lr_bound(np.sort(some), pruning_rate=p, input_power=power, dense_rate=rate)
    top = rate * math.sqrt(1 + power)
    assert (np.diff(bounds) >= -1e-12 * bounds[1:]).all()
    assert ((bounds >= rate) & (bounds <= top * (1 + 1e-15))).all()
    assert max_lr_bound(0, pruning_rate=p, input_power=power, dense_rate=rate) == rate
    assert max_lr_bound(1e9, pruning_rate=p, input_power=power, dense_rate=rate) == pytest.approx(top)


@settings(deadline=None)
@given(cycle=cycles, p=rates, power=powers, sigma=st.floats(1e-3, 1e3))
def test_the_bound_of_the_rate_keeps_alpha_squared_times_c(
    cycle: float, p: float, power: float, sigma: float
) -> None:
    dense, pruned = activation_bound([0, cycle], pruning_rate=p, input_power=power, sigma_w=sigma)
    alpha = max_lr_bound(cycle, pruning_rate=p, input_power=power, dense_rate=0.1)
    assert alpha**2 * pruned == pytest.approx(0.1**2 * dense, rel=1e-12)
    assert sigma**2 * (1 - 1e-15) <= pruned <= dense


def test_the_bound_is_later_and_gentler_than_silo() -> None:
    grid = np.linspace(0, 200, 20001)

    def reached(values: Array) -> list[float]:
        return [
            round(float(grid[np.searchsorted(values, values[0] + share * 1.5)]), 1) for share in (0.1, 0.9)
        ]

    curve = SiloCurve(q=1, beta=5, epsilon=1, delta=1.5, pruning_rate=0.2)
    assert reached(max_lr_bound(grid, pruning_rate=0.2, input_power=5.25, dense_rate=1)) == [6.4, 27.3]
    assert reached(curve.max_lr(grid)) == [3.2, 5.2]
    half, end = max_lr_bound([44.3, 1e9], pruning_rate=0.2, input_power=3072, dense_rate=1)
    assert end == pytest.approx(55.4, abs=0.05) and half - 1 == pytest.approx((end - 1) / 2, rel=0.01)


@pytest.mark.parametrize(
    "law",
    [
        lambda cycle: kept_power(cycle, 0.2),
        lambda cycle: activation_bound(cycle, pruning_rate=0.2, input_power=3, sigma_w=0.1),
        lambda cycle: max_lr_bound(cycle, pruning_rate=0.2, input_power=3, dense_rate=0.1),
    ],
)
def test_a_number_gives_a_float_and_an_array_its_shape(law: Any) -> None:
    assert type(law(3)) is float and type(law(np.int64(3))) is float
    assert law(np.arange(6).reshape(2, 3)).shape == (2, 3) and law([]).shape == (0,)
    assert law(range(3)).tolist() == [law(0), law(1), law(2)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cycle", -1.0),
        ("cycle", [1.0, math.nan]),
        ("cycle", "3"),
        ("pruning_rate", 1.0),
        ("input_power", -1e-9),
        ("sigma_w", 1e200),
        ("dense_rate", 0.0),
        ("dense_rate", 1.7e308),
    ],
)
def test_bad_arguments_are_named(name: str, value: object) -> None:
    good: dict[str, Any] = {"cycle": 3, "pruning_rate": 0.2, "input_power": 3.0}
    law, last = (max_lr_bound, "dense_rate") if name == "dense_rate" else (activation_bound, "sigma_w")
    with pytest.raises(InvalidInput, match=rf"^{name}.* must .*, not .*give ") as raised:
        law(**(good | {last: 0.1} | {name: value}))
    assert "\n" not in str(raised.value)
