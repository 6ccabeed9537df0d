"""The landscape: what trainings tell of the scores at all rates of all cycles.

Per cycle c, replicate r and rate x = ln(max_lr), in tolerances:

    score = level_c + curve_c(x) + replicate_{c,r} + deviation_{c,r}(x) + noise     if it did not collapse
    P(collapse) = Φ((x − T_c) / w)                                                  on the right side only
    f_c(x) = curve_c(x) − P(collapse) · depth        the mean over all replicates, up to the level

``Landscape`` goes forward through the cycles; ``beliefs`` draws f of all cycles together and backward, and
what is stated of optimum, interval and curves is counted in these draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from silo import checks
from silo._arrays import FloatArray, IntArray
from silo.errors import InvalidInput
from silo.landscape.belief import CycleBelief
from silo.landscape.parts import (
    PRIOR,
    Components,
    CurveState,
    Drawn,
    EdgeGrid,
    NoiseLevel,
    Prior,
    collapsed,
    curve_evidence,
    curve_given,
    curve_predicted,
    curves_drawn,
    fixed_numbers,
)
from silo.measured import TOLERANCE, CycleAccuracies, CycleScores, check_accuracies, check_scores

SAMPLES = 1024
# Where the best score falls by so many clips, and replicates disagree, too, nothing trains.
_FALL = 3.0
# Trainings of one rate differ by less than so many standard deviations.
_USUAL = 4.0
# Trainings that differ by this share of what a collapse costs, or of what there is to learn, are erratic.
_ERRATIC = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What the trainings of a cycle, and of those before, tell.

    Attributes:
        scores: The cycle's trainings.
        curve: Of the rates that don't collapse.
        edge: (T, w), where collapse begins.
        noise: Of its trainings.
        depth: Sum of ln(depth of a collapse, in tolerances), and the number of collapses that it rests on.
        best: The best mean score.
        gap: Cycles since the one before that says something.
    """

    scores: CycleScores
    curve: CurveState
    edge: FloatArray
    noise: NoiseLevel
    depth: tuple[float, int]
    best: float
    gap: int


