"""The paper's theorems about the learning rate of a pruned network, as numbers.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144, Section 3.2. Its p may be 0 or 1; here, as everywhere in silo, it
lies strictly between.
"""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from scipy.special import erfcinv, erfcx

from silo import checks
from silo._arrays import FloatArray
from silo.errors import InvalidInput


@overload
def kept_power(cycle: float, pruning_rate: float) -> float: ...
@overload
def kept_power(cycle: npt.NDArray[Any] | Sequence[float], pruning_rate: float) -> FloatArray: ...
def kept_power(cycle: npt.ArrayLike, pruning_rate: float) -> float | FloatArray:
    """g(k): the share of the weights' second moment that k layer-wise magnitude prunings leave.

    g(k) = (1 − p)^k + √(4/π)·u·e^(−u²), u = erf⁻¹(1 − (1 − p)^k): the bracket of Theorem 1, Equation 1. It is
    E[w²; |w| > t] / σ² for w ~ N(0, σ²), by parts; t = √2·σ·u is the magnitude that the share (1 − p)^k of
    the weights exceeds. It falls from 1 to 0, at first hardly: 1 − (π/6)·(k·log(1 / (1 − p)))³ near k = 0.

    With s = (1 − p)^k and e^(−u²) = s / erfcx(u) it is s·(1 + √(4/π)·u / erfcx(u)): no digits are lost, as u
    comes from s and not from 1 − s, and nothing is infinite where s rounds to 0.

    Args:
        cycle: k, the number of prunings: a number or an array, at least 0, finite. Between whole numbers it
            is the same curve.
        pruning_rate: p, the share of the remaining weights pruned each time, in (0, 1).

    Returns:
        Within [0, 1]: a float for a number; float64 of the same shape for an array.

    Raises:
        InvalidInput: an argument is outside its range, or not finite.
    """
    return _plain(_kept_power(cycle, pruning_rate))


@overload
def activation_bound(cycle: float, *, pruning_rate: float, input_power: float, sigma_w: float) -> float: ...
@overload
def activation_bound(
    cycle: npt.NDArray[Any] | Sequence[float], *, pruning_rate: float, input_power: float, sigma_w: float
) -> FloatArray: ...
def activation_bound(
    cycle: npt.ArrayLike, *, pruning_rate: float, input_power: float, sigma_w: float
) -> float | FloatArray:
    """C(σ_X, σ_W, p, k) = σ_W² + d·σ_X²·σ_W²·g(k), which 4·E_AA is at least (Theorem 1, Equation 1).

    The theorem is about a ReLU layer of infinite width with inputs from N(0, σ_X²·I), weights and biases from
    N(0, σ_W²), and the weights pruned k times. What is true of it beyond the paper:

    - 2·E_AA = C exactly where the biases are kept: (w, b) and (−w, −b) are equally likely, and
      ReLU(z)² + ReLU(−z)² = z². So the bound holds, and is loose by the factor 2.
    - Biases that are pruned with the weights (the paper counts them as parameters of W1) leave
      2·E_AA = g·(1 + d·σ_X²)·σ_W²: then the bound fails as soon as g·(2 + d·σ_X²) < 1. Biases of 0 leave
      2·E_AA = C − σ_W²: then it fails as soon as g·d·σ_X² < 1.

    Args:
        cycle: k, the number of prunings: a number or an array, at least 0, finite.
        pruning_rate: p, the share of the remaining weights pruned each time, in (0, 1).
        input_power: d·σ_X², the mean squared length of an input, at least 0: 3072 for standardised 32×32
            colour images.
        sigma_w: σ_W, the standard deviation of the unpruned layer's weights and biases, above 0.

    Returns:
        In units of a squared activation, within [σ_W², (1 + d·σ_X²)·σ_W²]: a float for a number; float64 of
        the same shape for an array.

    Raises:
        InvalidInput: an argument is outside its range, or not finite.
    """
    power = checks.not_negative("input_power", input_power)
    sigma = checks.positive("sigma_w", sigma_w)
    checks.positive("sigma_w² · (1 + input_power)", sigma * sigma * (1 + power))
    return _plain(sigma * sigma * (1 + power * _kept_power(cycle, pruning_rate)))


