"""What a spec says that it may not have meant, and places that can't be used: before anything is done."""

from __future__ import annotations

import re
from pathlib import Path

from oracle.errors import Refused
from oracle.ledger.database import look
from oracle.spec import Spec
from silo.errors import InvalidInput
from trials.paths import unwritable
from trials.secrets import without_secrets

_WIDE = 0.05
"""Tolerances above are likely to be meant in percent."""

_STEEP = 0.8
"""Pruning rates from here on are likely to be meant as what is kept."""

_LESS_IS_BETTER = ("loss", "error", "errors", "rmse", "mse", "mae", "mape", "perplexity", "nll", "entropy")
"""Ends of the words that name metrics of which less is better."""

_MORE_IS_BETTER = frozenset(
    [
        "accuracy",
        "acc",
        "f1",
        "iou",
        "miou",
        "auc",
        "auroc",
        "dice",
        "bleu",
        "psnr",
        "precision",
        "recall",
        "r2",
    ]
)
"""Words that name metrics of which more is better."""

_NEGATED = frozenset({"neg", "negative", "minus", "inverse", "one"})
"""Words that turn a metric round."""

_FAR = 5.0
"""A curve beyond the grid by such a factor is likely to be given in other units."""


def cautions(spec: Spec) -> tuple[str, ...]:
    """What is allowed, and rarely meant; a sentence each."""
    found = []
    tolerance = spec.tolerance
    if spec.metric.name == "accuracy" and isinstance(tolerance, float) and tolerance > _WIDE:
        found.append(
            f"tolerance: {tolerance:g} is {100 * tolerance:g} % of accuracy, in which nearly every "
            f"rate lies; if {tolerance:g} % was meant, give {tolerance / 100:g}"
        )
    if line := _other_goal(spec):
        found.append(line)
    rate = spec.pruning.share()
    if rate >= _STEEP and spec.cycles > 1:
        found.append(
            f"pruning.rate: {rate:g} removes {100 * rate:g} % of what is left at each pruning; if so much was"
            f" to be kept, give {1 - rate:.2g}"
        )
    rates, curve = spec.policy_of_rates().rates, spec.silo
    if rates and curve is not None:
        low, high = curve.epsilon, curve.epsilon + curve.delta
        if low > _FAR * rates[-1] or 0 < high < rates[0] / _FAR:
            found.append(
                f"silo: the curve's rates, {low:g} to {high:g}, are far from those that are trained, "
                f"{rates[0]:g} to {rates[-1]:g}; papers print them in units such as 1e-2"
            )
    return tuple(found)


def _other_goal(spec: Spec) -> str | None:
    """That a metric by its name is likely to have the other goal; None where it isn't."""
    words = set(re.findall(r"[a-z0-9]+", spec.metric.name.lower()))
    if words & _NEGATED:
        return None
    less = any(word.endswith(_LESS_IS_BETTER) for word in words)
    more = bool(words & _MORE_IS_BETTER)
    likely = "min" if less and not more else "max" if more and not less else spec.metric.goal
    if likely == spec.metric.goal:
        return None
    much = {"min": "less", "max": "more"}
    return (
        f"metric: goal {spec.metric.goal} takes {much[spec.metric.goal]} {spec.metric.name} for better; if "
        f"{much[likely]} of it is, give goal: {likely}"
    )


def missing_places(spec: Spec) -> tuple[str, ...]:
    """What keeps this machine from using a spec's ledger and storage, a sentence each; nothing is made.

    Raises:
        InvalidInput: They can't be used on any machine.
    """
    return tuple(filter(None, (_missing_ledger(spec), _missing_storage(spec))))


def _missing_ledger(spec: Spec) -> str | None:
    try:
        look(spec.ledger)
    except Refused as error:
        return str(error)
    return None


def _missing_storage(spec: Spec) -> str | None:
    from trials.checkpoints import Store  # imports torch

    store = Store(spec.storage_root())
    if store.is_local:
        if reason := unwritable(Path(store.root)):
            return f"storage {store.root}: it can't be written ({reason}); name a folder of yours"
        return None
    try:
        store.check_writable()
    except InvalidInput as error:
        return str(without_secrets(str(error)))
    return None
