"""What a network is trained for and judged by: losses, and metrics of what it gives."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from silo.errors import InvalidInput
from trials.registry import call, misplaced_flag, one_line, resolve, with_values
from trials.tasks import Component, Metric

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs [B, …], targets [B, …]) of a batch to its loss, a scalar."""


class CrossEntropy:
    """Mean cross-entropy of a batch, as ``torch.nn.functional.cross_entropy`` has it.

    Args:
        label_smoothing: Share of the target that is spread over all classes, in [0, 1].
        weight: One number per class; the mean is weighted by those of the examples' classes.
        ignore_index: Targets that count for nothing.

    Raises:
        InvalidInput: A value is out of its range.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        weight: Sequence[float] | None = None,
        ignore_index: int = -100,
    ) -> None:
        if not isinstance(label_smoothing, int | float) or not 0 <= label_smoothing <= 1:
            raise InvalidInput(f"label_smoothing must be a number in [0, 1], got {label_smoothing!r}")
        wrong = weight is not None and not all(
            isinstance(each, int | float) and 0 <= each < float("inf") for each in weight
        )
        if wrong:
            raise InvalidInput(f"weight must be a list of one number of at least 0 per class, got {weight!r}")
        self._smoothing, self._ignored = label_smoothing, ignore_index
        self._weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs [B, C, …] and targets [B, …], int64."""
        weight = self._weight
        if weight is not None:
            weight = self._weight = weight.to(outputs.device)  # once: a copy in every step would hold it up
            if len(weight) != outputs.shape[1]:
                raise InvalidInput(
                    f"training.loss: weight has {len(weight)} numbers for {outputs.shape[1]} classes: give "
                    "one per class"
                )
            weight = weight.to(outputs.dtype)
        return functional.cross_entropy(
            outputs, targets, weight=weight, label_smoothing=self._smoothing, ignore_index=self._ignored
        )


LOSSES: dict[str, Callable[..., Loss]] = {"cross_entropy": CrossEntropy}
"""Those that come along; any other is ``package.module:name``, as ``torch.nn.functional:mse_loss`` is one."""


def make_loss(component: Component) -> Loss:
    """The loss that a component names, with its arguments.

    Args:
        component: A key of LOSSES, or ``"package.module:name"``: a function ``(outputs, targets,
            **arguments)`` that gives a scalar; or a class whose instances, made with the arguments, are
            such functions, as those of ``torch.nn`` are.

    Raises:
        InvalidInput: There is no such loss, it doesn't take the arguments, or it has parameters of its own.
    """
    if component.name in LOSSES:
        return call("loss", component.name, LOSSES[component.name], component.arguments)
    found: Any = resolve("loss", component.name, LOSSES)
    if not isinstance(found, type):
        return bound("loss", component, LOSSES, "outputs", "targets")
    made: Any = call("loss", component.name, found, component.arguments)
    if not isinstance(made, nn.Module):
        return bound("loss", replace(component, arguments={}), {component.name: made}, "outputs", "targets")
    if own := [name for name, _ in made.named_parameters()]:
        raise InvalidInput(
            f"loss {component.name!r} has parameters of its own ({', '.join(own)}), which nothing would "
            "train: put them into the network"
        )
    return _LossModule(made)


class _LossModule:
    """A loss that is a module, its buffers where the outputs are."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._device = module, torch.device("cpu")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.device != self._device:
            self._module, self._device = self._module.to(outputs.device), outputs.device
        loss: Tensor = self._module(outputs, targets)
        return loss


def bound(kind: str, component: Component, known: Mapping[str, Any], *positional: str) -> Callable[..., Any]:
    """A function by name with its keyword arguments, to be called with some positional ones.

    Raises:
        InvalidInput: There is no such function, or it can't be called so.
    """
    function: Any = resolve(kind, component.name, known)
    if not callable(function):
        raise InvalidInput(f"{kind} {component.name!r} is no function but {type(function).__name__}")
    try:
        inspect.signature(function).bind(*positional, **component.arguments)
    except TypeError as error:
        raise InvalidInput(
            f"{kind} {component.name!r} can't be called as function({', '.join(positional)}, …) with the "
            f"arguments {dict(component.arguments)}: {one_line(error)}"
        ) from None
    except ValueError:  # some compiled functions have no signature
        pass
    if problem := misplaced_flag(function, component.arguments):
        raise InvalidInput(f"{kind} {component.name!r}: {problem}")
    arguments = with_values(kind, component.name, component.arguments)
    found: Callable[..., Any] = partial(function, **arguments) if arguments else function
    return found


def scalar(loss: Any) -> Tensor:
    """A loss that a function gave, if it is one number.

    Raises:
        InvalidInput: It is several, or no tensor.
    """
    if not isinstance(loss, Tensor):
        raise InvalidInput(f"training.loss gives {type(loss).__name__}: it must give a tensor of one number")
    if loss.ndim:
        raise InvalidInput(
            f"training.loss gives a tensor of shape {tuple(loss.shape)}: it must be one number for the "
            "batch, as its mean is (loss.mean())"
        )
    return loss


class Scorer(Protocol):
    """Collects the outputs of K copies on a split, batch by batch."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Takes a batch: outputs [K, B, …], targets [B, …]."""

    def scores(self) -> Tensor:
        """[K], float64: the score of each copy on all that it was given."""


