"""The parts of the landscape's model: what is supposed beforehand, noise, collapse, draws, and the curve."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from silo._arrays import BoolArray, FloatArray, IntArray
from silo.errors import SiloOracleError


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The model's settings; those in tuples are combined, and weighted by what the trainings say of them.

    All lengths of scores are in tolerances, and all distances of rates in ln(max_lr), so that a metric in
    other units, or a grid at other rates, changes nothing.

    Attributes:
        clip: A score so many tolerances below the best of its cycle is as bad as any below it; right of the
            best such a training has collapsed.
        noise: Standard deviation of a training's own noise, by the one estimated from the replicates.
        noise_level: The same in tolerances, where no replicates tell it.
        amplitude: Standard deviation of the curve of scores over the rates, in tolerances.
        length: Distance over which that curve bends.
        rho: Correlation of the curve with the next cycle's.
        warp: The curve bends evenly over max_lr^warp, so a little more at higher rates; 0 for ln(max_lr).
        replicate: Variance of a replicate's effect, common to its rates, by the noise's.
        shared: Share of the noise's variance that neighbouring rates of a replicate have in common.
        shared_length: Distance over which they do.
        lasting: Share of the noise's variance that a rate of a replicate keeps from cycle to cycle, as it
            sees the same batches and validation examples in each: no number of cycles averages it out.
        widths: Width of the edge over which trainings collapse.
        drift: Standard deviation of the edge's move to the next cycle.
        depth: How far a collapsed training lies below the best, in tolerances.
        jump: Chance that a cycle's curve, or its edge, has nothing to do with the last one's.
    """

    clip: float = 6.0
    noise: tuple[float, ...] = (0.4, 0.6, 0.85, 1.2, 1.8, 2.8)
    noise_level: float = 0.8
    amplitude: tuple[float, ...] = (0.8, 2.0, 5.0)
    length: tuple[float, ...] = (0.4, 0.8, 1.5, 2.5)
    rho: tuple[float, ...] = (0.9, 0.97)
    warp: float = 0.2
    replicate: float = 0.6
    shared: tuple[float, ...] = (0.25, 0.65)
    shared_length: float = 0.45
    lasting: float = 0.1
    widths: tuple[float, ...] = (0.04, 0.08, 0.14, 0.22)
    drift: float = 0.12
    depth: float = 40.0
    jump: float = 0.03


PRIOR = Prior()


# As many degrees of freedom as the noise is remembered with: it changes slowly from cycle to cycle.
_MEMORY = 30.0


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """The variance of a training's noise in tolerances², and the degrees of freedom that it rests on."""

    variance: float
    freedom: float

    @classmethod
    def before(cls, prior: Prior) -> NoiseLevel:
        """What is supposed before any training."""
        return cls(variance=prior.noise_level**2, freedom=2.0)

    def given(self, index: IntArray, replicate: IntArray, value: FloatArray) -> NoiseLevel:
        """The level of a cycle, from what its trainings leave when rates and replicates are taken out.

        Args:
            index: (k,), the rate of each training.
            replicate: (k,), its replicate.
            value: (k,), its score in tolerances.
        """
        squares, freedom = _residual(index, replicate, value)
        total = self.freedom + freedom
        variance = (self.freedom * self.variance + squares) / total
        return NoiseLevel(variance=max(variance, 1e-6), freedom=min(total, _MEMORY))


def _residual(index: IntArray, replicate: IntArray, value: FloatArray) -> tuple[float, float]:
    """Sum of squares and degrees of freedom of the additive model of rates and replicates."""
    rates, row = np.unique(index, return_inverse=True)
    chains, column = np.unique(replicate, return_inverse=True)
    freedom = value.size - rates.size - chains.size + 1
    if freedom <= 0 or chains.size < 2:
        return 0.0, 0.0
    if value.size == rates.size * chains.size:
        table = np.empty((rates.size, chains.size))
        table[row, column] = value
        left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        return float((left**2).sum()), float(freedom)
    design = np.zeros((value.size, rates.size + chains.size))
    design[np.arange(value.size), row] = 1
    design[np.arange(value.size), rates.size + column] = 1
    fitted = design @ np.linalg.lstsq(design, value, rcond=None)[0]
    freedom = value.size - int(np.linalg.matrix_rank(design))
    return float(((value - fitted) ** 2).sum()), float(max(freedom, 0))