@dataclass(frozen=True, eq=False)
class Landscape:
    """The forward pass over the cycles of a search.

    Attributes:
        rates: (n,), all rates that any cycle may try, ascending.
        tolerance: How far below the best a score may be: the unit of all scores.
        chance: The score that guessing reaches, if known: a cycle that stays below has told nothing.
        prior: The model's settings.
    """

    rates: FloatArray
    tolerance: float = TOLERANCE
    chance: float | None = None
    prior: Prior = field(default=PRIOR)

    @cached_property
    def components(self) -> Components:
        """The curve's settings on this grid."""
        return Components(np.log(self.rates), self.prior)

    @cached_property
    def edges(self) -> EdgeGrid:
        """The edge's settings on this grid."""
        return EdgeGrid(np.log(self.rates), self.prior)

    def given(self, scores: CycleScores, before: Known | None = None) -> Known | None:
        """What is known with a cycle's trainings so far; their order plays no part.

        Args:
            scores: All of the cycle's trainings so far.
            before: What the last cycle left that says something; None without one.

        Returns:
            None for a cycle that says nothing of the rates, as at no rate anything was learned.
        """
        place = np.searchsorted(self.rates, scores.grid[scores.index])
        means = np.full(self.rates.size, -np.inf)
        for at in np.unique(place):
            means[at] = scores.score[place == at].mean()
        best = int(means.argmax())
        top = float(means[best])
        limit = top - self.prior.clip * self.tolerance
        failed = collapsed(scores.score, place, best, limit)
        value = (np.maximum(scores.score, limit) - top) / self.tolerance
        if self._silent(scores, place, best, top, before):
            return None
        ahead = self.predicted(before, scores.cycle, scores.grid)
        kept, varied = ~failed, scores.score > limit  # those cut off at the limit don't show how they differ
        noise = ahead.noise.given(place[varied], scores.replicate[varied], value[varied])
        found = curve_evidence(self.components, place[kept], scores.replicate[kept], value[kept])
        state = curve_given(self.components, ahead.curve, found, noise.variance, first=before is None)
        depth = ahead.depth
        if failed.any():  # further up the edge collapses are deeper, and of no account: all is lost there
            lowest = failed & (place == place[failed].min())
            fallen = np.log((top - scores.score[lowest]) / self.tolerance)
            depth = depth[0] + float(fallen.sum()), depth[1] + int(lowest.sum())
        return Known(
            scores=scores, curve=state.without_forgotten, edge=self.edges.given(ahead.edge, place, failed),
            noise=noise, depth=depth, best=top, gap=ahead.gap,
        )  # fmt: skip

    def predicted(self, before: Known | None, cycle: int, grid: FloatArray | None = None) -> Known:
        """What is known of a cycle before its first training.

        Args:
            before: What the last cycle left that says something; None without one.
            cycle: The cycle.
            grid: Its candidates, all rates by default.
        """
        none, nothing = np.empty(0, dtype=np.intp), np.empty(0)
        scores = CycleScores(
            cycle=cycle, grid=self.rates if grid is None else grid,
            index=none, replicate=none, score=nothing,
        )  # fmt: skip
        if before is None:
            return Known(
                scores=scores, curve=self.components.start, edge=self.edges.start,
                noise=NoiseLevel.before(self.prior), depth=(float(np.log(self.prior.depth)), 1),
                best=float("nan"), gap=1,
            )  # fmt: skip
        gap = cycle - before.scores.cycle
        return Known(
            scores=scores, curve=curve_predicted(self.components, before.curve, gap),
            edge=self.edges.predicted(before.edge, gap), noise=before.noise, depth=before.depth,
            best=before.best, gap=gap,
        )  # fmt: skip

    def _silent(
        self, scores: CycleScores, place: IntArray, best: int, top: float, before: Known | None
    ) -> bool:
        if self.chance is not None and top <= self.chance:
            return True
        if before is None:
            return False
        usual = _USUAL * float(np.sqrt(before.noise.variance))
        clip = max(self.prior.clip, usual) * self.tolerance  # a small tolerance makes no luck of noise
        if top >= before.best - _FALL * clip:
            return False
        fallen = float(np.exp(before.depth[0] / before.depth[1])) * self.tolerance
        lost = fallen if self.chance is None else before.best - self.chance
        if scores.score.size > 1 and float(np.ptp(scores.score)) == 0:
            return True  # rates that all reach the very same are guessing
        # A lower level that trainings agree on is a level; an erratic one is luck. The best rate and those
        # below it tell: above it trainings may collapse as they should.
        tried = np.unique(place)
        at = int(np.searchsorted(tried, best))
        near = np.isin(place, tried[max(at - 2, 0) : max(at + 1, 2)])
        return float(scores.score[near].std()) > max(clip, _ERRATIC * lost)

    def beliefs(
        self, scores: Sequence[CycleScores], known: Sequence[Known | None], samples: int = SAMPLES
    ) -> tuple[CycleBelief, ...]:
        """What all cycles' trainings together tell of each.

        Args:
            scores: The cycles' trainings, ascending.
            known: What ``given`` made of each.
            samples: Draws.
        """
        told = [one for one in known if one is not None]
        drawn = dict(zip([one.scores.cycle for one in told], self._draws(told, samples), strict=True))
        found = []
        for each, one in zip(scores, known, strict=True):
            here = np.searchsorted(self.rates, each.grid)
            found.append(
                self._belief(each, one, drawn[each.cycle].at(here).means if one is not None else None)
            )
        return tuple(found)

    def _belief(self, scores: CycleScores, one: Known | None, means: FloatArray | None) -> CycleBelief:
        return CycleBelief(
            cycle=scores.cycle,
            rates=scores.grid,
            trained=scores.trained,
            tolerance=self.tolerance,
            draws=None if means is None else means * self.tolerance,
            noise=float("nan") if one is None else float(np.sqrt(one.noise.variance)) * self.tolerance,
            jumped=0.0 if one is None else one.curve.jumped,
            alike=scores.score.size > 1 and float(np.ptp(scores.score)) == 0,
        )

    def drawn(self, known: Known, samples: int = SAMPLES) -> Drawn:
        """What the trainings of a cycle, and of those before, tell of its candidates.

        Args:
            known: As ``given`` or ``predicted`` returns it.
            samples: Draws.
        """
        (found,) = self._draws([known], samples)
        return found.at(np.searchsorted(self.rates, known.scores.grid))

    def belief(self, known: Known, drawn: Drawn) -> CycleBelief:
        """The same, as chances and ranges."""
        return self._belief(known.scores, known, drawn.means)

    def _draws(self, told: list[Known], samples: int) -> list[Drawn]:
        """Per cycle, draws on all rates."""
        if not told:
            return []
        n, last = self.rates.size, told[-1]
        gaps = [one.gap for one in told]
        uniform, normal, lasting = fixed_numbers(samples, n, len(told))
        weight = np.exp(last.curve.log_weight)
        ends = np.floor(np.cumsum(weight) * samples + 0.5).astype(int)
        which = np.searchsorted(ends, np.arange(samples), side="right").clip(max=weight.size - 1)
        which = which[np.random.default_rng(3).permutation(samples)]
        curves = curves_drawn(self.components, [one.curve for one in told], gaps, which, normal, uniform[0])
        collapses = self.edges.drawn([one.edge for one in told], gaps, uniform[1])
        root = np.linalg.cholesky(self.components.neighbours + 1e-6 * np.eye(n))
        factor, shared = self.components.table[last.curve.kept[which]][:, [0, 4]].T
        replicates, found = self._replicates(told), []
        for one, drawn, collapse_chance in zip(told, curves, collapses, strict=True):
            scale = factor[:, None] * np.sqrt(self.prior.lasting * one.noise.variance / replicates)
            found.append(
                Drawn(
                    curve=drawn + scale * (lasting @ root.T),
                    collapse=collapse_chance,
                    depth=float(np.exp(last.depth[0] / last.depth[1])),
                    noise=factor * np.sqrt(one.noise.variance),
                    shared=shared,
                )
            )
        return found

    def _replicates(self, told: list[Known]) -> FloatArray:
        """(n,), over how many replicates a rate's lasting noise is averaged; the most for one untrained."""
        pairs = {
            (float(one.scores.grid[i]), int(r))
            for one in told
            for i, r in zip(one.scores.index, one.scores.replicate, strict=True)
        }
        count = np.zeros(self.rates.size)
        for rate, _ in pairs:
            count[np.searchsorted(self.rates, rate)] += 1
        return np.where(count > 0, count, max(count.max(), 1.0))


