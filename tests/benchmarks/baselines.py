"""Other ways to run the demo's first cycle: what people have, with the very training that the service does.

    python -m tests.benchmarks.baselines RECIPE_JSON STORAGE REPLICATE MAX_LR

trains one candidate and prints its accuracy and seconds: that is what the shell loop calls.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oracle.spec import Spec
from trials.tasks import Execution, TrainPack

Run = dict[str, Any]


def train_one(runner: Any, replicate: int, max_lr: float) -> dict[str, float]:
    """One training of the first cycle, alone; ``runner`` is a trials.runner.Runner."""
    task = TrainPack(cycle=0, replicate=replicate, max_lrs=(max_lr,), start=None)
    (trial,) = runner.run(task)
    return {"max_lr": max_lr, "accuracy": trial.score, "seconds": trial.ended - trial.started}


def candidates(spec: Spec) -> list[tuple[int, float]]:
    """Replicate and rate of each trial of the first cycle."""
    return [(r, value) for value in spec.policy_of_rates().rates for r in range(spec.replicates)]


def plain_ray_tune(spec: Spec, workers: int) -> Run:
    """``tune.grid_search`` over a function, as Ray's documentation shows it: a fresh actor per trial."""
    recipe, storage = spec.recipe(execution=Execution()), spec.storage_root() + "-plain"

    def trainable(config: dict[str, Any]) -> None:
        import torch
        from ray import tune

        from tests.benchmarks.baselines import train_one
        from trials.runner import Runner

        torch.set_num_threads(1)
        runner = Runner(recipe, storage=storage)
        tune.report(train_one(runner, config["replicate"], config["max_lr"]))

    return _tuned(spec, trainable, workers, reuse_actors=False)


def ray_tune_reusing_actors(spec: Spec, workers: int) -> Run:
    """The same over a class with ``reuse_actors``: torch and the data stay in memory."""
    from ray import tune

    recipe, storage = spec.recipe(execution=Execution()), spec.storage_root() + "-reused"

    class Trainable(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            from trials.runner import Runner

            self.runner = Runner(recipe, storage=storage)
            self.config = config

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.config = new_config
            return True

        def step(self) -> dict[str, Any]:
            return train_one(self.runner, self.config["replicate"], self.config["max_lr"]) | {"done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            pass

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    return _tuned(spec, Trainable, workers, reuse_actors=True)


def _tuned(spec: Spec, trainable: Any, workers: int, *, reuse_actors: bool) -> Run:
    from ray import tune

    grid = {
        "max_lr": tune.grid_search(list(spec.policy_of_rates().rates)),
        "replicate": tune.grid_search(list(range(spec.replicates))),
    }
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=grid,
        tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
        run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
    )
    begin = time.perf_counter()
    found = [result.metrics for result in tuner.fit()]
    return _run(begin, found, workers)


def optuna_grid(spec: Spec, workers: int) -> Run:
    """Optuna's GridSampler on SQLite in one process, one training after another."""
    import optuna
    import torch

    from trials.runner import Runner

    del workers
    torch.set_num_threads(1)
    folder = tempfile.mkdtemp()
    begin = time.perf_counter()
    runner = Runner(spec.recipe(execution=Execution()), storage=spec.storage_root() + "-optuna")
    grid = {"max_lr": list(spec.policy_of_rates().rates), "replicate": list(range(spec.replicates))}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/optuna.db", sampler=optuna.samplers.GridSampler(grid, seed=0)
    )
    found = []

    def objective(trial: optuna.Trial) -> float:
        max_lr = trial.suggest_categorical("max_lr", grid["max_lr"])
        found.append(train_one(runner, trial.suggest_categorical("replicate", grid["replicate"]), max_lr))
        return found[-1]["accuracy"]

    study.optimize(objective)
    return _run(begin, found, 1)


def shell_loop(spec: Spec, workers: int) -> Run:
    """``xargs -P``: one Python process per training."""
    storage = spec.storage_root() + "-shell"
    folder = Path(tempfile.mkdtemp())
    (folder / "recipe.pickle").write_bytes(pickle.dumps(spec.recipe(execution=Execution())))
    lines = "\n".join(f"{folder}/recipe.pickle {storage} {r} {value!r}" for r, value in candidates(spec))
    command = ["xargs", "-P", str(workers), "-L", "1", sys.executable, "-m", "tests.benchmarks.baselines"]
    begin = time.perf_counter()
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return _run(begin, [json.loads(line) for line in done.stdout.splitlines()], workers)


def _run(begin: float, found: list[Run], workers: int) -> Run:
    wall = time.perf_counter() - begin
    return {
        "trainings": len(found),
        "wall_seconds": wall,
        "trainings_per_second": len(found) / wall,
        "training_share": sum(each["seconds"] for each in found) / (wall * workers),
        "best_accuracy": best_accuracy((each["max_lr"], each["accuracy"]) for each in found),
    }


def best_accuracy(found: Iterable[tuple[float, float]]) -> float:
    """Mean validation accuracy of the best candidate, from each trial's rate and accuracy."""
    by_rate: dict[float, list[float]] = {}
    for max_lr, accuracy in found:
        by_rate.setdefault(max_lr, []).append(accuracy)
    return max(sum(each) / len(each) for each in by_rate.values())


def main() -> None:
    """One training, for the shell loop."""
    import torch

    from trials.runner import Runner

    torch.set_num_threads(1)
    file, storage, replicate, max_lr = sys.argv[1:]
    runner = Runner(pickle.loads(Path(file).read_bytes()), storage=storage)
    print(json.dumps(train_one(runner, int(replicate), float(max_lr))))


if __name__ == "__main__":
    main()
