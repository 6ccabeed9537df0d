"""The contract of an optimizer over flat rows: see :func:`check_optimizer`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from trials.optimizers import Optimizer, Stateful, build_optimizer
from trials.tasks import Component
from trials.testing.assertions import require, require_equal

_COPIES, _SIZE, _STEPS = 3, 67, 6

Make = Callable[[], Optimizer]


def check_optimizer(name: str, arguments: Mapping[str, Any] | None = None) -> None:
    """Takes steps on made-up gradients, and checks what every optimizer must keep to.

    Pruned weights and all that is remembered of them are exactly zero after every step, whatever their
    gradients; copies that are stepped together end as each does alone, bit for bit, each at its own rate; a
    copy whose gradients are infinite or NaN leaves the others alone; a rate of zero moves nothing. One that
    has a ``STATE`` can be compiled: ``begin`` sets it to zeros, and a fresh optimizer with the state of
    another goes on as that would have.

    Args:
        name: A known optimizer, or ``"package.module:name"``.
        arguments: Its arguments.

    Raises:
        AssertionError: Something doesn't hold.
    """
    component = Component(name=name, arguments=arguments or {})

    def make() -> Optimizer:
        return build_optimizer(component)

    if isinstance(make(), Stateful):
        _check_state(name, make)
    _check_zeros(name, make)
    for dtype in (torch.float32, torch.float64):
        _check_copies_alone(name, make, dtype)
    for poison in (math.inf, -math.inf, math.nan):
        _check_divergence(name, make, poison)
    _check_rate_of_zero(name, make)


def tensors_of(optimizer: Optimizer) -> dict[str, Tensor]:
    """The tensors that an optimizer remembers of each weight, by attribute; not those that begin with _."""
    kept = {key: value for key, value in vars(optimizer).items() if not key.startswith("_")}
    return {key: value for key, value in kept.items() if isinstance(value, Tensor) and value.dim()}


def _start(dtype: torch.dtype = torch.float64) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return (torch.randn(_COPIES, _SIZE, generator=draw, dtype=torch.float64) * _mask()).to(dtype)


def _mask() -> Tensor:
    return (torch.arange(_SIZE) % 5 % 2).to(torch.float64)


def _rates(step: int) -> Tensor:
    return torch.tensor([0.001, 0.01, 0.05], dtype=torch.float64) * (1 + step % 4) / 4


def _gradients(weights: Tensor, step: int) -> Tensor:
    """Gradients of a bumpy function, one that mixes the weights of a copy."""
    return torch.sin(3 * weights + step) + weights.roll(1, dims=-1)


def _check_zeros(name: str, make: Make) -> None:
    mask, pruned = _mask(), _mask() == 0
    for poison in (0.0, 1.0, math.inf, math.nan):
        # Even weights that the caller forgot to mask.
        optimizer, weights = make(), _start() + 1.0
        for step in range(_STEPS):
            gradients = _gradients(weights.nan_to_num(0.0), step)
            gradients[:, pruned] = poison
            optimizer.step(weights, gradients, mask, _rates(step))
            for key, tensor in {"weights": weights, **tensors_of(optimizer)}.items():
                require(
                    not tensor[:, pruned].count_nonzero(),
                    f"optimizer {name!r}: {key} of pruned entries are not 0 after step {step}",
                )


def _check_copies_alone(name: str, make: Make, dtype: torch.dtype) -> None:
    together, mask, pack = _start(dtype), _mask().to(dtype), make()
    alone = [row.clone() for row in torch.split(together, 1)]
    loners = [make() for _ in alone]
    for step in range(_STEPS):
        rates, gradients = _rates(step).to(dtype), _gradients(together, step)
        for index, (row, loner) in enumerate(zip(alone, loners, strict=True)):
            own = slice(index, index + 1)
            loner.step(row, gradients[own].clone(), mask, rates[own])
        pack.step(together, gradients, mask, rates)
        require_equal(
            {"weights": together},
            {"weights": torch.cat(alone)},
            f"optimizer {name!r}: copies together and alone part at step {step} in {dtype}",
        )
    moved = (together - _start(dtype)).abs().amax(dim=1)
    require(bool((moved > 0).all()), f"optimizer {name!r} doesn't move every copy")


def _check_divergence(name: str, make: Make, poison: float) -> None:
    healthy, weights, mask = _start(), _start(), _mask()
    first, second = make(), make()
    for step in range(_STEPS):
        gradients = _gradients(_start(), step)
        first.step(healthy, gradients.clone(), mask, _rates(step))
        gradients[1, ::3] = poison
        second.step(weights, gradients, mask, _rates(step))
    require_equal(
        {"weights": weights[::2]},
        {"weights": healthy[::2]},
        f"optimizer {name!r}: a copy with gradients of {poison} changes the others",
    )


def _check_rate_of_zero(name: str, make: Make) -> None:
    weights, optimizer = _start(), make()
    optimizer.step(weights, _gradients(weights, 0), _mask(), torch.zeros(_COPIES, dtype=torch.float64))
    require(torch.equal(weights, _start()), f"optimizer {name!r} moves weights at a rate of 0")


def _check_state(name: str, make: Make) -> None:
    """Moves the state by the names in STATE, as a compiled step does."""
    weights, mask = _start(), _mask()
    begun = cast(Stateful, make())
    begun.begin(weights)
    for key in begun.STATE:
        require(hasattr(begun, key), f"optimizer {name!r}: begin() must set {key!r}, which STATE names")
        value = getattr(begun, key)
        holds = value is None or (isinstance(value, Tensor) and not value.count_nonzero())
        require(holds, f"optimizer {name!r}: begin() must set {key!r} to zeros or None")
    plain, other = make(), _start()
    for step in range(_STEPS):
        fresh = cast(Stateful, make())
        fresh.begin(weights)
        for key in fresh.STATE:
            setattr(fresh, key, getattr(begun, key))
        gradients = _gradients(other, step)
        fresh.step(weights, gradients.clone(), mask, _rates(step))
        plain.step(other, gradients, mask, _rates(step))
        begun = fresh
        require_equal(
            {"weights": weights},
            {"weights": other},
            f"optimizer {name!r}: STATE doesn't hold all that a step needs, or begin() another start",
        )
