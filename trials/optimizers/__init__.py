"""Optimizers by name, over flat parameters: one row per copy, so that an update is a few operations."""

from __future__ import annotations

from collections.abc import Callable

from trials.optimizers.adam import Adam, adamw
from trials.optimizers.base import Optimizer
from trials.optimizers.rmsprop import RMSprop
from trials.optimizers.sgd import SGD
from trials.recipe import Component
from trials.registry import call, resolve

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": adamw,
    "rmsprop": RMSprop,
}


def build_optimizer(optimizer: Component) -> Optimizer:
    """A fresh optimizer without state.

    Raises:
        InvalidInput: The optimizer is unknown or an argument is wrong.
    """
    return call(
        "optimizer",
        optimizer.name,
        resolve("optimizer", optimizer.name, OPTIMIZERS),
        optimizer.arguments,
    )
