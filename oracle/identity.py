"""Everything that determines a search's outcomes, and the key of each of its trials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic_core import to_jsonable_python

from oracle.cycles import Cycle
from oracle.policies import BUDGETS, Policy
from oracle.spec import Spec
from trials.secrets import without_secrets
from trials.tasks import Execution, WeightsFingerprint

_FIELDS = {"threads": "resources.cpus (threads)", "device": "resources.gpus (device)"}
"""Names that a spec has for the fields of a recipe that are made of those that may change."""

KEY_SCHEMA = 4
"""Changes when the meaning of a field changes: rows of another schema are never taken for ours."""


def identity(
    spec: Spec,
    *,
    fingerprint: str,
    classes: int | None,
    validation: int,
    code: Mapping[str, str],
    initial: Sequence[WeightsFingerprint],
    checkpoint: str = "",
    floor: float | None = None,
) -> dict[str, Any]:
    """Everything that determines the outcomes of a search but for its execution, as JSON-able data.

    Args:
        spec: The spec.
        fingerprint: Checksum of the data set's contents.
        classes: Its classes, which the checksum covers: with ``validation`` they tell what chance level is.
        validation: Examples of its validation split, covered too.
        code: Digests of the user's own modules, see :func:`trials.registry.code_digests`.
        initial: Fingerprints of the networks' initial weights by replicate.
        checkpoint: Checksum of the file that they come from, if they do: fingerprints forgive roundings.
        floor: What a network that knows nothing reaches by a metric of the user's own.
    """
    shown = without_secrets(spec.model_dump(mode="json"))  # a new token changes no outcome
    return {
        "schema": KEY_SCHEMA,
        "spec": {name: shown[name] for name in spec.fixed_fields()},
        "rates": _plain(asdict(spec.policy_of_rates())),
        "recipe": _plain(
            without_secrets(spec.recipe(execution=Execution(), checkpoint=checkpoint).to_dict())
        ),
        "data": fingerprint,
        "classes": classes,
        "validation": validation,
        "floor": floor,
        "code": dict(code),
        "initial": [_plain(asdict(each)) for each in initial],
    }


def initial_weights(recorded: Mapping[str, Any]) -> tuple[WeightsFingerprint, ...]:
    """The fingerprints of an identity's initial weights, by replicate."""
    return tuple(
        WeightsFingerprint(**{**each, "projections": tuple(each["projections"])})
        for each in recorded["initial"]
    )


def checkpoint_sha256(recorded: Mapping[str, Any]) -> str:
    """The checksum of the file that initial weights come from; empty where they come from none."""
    checkpoint = recorded.get("recipe", {}).get("checkpoint") or {}
    return str(checkpoint.get("sha256", ""))


def growth(recorded: Mapping[str, Any], policy: Policy) -> float:
    """How many times the budget that a search began with its policy has; 1 for one without a budget.

    Args:
        recorded: The search's identity.
        policy: Its policy now.
    """
    return _growth(recorded.get("rates"), _plain(asdict(policy)))


