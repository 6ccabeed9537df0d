"""Losses by name, for the built-in training loop and for pruners that need gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from silo.errors import InvalidInput
from trials.recipe import Component
from trials.registry import call, one_line, resolve, with_values

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


LOSSES: dict[str, str] = {"cross_entropy": "trials.losses:CrossEntropy"}
"""Those that come along; any other is ``package.module:name``, as ``torch.nn.functional:mse_loss`` is one."""


def make_loss(component: Component) -> Loss:
    """The loss that a component names, with its arguments.

    Args:
        component: A key of LOSSES, or ``"package.module:name"``: a function ``(outputs, targets,
            **arguments)`` that gives a scalar.

    Raises:
        InvalidInput: There is no such loss, or it doesn't take the arguments.
    """
    if component.name in LOSSES:
        make: Callable[..., Loss] = resolve("loss", component.name, LOSSES)
        return call("loss", component.name, make, component.arguments)
    return bound("loss", component, LOSSES, "outputs", "targets")


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
