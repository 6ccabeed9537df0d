"""The columns of a search's frames: their types and what they mean."""

from __future__ import annotations

INT, FLOAT, TRUTH, MAYBE, TEXT, TIME = "int64", "float64", "bool", "boolean", "string", "datetime64[us, UTC]"

Columns = dict[str, tuple[str, str]]

_PLACE: Columns = {
    "cycle": (INT, "m, how often the network has been pruned"),
    "density": (FLOAT, "share of the prunable weights that is left, in (0, 1], mean over the replicates"),
}
_MEANS: Columns = {
    "validation_accuracy_mean": (FLOAT, "in [0, 1], mean over the replicates"),
    "validation_accuracy_std": (FLOAT, "its sample standard deviation; empty with one replicate"),
    "test_accuracy_mean": (FLOAT, "in [0, 1], mean over the replicates"),
    "test_accuracy_std": (FLOAT, "its sample standard deviation; empty with one replicate"),
}
_STATISTICS: Columns = {
    "gradient_std": (FLOAT, "standard deviation of the weights' gradients; empty without diagnostics"),
    "update_std": (FLOAT, "the same times max_lr"),
    "representation_std": (FLOAT, "standard deviation of the hidden representations"),
    "activation_norm": (FLOAT, "average activation norm (Definition 1 of the SILO paper)"),
    "gradient_norm": (FLOAT, "average gradient norm of the last epoch (Definition 2)"),
}

INTERVALS: Columns = {
    **_PLACE,
    "density_all": (FLOAT, "the same share of all parameters"),
    "optimum": (FLOAT, "Oracle optimized max_lr"),
    "low": (FLOAT, "lower end of the Oracle optimized interval"),
    "high": (FLOAT, "upper end of the Oracle optimized interval"),
    "low_cut": (TRUTH, "whether the grid ended at low, so that the interval may reach further down"),
    "high_cut": (TRUTH, "whether the grid ended at high, so that the interval may reach further up"),
    "detached": (
        TEXT,
        "rates within the tolerance that a worse one separates from the interval; ';' between them",
    ),
    "validation_accuracy_mean": (FLOAT, "of the optimum, in [0, 1], mean over the replicates"),
    "validation_accuracy_std": (FLOAT, "its sample standard deviation; empty with one replicate"),
    "test_accuracy_mean": (FLOAT, "of the optimum, in [0, 1], mean over the replicates"),
    "test_accuracy_std": (FLOAT, "its sample standard deviation; empty with one replicate"),
    "silo_predicted": (FLOAT, "max_lr of SILO's curve with the spec's numbers; empty without them"),
    "silo_inside": (MAYBE, "whether it lies in [low, high]"),
    "fitted": (FLOAT, "max_lr of the fitted curve"),
    "fitted_inside": (MAYBE, "whether it lies in [low, high]"),
}

TRIALS: Columns = {
    "cycle": (INT, "m, how often the network has been pruned"),
    "replicate": (INT, "index of the independent seed"),
    "max_lr": (FLOAT, "peak learning rate"),
    "density": (FLOAT, "share of the prunable weights that is left, in (0, 1]"),
    "validation_accuracy": (FLOAT, "in [0, 1], at the best validation; chance level if it diverged"),
    "test_accuracy": (FLOAT, "in [0, 1], of the same weights"),
    "best_step": (INT, "optimizer steps until the best validation; 0 if there was none"),
    "diverged": (TRUTH, "whether a loss, an output or a weight became infinite or NaN"),
    "train_loss": (FLOAT, "mean training loss between the last two validations; empty if it diverged"),
    "selected": (TRUTH, "whether its cycle is decided and its rate the optimum: the network pruned next"),
    **_STATISTICS,
    "flipped_signs": (FLOAT, "share of the weights whose sign changed in the training"),
    "started": (TIME, "when its pack started, UTC"),
    "ended": (TIME, "when its pack's training ended, UTC, before its files were written"),
    "pack": (INT, "how many trainings ran together, in the same time on the same worker"),
    "worker": (TEXT, "host name and process id of the worker"),
    "checkpoint": (TEXT, "file of the weights, below the search's storage; deleted unless selected"),
    "sha256": (TEXT, "its checksum"),
}

