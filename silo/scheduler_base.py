"""What the schedulers of :mod:`silo.scheduler` share: warmup to a cycle's peak, then drops."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Literal

from silo import checks
from silo.errors import InvalidInput
from silo.scheduler_plan import Peaks, Plan
from silo.warmup import epoch_iterations, multiplier

try:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
except ModuleNotFoundError as error:
    raise ImportError(f"silo.scheduler needs torch ({error}): pip install torch") from None


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
