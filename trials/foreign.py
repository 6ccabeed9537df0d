"""Names that are nearly right, and things of torch's that are given where one of another form belongs."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from silo.errors import InvalidInput

_FORMS: dict[str, tuple[type, str]] = {
    "optimizer": (
        torch.optim.Optimizer,
        "holds one network's parameters, and here several are trained at once: take 'sgd', 'adam', 'adamw' "
        "or 'rmsprop', or your own class with step(weights, gradients, mask, lr), see "
        "trials.optimizers.Optimizer",
    ),
    "schedule": (
        torch.optim.lr_scheduler.LRScheduler,
        "holds an optimizer: take 'warmup_drops', 'linear_decay', 'cyclical', 'cosine', 'one_cycle' or "
        "'constant', or your own function (*, steps, steps_per_unit) that gives a function of the step",
    ),
    "pruner": (
        torch_prune.BasePruningMethod,
        "puts hooks into modules: take 'global_magnitude', 'layer_magnitude', 'random' or another, or your "
        "own function of a trials.pruning.TrainedNetwork that gives trials.pruning.Scores",
    ),
    "data set": (
        torch.utils.data.Dataset,
        "gives examples one by one, of one split: take 'cifar10', 'mnist', 'image_folder' or another, or "
        "your own function (*, seed) that gives a trials.datasets.Dataset with three splits",
    ),
}
"""Kind to the class of torch's that people give for it, and what that can't do and what would."""


def check_form(kind: str, name: str, found: Any) -> None:
    """Refuses what belongs to another kind of program.

    Raises:
        InvalidInput: It is torch's own class of that kind, or a network that was made already.
    """
    theirs, why = _FORMS.get(kind, (type(None), ""))
    by_function = kind == "pruner" and getattr(found, "__module__", "") == torch_prune.__name__
    if by_function or (isinstance(found, type) and issubclass(found, theirs)):
        raise InvalidInput(f"{kind} {name!r} {why}")
    if kind == "network" and isinstance(found, nn.Module):
        raise InvalidInput(
            f"network {name!r} is a network that was made already, and each replicate needs its own: name "
            "the class or function that makes it"
        )


def usual_name(name: str) -> str | None:
    """``package.module:name`` of a name that is nearly so: with a file's path, a dot or a call's brackets.

    Returns:
        None where it is so, or can't be read.
    """
    text = re.sub(r"\(.*\)$", "", name.strip()).replace("::", ":")
    module, colon, attribute = text.partition(":")
    if not colon and re.search(r"[/\\]|\.py$", text):
        attribute = "NAME"
    elif not colon:
        module, _, attribute = text.rpartition(".")
    parts = [part for part in re.split(r"[/\\]", module.strip().removesuffix(".py")) if part != "."]
    if "" in parts or ".." in parts:  # of a path from elsewhere the last part is the module
        parts = parts[-1:]
    found = f"{'.'.join(parts)}:{attribute.strip()}"
    readable = all(part.isidentifier() for part in re.split(r"[.:]", found))
    return found if readable and found != name else None