def learn(
    measured: Iterable[CycleScores] | Iterable[CycleAccuracies],
    *,
    tolerance: float = TOLERANCE,
    chance: float | None = None,
    samples: int = SAMPLES,
) -> tuple[CycleBelief, ...]:
    """What a search's trainings tell of the rates of each cycle, each cycle by the trainings of all.

    The same trainings give the same numbers, in whatever order they come.

    Args:
        measured: One per cycle: scores with holes, or accuracies without. All of one score: the higher the
            better.
        tolerance: How far below the best a score may be, at least 0; 0.005 for 0.5 % of accuracy. With 0 the
            interval is the optimum alone, and scores are measured in 0.005.
        chance: The score that guessing reaches, if known.
        samples: Draws, at least 2.

    Returns:
        One per cycle, ascending.

    Raises:
        InvalidInput: A value is missing or outside its range.
    """
    given = list(measured)
    if given and isinstance(given[0], CycleAccuracies):
        scores = tuple(CycleScores.of(one) for one in check_accuracies(given))  # type: ignore[arg-type]
    else:
        scores = check_scores(given)  # type: ignore[arg-type]
    checks.not_negative("tolerance", tolerance)
    if chance is not None:
        checks.finite("chance", chance)
    if checks.whole("samples", samples) < 2:
        raise InvalidInput(f"samples must be at least 2, not {samples}: give 1024")
    rates = np.unique(np.concatenate([one.grid for one in scores]))
    landscape = Landscape(rates, tolerance or TOLERANCE, chance)
    known: list[Known | None] = []
    last: Known | None = None
    for one in scores:
        known.append(landscape.given(one, last))
        last = known[-1] or last
    return tuple(replace(each, tolerance=tolerance) for each in landscape.beliefs(scores, known, samples))
