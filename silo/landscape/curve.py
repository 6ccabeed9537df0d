"""The curve of scores over the rates that do not collapse: a Gaussian process that moves with the cycles.

The state of each component (one combination of the prior's settings) is the curve's values on the grid,
with mean (n,) and covariance (n, n). From cycle to cycle it is an AR(1), so that a Kalman filter goes forward
through the cycles, and joint draws of all cycles' curves go backward. A cycle's level is free: it is
projected out of its trainings, and contrasts alone count.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from silo._arrays import FloatArray, IntArray
from silo.landscape.parts import Prior

# A component that weighs less than this share of the heaviest plays no part any more.
_FORGOTTEN = 1e-4
_JITTER = 1e-6


@dataclass(frozen=True, eq=False)
class Components:
    """All combinations of the prior's settings, on a grid.

    Attributes:
        x: (n,), the grid's ln(max_lr).
        prior: The model's settings.
    """

    x: FloatArray
    prior: Prior

    @cached_property
    def table(self) -> FloatArray:
        """(k, 5): noise, amplitude, length, rho, shared."""
        p = self.prior
        return np.array(list(itertools.product(p.noise, p.amplitude, p.length, p.rho, p.shared)))

    @cached_property
    def covariance(self) -> FloatArray:
        """(k, n, n), of the curve before any training, in tolerances²."""
        centred = self.x - self.x.mean()
        warp = self.prior.warp
        v = np.expm1(warp * centred) / warp if warp else centred
        gap = v[:, None] - v
        near = {
            length: np.exp(-0.5 * (gap / length) ** 2) + _JITTER * np.eye(self.x.size)
            for length in self.prior.length
        }
        return np.stack([row[1] ** 2 * near[row[2]] for row in self.table])

    @cached_property
    def neighbours(self) -> FloatArray:
        """(n, n), how alike the rates of a replicate deviate."""
        gap = self.x[:, None] - self.x
        return np.exp(-0.5 * (gap / self.prior.shared_length) ** 2)

    @property
    def start(self) -> CurveState:
        """Nothing known: the noise as the replicates say, and short lengths less likely."""
        prior = -0.5 * (np.log(self.table[:, 0]) / 0.5) ** 2
        prior -= 2.0 * (self.table[:, 2] < 0.5)
        return CurveState(
            kept=np.arange(len(self.table)),
            mean=np.zeros((len(self.table), self.x.size)),
            covariance=self.covariance,
            log_weight=_normalised(prior),
            anew=np.zeros(len(self.table)),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveState:
    """What is known of one cycle's curve.

    Attributes:
        kept: (k,), which of the components are left.
        mean: (k, n), in tolerances, up to a level.
        covariance: (k, n, n).
        log_weight: (k,), log of each component's probability.
        anew: (k,), the probability that the cycle has nothing to do with the last one.
    """

    kept: IntArray
    mean: FloatArray
    covariance: FloatArray
    log_weight: FloatArray
    anew: FloatArray

    def only(self, kept: IntArray) -> CurveState:
        """The state with some of its components."""
        at = np.searchsorted(self.kept, kept)
        return CurveState(
            kept=kept,
            mean=self.mean[at],
            covariance=self.covariance[at],
            log_weight=_normalised(self.log_weight[at]),
            anew=self.anew[at],
        )

    @property
    def without_forgotten(self) -> CurveState:
        """The state without the components that its trainings speak against."""
        return self.only(self.kept[self.log_weight > self.log_weight.max() + np.log(_FORGOTTEN)])

    @property
    def jumped(self) -> float:
        """The probability that the cycle has nothing to do with the last one."""
        return float(np.exp(self.log_weight) @ self.anew)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """A cycle's trainings per value of ``shared``, whatever their number: the level is projected out.

    Attributes:
        precision: (h, n, n), in units of one over the noise's variance.
        vector: (h, n).
        square: (h,).
        log_determinant: (h,).
        count: Trainings.
    """

    precision: FloatArray
    vector: FloatArray
    square: FloatArray
    log_determinant: FloatArray
    count: int


def evidence(components: Components, index: IntArray, replicate: IntArray, value: FloatArray) -> Evidence:
    """Sums trainings up; replicates that were trained at the same rates share one inverse.

    Args:
        components: The model on its grid.
        index: (k,), the rate of each training, ascending within a replicate.
        replicate: (k,), its replicate, ascending.
        value: (k,), its score in tolerances, from the best.
    """
    n, prior = components.x.size, components.prior
    groups: dict[bytes, tuple[IntArray, list[FloatArray]]] = {}
    for chain in np.unique(replicate):
        mine = replicate == chain
        groups.setdefault(index[mine].tobytes(), (index[mine], []))[1].append(value[mine])
    parts = []
    for shared in prior.shared:
        precision, vector, ones = np.zeros((n, n)), np.zeros(n), np.zeros(n)
        square = determinant = total = lifted = 0.0
        for at, values in groups.values():
            count, together = len(values), np.sum(values, axis=0)
            noise = (1 - shared) * np.eye(at.size)
            noise += shared * components.neighbours[np.ix_(at, at)] + prior.replicate
            inverse = np.linalg.inv(noise)
            row = inverse.sum(axis=1)
            precision[np.ix_(at, at)] += count * inverse
            vector[at] += inverse @ together
            ones[at] += count * row
            total += count * float(row.sum())
            lifted += float(row @ together)
            square += sum(float(v @ inverse @ v) for v in values)
            determinant += count * float(np.linalg.slogdet(noise)[1])
        parts.append(
            (
                precision - np.outer(ones, ones) / total,
                vector - ones * lifted / total,
                square - lifted**2 / total,
                determinant + np.log(total),
            )
        )
    precisions, vectors, squares, determinants = (np.array(column) for column in zip(*parts, strict=True))
    return Evidence(
        precision=precisions,
        vector=vectors,
        square=squares,
        log_determinant=determinants,
        count=value.size,
    )


def predicted(components: Components, state: CurveState, cycles: int) -> CurveState:
    """The state some cycles later."""
    rho = components.table[state.kept, 3] ** cycles
    fresh = components.covariance[state.kept]
    covariance = rho[:, None, None] ** 2 * state.covariance + (1 - rho**2)[:, None, None] * fresh
    return replace(
        state, mean=rho[:, None] * state.mean, covariance=covariance, anew=np.zeros(state.kept.size)
    )


def given(
    components: Components, state: CurveState, found: Evidence, noise: float, *, first: bool
) -> CurveState:
    """The state after a cycle's trainings, from the one predicted for it.

    Args:
        components: The model on its grid.
        state: As predicted.
        found: The trainings.
        noise: Variance of a training's noise, in tolerances².
        first: Whether there is no cycle before: none to go on from, and none to leave.
    """
    table = components.table[state.kept]
    variance = table[:, 0] ** 2 * noise
    shared = np.searchsorted(components.prior.shared, table[:, 4])
    mean, covariance, fit = _conditioned(state.mean, state.covariance, found, variance, shared)
    anew = np.zeros(state.kept.size)
    if not first:
        # The curve goes on from the last cycle's, or starts anew: one Gaussian with the moments of both.
        jump = components.prior.jump
        nothing = np.zeros_like(state.mean), components.covariance[state.kept]
        mean0, covariance0, fit0 = _conditioned(*nothing, found, variance, shared)
        goes_on, starts = fit + np.log1p(-jump), fit0 + np.log(jump)
        fit = np.logaddexp(goes_on, starts)
        anew = np.exp(starts - fit)
        gap, a = mean0 - mean, anew[:, None, None]
        spread = gap[:, :, None] * gap[:, None, :]
        covariance = (1 - a) * covariance + a * covariance0 + a * (1 - a) * spread
        mean = mean + anew[:, None] * gap
    return CurveState(
        kept=state.kept,
        mean=mean,
        covariance=covariance,
        log_weight=_normalised(state.log_weight + fit),
        anew=anew,
    )


def _conditioned(
    mean: FloatArray, covariance: FloatArray, found: Evidence, variance: FloatArray, shared: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Posterior mean and covariance of every component, and its log evidence."""
    precision = found.precision[shared] / variance[:, None, None]
    spread = np.eye(mean.shape[1]) + covariance @ precision
    posterior = np.linalg.solve(spread, covariance)
    posterior = 0.5 * (posterior + posterior.transpose(0, 2, 1))
    from_mean = np.einsum("kij,kj->ki", precision, mean)
    vector = found.vector[shared] / variance[:, None]
    pull = vector - from_mean
    moved = mean + np.einsum("kij,kj->ki", posterior, pull)
    square = found.square[shared] / variance - 2 * (mean * vector).sum(1) + (mean * from_mean).sum(1)
    explained = np.einsum("ki,kij,kj->k", pull, posterior, pull)
    log_determinant = np.linalg.slogdet(spread)[1] + found.log_determinant[shared]
    fit = -0.5 * ((found.count - 1) * np.log(variance) + log_determinant + square - explained)
    return moved, posterior, fit


