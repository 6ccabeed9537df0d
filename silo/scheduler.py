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

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from silo import checks
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.warmup import epoch_iterations, in_iterations, milestones_in_iterations, multiplier

try:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
except ModuleNotFoundError as error:
    raise ImportError(f"silo.scheduler needs torch ({error}): pip install torch") from None

_SETTINGS = ("warmup", "milestones", "factor", "ratios")


class Peaks(Protocol):
    """What has a peak learning rate for each cycle."""

    def max_lr(self, cycle: int, /) -> float:
        """The peak learning rate of a cycle of at least 0."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings that a scheduler keeps from cycle to cycle, in whole iterations."""

    peaks: Peaks
    warmup: int
    milestones: tuple[int, ...]
    factor: float
    ratios: tuple[float, ...]

    @classmethod
    def checked(
        cls,
        peaks: Peaks,
        *,
        warmup: object,
        milestones: object,
        factor: object,
        ratios: object,
        groups: int,
        epoch_length: int | None = None,
    ) -> Self:
        """``epoch_length`` is None where lengths are in iterations. Raises InvalidInput for a wrong value."""
        share = checks.finite("factor", factor)
        if not 0 < share <= 1:
            raise InvalidInput(
                f"factor must be above 0 and at most 1, not {factor!r}: give a float such as 0.1"
            )
        return cls(
            peaks=peaks,
            warmup=in_iterations("warmup", warmup, epoch_length),
            milestones=milestones_in_iterations(milestones, epoch_length),
            factor=share,
            ratios=_ratios(ratios, groups),
        )

    @classmethod
    def restored(
        cls, state: object, name: str, read: Callable[[object], Peaks], *, groups: int
    ) -> tuple[Self, int, int]:
        """The plan, the cycle and the iteration of a dict as a scheduler's ``state_dict`` writes it.

        Args:
            state: The dict.
            name: Under what it has the peaks.
            read: The peaks of what stands there.
            groups: The optimizer's parameter groups.

        Raises:
            InvalidInput: It is none.
        """
        known = (name, *_SETTINGS, "cycle", "iteration")
        if not isinstance(state, Mapping):
            raise InvalidInput(f"it is a {type(state).__name__}: give the dict that state_dict() returned")
        for given in state:
            if given not in known:
                raise InvalidInput(f"it has {given!r}: {checks.nearest(str(given), known)}")
        missing = [each for each in known if each not in state]
        if missing:
            raise InvalidInput(f"it lacks {', '.join(missing)}: give what state_dict() returned, whole")
        plan = cls.checked(read(state[name]), **{each: state[each] for each in _SETTINGS}, groups=groups)
        return plan, checks.whole("cycle", state["cycle"]), checks.whole("iteration", state["iteration"])


def _ratios(values: object, groups: int) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"ratios must be a list of numbers, not {values!r}: give {[1.0] * groups}")
    given = list(values)
    if len(given) != groups:
        raise InvalidInput(
            f"ratios must be {groups}, one for each parameter group, not {given!r}: give {[1.0] * groups}"
        )
    return tuple(checks.not_negative(f"ratios[{index}]", value) for index, value in enumerate(given))


@dataclass(frozen=True)
class RateTable:
    """The peak learning rate of each pruning cycle; the last one holds for all later cycles.

    Attributes:
        rates: Learning rates above 0, of cycles 0, 1, …; at least one.
    """

    rates: tuple[float, ...]

    @classmethod
    def checked(cls, given: object) -> Self:
        """A table of what was given: any list, array or column of numbers.

        Raises:
            InvalidInput: It has no order or no numbers, or one of them is not above 0.
        """
        if isinstance(given, cls):
            return given
        orderless = isinstance(given, str | bytes | Mapping | Set)
        if orderless or not isinstance(given, Iterable):
            raise InvalidInput(
                f"rates must be a list of numbers, those of cycles 0, 1, …, not {given!r}: give [0.05, 0.1], "
                "or a search's Results.rates"
            )
        rates = tuple(checks.positive(f"rates[{cycle}]", rate) for cycle, rate in enumerate(given))
        if not rates:
            raise InvalidInput("rates must have a number for cycle 0 at least, not none: give [0.05, 0.1]")
        return cls(rates)

    def max_lr(self, cycle: int) -> float:
        """The peak learning rate of a cycle of at least 0."""
        return self.rates[min(cycle, len(self.rates) - 1)]


