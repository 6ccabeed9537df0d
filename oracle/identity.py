"""What determines a search's outcomes, and the key of each of its trials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from oracle.cycles import Cycle
from oracle.spec import Spec
from trials.recipe import Execution
from trials.secrets import without_secrets

KEY_SCHEMA = 2
"""Changes when the meaning of a field changes: rows of another schema are never taken for ours."""

_FREE = ("name", "cycles", "silo", "resources", "storage", "ledger")
"""Fields that may change under a search, as none changes a trial's outcome. ``cycles`` may grow only, and
``silo`` stays where it sets the rates."""


def identity(spec: Spec, *, fingerprint: str, classes: int, validation: int) -> dict[str, Any]:
    """What determines the outcomes of a search, as JSON-able data with every default.

    Args:
        spec: The spec.
        fingerprint: Checksum of the data set's contents.
        classes: Its classes, which the checksum covers: with ``validation`` they tell what chance level is.
        validation: Examples of its validation split, covered too.
    """
    shown = without_secrets(spec.model_dump(mode="json"))  # a new token changes no outcome
    fields = {name: value for name, value in shown.items() if name not in _FREE}
    if spec.policy.name == "silo":
        fields["silo"] = spec.model_dump(mode="json")["silo"]
    data = {"data": fingerprint, "classes": classes, "validation": validation}
    return {"schema": KEY_SCHEMA, **fields, "device": spec.device, **data}


def differences(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The fields in which two identities differ, as ``field: old -> new``, without secrets."""
    old, new = _flat(recorded), _flat(current)
    return [
        f"{name}: {_shown(name, old.get(name))} -> {_shown(name, new.get(name))}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


class Keys:
    """The keys of a search's trials: a hash over everything that determines an outcome.

    A trial of cycle m starts from a network that the decisions of the cycles before it chose, so its key
    holds the key of the trial that its network comes from, and so on down to the initial weights.

    Args:
        identity: What determines the search's outcomes.
        way: How the trainings are computed: those of another way agree to rounding only.
        decisions: The decisions so far; the list may grow while the keys are in use.
    """

    def __init__(self, identity: Mapping[str, Any], execution: Execution, decisions: Sequence[Cycle]) -> None:
        free = (
            "grid",
            "policy",
            "silo",
            "replicates",
            "tolerance",
        )  # they choose which trials there are, not how they end
        fixed = {name: value for name, value in identity.items() if name not in free}
        self._base = _digest({**fixed, "execution": asdict(execution)})
        self._decisions = decisions
        self.key = cache(self._key)

    def _key(self, cycle: int, replicate: int, max_lr: float) -> str:
        parent = None
        if cycle > 0:
            parent = self.key(cycle - 1, replicate, self._decisions[cycle - 1].interval.optimum)
        return _digest([self._base, cycle, replicate, max_lr, parent])


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix: data}
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat.update(_flat(value, f"{prefix}.{name}" if prefix else str(name)))
    return flat


def _shown(field: str, value: Any) -> str:
    (value,) = without_secrets({field.rpartition(".")[2]: value}).values()
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