@overload
def max_lr_bound(cycle: float, *, pruning_rate: float, input_power: float, dense_rate: float) -> float: ...
@overload
def max_lr_bound(
    cycle: npt.NDArray[Any] | Sequence[float], *, pruning_rate: float, input_power: float, dense_rate: float
) -> FloatArray: ...
def max_lr_bound(
    cycle: npt.ArrayLike, *, pruning_rate: float, input_power: float, dense_rate: float
) -> float | FloatArray:
    """α(k) = dense_rate·√(C(0) / C(k)), the bound √(K / (γ·C)) of Remark 2 with K/γ = dense_rate²·C(0).

    By Theorem 2 the average gradient norm E_WG of the last layer is at least α²·γ·C, so a wanted E_WG = K
    caps the rate: α ≤ √(K / (γ·C)). It is a cap only, and nothing there says that the rate must grow with it;
    the paper takes it with equality for the S-shaped curve drawn red in Fig. 2. K and γ are unknown, hence
    ``dense_rate``; σ_W cancels.

    The bound is an S that ends √(1 + d·σ_X²) times as high, but a later and gentler one than SILO's curve.
    With p = 0.2 and an end 2.5 times as high (d·σ_X² = 5.25) it makes the middle 80 % of its rise from cycle
    6.4 to 27.3, SILO's (q = 1, β = 5) from 3.2 to 5.2. With d·σ_X² = 3072 it ends 55 times as high, and has
    made half of that rise only by cycle 44.

    For one SGD step on one example γ = 1/8 will do: E_AA is C/2, and (σ(y) − Y)² has a mean of at least 1/4
    over the signs of W2. For one on two examples that differ in the label alone, the mean gradient is
    (σ(y) − 1/2)·h, and y goes to 0 as W2 is pruned: at finite width no γ above 0 holds for all k.

    Args:
        cycle: k, the number of prunings: a number or an array, at least 0, finite.
        pruning_rate: p, the share of the remaining weights pruned each time, in (0, 1).
        input_power: d·σ_X², the mean squared length of an input, at least 0.
        dense_rate: the bound at cycle 0, a learning rate above 0.

    Returns:
        A learning rate within [dense_rate, dense_rate·√(1 + d·σ_X²)]: a float for a number; float64 of the
        same shape for an array.

    Raises:
        InvalidInput: an argument is outside its range, or not finite.
    """
    power = checks.not_negative("input_power", input_power)
    rate = checks.positive("dense_rate", dense_rate)
    checks.finite("dense_rate · √(1 + input_power)", rate * float(np.sqrt(1 + power)))
    return _plain(rate * np.sqrt((1 + power) / (1 + power * _kept_power(cycle, pruning_rate))))


def _kept_power(cycle: npt.ArrayLike, pruning_rate: float) -> FloatArray:
    cycles = _numbers("cycle", cycle, "give 3 or range(25)")
    if (cycles < 0).any():
        raise InvalidInput(f"cycle must be at least 0, not {cycles.min():g}: give 3 or range(25)")
    with np.errstate(over="ignore", under="ignore"):
        share = np.exp(np.log1p(-checks.pruning_rate(pruning_rate)) * cycles)
        u = erfcinv(np.maximum(share, np.finfo(np.float64).tiny))
        return np.asarray(np.minimum(share * (1 + np.sqrt(4 / np.pi) * u / erfcx(u)), 1.0), dtype=np.float64)


def _plain(values: FloatArray) -> float | FloatArray:
    return float(values) if np.ndim(values) == 0 else values


def _numbers(name: str, value: npt.ArrayLike, advice: str) -> FloatArray:
    """``value`` as finite float64; what it can't take raises InvalidInput, which ends with ``advice``."""
    try:
        given = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        # Lists of uneven lengths, and tensors that need .detach() or .cpu(): the error says which.
        raise InvalidInput(
            f"{name} must be an array, not {type(value).__name__} ({error}): {advice}"
        ) from None
    if given.dtype.kind not in "iuf":
        raise InvalidInput(f"{name} must hold real numbers, not {given.dtype}: {advice}")
    with np.errstate(over="ignore"):
        numbers = given.astype(np.float64)
    wrong = numbers[~np.isfinite(numbers)]
    if wrong.size:
        share = f" in {wrong.size} of {numbers.size} places" if numbers.ndim else ""
        raise InvalidInput(f"{name} must be finite, not {float(wrong[0])!r}{share}: {advice}")
    return numbers
