"""A real search where torch is and little else: ResNet-20 on images, from the first cycle to the last.

    python -m tests.benchmarks.search IMAGES [--device cuda] [--precision bf16] [--pack 8] [--keep]

IMAGES is a folder with CIFAR-10's ``cifar-10-batches-py``, a folder with ``train/<class>/*`` and
``test/<class>/*``, or a tar archive of either. The search's own state machine asks for the tasks and decides;
one worker in this process does them, and nothing is recorded but the networks that it goes on with. It needs
torch, torchvision, scipy, safetensors and psutil: no Ray, no database, no pydantic.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from oracle.cycles import Cycle, Grid, log_values
from oracle.policies import OraclePolicy
from oracle.search import Rules, Search, Signal
from silo.errors import InvalidInput
from tests.benchmarks.machine import header, keep
from trials.checkpoints import Store
from trials.runner import Runner
from trials.tasks import Component, Damaged, Execution, Failed, Recipe, TrainPack


def main() -> None:
    """Searches, and prints the table of the cycles."""
    options = read_options()
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    on_gpu = options.device.startswith("cuda")
    name = torch.cuda.get_device_name(options.device) if on_gpu else f"the CPU, threads {options.threads}"
    print(", ".join(f"{key} {value}" for key, value in header().items()))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oracle-benchmark-")))
        recipe = recipe_of(options, dataset_of(options.images, folder, augment=not options.plain))
        runner = Runner(recipe, storage=str(folder / "networks"), device=options.device)
        begin = time.perf_counter()
        data = runner.data
        sizes = ", ".join(f"{len(getattr(data, split))} {split}" for split in ("train", "validation", "test"))
        print(f"{sizes}, read in {time.perf_counter() - begin:.1f} s")
        print(f"on {name}, {recipe.precision}, {recipe.execution}; {recipe.length} {recipe.unit} a training")
        rules = Rules(
            policy=OraclePolicy(
                grid=Grid(
                    values=log_values(options.low, options.high, options.rates),
                    scale="log",
                    limit=options.limit,
                )
            ),
            cycles=options.cycles,
            replicates=options.replicates,
            tolerance=0.005,
            pack_size=recipe.execution.pack_size,
            attempts=1,
        )
        search, seconds = run(rules, runner)
    found = summary(search, seconds, images_of(recipe, len(data.train)))
    print(
        f"{found['trainings']} trainings, {found['diverged']} of them diverged, in {seconds:.1f} s: "
        f"{found['trainings_per_second']:.3f} trainings/s, "
        f"{found['images_copies_per_second']:,.0f} images·copies/s all told, "
        f"{found['images_copies_per_second_of_packs']:,.0f} in a median pack"
    )
    if options.keep:
        result = {"device": name, "recipe": recipe.to_dict(), "rules": asdict(rules), **found}
        result["recipe"]["dataset"]["arguments"].pop("root")
        device = options.device.partition(":")[0]
        print(f"kept as {keep(f'search-{device}-{recipe.precision}', result)}")


def read_options() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path, help="folder or tar archive")
    parser.add_argument("--network", default="resnet20", help="a known one, or package.module:name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the CPU")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--cycles", type=int, default=8)
    parser.add_argument("--rates", type=int, default=12)
    parser.add_argument("--replicates", type=int, default=2)
    parser.add_argument("--low", type=float, default=0.003)
    parser.add_argument("--high", type=float, default=1.0)
    parser.add_argument("--limit", type=int, default=2, help="rates that a cycle may add past each edge")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--iterations", type=int, help="length of a training, instead of epochs")
    parser.add_argument("--evaluate-every", type=int, help="epochs or iterations between two validations")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--plain", action="store_true", help="train on the images as they are")
    parser.add_argument("--pack", type=int, default=1, help="candidates that are trained together")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--cuda-graph", choices=["pack", "streams"], help="record the steps, and replay them")
    parser.add_argument("--keep", action="store_true", help="write results/DATE-search-DEVICE-PRECISION.json")
    return parser.parse_args()


def dataset_of(images: Path, folder: Path, *, augment: bool) -> Component:
    """The data set in a folder, or in an archive, which is unpacked into ``folder``."""
    root = images
    if images.is_file():
        root = folder / "images"
        with tarfile.open(images) as archive:
            archive.extractall(root, filter="data")
    for place in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if (place / "cifar-10-batches-py").is_dir():
            return Component(name="cifar10", arguments={"root": str(place), "augment": augment})
        if (place / "train").is_dir():
            return Component(name="image_folder", arguments={"root": str(place), "augment": augment})
    raise InvalidInput(f"{images}: holds neither cifar-10-batches-py nor train/<class>/* and test/<class>/*")


def recipe_of(options: argparse.Namespace, dataset: Component) -> Recipe:
    """Iterative magnitude pruning with learning-rate rewinding, each training with the paper's shape: a
    warm-up, then drops at half and three quarters."""
    length = options.iterations or options.epochs
    drops = sorted({max(length // 2, 1), max(3 * length // 4, 1)})
    return Recipe(
        network=Component(name=options.network),
        dataset=dataset,
        pruner=Component(name="global_magnitude"),
        pruning_rate=0.2,
        retraining="lr_rewinding",
        length=length,
        unit="iterations" if options.iterations else "epochs",
        batch_size=options.batch_size,
        evaluate_every=options.evaluate_every,
        optimizer=Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 1e-4}),
        schedule=Component(name="warmup_drops", arguments={"warmup": length // 10, "drops": drops}),
        execution=Execution(
            pack_size=options.pack,
            compiled=options.compile,
            channels_last=options.channels_last,
            captured=options.cuda_graph is not None,
            streams=options.cuda_graph == "streams",
        ),
        precision=options.precision,
    )


def run(rules: Rules, runner: Runner) -> tuple[Search, float]:
    """Runs a search to its end, and prints a line per cycle; gives its seconds, too."""
    search, begin = Search(rules), time.perf_counter()
    print(
        f"\n{'cycle':>5} {'left':>6} {'optimum':>9}  {'interval':<21} {'validation':>13} {'test':>8}  seconds"
    )
    while not isinstance(task := search.ask(), Signal):
        result = runner.run(task)
        if isinstance(result, Failed | Damaged):
            sys.exit(result.error if isinstance(result, Failed) else f"{result.file.path} is lost")
        before = len(search.decisions)
        search.tell(task, result)
        if isinstance(task, TrainPack):
            for decision in search.decisions[before:]:
                discard_losers(decision, runner.store)
                print(line(search, decision) + f" {time.perf_counter() - begin:8.1f}", flush=True)
    return search, time.perf_counter() - begin


def discard_losers(decision: Cycle, store: Store) -> None:
    """Deletes the networks that no later cycle starts from."""
    for candidate in decision.candidates:
        if candidate is not decision.selected:
            for trial in candidate.trials:
                store.delete(trial.checkpoint.path)


def line(search: Search, decision: Cycle) -> str:
    """A decided cycle in words."""
    interval, best = decision.interval, decision.selected
    ends = f"{'<' * interval.low_cut}{interval.low:.4g} – {interval.high:.4g}{'>' * interval.high_cut}"
    return (
        f"{interval.cycle:5} {density(search, decision.cycle):6.1%} {interval.optimum:9.4g}  {ends:<21} "
        f"{best.score:7.2%} ±{100 * (best.score_std or 0):4.2f} {best.test_score:8.2%}"
    )


def density(search: Search, cycle: int) -> float:
    """Share of the prunable weights that is left, mean over the replicates."""
    shares = [pruned.alive / pruned.prunable for pruned in search.prunings(cycle)]
    return statistics.fmean(shares) if shares else 1.0


def images_of(recipe: Recipe, train: int) -> int:
    """Images that one training of one copy sees, those of its validations aside."""
    steps = recipe.length * (train // recipe.batch_size if recipe.unit == "epochs" else 1)
    return steps * recipe.batch_size


def summary(search: Search, seconds: float, images: int) -> dict[str, Any]:
    """What a search found and how fast it was.

    Args:
        search: The search, at its end.
        seconds: What it took, data aside.
        images: Images that one training sees; one that diverged may have seen fewer.
    """
    outcomes = search.outcomes()
    packs = [images * trial.pack / (trial.ended - trial.started) for trial in outcomes if not trial.diverged]
    return {
        "trainings": len(outcomes),
        "diverged": sum(trial.diverged for trial in outcomes),
        "wall_seconds": seconds,
        "trainings_per_second": len(outcomes) / seconds,
        "images_copies_per_second": images * len(outcomes) / seconds,
        "images_copies_per_second_of_packs": statistics.median(packs) if packs else 0.0,
        "training_share": sum((each.ended - each.started) / each.pack for each in outcomes) / seconds,
        "cycles": [cycle_of(search, decision) for decision in search.decisions],
    }


def cycle_of(search: Search, decision: Cycle) -> dict[str, Any]:
    """A decided cycle as data; rates are peak learning rates, accuracies in [0, 1]."""
    best = decision.selected
    return {
        **asdict(decision.interval),
        "density": density(search, decision.cycle),
        "validation_accuracy": best.score,
        "validation_accuracy_std": best.score_std,
        "test_accuracy": best.test_score,
        "detached": decision.detached,
        "candidates": {str(each.max_lr): each.score for each in decision.candidates},
    }


if __name__ == "__main__":
    main()