class RightAnswers:
    """Accuracy: the share of examples whose largest output is that of their class."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._right = torch.zeros(count, dtype=torch.long, device=device)
        self._seen = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """See :class:`Scorer`; outputs [K, B, classes], targets [B]."""
        self._right += (outputs.argmax(dim=-1) == targets).sum(dim=-1)
        self._seen += len(targets)

    def scores(self) -> Tensor:
        return self._right.double() / self._seen


class OfWholeSplit:
    """A function of all outputs and targets of a split at once."""

    def __init__(self, name: str, function: Callable[[Tensor, Tensor], Any]) -> None:
        self._name, self._function = name, function
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self._outputs.append(outputs.float() if outputs.dtype == torch.bfloat16 else outputs)
        self._targets.append(targets)

    def scores(self) -> Tensor:
        outputs, targets = torch.cat(self._outputs, dim=1), torch.cat(self._targets)
        return torch.tensor(
            [number(f"metric {self._name!r}", self._function(row, targets)) for row in outputs],
            dtype=torch.float64,
        )


class Accumulated:
    """A metric of the form of torchmetrics: ``update(outputs, targets)`` per batch, then ``compute()``."""

    def __init__(self, name: str, make: Callable[[], Any], count: int, device: torch.device) -> None:
        made = make()
        made = made.to(device) if hasattr(made, "to") else made
        self._name, self._metrics = name, [made, *(copy.deepcopy(made) for _ in range(count - 1))]

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        for metric, row in zip(self._metrics, outputs, strict=True):
            metric.update(row.float() if row.dtype == torch.bfloat16 else row, targets)

    def scores(self) -> Tensor:
        found = [number(f"metric {self._name!r}", metric.compute()) for metric in self._metrics]
        return torch.tensor(found, dtype=torch.float64)


MakeScorer = Callable[[int, torch.device], Scorer]
"""Number of copies and their device to what collects their outputs on one split."""


def scorer_of(metric: Metric) -> MakeScorer:
    """What collects outputs for a metric.

    Args:
        metric: Accuracy, or one whose function is ``"package.module:name"``: a function of all outputs
            [N, …] and targets [N, …] of a split that gives a number; or a class with ``update(outputs,
            targets)`` and ``compute()``, as those of torchmetrics are, which is given one batch at a time.

    Raises:
        InvalidInput: There is no such function or class, or it doesn't take its arguments.
    """
    component = metric.function
    if component is None:
        return RightAnswers
    found: Any = resolve("metric", component.name, {})
    if isinstance(found, type):
        for method in ("update", "compute"):
            if not hasattr(found, method):
                raise InvalidInput(
                    f"metric {component.name!r} is a class without {method}(): give a function of (outputs, "
                    "targets), or a class with update(outputs, targets) and compute()"
                )

        def make() -> Any:
            return call("metric", component.name, found, component.arguments)

        make()
        return lambda count, device: Accumulated(component.name, make, count, device)
    function = bound("metric", component, {}, "outputs", "targets")
    return lambda count, device: OfWholeSplit(component.name, function)


def number(what: str, given: Any) -> float:
    """A score that was given, as a number, which may be infinite or NaN.

    Args:
        what: What gave it, for messages: ``"metric 'package.module:name'"``.
        given: A number of Python's or numpy's, or a tensor or an array of one.

    Raises:
        InvalidInput: It is none.
    """
    found = item(given)
    if isinstance(found, bool) or not isinstance(found, int | float | Fraction | Decimal):
        shape = f" of shape {tuple(given.shape)}" if isinstance(given, Tensor | np.ndarray) else ""
        raise InvalidInput(f"{what} gives {type(given).__name__}{shape}: it must give one number")
    return float(found)


def item(given: Any) -> Any:
    """The value of a tensor, an array or a scalar of numpy's that holds one; anything else as it is."""
    is_one = isinstance(given, Tensor | np.ndarray | np.generic) and math.prod(given.shape) == 1
    return given.item() if is_one else given


def check_floor(metric: Metric, floor: float) -> None:
    """Refuses a metric that can't say what a training that diverged is worth.

    Raises:
        InvalidInput: The score of zeros is infinite or NaN, and the spec names no other.
    """
    if metric.diverged is None and not math.isfinite(floor):
        raise InvalidInput(
            f"metric: {metric.name} of outputs that are all zero, which a training that diverged gets, is "
            f"{floor}: give metric.diverged, the score that such a training gets"
        )


def tried(metric: Metric, outputs: Tensor, targets: Tensor) -> float:
    """A metric's value on a few outputs [B, …] and targets [B, …].

    Raises:
        InvalidInput: It fails on them, or gives no number.
    """
    scorer = scorer_of(metric)(1, outputs.device)
    try:
        scorer.update(outputs[None], targets)
        return float(scorer.scores()[0])
    except InvalidInput:
        raise
    except Exception as error:  # the user's code, which may raise anything
        raise InvalidInput(
            f"metric {metric.name!r} fails on outputs of shape {tuple(outputs.shape)} and targets of shape "
            f"{tuple(targets.shape)}: {type(error).__name__}: {one_line(error)}"
        ) from error
