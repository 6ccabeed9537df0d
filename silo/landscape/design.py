"""The choice of trainings: which pairs of a rate and a replicate would tell most of what is not known yet.

What is not known are the draws' differences: which rates are inside the interval, and how far each is below
the best. For every draw the outcomes of all pairs are simulated; regressed on a pair's outcomes, the draws'
differences get smaller, and the pair that explains most is chosen, then the one that explains most of what
is left, and so on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from silo._arrays import FloatArray, IntArray
from silo.accuracies import optimized
from silo.landscape.draws import Drawn
from silo.landscape.scores import CycleScores

if TYPE_CHECKING:
    from silo.landscape.model import Landscape

Pair = tuple[int, int]
"""A rate, as its position in the cycle's grid, and a replicate."""

# How much a rate's loss counts beside its membership: losses tell the optima apart.
_LOSSES = 3.0
# Variance of a cycle's best score by the noise's, as far as the cycle before tells it.
_LEVEL = 25.0
# Pairs that explain as much but for this share are equal, so that rounding decides nothing.
_NEAR = 1e-6


def most_telling(
    landscape: Landscape,
    scores: CycleScores,
    drawn: Drawn,
    replicates: int,
    count: int,
    beside: tuple[Pair, ...] = (),
) -> tuple[Pair, ...]:
    """The pairs whose trainings together tell most; among equals the smaller rate, then replicate.

    Args:
        landscape: The search's.
        scores: The cycle's trainings so far, if any; none of them is chosen again.
        drawn: What they, and those before, tell of the cycle.
        replicates: How many there are.
        count: How many pairs to choose.
        beside: Untrained pairs that will be trained whatever is chosen: what they tell is known then.

    Returns:
        ``count`` pairs, the most telling one first; fewer where fewer are left.
    """
    n = scores.grid.size
    free = np.ones((n, replicates), dtype=np.bool_)
    free[scores.index, scores.replicate] = False
    left = np.flatnonzero(free)
    if not left.size or count < 1:
        return ()
    value, failed = _outcomes(landscape, scores, drawn, replicates)
    features = np.concatenate([value[:, left], failed[:, left]], axis=1)
    features -= features.mean(axis=0)
    unknown = _unknown(drawn)
    settled = np.searchsorted(left, [rate * replicates + replicate for rate, replicate in beside]).tolist()
    count = min(count, left.size - len(settled))
    chosen = _greedy(features.T @ features, features.T @ unknown, count, settled)
    return tuple((int(left[k]) // replicates, int(left[k]) % replicates) for k in chosen)


def _unknown(drawn: Drawn) -> FloatArray:
    """(S, 2 n), what to tell: memberships of the interval, and losses, which count up to a tolerance."""
    means = drawn.means
    _, low, high = optimized(means, 1.0)
    index = np.arange(means.shape[1])
    inside = (index >= low[:, None]) & (index <= high[:, None])
    lost = np.minimum(means.max(axis=1, keepdims=True) - means, 1.0)
    found = np.concatenate([inside, _LOSSES * lost], axis=1)
    return np.asarray(found - found.mean(axis=0))


def _outcomes(
    landscape: Landscape, scores: CycleScores, drawn: Drawn, replicates: int
) -> tuple[FloatArray, FloatArray]:
    """(S, n R) each, rates first: every pair's score, where it does not collapse, and whether it does."""
    samples, n = drawn.curve.shape
    prior, x = landscape.prior, np.log(scores.grid)
    normal, uniform = _fixed(samples, n * replicates)
    failed = uniform < np.repeat(drawn.collapse, replicates, axis=1)
    # A draw's own level is no more than a convention: the level that is meant here is the best rate's.
    curve = np.maximum(drawn.curve - drawn.means.max(axis=1, keepdims=True), -prior.clip)
    near = np.exp(-0.5 * ((x[:, None] - x) / prior.shared_length) ** 2)
    # Of a training that collapsed, or might have, the score tells nothing of its replicate.
    calm = scores.score >= np.nanmax(scores.means, initial=-np.inf) - prior.clip * landscape.tolerance
    seen, chain = scores.index[calm], scores.replicate[calm]
    value = np.empty((samples, n * replicates))
    for shared in np.unique(drawn.shared):
        mine = drawn.shared == shared
        told, left = _left(shared * near + prior.replicate, 1 - float(shared), seen, chain, replicates)
        expected = np.repeat(curve[mine], replicates, axis=1) - curve[mine][:, seen] @ told.T
        value[mine] = expected + drawn.noise[mine, None] * (normal[mine] @ np.linalg.cholesky(left).T)
    # What the score of a collapse is plays no part: that it is one is a feature of its own.
    return np.where(failed, -prior.clip, value), failed.astype(np.float64)


def _left(
    common: FloatArray, own: float, seen: IntArray, chain: IntArray, replicates: int
) -> tuple[FloatArray, FloatArray]:
    """What a cycle's trainings tell of the level, the replicates' effects and their smooth deviations.

    Args:
        common: (n, n), covariance of what a replicate's rates have in common, by the noise's variance.
        own: Variance of a training's own noise, by the same.
        seen: (k,), the rate of each training.
        chain: (k,), its replicate.
        replicates: R.

    Returns:
        (n R, k): the weight of each training's deviation from the curve in the expected one of each pair; and
        (n R, n R): the covariance that is left, with the pairs' own noise.
    """
    every = _LEVEL + np.kron(common, np.eye(replicates))
    at = seen * replicates + chain
    told = np.linalg.solve(every[np.ix_(at, at)] + own * np.eye(at.size), every[at]).T
    left = every - told @ every[at]
    return told, 0.5 * (left + left.T) + own * np.eye(len(every))


def _greedy(gram: FloatArray, cross: FloatArray, count: int, settled: list[int]) -> list[int]:
    """Which pairs explain most, one after the other.

    Args:
        gram: (2 m, 2 m), products of the pairs' features: m scores, then m collapses.
        cross: (2 m, t), their products with what is to be explained.
        count: How many to choose, at most m without the settled.
        settled: Pairs that explain what they do beforehand.
    """
    m = len(gram) // 2
    begin = np.diag(gram).copy()
    chosen: list[int] = []
    for turn in range(len(settled) + count):
        size, both = np.diag(gram), gram[np.arange(m), np.arange(m) + m]
        counts = size[m:] > 1e-6 * np.maximum(begin[m:], 1.0)
        slope = np.divide(both, size[m:], out=np.zeros(m), where=counts)
        rest = size[:m] - slope * both
        score = cross[:m] - slope[:, None] * cross[m:]
        tells = rest > 1e-6 * begin[:m]
        gain = np.divide((score**2).sum(axis=1), rest, out=np.zeros(m), where=tells)
        gain += np.divide((cross[m:] ** 2).sum(axis=1), size[m:], out=np.zeros(m), where=counts)
        gain[chosen] = -1.0
        best = int(np.argmax(gain >= gain.max() * (1 - _NEAR)))
        best = settled[turn] if turn < len(settled) else best
        chosen.append(best)
        for column, usable in ((best + m, counts[best]), (best, tells[best])):
            if usable:
                row = gram[column] / gram[column, column]
                cross = cross - np.outer(row, cross[column])
                gram = gram - np.outer(row, gram[column])
    return chosen[len(settled) :]


@lru_cache(maxsize=4)
def _fixed(samples: int, pairs: int) -> tuple[FloatArray, FloatArray]:
    """(S, pairs) each: fixed numbers, standard normal and uniform."""
    random = np.random.default_rng(11)
    return random.standard_normal((samples, pairs)), random.random((samples, pairs))
