"""A search's trained networks, to be taken home, and how their gradients and activations are distributed."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oracle.cycles import Cycle
from oracle.errors import Refused
from silo.checks import whole
from silo.errors import InvalidInput, SiloOracleError
from silo.measured import cycles_in_words
from trials.secrets import without_secrets
from trials.tasks import STATISTICS, PrunedNetwork, StoredFile, Trial, TrialDiagnostics

if TYPE_CHECKING:
    from torch import Tensor, nn

    from oracle.results.results import Results
    from trials.checkpoints import Store
    from trials.datasets import Dataset
    from trials.diagnostics import Histogram
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
    decided = decided_cycle(results, cycle)
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


def decided_cycle(results: Results, cycle: int | None) -> Cycle:
    """A decided cycle, or the last one.

    Raises:
        InvalidInput: It isn't decided.
    """
    if not results.decided:
        raise InvalidInput(f"cycle: search {results.name!r} has decided none yet: let it run on")
    if cycle is None:
        return results.decided[-1]
    wanted = whole("cycle", cycle)
    if wanted >= len(results.decided):
        known = cycles_in_words([each.cycle for each in results.decided])
        raise InvalidInput(f"cycle: search {results.name!r} has decided {known}, not {wanted}")
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
        f"network: search {results.name!r} has no replicate {wanted} at cycle {decided.cycle}, but {known}"
    )


def _start(results: Results, trial: Trial) -> PrunedNetwork | None:
    """What the training began with; None for the dense network."""
    found = {(each.cycle, each.replicate): each for each in results.prunings}
    return found[trial.cycle, trial.replicate] if trial.cycle else None


def _loaded(
    results: Results, runner: Runner, trial: Trial, start: PrunedNetwork | None
) -> tuple[nn.Module, dict[str, Tensor]]:
    from trials.checkpoints import unpack_start, without_rewind
    from trials.pruning.masks import full_masks, prunable_names
    from trials.weights import put_into

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
    from trials.registry import code_digests

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


@dataclass(frozen=True, kw_only=True)
class CycleDistributions:
    """Gradients and hidden representations of one cycle's selected networks (Fig. 1 of the SILO paper).

    Attributes:
        cycle: m.
        density: Share of the prunable weights that are left, in (0, 1].
        max_lr: Peak learning rate that the networks were trained with.
        means: The trials' statistics, mean over the replicates; NaN where a replicate's is.
        gradients: Histogram of the first replicate's gradients; None if its file is gone.
        representations: Likewise of its hidden representations.
    """

    cycle: int
    density: float
    max_lr: float
    means: TrialDiagnostics
    gradients: Histogram | None
    representations: Histogram | None


def cycle_distributions(cycles: Sequence[Cycle], storage: str) -> tuple[CycleDistributions, ...]:
    """The statistics of the cycles whose selected networks have some.

    Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
    Networks, TMLR 08/2023, arXiv 2212.06144, Fig. 1, Section 3.1, Definitions 1 and 2.

    Args:
        cycles: The decided cycles, ascending.
        storage: Folder or URI of the search's files. A file that is missing, damaged or out of reach leaves
            its cycle without histograms.
    """
    noted = [[t.diagnostics for t in each.selected.trials if t.diagnostics] for each in cycles]
    files = _Files(storage) if any(noted) else None
    pairs = zip(cycles, noted, strict=True)
    return tuple(_distributions(each, notes, files) for each, notes in pairs if notes and files)


def diagnosed_rates(distributions: Sequence[CycleDistributions]) -> tuple[float, ...]:
    """max_lr(m) = max_lr(0)·σ(0) / σ(m), σ the standard deviation of the weights' gradients.

    Section 3.1 (3) of the paper: a weight moves by α·∂L/∂w. The rate of the dense network is taken to be well
    tuned; gradients get narrower as the network is pruned (Fig. 1a: from 8.4e-3 to 3.3e-3 at 13.4 % of the
    weights), and "to preserve the same weight updating size" the rate is to grow by as much. So this is the
    rate at which the updates of the peak are as wide as the dense network's. Remark 2 wants the average
    gradient norm (Definition 2) kept likewise, by a bound of unknown constants: ``silo.theory.max_lr_bound``.

    What it leaves out: σ is measured at the best validation (Fig. 1: "when the network converges"), while the
    peak rate acts early; and on networks that were trained with their own cycle's optimum. A network that
    fits its data worse has wider gradients however sparse it is, and the rate then falls: in the demo on
    digits σ grows fivefold by cycle 15, while the Oracle's rate rises threefold. The argument is about plain
    SGD: momentum changes all cycles alike, an optimizer that scales its gradients undoes it.

    Args:
        distributions: Those of a search, ascending; the first one stands for the dense network.

    Returns:
        A learning rate per cycle; NaN where no gradient spreads, so that nothing follows.
    """
    if not distributions:
        return ()
    dense = distributions[0]
    return tuple(
        _scaled(dense.max_lr, dense.means.gradient_std, each.means.gradient_std) for each in distributions
    )


def _scaled(rate: float, dense: float, pruned: float) -> float:
    if not (0 < dense < math.inf and 0 < pruned < math.inf):
        return math.nan
    return rate * (dense / pruned)


def _distributions(cycle: Cycle, notes: Sequence[TrialDiagnostics], files: _Files) -> CycleDistributions:
    means: dict[str, Any] = {
        name: math.fsum(getattr(note, name) for note in notes) / len(notes) for name in STATISTICS
    }
    gradients, representations = files.histograms(notes[0].file)
    return CycleDistributions(
        cycle=cycle.cycle,
        density=cycle.density,
        max_lr=cycle.chosen,
        means=replace(notes[0], **means),
        gradients=gradients,
        representations=representations,
    )


class _Files:
    """The files with the histograms; a storage that is out of reach is asked once."""

    def __init__(self, storage: str) -> None:
        from trials.checkpoints import Store  # imports torch

        self._store: Store | None = None
        try:
            self._store = Store(storage)
        except SiloOracleError:
            return

    def histograms(self, file: StoredFile) -> tuple[Histogram | None, Histogram | None]:
        """Of the gradients and of the hidden representations; None for what can't be read."""
        if self._store is None:
            return None, None
        try:
            data = json.loads(self._store.read_bytes(file))
        except (SiloOracleError, ValueError):
            return None, None
        except OSError:
            self._store = None
            return None, None
        return _histogram(data.get("gradients")), _histogram(data.get("representations"))


def _histogram(data: Any) -> Histogram | None:
    from trials.diagnostics import Histogram

    if data is None:
        return None
    return Histogram(low=data["low"], high=data["high"], counts=tuple(data["counts"]))
