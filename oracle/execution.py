"""A search's execution on this machine: its spec in the words of :mod:`trials.engine.choose`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trials.tasks import Execution

if TYPE_CHECKING:
    from oracle.spec import Spec
    from trials.engine.choose import ChosenExecution
    from trials.engine.measure import Speed
    from trials.runner import Runner


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


def measured_on_workers(spec: Spec) -> bool:
    """Whether a driver leaves the measuring to a worker: of a GPU it would keep memory for ever."""
    return spec.device != "cpu" and spec.training.loop is None


def choose_execution(spec: Spec, runner: Runner, workers: int) -> ChosenExecution:
    """How to compute a search's trainings, and why.

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
    return choose.choose_execution(
        spec.recipe(execution=Execution()),
        runner,
        Wishes(
            pack=training.pack,
            compile=training.compile,
            cuda_graph=training.cuda_graph,
            channels_last=training.channels_last,
        ),
        Workload(
            cycles=spec.cycles,
            candidates=policy.together,
            turns=policy.turns,
            replicates=spec.replicates,
            workers=workers,
            device=spec.device,
        ),
    )


def measure_speed(
    spec: Spec, runner: Runner, execution: Execution, *, count: int, graphs: tuple[str, ...] = ()
) -> Speed:
    """Seconds of a step and a validation; see :func:`trials.engine.measure.measure_speed`."""
    from trials.engine import measure

    return measure.measure_speed(spec.recipe(execution=execution), runner, count=count, graphs=graphs)


def try_one_step(spec: Spec, runner: Runner, execution: Execution) -> None:
    """One step and one validation of a pack, unless the training loop is the user's own; see
    :func:`trials.engine.measure.try_one_step`."""
    from trials.engine import measure

    if spec.training.loop is None:
        measure.try_one_step(spec.recipe(execution=execution), runner)