def _growth(began: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> float:
    if began is None or now is None or began.keys() != now.keys():
        return 1.0
    changed = [name for name in now if began[name] != now[name]]
    if len(changed) != 1 or changed[0] not in BUDGETS:
        return 1.0
    before, after = began[changed[0]], now[changed[0]]
    return max(float(after / before), 1.0) if before and after else 1.0


def settled(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """The current identity with what of the recorded one stays, although it may be another now.

    That is the budget that a search began with, where it has grown, and the initial weights, where they
    differ by roundings only: another kind of processor draws them with other last digits, and a search may go
    on there. Replicates that the recorded one lacks have their own.
    """
    from trials.weights import alike  # imports torch

    if _growth(recorded.get("rates"), current.get("rates")) > 1:
        spec = {**current["spec"], "policy": recorded["spec"]["policy"]}
        current = {**current, "rates": recorded["rates"], "spec": spec}
    old, new = (initial_weights(each) if "initial" in each else () for each in (recorded, current))
    same = all(alike(*pair) for pair in zip(old, new, strict=False))
    if not same or len(old) > len(new):
        return dict(current)
    return {**current, "initial": [*recorded.get("initial", ()), *current.get("initial", ())[len(old) :]]}


def differences(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The differences of two identities, as ``field: old -> new``, without secrets.

    What follows from a field of the spec is not named beside it. More replicates are no difference, and a
    spec that doesn't say how networks are chosen is of the time when the means did it. The size of packs is
    a wish; that which the search began with is part of its keys as its execution.
    """
    if recorded.get("schema", KEY_SCHEMA) != current.get("schema", KEY_SCHEMA):
        return [
            "the version of this program, which tells more of a search now; what was found stays readable"
        ]
    recorded = _comparable(recorded, len(current.get("initial", ())))
    current = _comparable(current, len(recorded.get("initial", ())))
    found = _changes(recorded.get("spec"), current.get("spec"))
    if not found:
        found = _changes(recorded.get("rates"), current.get("rates"), "rates")
        found += _changes(_by_field(recorded.get("recipe")), _by_field(current.get("recipe")))
        if checkpoint_sha256(recorded) != checkpoint_sha256(current):
            found.append(f"the contents of checkpoint {current['recipe']['checkpoint']['file']}")
    if recorded.get("data") != current.get("data"):
        found.append("the data set's contents")
    for module in sorted({*recorded.get("code", {}), *current.get("code", {})}):
        if recorded.get("code", {}).get(module) != current.get("code", {}).get(module):
            found.append(f"the code of module {module}")
    weights = [recorded.get("initial", []), current.get("initial", [])]
    same_file = checkpoint_sha256(recorded) == checkpoint_sha256(current)
    if same_file and (
        changed := [index for index, pair in enumerate(zip(*weights, strict=False)) if pair[0] != pair[1]]
    ):
        replicates = ", ".join(map(str, changed))
        found.append(f"the network's initial weights (replicate {replicates}): its code, or a file it loads")
    if not found and dict(recorded) != dict(current):
        found = _changes(recorded, current)
    return found


def _comparable(one: Mapping[str, Any], replicates: int) -> dict[str, Any]:
    """An identity as another one of so many replicates is compared with it."""
    spec = {"decide": "point", **one.get("spec", {})}
    spec.pop("replicates", None)
    if "training" in spec:
        spec["training"] = {name: value for name, value in spec["training"].items() if name != "pack"}
    return {**one, "spec": spec, "initial": list(one.get("initial", ()))[:replicates]}


class Keys:
    """The keys of a search's trials: a digest of everything that determines an outcome.

    That is all of the recipe as workers are given it, the data, the user's code, the initial weights of the
    replicate, and where in the search the trial stands. A trial of cycle m starts from a network that the
    decisions of the cycles before it chose, so its key holds the key of the trial that its network comes
    from, and so on down to the initial weights.

    Args:
        identity: Everything that determines the search's outcomes.
        execution: How the trainings are computed, as the search began: those that are computed otherwise
            agree to rounding only, as do the rows of a pack that was made smaller for want of memory. Those
            keep their keys, and say so (``Trial.halved``).
        decisions: The decisions so far; the list may grow while the keys are in use.
    """

    def __init__(self, identity: Mapping[str, Any], execution: Execution, decisions: Sequence[Cycle]) -> None:
        recipe = {**identity["recipe"], "execution": _plain(asdict(execution))}
        self._base = _digest([identity["schema"], recipe, identity["data"], identity["code"]])
        self._initial = [each["sha256"] for each in identity["initial"]]
        self._decisions = decisions
        self._selected: list[list[str]] = [[] for _ in self._initial]

    @property
    def replicates(self) -> int:
        """How many replicates there are keys of."""
        return len(self._initial)

    def key(self, cycle: int, replicate: int, max_lr: float) -> str:
        """The key of a trial of the cycle under way, or of one that is decided."""
        selected = self._selected[replicate]
        while len(selected) < cycle:
            before = len(selected)
            selected.append(self._key(before, replicate, self._decisions[before].chosen))
        return self._key(cycle, replicate, max_lr)

    def _key(self, cycle: int, replicate: int, max_lr: float) -> str:
        parent = self._selected[replicate][cycle - 1] if cycle > 0 else None
        return _digest([self._base, self._initial[replicate], cycle, replicate, max_lr, parent])


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(data: Any) -> Any:
    """The data as JSON gives it back: tuples are lists, dates are texts, and sets have an order."""
    return json.loads(json.dumps(to_jsonable_python(_ordered(data))))


def _ordered(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: _ordered(value) for name, value in data.items()}
    if isinstance(data, set | frozenset):
        return sorted(data, key=repr)
    return [_ordered(value) for value in data] if isinstance(data, list | tuple) else data


def _changes(old: Any, new: Any, prefix: str = "") -> list[str]:
    before, after = flat(old, prefix), flat(new, prefix)
    return [
        f"{name}: {_shown(name, before.get(name))} -> {_shown(name, after.get(name))}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _by_field(recipe: Mapping[str, Any] | None) -> dict[str, Any]:
    """A recipe as it is compared; a checkpoint's contents are named, and its place is in the spec."""
    fields = {name: value for name, value in (recipe or {}).items() if name != "checkpoint"}
    return {_FIELDS.get(name, name): value for name, value in fields.items()}


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    if not isinstance(data, dict):
        return {prefix: data}
    found: dict[str, Any] = {}
    for name, value in data.items():
        found.update(flat(value, f"{prefix}.{name}" if prefix else str(name)))
    return found


def _shown(field: str, value: Any) -> str:
    (value,) = without_secrets({field.rpartition(".")[2]: value}).values()
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:28]}...{text[-29:]}"  # paths differ at their ends