CANDIDATES: Columns = {
    **_PLACE,
    "max_lr": (FLOAT, "peak learning rate"),
    **_MEANS,
    "diverged": (INT, "replicates that diverged"),
    "optimum": (TRUTH, "whether it is the Oracle optimized max_lr"),
    "inside": (TRUTH, "whether it lies in the Oracle optimized interval"),
    "detached": (TRUTH, "whether it is within the tolerance, but beyond a worse rate"),
}

_NUMBERS = {
    "q": "cycles before the curve rises",
    "beta": "β, its steepness",
    "epsilon": "ε, the rate it starts from",
    "delta": "δ, how much it rises in all, a learning rate",
}

FITS: Columns = {
    "curve": (TEXT, "predicted (the spec's numbers), least squares, and inside all or fewest misses"),
    "q": (INT, _NUMBERS["q"]),
    **{name: (FLOAT, _NUMBERS[name]) for name in ("beta", "epsilon", "delta")},
    "pruning_rate": (FLOAT, "p, share of the remaining weights pruned after each cycle"),
    "inside": (
        INT,
        "cycles in whose interval, as it is stated, the curve lies",
    ),
    "missed_cycles": (TEXT, "the other cycles; ';' between them"),
    "rmse": (FLOAT, "root of the mean squared distance to the optima, a learning rate"),
    "weighted_rmse": (FLOAT, "the same with the weights of the fit; of the least-squares curve alone"),
    **{
        f"{name}_{end}": (FLOAT, f"{word} end of {name}'s central 95 % over the bootstrap's resamples")
        for name in _NUMBERS
        for end, word in (("low", "lower"), ("high", "upper"))
    },
}

RIVALS: Columns = {
    "rival": (TEXT, "what kind of curve"),
    "formula": (TEXT, "max_lr(m) in its numbers"),
    "values": (TEXT, "those numbers by name, as JSON"),
    "parameters": (INT, "how many numbers were fitted"),
    "s_shaped": (TRUTH, "whether it can rise slowly, fast and slowly again wherever the data do"),
    "weighted_rmse": (FLOAT, "root of the weighted mean squared distance to the optima, a learning rate"),
    "loo_error": (FLOAT, "the same of predictions of left-out cycles; empty with one cycle"),
    "aicc": (FLOAT, "corrected information criterion, only differences mean anything; empty with few cycles"),
}

COSTS: Columns = {
    "policy": (TEXT, "what sets the rates"),
    "trainings": (INT, "networks trained in all decided cycles and replicates"),
    "worker_hours": (FLOAT, "hours of one worker"),
    "measured": (TRUTH, "whether it was run; else estimated from the Oracle's trainings"),
    "last_test_accuracy": (FLOAT, "in [0, 1], of the last decided cycle; empty where it is not known"),
    "test_accuracies": (TEXT, "of every decided cycle, ';' between them; empty where not known"),
    "explanation": (TEXT, "where the numbers come from"),
}

DIAGNOSTICS: Columns = {
    **_PLACE,
    "max_lr": (FLOAT, "peak learning rate of the selected networks, whose means over the replicates follow"),
    **_STATISTICS,
    "predicted": (FLOAT, "max_lr at which updates are as wide as the dense network's: from gradient_std"),
}

RUNS: Columns = {
    "started": (TIME, "UTC"),
    "ended": (TIME, "UTC; empty if it has not ended, or was killed"),
    "state": (TEXT, "running, done, failed or interrupted"),
    "driver": (TEXT, "what drove it"),
    "host": (TEXT, "where"),
    "versions": (TEXT, "package to version, as JSON"),
    "error": (TEXT, "first traceback of a run that failed"),
}

FRAMES: dict[str, Columns] = {
    "trials": TRIALS,
    "candidates": CANDIDATES,
    "intervals": INTERVALS,
    "fits": FITS,
    "rivals": RIVALS,
    "costs": COSTS,
    "diagnostics": DIAGNOSTICS,
    "runs": RUNS,
}
