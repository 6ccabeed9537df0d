"""SILO and found rates as torch schedulers, for a training loop of your own: Algorithm 1 of the paper.

    scheduler = SiloLR(optimizer, curve, warmup=10_000, milestones=[32_000, 48_000])
    for cycle in range(25):
        for batch in batches:
            ...  # forward, backward
            optimizer.step()
            scheduler.step()
        ...  # prune
        scheduler.next_cycle()

``RateTableLR(optimizer, rates, …)`` does the same with a table of rates in the curve's place, such as those
that a search has found.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144, Algorithm 1 and Table 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.rate_table import RateTable
from silo.scheduler_base import PeakLR
from silo.scheduler_plan import Peaks

if TYPE_CHECKING:
    from torch.optim import Optimizer


class SiloLR(PeakLR):
    """Warmup to SILO's ``max_lr`` of the cycle, then drops, again in every cycle of pruning (Algorithm 1).

    At iteration i of cycle m the rate of parameter group g is ratio_g · max_lr(m) · multiplier(i), with
    ``max_lr`` from the curve (Equation 3) and ``silo.warmup.multiplier`` ("LR warmup" of Table 1). Call
    ``step`` once per iteration, after ``optimizer.step()``, and ``next_cycle`` once per pruning.

    Where each cycle has an optimizer of its own, or a scheduler of its own on the same optimizer, make it
    with ``cycle=m``. The groups keep their proportions: like torch's schedulers this one goes by a group's
    ``initial_lr``, which the first scheduler notes and the optimizer's state keeps, and only without it by
    ``lr``. Explicit ``ratios`` are not noted there: give them to each scheduler anew.

    Args:
        optimizer: Any torch optimizer. The rates in its groups count only in proportion to each other.
        curve: The peak learning rate by cycle.
        warmup: Length of the linear warmup in ``unit``, at least 0; 0 starts each cycle at the peak.
        milestones: When the rate drops, ascending and above 0, in ``unit``. One inside the warmup is
            allowed, and divides the ramp.
        factor: What each milestone multiplies the rate by, in (0, 1].
        unit: In what ``warmup`` and ``milestones`` count. "iterations" are whole; "epochs" may be fractions,
            and are rounded to whole iterations.
        steps_per_epoch: Iterations per epoch, at least 1; needed for "epochs".
        ratios: The rate of each group as a multiple of ``max_lr``, at least 0. By default a group's rate
            relative to the first group's, and 1 for a single group.
        cycle: m, the pruning cycles completed so far, at least 0.

    Raises:
        InvalidInput: An argument is wrong, or the first of several groups has a rate of 0 and there are no
            ``ratios``. The optimizer is then as it was.
    """

    _state_name = "curve"

    def __init__(
        self,
        optimizer: Optimizer,
        curve: SiloCurve,
        *,
        warmup: float = 0,
        milestones: Iterable[float] = (),
        factor: float = 0.1,
        unit: Literal["iterations", "epochs"] = "iterations",
        steps_per_epoch: int | None = None,
        ratios: Iterable[float] | None = None,
        cycle: int = 0,
    ) -> None:
        super().__init__(
            optimizer,
            curve,
            warmup=warmup,
            milestones=milestones,
            factor=factor,
            unit=unit,
            steps_per_epoch=steps_per_epoch,
            ratios=ratios,
            cycle=cycle,
        )

    @staticmethod
    def _peaks(given: object) -> SiloCurve:
        if not isinstance(given, SiloCurve):
            kind = type(given).__name__
            raise InvalidInput(
                f"curve must be a SiloCurve, not a {kind}: give SiloCurve(...) or a fit's .curve"
            )
        return given

    @staticmethod
    def _plain(peaks: Peaks) -> Any:
        assert isinstance(peaks, SiloCurve), "it was checked"
        return peaks.to_dict()

    @staticmethod
    def _read(stated: object) -> SiloCurve:
        if not isinstance(stated, Mapping):
            raise InvalidInput(f"its curve is a {type(stated).__name__}: give what state_dict() returned")
        return SiloCurve.from_dict(stated)


class RateTableLR(PeakLR):
    """Warmup to the cycle's rate in a table, then drops, again in every cycle of pruning: SiloLR's sister.

        scheduler = RateTableLR(optimizer, oracle.load("digits").rates, warmup=1_000)

    Args:
        optimizer: As :class:`SiloLR` takes it, and so are all other arguments.
        rates: The peak learning rates of cycles 0, 1, …, above 0: a list, an array or a column of numbers.
            The last one holds for all later cycles.

    Raises:
        InvalidInput: As for :class:`SiloLR`; or the rates are none.
    """

    _state_name = "rates"

    def __init__(
        self,
        optimizer: Optimizer,
        rates: Iterable[float],
        *,
        warmup: float = 0,
        milestones: Iterable[float] = (),
        factor: float = 0.1,
        unit: Literal["iterations", "epochs"] = "iterations",
        steps_per_epoch: int | None = None,
        ratios: Iterable[float] | None = None,
        cycle: int = 0,
    ) -> None:
        super().__init__(
            optimizer,
            rates,
            warmup=warmup,
            milestones=milestones,
            factor=factor,
            unit=unit,
            steps_per_epoch=steps_per_epoch,
            ratios=ratios,
            cycle=cycle,
        )

    @staticmethod
    def _peaks(given: object) -> RateTable:
        return RateTable.checked(given)

    @staticmethod
    def _plain(peaks: Peaks) -> Any:
        assert isinstance(peaks, RateTable), "it was checked"
        return list(peaks.rates)

    @staticmethod
    def _read(stated: object) -> RateTable:
        return RateTable.checked(stated)
