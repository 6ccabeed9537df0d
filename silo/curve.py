"""SILO's curve: the peak learning rate of every pruning cycle, in closed form.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144, Equation 3 and Algorithm 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from silo import checks
from silo._arrays import FloatArray
from silo.errors import InvalidInput

# Densities this close to (1 − p)^m, as a share of it, are those of p: pruners round, or leave a classifier.
_ALIKE = 0.01


def check_densities(densities: Sequence[float]) -> tuple[float, ...]:
    """Densities of cycles 0, 1, … as floats.

    Raises:
        InvalidInput: they are no shares in (0, 1], or rise.
    """
    if isinstance(densities, str) or not isinstance(densities, Sequence):
        raise InvalidInput(f"densities must be a list of shares, not {densities!r}: give [1.0, 0.8, 0.64]")
    found = tuple(checks.positive("each of densities", share) for share in densities)
    if any(share > 1 for share in found) or any(later > share for share, later in pairwise(found)):
        raise InvalidInput(
            f"densities must be shares of at most 1 that don't rise, not {list(found)!r}: of cycles 0, 1, …"
        )
    return found


def unlike(densities: Sequence[float], pruning_rate: float, planned: Sequence[float] = ()) -> bool:
    """Whether densities of cycles 0, 1, … are others than those planned, or that ``pruning_rate`` leaves."""
    count = len(densities)
    expected = np.asarray(planned[:count]) if planned else (1 - pruning_rate) ** np.arange(count)
    return bool((np.abs(np.asarray(densities) / expected - 1) > _ALIKE).any())


def depth(cycle: npt.ArrayLike, densities: Sequence[float], pruning_rate: float) -> FloatArray:
    """log λ / log(1 − p): by so many prunings of p a network has what is left of it at each cycle.

    Args:
        cycle: m, at least 0, of any shape; between whole ones the same share is pruned all along.
        densities: λ of cycles 0, 1, …; p is pruned beyond them, or from the start where there are none.
        pruning_rate: p, in (0, 1).
    """
    cycles = np.asarray(cycle, dtype=np.float64)
    if not densities:
        return cycles
    known = _depths(densities, pruning_rate)
    beyond = np.maximum(cycles - (len(known) - 1), 0.0)
    return np.asarray(np.interp(cycles, np.arange(len(known)), known) + beyond)


def cycle_of(depths: float, densities: Sequence[float], pruning_rate: float) -> float:
    """The first cycle, a real number, that is so many prunings of p deep."""
    if not densities:
        return depths
    known = _depths(densities, pruning_rate)
    if depths > known[-1]:
        return len(known) - 1 + depths - float(known[-1])
    after = int(np.searchsorted(known, depths))
    if after == 0:
        return 0.0
    return after - float((known[after] - depths) / (known[after] - known[after - 1]))


def _depths(densities: Sequence[float], pruning_rate: float) -> FloatArray:
    return np.asarray(np.log(np.asarray(densities)) / np.log1p(-pruning_rate)) + 0.0


#: The phases of the paper's Fig. 2, in their order. The paper draws them without numbers; here the fast
#: growth is that from 10 to 90 % of the rise, as the rise time of a step response is measured.
PHASES = ("no growth", "slow growth I", "fast growth", "slow growth II")
_FAST = (0.1, 0.9)


def logit_gamma(cycle: npt.ArrayLike, q: npt.ArrayLike, pruning_rate: float) -> FloatArray:
    """log(γ / (1 − γ)) with γ = 1 − (1 − p)^(m − q), and −inf where m ≤ q.

    With x = −(m − q)·log(1 − p) it is log(1 − e^−x) + x: exact near γ = 0, finite where γ rounds to 1.
    Arguments broadcast and are trusted: cycles finite and at least 0, ``pruning_rate`` in (0, 1).
    """
    beyond = np.maximum(np.subtract(cycle, q, dtype=np.float64), 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        x = -np.log1p(-pruning_rate) * beyond
        return np.asarray(np.log(-np.expm1(-x)) + x, dtype=np.float64)


def shape(cycle: npt.ArrayLike, q: npt.ArrayLike, beta: npt.ArrayLike, pruning_rate: float) -> FloatArray:
    """The rise of the curve without its units: S(m) = 1 / (1 + (γ / (1 − γ))^(−β)), 0 where m ≤ q.

    S is the second term of Equation 3 for δ = 1: it grows with m from 0 towards 1 (which it reaches only in
    rounding), so that max_lr = ε + δ·S.

    Args:
        cycle: m, at least 0; any shape that broadcasts with ``q`` and ``beta``, as for those.
        q: the cycles before the curve starts to rise, at least 0.
        beta: the steepness, above 0.
        pruning_rate: p, the share of the remaining weights pruned after each cycle, in (0, 1).

    Returns:
        float64, of the common shape of the arguments.

    Raises:
        InvalidInput: an argument is outside its range, or not finite.
    """
    cycles = check_cycles(cycle)
    delays = np.asarray(q, dtype=np.float64)
    betas = np.asarray(beta, dtype=np.float64)
    if not (np.isfinite(delays).all() and (delays >= 0).all()):
        raise InvalidInput(f"q must be finite and at least 0, not {q!r}: give an int such as 1")
    if not (np.isfinite(betas).all() and (betas > 0).all()):
        raise InvalidInput(f"beta must be finite and above 0, not {beta!r}: give a float such as 5.0")
    with np.errstate(over="ignore"):
        exponent = betas * logit_gamma(cycles, delays, checks.pruning_rate(pruning_rate))
    return np.asarray(expit(exponent), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class SiloCurve:
    """max_lr(m) = ε for m ≤ q, else ε + δ / (1 + (γ / (1 − γ))^(−β)), γ = 1 − (1 − p)^(m − q) (Equation 3).

    Attributes:
        q: pruning cycles before the curve starts to rise; an int of at least 0. The paper suggests 0 to 3.
        beta: steepness of the rise, above 0. The paper suggests 3 to 6.
        epsilon: the rate it starts from, a learning rate of at least 0.
        delta: how much it rises in all, a learning rate of at least 0; epsilon + delta is above 0.
        pruning_rate: p, the share of the remaining weights pruned after each cycle, in (0, 1).
        densities: λ of cycles 0, 1, … where prunings took other shares than p: then γ = 1 − λ(m) / λ(q), as
            it is with p. Beyond the last one p is pruned; without any, from the start.

    Raises:
        InvalidInput: a value is outside its range or not finite.
    """

    q: int
    beta: float
    epsilon: float
    delta: float
    pruning_rate: float
    densities: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        checked = {
            "q": checks.whole("q", self.q),
            "beta": checks.positive("beta", self.beta),
            "epsilon": checks.not_negative("epsilon", self.epsilon),
            "delta": checks.not_negative("delta", self.delta),
            "pruning_rate": checks.pruning_rate(self.pruning_rate),
        }
        checks.positive("epsilon + delta", checked["epsilon"] + checked["delta"])
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "densities", check_densities(self.densities))

    @overload
    def max_lr(self, cycle: float) -> float: ...
    @overload
    def max_lr(self, cycle: npt.NDArray[Any] | Sequence[float]) -> FloatArray: ...
    def max_lr(self, cycle: npt.ArrayLike) -> float | FloatArray:
        """The peak learning rate of cycle m, within [epsilon, epsilon + delta].

        Args:
            cycle: m, the number of completed pruning cycles: a number or an array, at least 0, finite.
                Between whole cycles it gives the same curve, for plots.

        Returns:
            A float for a number; float64 of the same shape for an array.

        Raises:
            InvalidInput: a cycle is negative or not finite.
        """
        return self._at_depth(self._depth(check_cycles(cycle)))

    @overload
    def max_lr_at_density(self, density: float, *, never_pruned: float = 0.0) -> float: ...
    @overload
    def max_lr_at_density(
        self, density: npt.NDArray[Any] | Sequence[float], *, never_pruned: float = 0.0
    ) -> FloatArray: ...
    def max_lr_at_density(self, density: npt.ArrayLike, *, never_pruned: float = 0.0) -> float | FloatArray:
        """The peak learning rate of a network of which a share λ of the weights is left.

        λ = f + (1 − f)·(1 − p)^m is solved for m, a real number: a density that was rounded for print lies a
        little off its cycle, and so does its rate.

        Args:
            density: λ, the share of the weights that is left, in (never_pruned, 1]: a number or an array. A
                share, not per cent: 32.8 % is 0.328.
            never_pruned: f, the share of the weights counted in λ that pruning leaves alone, such as a
                classifier's, in [0, 1).

        Returns:
            A float for a number; float64 of the same shape for an array.

        Raises:
            InvalidInput: a density or ``never_pruned`` is outside its range, or not finite.
        """
        return self._at_depth(cycle_at_density(density, self.pruning_rate, never_pruned=never_pruned))

    def cycle_at(self, share: float) -> float:
        """The cycle m, a real number, at which the curve has made a share of its rise: S(m) = share.

        Args:
            share: of delta, strictly between 0 and 1.

        Raises:
            InvalidInput: ``share`` is outside its range.
        """
        wanted = checks.finite("share", share)
        if not 0 < wanted < 1:
            raise InvalidInput(f"share must lie between 0 and 1, both excluded, not {share!r}: give 0.5")
        # γ / (1 − γ) = odds, so that 1 / (1 − γ) = (1 − p)^(q − m) = 1 + odds.
        log_odds = (math.log(wanted) - math.log1p(-wanted)) / self.beta
        deep = float(self._depth(self.q)) + float(np.logaddexp(0.0, log_odds)) / -math.log1p(
            -self.pruning_rate
        )
        return cycle_of(deep, self.densities, self.pruning_rate)

    def phases(self) -> dict[str, tuple[float, float]]:
        """The begin and end of each phase of the paper's Fig. 2: real cycle numbers, by ``PHASES``."""
        ends = [0.0, float(self.q), *(self.cycle_at(share) for share in _FAST), math.inf]
        return dict(zip(PHASES, pairwise(ends), strict=True))

    def phase(self, cycle: float) -> str:
        """The phase of Fig. 2 that cycle m is in, one of ``PHASES``: it does not grow for m ≤ q, and grows
        fast from 10 to 90 % of its rise.

        Raises:
            InvalidInput: ``cycle`` is negative or not finite.
        """
        deep = self._depth(checks.not_negative("cycle", cycle))
        risen = float(shape(deep, self._depth(self.q), self.beta, self.pruning_rate))
        if cycle <= self.q:
            return PHASES[0]
        return PHASES[1 + sum(risen >= share for share in _FAST)]

    def to_dict(self) -> dict[str, Any]:
        """The numbers by name, ready for JSON; ``from_dict`` takes them back unchanged.

        ``densities`` is there only where the curve has some.
        """
        found = asdict(self)
        densities = found.pop("densities")
        return found | ({"densities": list(densities)} if densities else {})

    def _depth(self, cycle: npt.ArrayLike) -> FloatArray:
        """How often a network of cycle m would have been pruned by p."""
        return depth(cycle, self.densities, self.pruning_rate)

    def _at_depth(self, deep: npt.ArrayLike) -> float | FloatArray:
        rates = self.epsilon + self.delta * shape(deep, self._depth(self.q), self.beta, self.pruning_rate)
        return float(rates) if rates.ndim == 0 else rates

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The curve of a dict as ``to_dict`` writes it.

        Raises:
            InvalidInput: a key is unknown or missing, or a value outside its range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise InvalidInput(f"a curve has no {name!r}: {checks.nearest(str(name), known)}")
        missing = [name for name in known if name not in values and name != "densities"]
        if missing:
            raise InvalidInput(
                f"a curve needs {', '.join(missing)}, not only {dict(values)!r}: give all five"
            )
        return cls(**values)


