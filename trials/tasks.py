"""What a worker is asked to do and what it answers: plain data that crosses process borders."""

from __future__ import annotations

from dataclasses import dataclass

from trials.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a search: its path below the search's storage and the SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainPack:
    """Train one replicate of a cycle's network once for each of several candidates.

    Attributes:
        cycle: Times that the network has been pruned.
        replicate: Index of the independent seed.
        max_lrs: The candidates: peak learning rates, ascending.
        start: The pruned network that training starts from; None at cycle 0, where it is the initial one.
    """

    cycle: int
    replicate: int
    max_lrs: tuple[float, ...]
    start: StoredFile | None


@dataclass(frozen=True, kw_only=True)
class PruneNetwork:
    """Prune the network that was selected at the previous cycle.

    Attributes:
        cycle: The cycle that the pruned network is for, at least 1.
        replicate: Index of the independent seed.
        parent: The selected, trained network of ``cycle - 1``.
        parent_start: What the parent's training started from (its masks); None if it was never pruned.
    """

    cycle: int
    replicate: int
    parent: StoredFile
    parent_start: StoredFile | None


Task = TrainPack | PruneNetwork


@dataclass(frozen=True, kw_only=True)
class TrialDiagnostics:
    """The numbers of a trial's statistics, and where the rest is; see ``trials.diagnostics.Statistics``.

    Attributes:
        gradient_std: Standard deviation of the weights' gradients.
        update_std: The same times the peak learning rate.
        representation_std: Standard deviation of the hidden representations; NaN without any.
        activation_norm: Average activation norm; NaN without a hidden layer.
        gradient_norm: Average gradient norm of the last whole epoch; NaN if there was none.
        flipped_signs: Share of the weights whose sign changed in the training.
        file: JSON with all of it: the norms of every epoch, the histograms.
    """

    gradient_std: float
    update_std: float
    representation_std: float
    activation_norm: float
    gradient_norm: float
    flipped_signs: float
    file: StoredFile


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The outcome of one trial.

    Attributes:
        cycle: Times that the network has been pruned.
        replicate: Index of the independent seed.
        max_lr: The candidate: peak learning rate.
        accuracy: Validation accuracy in [0, 1] at the best validation; chance level if it diverged.
        test_accuracy: Test accuracy in [0, 1] of the same weights; chance level if it diverged.
        best_step: Optimizer steps until the best validation; 0 if there was none.
        diverged: Whether a loss, an output or a weight became infinite or NaN.
        train_loss: Mean training loss between the last two validations; NaN if it diverged.
        checkpoint: The weights at the best validation.
        started: When its pack started, in seconds since 1970.
        ended: When its pack's training ended, before its files were written, in seconds since 1970.
        pack: How many trials were trained together.
        worker: Host name and process id of the worker.
        diagnostics: Statistics of gradients and activations; None where they were not asked for.
    """

    cycle: int
    replicate: int
    max_lr: float
    accuracy: float
    test_accuracy: float
    best_step: int
    diverged: bool
    train_loss: float
    checkpoint: StoredFile
    started: float
    ended: float
    pack: int
    worker: str
    diagnostics: TrialDiagnostics | None = None


@dataclass(frozen=True, kw_only=True)
class PrunedNetwork:
    """The outcome of one pruning.

    Attributes:
        cycle: The cycle that the pruned network is for.
        replicate: Index of the independent seed.
        start: What that cycle's trainings start from: weights and masks.
        alive: Prunable weights that are left.
        prunable: All prunable weights.
        parameters: All parameters of the network, prunable or not.
        norm_drop: Share of the prunable weights' Euclidean norm that this pruning took, √(1 − ‖after‖² /
            ‖before‖²), in [0, 1].
    """

    cycle: int
    replicate: int
    start: StoredFile
    alive: int
    prunable: int
    parameters: int
    norm_drop: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file that the task needs is missing or is not what was written."""

    file: StoredFile


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The task ended with an error.

    Attributes:
        error: The traceback, or a line that says it all.
        lasting: Whether every task would end so until somebody sees to it: the storage is full or read-only.
    """

    error: str
    lasting: bool = False


Result = tuple[Trial, ...] | PrunedNetwork | Damaged | Failed


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker must know of a search.

    Attributes:
        recipe: How it trains and prunes.
        storage: Folder or URI below which its files lie.
        graphs: What its driver has compiled: see :class:`trials.engine.engine.Engine`.
    """

    recipe: Recipe
    storage: str
    graphs: tuple[str, ...] = ()
