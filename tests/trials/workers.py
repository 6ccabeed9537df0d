"""Small workers, and the tasks and files of small searches."""

import dataclasses

from tests.trials.toys import toy_recipe
from trials.runner import Runner
from trials.tasks import Component, Failed, PrunedNetwork, PruneNetwork, TrainPack

RATES = (0.05, 0.2)
WARM = Component(name="warmup_drops", arguments={"warmup": 1, "drops": [1.5], "factor": 0.5})


def recipe(**changes):
    fields = {
        "network": Component(name="fc", arguments={"hidden": [12, 8]}),
        "length": 2,
        "batch_size": 128,
        "schedule": WARM,
        "pack_size": 8,
    }
    return toy_recipe(**fields | changes)


def runner(folder, **changes):
    return Runner(recipe(**changes), storage=str(folder))


def pack(cycle=0, replicate=0, start=None, max_lrs=RATES):
    return TrainPack(cycle=cycle, replicate=replicate, max_lrs=max_lrs, start=start)


def pruning(parent, *, cycle=1, replicate=0, parent_start=None):
    return PruneNetwork(cycle=cycle, replicate=replicate, parent=parent, parent_start=parent_start)


def chain(worker, cycles, replicate=0):
    """Trains, prunes the last candidate, and so on; all outcomes in order."""
    outcomes, start = [], None
    for cycle in range(cycles):
        trained = worker.run(pack(cycle, replicate, start))
        assert not isinstance(trained, Failed), trained.error
        task = pruning(trained[-1].checkpoint, cycle=cycle + 1, replicate=replicate, parent_start=start)
        pruned = worker.run(task)
        assert isinstance(pruned, PrunedNetwork), pruned
        outcomes += [trained, pruned]
        start = pruned.start
    return outcomes


def opened(worker, pruned):
    """Weights and masks of a start file."""
    tensors = worker.store.read(pruned.start)
    parts = ({}, {})
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        parts[("weights", "masks").index(kind)][rest] = tensor
    return parts


def without_times(outcome):
    return dataclasses.replace(outcome, started=0.0, ended=0.0, wall_seconds=0.0, peak_memory=0)