class PeakLR(LRScheduler):
    """Warmup to the cycle's peak, then drops, again in every cycle of pruning: what both schedulers share.

    The arguments are those of :class:`SiloLR`.
    """

    _state_name: str
    """Under what a state has the peaks."""

    def __init__(
        self,
        optimizer: Optimizer,
        peaks: object,
        *,
        warmup: float,
        milestones: Iterable[float],
        factor: float,
        unit: Literal["iterations", "epochs"],
        steps_per_epoch: int | None,
        ratios: Iterable[float] | None,
        cycle: int,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            kind = type(optimizer).__name__
            raise InvalidInput(
                f"optimizer must be a torch optimizer, not a {kind}: give torch.optim.SGD(...)"
            )
        self._plan = Plan.checked(
            self._peaks(peaks),
            warmup=warmup,
            milestones=milestones,
            factor=factor,
            ratios=_proportions(optimizer) if ratios is None else ratios,
            groups=len(optimizer.param_groups),
            epoch_length=epoch_iterations(unit, steps_per_epoch),
        )
        self._cycle = checks.whole("cycle", cycle)
        self._max_lr = self._plan.peaks.max_lr(self._cycle)
        _part_tensors(optimizer)
        super().__init__(optimizer)

    @staticmethod
    @abstractmethod
    def _peaks(given: object) -> Peaks:
        """The peaks of what was given for them. Raises InvalidInput if they are none."""

    @staticmethod
    @abstractmethod
    def _plain(peaks: Peaks) -> Any:
        """Peaks as a state has them, in plain values."""

    @staticmethod
    @abstractmethod
    def _read(stated: object) -> Peaks:
        """Peaks from a state. Raises InvalidInput if it has none."""

    @property
    def cycle(self) -> int:
        """m, the pruning cycles completed so far."""
        return self._cycle

    @property
    def max_lr(self) -> float:
        """The peak learning rate of the present cycle, for a group whose ratio is 1."""
        return self._max_lr

    def next_cycle(self) -> float:
        """Begins the next cycle: sets the rates of its first iteration at once.

        Call it after the last ``step`` of a cycle. To rewind the optimizer, too, load its state first: with
        it come the rates of then, which this corrects.

        Returns:
            The new cycle's ``max_lr``.
        """
        self._move(self._cycle + 1, 0)
        return self._max_lr

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each group at the present iteration of the present cycle.

        Raises:
            InvalidInput: The optimizer got another parameter group since this scheduler was made.
        """
        plan, groups = self._plan, len(self.optimizer.param_groups)
        if groups != len(plan.ratios):
            raise InvalidInput(
                f"the optimizer has {groups} parameter groups, but this {type(self).__name__} was made for "
                f"{len(plan.ratios)}: make a new one, with cycle={self._cycle}"
            )
        rate = self._max_lr * multiplier(
            self.last_epoch, warmup=plan.warmup, milestones=plan.milestones, factor=plan.factor
        )
        return [ratio * rate for ratio in plan.ratios]

    def state_dict(self) -> dict[str, Any]:
        """The whole state in plain values, for ``torch.load(weights_only=True)`` and JSON alike."""
        plan = self._plan
        return {
            self._state_name: self._plain(plan.peaks),
            "warmup": plan.warmup,
            "milestones": list(plan.milestones),
            "factor": plan.factor,
            "ratios": list(plan.ratios),
            "cycle": self._cycle,
            "iteration": self.last_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where ``state_dict`` was called: takes over its settings too, and sets the groups' rates.

        It does not matter whether the optimizer's state is loaded before or after.

        Raises:
            InvalidInput: It is no state of such a scheduler for as many parameter groups. Nothing has
                changed then.
        """
        try:
            plan, cycle, iteration = Plan.restored(
                state_dict, self._state_name, self._read, groups=len(self.optimizer.param_groups)
            )
        except InvalidInput as error:
            raise InvalidInput(f"not a state of this {type(self).__name__}: {error}") from None
        self._plan = plan
        # The training is under way: that a scheduler steps first no longer means that a rate gets lost.
        self._step_count = max(self._step_count, 2)
        self._move(cycle, iteration)

    def _move(self, cycle: int, iteration: int) -> None:
        """Sets the rates without ``step``, which would warn if the optimizer has not stepped yet."""
        self._cycle, self.last_epoch = cycle, iteration
        self._max_lr = self._plan.peaks.max_lr(cycle)
        _part_tensors(self.optimizer)
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._last_lr = [_copied(group["lr"]) for group in self.optimizer.param_groups]


def _proportions(optimizer: Optimizer) -> list[float]:
    """Each group's original rate relative to the first group's."""
    given = [group.get("initial_lr", group.get("lr")) for group in optimizer.param_groups]
    if len(given) == 1:
        return [1.0]
    plain = [rate.item() if isinstance(rate, Tensor) else rate for rate in given]
    rates = [checks.not_negative(f"lr of parameter group {index}", rate) for index, rate in enumerate(plain)]
    if rates[0] == 0:
        raise InvalidInput(
            f"the first parameter group has an lr of 0, to which {rates[1:]} have no ratio: "
            f"give ratios, such as {[1.0] * len(rates)}"
        )
    return [rate / rates[0] for rate in rates]


def _part_tensors(optimizer: Optimizer) -> None:
    """Gives each group a tensor of its own where ``lr`` is one, and one that holds fractions.

    Groups without an ``lr`` share the tensor given to the optimizer: filling one would fill all.
    """
    seen = {id(optimizer.defaults.get("lr"))}
    for group in optimizer.param_groups:
        rate = group["lr"]
        if isinstance(rate, Tensor) and (id(rate) in seen or not rate.is_floating_point()):
            group["lr"] = rate * 1.0
        seen.add(id(group["lr"]))


def _copied(rate: Any) -> Any:
    return rate.clone() if isinstance(rate, Tensor) else rate


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
