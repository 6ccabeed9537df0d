"""Optimizers by name, over flat parameters: one row per copy, so that an update is a few operations."""

from __future__ import annotations

from collections.abc import Callable

from trials.optimizers.base import Optimizer
from trials.recipe import Component
from trials.registry import call, resolve

OPTIMIZERS = {
    "sgd": "trials.optimizers.sgd:SGD",
    "adam": "trials.optimizers.adam:Adam",
    "adamw": "trials.optimizers.adam:adamw",
    "rmsprop": "trials.optimizers.rmsprop:RMSprop",
}


def build_optimizer(optimizer: Component) -> Optimizer:
    """A fresh optimizer without state.

    Raises:
        InvalidInput: The optimizer is unknown or an argument is wrong.
    """
    kind: Callable[..., Optimizer] = resolve("optimizer", optimizer.name, OPTIMIZERS)
    return call("optimizer", optimizer.name, kind, optimizer.arguments)