def drawn(
    components: Components,
    states: list[CurveState],
    gaps: list[int],
    which: IntArray,
    normal: list[FloatArray],
    uniform: FloatArray,
) -> list[FloatArray]:
    """Draws of all cycles' curves together, backwards from the last one.

    Args:
        components: The model on its grid.
        states: One per cycle, given this and all earlier cycles; the last one's components are left in all.
        gaps: Per cycle, how many cycles lie between it and the one before.
        which: (S,), the component of each draw, as an index into the last state.
        normal: Per cycle (S, n), standard normal.
        uniform: (cycles, S), in (0, 1).

    Returns:
        Per cycle (S, n), in tolerances, up to a level.
    """
    last = states[-1]
    states = [state.only(last.kept) for state in states]
    used = np.unique(which)
    found = [np.empty((which.size, components.x.size)) for _ in states]
    for k in used:
        mine = which == k
        found[-1][mine] = _normal(last.mean[k], last.covariance[k], normal[-1][mine])
        rho1, fresh = components.table[last.kept[k], 3], components.covariance[last.kept[k]]
        for c in reversed(range(len(states) - 1)):
            state = states[c]
            mean, covariance, rho = state.mean[k], state.covariance[k], rho1 ** gaps[c + 1]
            ahead = rho**2 * covariance + (1 - rho**2) * fresh
            back = np.linalg.solve(ahead, rho * covariance).T
            keep = np.eye(mean.size) - rho * back
            # Joseph's form, which rounding keeps positive.
            left = keep @ covariance @ keep.T + (1 - rho**2) * back @ fresh @ back.T
            rows, z = found[c + 1][mine], normal[c][mine]
            value = mean + (rows - rho * mean) @ back.T + _normal(np.zeros_like(mean), left, z)
            cut = uniform[c][mine] < states[c + 1].anew[k]
            if cut.any():
                value[cut] = _normal(mean, covariance, z[cut])
            found[c][mine] = value
    return found


def _normal(mean: FloatArray, covariance: FloatArray, z: FloatArray) -> FloatArray:
    """(S, n), of a normal distribution."""
    jitter = 1e-9 * np.trace(covariance) / mean.size + 1e-12
    root = np.linalg.cholesky(0.5 * (covariance + covariance.T) + jitter * np.eye(mean.size))
    return mean + z @ root.T


def _normalised(log_weight: FloatArray) -> FloatArray:
    shifted = log_weight - log_weight.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
