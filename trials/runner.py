"""A worker's side of a search: runs tasks one by one, and keeps the network and the data set in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.checkpoints import (
    DamagedFile,
    StorageFailed,
    Store,
    pack_start,
    rewind_of,
    unpack_start,
    with_rewind,
)
from trials.datasets import Dataset, LoadDataset, key_of, load_dataset, split_seed
from trials.diagnostics import Statistics
from trials.engine import Engine, compile_if_possible, named_tensors
from trials.engine.compile_cache import keep_to_own_folder
from trials.engine.graphs import in_a_line
from trials.loops import run_loop
from trials.networks import build_network
from trials.objectives import make_loss
from trials.process import (
    DeviceLost,
    check_answers,
    derive_seed,
    free_memory,
    is_out_of_memory,
    keep_to_share,
    name_of,
    peak_memory,
    raise_if_lost,
    settings_kept,
)
from trials.pruning import prune
from trials.pruning.masks import Sparsity, alive, apply_masks, full_masks, norm_drop, prunable_names, sparsity
from trials.registry import one_line, resolve
from trials.secrets import without_secrets
from trials.tasks import (
    Damaged,
    Failed,
    Job,
    PrunedNetwork,
    PruneNetwork,
    Recipe,
    Result,
    StoredFile,
    Task,
    TrainingCurve,
    TrainPack,
    Trial,
    TrialDiagnostics,
    WeightsFingerprint,
    rate_at,
)
from trials.training import TrainedCopy, train_pack
from trials.weights import InitialWeightsChanged, WeightsFile, check_initial, initial_weights

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_HOPELESS = (
    *(InvalidInput, ImportError, NameError, AttributeError, TypeError),
    *(FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError),
)
"""Errors that come again: names and arguments that are wrong, files that are not there. Others may pass:
memory is short now, a device or a disk is out of order."""


class Runner:
    """Runs the tasks of one search.

    Args:
        recipe: How the search trains and prunes.
        storage: Folder or URI below which the search's files lie.
        device: Where to compute, if not on the recipe's device: what is looked at before a search needs none.
        initial: Fingerprints of the initial weights by replicate, as the search began with them; a network
            that begins with others is refused.
        loaded: Data sets in memory already, to be shared among runners on the same device.
        load: Loads the data sets that are not, on the CPU.
        graphs: Names of graphs that another process has compiled: see :class:`trials.engine.Engine`.
        share: The part of a GPU's memory that this process may take, in (0, 1].
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        storage: str,
        device: str | None = None,
        initial: Sequence[WeightsFingerprint] = (),
        loaded: dict[str, Dataset] | None = None,
        load: LoadDataset = load_dataset,
        graphs: tuple[str, ...] = (),
        share: float = 1.0,
    ) -> None:
        torch.set_num_threads(recipe.threads)
        keep_to_own_folder()  # a network may compile itself
        self.recipe, self.store = recipe, Store(storage)
        if (device or recipe.device) != "cpu":
            # Before CUDA starts: graphs that are replayed side by side would wait for each other's queue.
            os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
        self.device, self._initial = torch.device(device or recipe.device), initial
        self._storage = storage
        self._starts: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
        self._loaded, self._load, self._graphs = {} if loaded is None else loaded, load, graphs
        self._share, self._fits = share, recipe.execution.pack_size
        self._engine: Engine | None = None
        self._imported = False
        keep_to_share(self.device, share)

    def begin(self, initial: Sequence[WeightsFingerprint]) -> None:
        """Keeps the weights that a search begins with, so that all of its workers start from the same bits.

        Raises:
            InitialWeightsChanged: They are others here.
            StorageFailed: The storage is full or read-only.
        """
        self._initial = initial
        for replicate in range(len(initial)):
            self.initial(replicate)

    def on(self, device: str) -> Runner:
        """The same worker on another device."""
        return Runner(self.recipe, storage=self._storage, device=device, load=self._load, share=self._share)

    @cached_property
    def data(self) -> Dataset:
        """The data set, on the device."""
        dataset, key = self.recipe.dataset, key_of(self.recipe)
        if key not in self._loaded:
            loaded = self._load(dataset.name, dataset.arguments, seed=split_seed(self.recipe))
            self._loaded[key] = loaded.to(self.device)
        return self._loaded[key]

    @cached_property
    def checkpoint(self) -> WeightsFile | None:
        """The weights that networks begin with, if they come from a file; see :meth:`WeightsFile.read`."""
        return None if self.recipe.checkpoint is None else WeightsFile.read(self.recipe.checkpoint)

    def network(self, replicate: int) -> nn.Module:
        """A network with the initial weights of a replicate, on the CPU.

        Raises:
            InvalidInput: It can't be built, or the weights of the checkpoint don't fit.
            InitialWeightsChanged: They are not those that the search began with.
        """
        module = self.built(replicate)
        if self.checkpoint is not None:
            self.checkpoint.put_into(module)
        check_initial(named_tensors(module), self._initial, replicate)
        return module

    def built(self, replicate: int) -> nn.Module:
        """A network as its code draws it for a replicate, on the CPU."""
        return build_network(
            self.recipe.network.name,
            self.recipe.network.arguments,
            input_shape=None if self.data.is_empty else self.data.input_shape,
            num_classes=self.data.num_classes,
            classified=self.data.is_classified and self.recipe.loop is None,
            input_dtype=torch.int64 if self.data.has_ids else torch.float32,
            seed=derive_seed(self.recipe.seed, replicate, "initial weights"),
        )

    def initial(self, replicate: int) -> dict[str, Tensor]:
        """Parameters and buffers that a replicate begins with; see :func:`trials.weights`."""
        return initial_weights(
            self.store, replicate, self._initial, lambda: named_tensors(self.network(replicate))
        )

    @cached_property
    def _module(self) -> nn.Module:
        return self.network(0).to(self.device)

    def _engine_for(self, together: int) -> Engine:
        """The engine for packs of at most so many; one for others is let go with its graphs."""
        execution = self.recipe.execution
        if self._engine is None or self._engine.recipe.execution.pack_size != together:
            self._engine = None
            recipe = dataclasses.replace(
                self.recipe, execution=dataclasses.replace(execution, pack_size=together)
            )
            graphs = self._graphs if together == execution.pack_size else ()
            self._engine = Engine(self._module, recipe, compiler=compile_if_possible, graphs=graphs)
        return self._engine

    def forget_recordings(self) -> None:
        """Lets go of CUDA graphs, which hold memory; they are recorded again when they are needed."""
        if self._engine is not None and self.recipe.execution.captured:
            self._free()

    def _free(self) -> None:
        self._engine = None
        free_memory(self.device)

    def run(self, task: Task) -> Result:
        """Runs one task; whatever goes wrong is part of the answer, but for interrupts.

        Raises:
            DeviceLost: This process can do no task any more.
        """
        return self.compute(task)()

    def compute(self, task: Task) -> Callable[[], Result]:
        """The first half of :meth:`run`: everything but the writing of files.

        Returns:
            The second half. It may run in another thread while this one computes its next task; its result is
            there once all files are.

        Raises:
            DeviceLost: See :meth:`run`.
        """

        def first() -> Callable[[], Result]:
            self._import_once()
            try:
                with settings_kept():
                    return self._train(task) if isinstance(task, TrainPack) else self._prune(task)
            except Exception as error:
                raise_if_lost(error, self.device)
                raise

        second = _answering(first, hopeless=_HOPELESS)
        if isinstance(second, Failed) and second.memory:
            self._free()
        return partial(_answering, second) if callable(second) else lambda: second

    def _import_once(self) -> None:
        """Imports what the recipe names: what that sets holds for all tasks. Errors come with its use."""
        if not self._imported:
            self._imported = True
            for component in self.recipe.components.values():
                with suppress(Exception):
                    resolve("component", component.name, {})

    def _train(self, task: TrainPack) -> Callable[[], tuple[Trial, ...]]:
        weights, masks = self._start(task)
        copies: list[TrainedCopy] = []
        where: list[dict[str, Any]] = []
        while left := task.max_lrs[len(copies) :]:
            most = min(self._fits, task.together or self._fits)
            some = left[: -(-len(left) // -(-len(left) // most))]  # as even as can be
            started, begun = time.time(), time.monotonic()
            try:
                trained = self._trained(task, some, weights, masks, most)
            except Exception as error:
                if len(some) == 1 or not is_out_of_memory(error):
                    raise
                self._fits = -(-len(some) // 2)
                _log.warning("%d candidates together ran out of memory: %s", len(some), in_a_line(error))
                trained = []
            if not trained:  # out of the handler: a traceback holds all that was computed with
                self._free()
                continue
            copies += trained
            where += [
                {
                    "started": started,
                    "ended": time.time(),
                    "wall_seconds": time.monotonic() - begun,
                    "pack": len(some),
                    "halved": most < self.recipe.execution.pack_size and len(some) < len(task.max_lrs),
                    "worker": f"{platform.node()}:{os.getpid()}",
                    "gpu": name_of(self.device),
                    "peak_memory": peak_memory(self.device),
                }
            ] * len(some)
        return partial(self._store_trained, task, copies, where)

    def _trained(
        self,
        task: TrainPack,
        max_lrs: tuple[float, ...],
        weights: dict[str, Tensor],
        masks: dict[str, Tensor],
        most: int,
    ) -> list[TrainedCopy]:
        """Some of a task's candidates, trained in one pack of those of which there are ``most``."""
        if self.recipe.loop is not None:
            return [self._by_loop(task, value, weights, masks) for value in max_lrs]
        if self.recipe.over is not None:
            return [
                copy
                for recipe, max_lr in map(self.recipe.of_candidate, max_lrs)
                for copy in self._by_engine(task, recipe, (max_lr,), weights, masks)
            ]
        engine = self._engine_for(most)
        return self._by_engine(task, engine.recipe, max_lrs, weights, masks, engine)

    def _by_engine(
        self,
        task: TrainPack,
        recipe: Recipe,
        max_lrs: Sequence[float],
        weights: dict[str, Tensor],
        masks: dict[str, Tensor],
        engine: Engine | None = None,
    ) -> list[TrainedCopy]:
        return train_pack(
            module=self._module,
            start=weights,
            masks=masks,
            data=self.data,
            recipe=recipe,
            cycle=task.cycle,
            replicate=task.replicate,
            max_lrs=max_lrs,
            engine=engine,
        )

    def _by_loop(
        self, task: TrainPack, value: float, weights: dict[str, Tensor], masks: dict[str, Tensor]
    ) -> TrainedCopy:
        """A training by the user's own loop, on a network of its own: nothing of another's is left in it."""
        recipe, max_lr = self.recipe.of_candidate(value)
        return run_loop(
            recipe,
            module=self.network(task.replicate),
            start=weights,
            masks=masks,
            data=self.data,
            cycle=task.cycle,
            replicate=task.replicate,
            max_lr=max_lr,
            device=self.device,
        )

    def _store_trained(
        self, task: TrainPack, copies: list[TrainedCopy], where: list[dict[str, Any]]
    ) -> tuple[Trial, ...]:
        folder = f"cycle-{task.cycle:02d}/replicate-{task.replicate}"
        stored = [
            self.store.write(f"{folder}/max_lr-{max_lr!r}.safetensors", with_rewind(copy.state, copy.rewind))
            for max_lr, copy in zip(task.max_lrs, copies, strict=True)
        ]
        noted = [
            self._note(f"{folder}/max_lr-{max_lr!r}.diagnostics.json", copy.diagnostics)
            for max_lr, copy in zip(task.max_lrs, copies, strict=True)
        ]
        return tuple(
            Trial(
                cycle=task.cycle,
                replicate=task.replicate,
                max_lr=max_lr,
                **copy.numbers(),
                **place,
                checkpoint=file,
                diagnostics=note,
                curve=TrainingCurve.of(copy.curve),
            )
            for max_lr, copy, place, file, note in zip(
                task.max_lrs, copies, where, stored, noted, strict=True
            )
        )

    def _note(self, path: str, statistics: Statistics | None) -> TrialDiagnostics | None:
        """Stores a trial's statistics as JSON; None where there are none."""
        if statistics is None:
            return None
        norms, kept = statistics.gradient_norms, {each.name for each in dataclasses.fields(TrialDiagnostics)}
        return TrialDiagnostics(
            **{name: value for name, value in vars(statistics).items() if name in kept},
            gradient_norm=norms[-1] if norms else math.nan,
            file=self.store.write_bytes(path, json.dumps(statistics.to_dict(), allow_nan=False).encode()),
        )

    def _prune(self, task: PruneNetwork) -> Callable[[], PrunedNetwork]:
        recipe, module = self.recipe, self.network(task.replicate)
        trained = self.store.read(task.parent)
        names = prunable_names(module, keep=recipe.keep, also=recipe.also)
        masks, rewind = full_masks(module, names), rewind_of(trained)
        if task.parent_start is not None:
            started = self.store.read(task.parent_start)
            masks, rewind = unpack_start(started)[1], rewind_of(started)
        state = {name: tensor.clone() for name, tensor in self.initial(task.replicate).items()}
        if recipe.retraining != "weight_rewinding":
            state = {name: trained.get(name, tensor) for name, tensor in state.items()}
        elif recipe.rewind_to:
            state = {name: rewind.get(name, tensor).clone() for name, tensor in state.items()}
        _load(module, trained)
        pruned = prune(
            recipe.pruner.name,
            recipe.pruner.arguments,
            module=module,
            masks=masks,
            data=self.data,
            batch_size=recipe.batch_size,
            rate=rate_at(recipe.pruning_rate, task.cycle),
            seed=derive_seed(recipe.seed, task.replicate, task.cycle, "prune"),
            also=recipe.also,
            loss=make_loss(recipe.loss),
        )
        file = f"cycle-{task.cycle:02d}/replicate-{task.replicate}/start.safetensors"
        tensors = pack_start(apply_masks(state, pruned), pruned, rewind)
        # Filter pruning masks biases and BatchNorm too: those are no prunable weights.
        prunable = {name: pruned[name] for name in names}
        pruned_network = partial(
            PrunedNetwork,
            cycle=task.cycle,
            replicate=task.replicate,
            alive=alive(prunable),
            prunable=sum(mask.numel() for mask in prunable.values()),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            norm_drop=norm_drop(trained, masks, prunable),
        )
        return lambda: pruned_network(start=self.store.write(file, tensors))

    def sparsity(self, start: StoredFile) -> Sparsity:
        """How sparse the network is that a cycle starts from.

        Raises:
            DamagedFile: The file is missing or its checksum is another.
        """
        return sparsity(unpack_start(self.store.read(start))[1], self.built(0), self.recipe.also)

    def _start(self, task: TrainPack) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights and masks that a pack starts from; the last few are kept in memory."""
        key = f"initial {task.replicate}" if task.start is None else task.start.sha256
        if key not in self._starts:
            while len(self._starts) >= 4:
                self._starts.pop(next(iter(self._starts)))
            if task.start is None:
                module = self.network(task.replicate)
                names = prunable_names(module, keep=self.recipe.keep, also=self.recipe.also)
                self._starts[key] = (self.initial(task.replicate), full_masks(module, names))
            else:
                self._starts[key] = unpack_start(self.store.read(task.start))
        return self._starts[key]


def _answering(work: Callable[[], _T], hopeless: tuple[type[Exception], ...] = ()) -> _T | Damaged | Failed:
    """The result of some work, or the answer that tells what went wrong with it.

    Args:
        work: The work.
        hopeless: Errors that it would end with again.
    """
    try:
        return work()
    except DamagedFile as error:
        return Damaged(file=error.file)
    except (StorageFailed, InitialWeightsChanged) as error:
        return Failed(error=str(error), lasting=True)
    except InvalidInput as error:  # a line that says it all
        return Failed(error=without_secrets(str(error)), final=InvalidInput in hopeless)
    except DeviceLost:
        raise
    except Exception as error:
        # Here, where it is known what references stood for.
        said, memory = traceback.format_exc(), is_out_of_memory(error)
        if len(str(error).strip().splitlines()) > 1:
            said += f"{type(error).__name__}: {one_line(error)}\n"
        if memory:
            said += f"out of memory: take a smaller batch_size, or give a worker more ({in_a_line(error)})"
        return Failed(
            error=without_secrets(said), final=isinstance(error, hopeless) and not memory, memory=memory
        )


@torch.no_grad()
def _load(module: nn.Module, trained: dict[str, Tensor]) -> None:
    """Puts a trained state into a network. Buffers that are not persistent are in no file, and stay."""
    parameters = dict(module.named_parameters())
    for name, tensor in named_tensors(module).items():
        if name in trained or name in parameters:
            tensor.copy_(trained[name])


class Runners:
    """A worker's side of several searches: a runner for each, made when it is first needed.

    Args:
        jobs: The searches by name.
        load: Loads the data sets, on the CPU.

    Raises:
        DeviceLost: This process can't use the device that one of them trains on.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        *,
        load: LoadDataset = load_dataset,
    ) -> None:
        self._jobs, self._load = jobs, load
        self._runners: dict[str, Runner] = {}
        self._loaded: dict[str, Dataset] = {}
        for device in {job.recipe.device for job in jobs.values()}:
            check_answers(torch.device(device))

    def run(self, name: str, task: Task) -> Result:
        """Runs a task of a search; see :meth:`Runner.run`."""
        return self.compute(name, task)()

    def prepare(self, name: str) -> None:
        """Makes a search's runner and loads its data; what fails here fails in its first task, too."""
        with contextlib.suppress(Exception):
            _ = self._runner(name).data

    def compute(self, name: str, task: Task) -> Callable[[], Result]:
        """The first half of a task of a search, and the second to be called; see :meth:`Runner.compute`."""
        if isinstance(
            task, TrainPack
        ):  # recorded graphs hold a device's memory, whether they are used or not
            for other in self._runners.keys() - {name}:
                self._runners[other].forget_recordings()
        return self._runner(name).compute(task)

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            job = self._jobs[name]
            self._runners[name] = Runner(
                job.recipe,
                storage=job.storage,
                graphs=job.graphs,
                initial=job.initial,
                share=job.share,
                loaded=self._loaded,
                load=self._load,
            )
        return self._runners[name]