def collapsed(score: FloatArray, index: IntArray, best: int, limit: float) -> BoolArray:
    """(k,), which trainings collapsed: below ``limit``, at a rate above the best one's."""
    return np.asarray((score < limit) & (index > best), dtype=np.bool_)


_PLACES = 81
# No rate collapses for sure, and none is safe for sure: one odd training must not decide.
_ODD = 1e-4


@dataclass(frozen=True, eq=False)
class EdgeGrid:
    """The places T and widths w that the edge of the collapse of high rates may have.

        P(collapse at x) = Φ((x − T) / w),   x = ln(max_lr)

    T walks from cycle to cycle, w stays; both lie on a grid, so that their posterior is exact.

    Attributes:
        x: (n,), the grid's ln(max_lr).
        prior: The model's settings.
    """

    x: FloatArray
    prior: Prior

    @cached_property
    def places(self) -> FloatArray:
        """(T,), from where everything collapses to where nothing does."""
        span = self.x[-1] - self.x[0]
        return np.asarray(np.linspace(self.x[0] - 0.3, self.x[-1] + max(1.0, 0.3 * span), _PLACES))

    @cached_property
    def chance(self) -> FloatArray:
        """(T, w, n), the chance of a collapse."""
        widths = np.array(self.prior.widths)
        return np.asarray(ndtr((self.x - self.places[:, None, None]) / widths[:, None]))

    @cached_property
    def walk(self) -> FloatArray:
        """(T, T), the chance to move from the column's place to the row's in one cycle; columns sum to 1."""
        gap = self.places[:, None] - self.places
        near = np.exp(-0.5 * (gap / self.prior.drift) ** 2) + 1e-12
        moved = near / near.sum(axis=0, keepdims=True)
        return np.asarray((1 - self.prior.jump) * moved + self.prior.jump / _PLACES)

    @property
    def start(self) -> FloatArray:
        """(T, w), nothing known."""
        shape = _PLACES, len(self.prior.widths)
        return np.full(shape, 1 / (shape[0] * shape[1]))

    def predicted(self, posterior: FloatArray, cycles: int) -> FloatArray:
        """(T, w), some cycles later."""
        return np.asarray(np.linalg.matrix_power(self.walk, cycles) @ posterior)

    def given(self, predicted: FloatArray, index: IntArray, failed: BoolArray) -> FloatArray:
        """(T, w), after trainings at ``index`` of which some ``failed``, (k,) each."""
        bad = np.bincount(index, weights=failed, minlength=self.x.size)
        good = np.bincount(index, weights=~failed, minlength=self.x.size)
        chance = self.chance.clip(_ODD, 1 - _ODD)
        like = np.log(chance) @ bad + np.log1p(-chance) @ good
        posterior = predicted * np.exp(like - like.max())
        return np.asarray(posterior / posterior.sum())

    def mean(self, posterior: FloatArray) -> float:
        """The expected place of the edge, at which half of the trainings collapse, as ln(max_lr)."""
        return float(posterior.sum(axis=1) @ self.places)

    def chances(self, posterior: FloatArray) -> FloatArray:
        """(n,), the expected chance of a collapse at each rate."""
        return np.asarray(np.einsum("tw,twn->n", posterior, self.chance))

    def drawn(self, filtered: list[FloatArray], gaps: list[int], uniform: FloatArray) -> list[FloatArray]:
        """Draws of the edge over all cycles together, backwards from the last one.

        Args:
            filtered: Per cycle (T, w), given this and all earlier cycles.
            gaps: Per cycle, how many cycles lie between it and the one before.
            uniform: (cycles, S), in (0, 1).

        Returns:
            Per cycle (S, n): the chance of a collapse.
        """
        last = filtered[-1]
        flat = np.cumsum(last.ravel())
        at = np.searchsorted(flat, uniform[-1] * flat[-1]).clip(max=flat.size - 1)
        place, width = np.unravel_index(at, last.shape)
        found = [self.chance[place, width]]
        for c in reversed(range(len(filtered) - 1)):
            walk = np.linalg.matrix_power(self.walk, gaps[c + 1])
            weight = np.cumsum(filtered[c][:, width] * walk[place].T, axis=0)
            place = (weight < uniform[c] * weight[-1]).sum(axis=0).clip(max=_PLACES - 1)
            found.append(self.chance[place, width])
        return found[::-1]


