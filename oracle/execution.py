"""A search's execution on this machine: its spec in the words of :mod:`trials.engine.choose`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials.tasks import Execution

if TYPE_CHECKING:
    from oracle.policies import Policy
    from oracle.spec import Spec
    from trials.engine.choose import ChosenExecution, Speed
    from trials.runner import Runner
    from trials.tasks import Recipe


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def room(spec: Spec) -> int:
    """Workers that this machine has room for, at most those that the spec wants and at least one."""
    import torch

    fits = int(cores() / spec.resources.cpus)
    if spec.resources.gpus > 0:
        fits = min(fits, torch.cuda.device_count() * int(1 / spec.resources.gpus + 1e-9))
    wanted = fits if spec.resources.workers is None else min(fits, spec.resources.workers)
    return max(1, wanted)


def evaluations(spec: Spec, train: int) -> int:
    """Validations of one training; ``train`` is the number of training examples."""
    from trials.training import count_validations

    return count_validations(spec.recipe(execution=Execution()), train)


def turns(policy: Policy, replicates: int) -> int:
    """How often a cycle mostly asks for trainings of all replicates, extensions aside."""
    return max(1, round(policy.expected(replicates) / (policy.together * replicates)))


def measured_on_workers(spec: Spec) -> bool:
    """Whether a driver leaves the measuring to a worker: of a GPU it would keep memory for ever."""
    return spec.device != "cpu" and spec.training.loop is None


def choose_execution(spec: Spec, runner: Runner, workers: int) -> ChosenExecution:
    """How to compute a search's trainings, and why.

    What was measured on a quiet machine is kept in this user's cache, and holds for the next search of the
    same trainings with the same code on such a machine: it begins sooner, and is computed alike. With
    ``ORACLE_REMEASURE`` in the environment it is measured anew.

    Args:
        spec: The spec; the parts of an execution that its training fixes are not chosen.
        runner: A worker for this process, with whose device and threads executions are measured.
        workers: Workers at a time, among which a cycle's packs are shared out.

    Raises:
        InvalidInput: The spec asks for a compiled or recorded step, and it can't be had.
    """
    from trials.engine import choose
    from trials.engine.choose import ChosenExecution, Wishes, Workload

    if spec.training.loop is not None:
        return ChosenExecution(Execution(), "a training loop of your own", ())
    if spec.over is not None:
        return ChosenExecution(Execution(), f"they differ by {spec.over}", ())

    training, policy = spec.training, spec.policy_of_rates()
    wishes = Wishes(
        pack=training.pack,
        compile=training.compile,
        cuda_graph=training.cuda_graph,
        channels_last=training.channels_last,
    )
    workload = Workload(
        cycles=spec.cycles,
        candidates=policy.together,
        turns=turns(policy, spec.replicates),
        replicates=spec.replicates,
        workers=workers,
        device=spec.device,
    )
    recipe = spec.recipe(execution=Execution())
    place = _place_of_choice(recipe, runner, wishes, workload)
    if place is not None and (kept := _kept_choice(place)) is not None:
        return kept
    quiet = _is_quiet()
    chosen = choose.choose_execution(recipe, runner, wishes, workload)
    if place is not None and quiet and _MEASURED in chosen.reason:
        _keep_choice(place, chosen)
    return chosen


_MEASURED = "measured for this search"
"""What the reason of a measured choice has in it."""


def _is_quiet() -> bool:
    """Whether this machine has had little else to do for a minute, so that what is measured tells."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] < cores() / 2


def _place_of_choice(recipe: Recipe, runner: Runner, *terms: Any) -> Path | None:
    """The file that would hold the choice; None without a folder that is this user's alone.

    Its name is a digest of all that speed depends on: recipe, data, code of the user's own and what trains,
    versions, processor and device.
    """
    import torch

    import trials
    from trials.engine.compile_cache import CompilerFailed, cache_folder, processor
    from trials.process import name_of
    from trials.registry import code_digests

    data = runner.data
    parts = (
        *(recipe, *terms, tuple(data.input_shape), *(len(part) for part in (data.train, data.validation))),
        code_digests(component.name for component in recipe.components.values()),
        [path.read_bytes() for path in sorted(Path(trials.__file__).parent.rglob("*.py"))],
        *(torch.__version__, torch.get_num_threads(), processor(), cores(), name_of(runner.device)),
    )
    try:
        return cache_folder("executions") / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"
    except CompilerFailed:
        return None


def _kept_choice(place: Path) -> ChosenExecution | None:
    """The choice that a file holds, if there is one, and what was compiled for it is still there."""
    from trials.engine.choose import ChosenExecution
    from trials.engine.compile_cache import folder_of, is_built

    if os.environ.get("ORACLE_REMEASURE"):
        return None
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        chosen = ChosenExecution(Execution(**kept["execution"]), kept["reason"], tuple(kept["graphs"]))
    except (OSError, ValueError, KeyError, TypeError):  # none, or another version's
        return None
    return chosen if all(is_built(folder_of(graph)) for graph in chosen.graphs) else None


def _keep_choice(place: Path, chosen: ChosenExecution) -> None:
    content = chosen._asdict() | {"execution": dataclasses.asdict(chosen.execution)}
    written = place.with_suffix(f".{os.getpid()}")
    try:
        written.write_text(json.dumps(content), encoding="utf-8")
        written.replace(place)
    except OSError:  # no space: it is measured again
        written.unlink(missing_ok=True)


def measure_speed(
    spec: Spec, runner: Runner, execution: Execution, *, count: int, graphs: tuple[str, ...] = ()
) -> Speed:
    """Seconds of a step and a validation; see :func:`trials.engine.choose.measure_speed`."""
    from trials.engine import choose

    return choose.measure_speed(spec.recipe(execution=execution), runner, count=count, graphs=graphs)


def try_one_step(spec: Spec, runner: Runner, execution: Execution) -> None:
    """One step and one validation of a pack, unless the training loop is the user's own; see
    :func:`trials.engine.choose.try_one_step`."""
    from trials.engine import choose

    if spec.training.loop is None:
        choose.try_one_step(spec.recipe(execution=execution), runner)