@overload
def cycle_at_density(density: float, pruning_rate: float, *, never_pruned: float = 0.0) -> float: ...
@overload
def cycle_at_density(
    density: npt.ArrayLike, pruning_rate: float, *, never_pruned: float = 0.0
) -> float | FloatArray: ...
def cycle_at_density(
    density: npt.ArrayLike, pruning_rate: float, *, never_pruned: float = 0.0
) -> float | FloatArray:
    """The cycle m, a real number, after which a share λ of the weights is left: λ = f + (1 − f)·(1 − p)^m.

    Args:
        density: λ in (never_pruned, 1], a number or an array.
        pruning_rate: p, the share of the remaining prunable weights pruned after each cycle, in (0, 1).
        never_pruned: f, the share of the weights counted in λ that pruning leaves alone, in [0, 1).

    Returns:
        A float of at least 0 for a number; float64 of the same shape for an array.

    Raises:
        InvalidInput: an argument is outside its range, or not finite.
    """
    rate = checks.pruning_rate(pruning_rate)
    kept = checks.not_negative("never_pruned", never_pruned)
    if kept >= 1:
        raise InvalidInput(f"never_pruned must be a share below 1, not {never_pruned!r}: give 0.0024")
    try:
        densities = np.asarray(density, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            f"density must be a number or an array of them, not {density!r}: give 0.328"
        ) from None
    wrong = densities[~((densities > kept) & (densities <= 1))]
    if wrong.size:
        raise InvalidInput(
            f"density must be a share above {kept:g} and at most 1, not {float(wrong[0])!r}: 32.8 % is 0.328"
        )
    # No cycle is −0.0.
    cycles = np.asarray(np.log((densities - kept) / (1 - kept)) / math.log1p(-rate)) + 0.0
    return float(cycles) if cycles.ndim == 0 else cycles


def check_cycles(cycle: npt.ArrayLike) -> FloatArray:
    """``cycle`` as float64, of any shape. Raises InvalidInput where one is negative or not finite."""
    try:
        cycles = np.asarray(cycle, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"cycle must be a number or an array of numbers, not {cycle!r}: give 3") from None
    wrong = cycles[~(np.isfinite(cycles) & (cycles >= 0))]
    if wrong.size:
        raise InvalidInput(
            f"cycle must be finite and at least 0, not {float(wrong[0])!r}: give 3 or range(25)"
        )
    return cycles