class Drawn(NamedTuple):
    """Draws of one cycle's rates, in tolerances and up to a level that is common to a draw's rates.

    Attributes:
        curve: (S, n), the mean score of trainings that don't collapse.
        collapse: (S, n), the chance of a collapse.
        depth: How far below the best a collapsed training lies.
        noise: (S,), standard deviation of a training's noise.
        shared: (S,), share of its variance that neighbouring rates of a replicate have in common.
    """

    curve: FloatArray
    collapse: FloatArray
    depth: float
    noise: FloatArray
    shared: FloatArray

    @property
    def means(self) -> FloatArray:
        """(S, n), the mean score of all trainings."""
        return self.curve - self.collapse * self.depth

    def at(self, here: IntArray) -> Drawn:
        """The same of some of the rates."""
        return self._replace(curve=self.curve[:, here], collapse=self.collapse[:, here])


@lru_cache(maxsize=8)
def fixed_numbers(samples: int, n: int, cycles: int) -> tuple[FloatArray, list[FloatArray], FloatArray]:
    """Fixed numbers: (2, cycles, S) uniform; per cycle (S, n) and once (S, n) standard normal.

    Each cycle has its own scrambled Sobol points in an order of its own, so that cycles are independent.
    """
    uniform, normal = np.empty((2, cycles, samples)), []
    for c in range(cycles):
        points = _sobol(n + 2, samples, seed=c + 1)
        uniform[:, c] = points[:, n:].T
        normal.append(np.asarray(ndtri(points[:, :n])))
    return uniform, normal, np.asarray(ndtri(_sobol(n, samples, seed=0)))


def _sobol(dimensions: int, samples: int, seed: int) -> FloatArray:
    from scipy.stats import qmc  # takes longer to import than all else that a command starts with

    random = np.random.default_rng(seed)
    points = qmc.Sobol(dimensions, scramble=True, rng=random).random(1 << (samples - 1).bit_length())
    if len(points) > 1 and not np.ptp(points, axis=0).all():
        raise SiloOracleError(
            "scipy can't read its file _sobol_direction_numbers.npz, without which it draws the same number "
            "again and again: look whether it can be read, and whether too many files are open"
        )
    return np.asarray(points[random.permutation(len(points))[:samples]].clip(1e-6, 1 - 1e-6))


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

    Of the curve of scores over the rates that do not collapse: a Gaussian process that moves with the cycles.
    The state of each component (one combination of the prior's settings) is the curve's values on the grid,
    with mean (n,) and covariance (n, n). From cycle to cycle it is an AR(1), so that a Kalman filter goes
    forward through the cycles, and joint draws of all cycles' curves go backward. A cycle's level is free: it
    is projected out of its trainings, and contrasts alone count.

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


def curve_evidence(
    components: Components, index: IntArray, replicate: IntArray, value: FloatArray
) -> Evidence:
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


def curve_predicted(components: Components, state: CurveState, cycles: int) -> CurveState:
    """The state some cycles later."""
    rho = components.table[state.kept, 3] ** cycles
    fresh = components.covariance[state.kept]
    covariance = rho[:, None, None] ** 2 * state.covariance + (1 - rho**2)[:, None, None] * fresh
    return replace(
        state, mean=rho[:, None] * state.mean, covariance=covariance, anew=np.zeros(state.kept.size)
    )


def curve_given(
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


def curves_drawn(
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
