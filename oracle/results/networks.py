"""A search's trained networks, to be taken home: as modules, and as files that torch alone reads."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oracle.cycles import Cycle
from oracle.errors import Refused
from silo.checks import whole
from silo.errors import InvalidInput
from silo.measured import cycles_in_words
from trials.secrets import without_secrets
from trials.tasks import PrunedNetwork, StoredFile, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from oracle.results.results import Results
    from trials.datasets import Dataset
    from trials.runner import Runner

_log = logging.getLogger("oracle")


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A trained network of a decided cycle.

    Attributes:
        module: It, on the CPU, in evaluation mode, with its trained weights; those pruned are 0.
        masks: Name of each prunable weight to its mask: bool, of its shape, True where it is left.
        metadata: What it is, and what inputs it takes, as JSON-able data by name.
        data: The data set that it was trained on.
    """

    module: nn.Module
    masks: dict[str, Tensor]
    metadata: dict[str, Any]
    data: Dataset

    def write(self, path: str | Path) -> Path:
        """Writes it as a file, which is replaced as a whole or not at all.

        Args:
            path: Its ending says what it is. ``.safetensors``: the state, for ``load_state_dict``, and the
                metadata as texts. ``.pt`` or ``.pth``: a dict of ``state_dict``, ``masks`` and ``metadata``,
                for ``torch.load(weights_only=True)``. ``.onnx``: a graph of ``inputs`` [B, …] to ``outputs``.

        Raises:
            InvalidInput: The ending is none of these, the file can't be written, or ONNX can't be.
        """
        from trials.checkpoints import write_durably
        from trials.network_file import check_kind, network_bytes

        path = Path(path)
        example = None if self.data.is_empty else self.data.normalise(self.data.test.first(1)[0])
        content = network_bytes(check_kind(path), self.module, self.masks, self.metadata, example)
        try:
            write_durably(path, content)
        except OSError as error:
            raise InvalidInput(
                f"{path} can't be written ({error.strerror or error}); name another"
            ) from error
        return path


def trained_network(
    results: Results, runner: Runner, cycle: int | None, replicate: int | None
) -> TrainedNetwork:
    """A network of the rate that was chosen at a decided cycle; see :meth:`Results.trained_network`."""
    decided = _decided(results, cycle)
    trial = _trial(results, decided, replicate)
    start = _start(results, trial)
    for what in _changed(results, runner):
        _log.warning(
            "search %r: %s changed since it trained: the network may not be what it was", results.name, what
        )
    if trial.diverged:
        _log.warning(
            "search %r: this training diverged: its weights are those of its best validation before, if any",
            results.name,
        )
    module, masks = _loaded(results, runner, trial, start)
    return TrainedNetwork(
        module=module,
        masks=masks,
        metadata=_metadata(results, trial, start, runner.data),
        data=runner.data,
    )


def _decided(results: Results, cycle: int | None) -> Cycle:
    if not results.decided:
        raise InvalidInput(f"network: search {results.name!r} has decided no cycle yet: let it run on")
    if cycle is None:
        return results.decided[-1]
    wanted = whole("cycle", cycle)
    if wanted >= len(results.decided):
        known = cycles_in_words([each.cycle for each in results.decided])
        raise InvalidInput(f"network: search {results.name!r} has decided {known}, not {wanted}")
    return results.decided[wanted]


def _trial(results: Results, decided: Cycle, replicate: int | None) -> Trial:
    """The best one by validation, the first among equals, if none is named."""
    trials = decided.selected.trials
    if replicate is None:
        return max(trials, key=lambda each: (results.measure.comparable(each.score), -each.replicate))
    wanted = whole("replicate", replicate)
    for each in trials:
        if each.replicate == wanted:
            return each
    known = ", ".join(str(each.replicate) for each in trials)
    raise InvalidInput(
        f"network: search {results.name!r} has no replicate {wanted} at cycle {decided.cycle}; there are "
        f"{known}"
    )


def _start(results: Results, trial: Trial) -> PrunedNetwork | None:
    """What the training began with; None for the dense network."""
    found = {(each.cycle, each.replicate): each for each in results.prunings}
    return found[trial.cycle, trial.replicate] if trial.cycle else None


def _loaded(
    results: Results, runner: Runner, trial: Trial, start: PrunedNetwork | None
) -> tuple[nn.Module, dict[str, Tensor]]:
    from trials.checkpoints import unpack_start, without_rewind
    from trials.pruning.masks import full_masks
    from trials.pruning.prunable import prunable_names
    from trials.state_fit import put_into

    module = runner.built(trial.replicate).eval()
    if start is None:
        recipe = runner.recipe
        masks = full_masks(module, prunable_names(module, keep=recipe.keep, also=recipe.also))
    else:
        masks = unpack_start(_read(results, runner, trial, start.start))[1]
    weights = without_rewind(_read(results, runner, trial, trial.checkpoint))
    if misfit := put_into(module, weights):
        raise Refused(
            f"network: the code of search {results.name!r} builds another network than it trained; of the "
            f"trained weights, {misfit}; put the code back"
        )
    return module, masks


def _read(results: Results, runner: Runner, trial: Trial, file: StoredFile) -> dict[str, Tensor]:
    from trials.checkpoints import DamagedFile

    try:
        return runner.store.read(file)
    except (DamagedFile, OSError) as error:
        reason = str(error) if isinstance(error, DamagedFile) else f"{file.path}: {error.strerror or error}"
        raise Refused(
            f"network: that of search {results.name!r}, cycle {trial.cycle}, replicate {trial.replicate} "
            f"can't be read: {without_secrets(reason)}; give another replicate or cycle"
        ) from error


def _changed(results: Results, runner: Runner) -> list[str]:
    """What of the network's code and the data isn't what the search trained with."""
    from trials.own_code import code_digests

    known = results.identity
    found = ["the data set's contents"] if known.get("data") != runner.data.fingerprint() else []
    code = code_digests([runner.recipe.network.name])
    found += [f"the code of module {name}" for name in code if known.get("code", {}).get(name) != code[name]]
    return found


def _metadata(results: Results, trial: Trial, start: PrunedNetwork | None, data: Dataset) -> dict[str, Any]:
    network = results.spec["network"]
    return {
        "search": results.name,
        "cycle": trial.cycle,
        "replicate": trial.replicate,
        **_candidate(results, trial.max_lr),
        "density": start.alive / start.prunable if start else 1.0,
        "metric": results.measure.metric.name,
        "validation_score": trial.score,
        "test_score": None if math.isnan(trial.test_score) else trial.test_score,
        "network": network["name"],
        "arguments": network["arguments"],
        **_inputs(results, data),
        "versions": dict(results.recorded_runs[-1].versions) if results.recorded_runs else {},
    }


def _candidate(results: Results, value: float) -> dict[str, Any]:
    """What it was trained with, of what was searched."""
    return {"max_lr": results.search_spec.training.max_lr, results.measure.searched: value}


def _inputs(results: Results, data: Dataset) -> dict[str, Any]:
    """What inputs it takes; nothing is known where a loop of the user's own has the data."""
    import torch

    if data.is_empty:
        return {}
    about = {
        "dataset": results.search_spec.dataset.name,
        "input_shape": list(data.input_shape),
        "num_classes": data.num_classes,
    }
    if data.has_ids:
        return {**about, "normalisation": "integers, as they are"}
    return {
        **about,
        "normalisation": "(x / scale - mean) / std, mean and std along the first dimension of an example",
        "scale": 255 if data.train.dtype == torch.uint8 else 1,
        "mean": list(data.mean),
        "std": list(data.std),
    }
