"""What the selective policies find and take where packs don't help: a small ResNet with batch norm on images.

    python -m tests.benchmarks.images IMAGES FOLDER [--settings weight lr adam] [--keep]

IMAGES has ``train/<class>/*`` and ``test/<class>/*``. Per setting (SGD with weight rewinding, SGD with LR
rewinding, Adam with weight rewinding) an exhaustive, an adaptive and an edge search are run on Ray with two
workers, each with a ledger of its own in FOLDER; what is there already is not run again. Then, per setting:

    what each took, measured, and its wall time by the exhaustive one's
    how far the adaptive search's intervals agree with what the exhaustive one's trainings tell
    where the edge of collapse lies in each cycle, T, and what lr0 · T / T0 loses there, by what the
    exhaustive search's trainings tell, beside cycle 0's optimum for ever and the best constant
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

import oracle
from oracle.cycles import Learned
from oracle.errors import Refused
from oracle.results.results import Results
from tests.benchmarks.machine import header, keep

_SPEC: dict[str, Any] = {
    "network": "tests.benchmarks.small_resnet:ResNet8",
    "cycles": 6,
    "replicates": 3,
    "pruning": {"rate": 0.36},
    "tolerance": 0.01,
    "training": {
        "epochs": 5,
        "batch_size": 32,
        "schedule": {"name": "warmup_drops", "arguments": {"warmup": 1, "drops": [3, 4]}},
    },
    "resources": {"workers": 2},
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "weight": {"retraining": "weight_rewinding"},
    "lr": {"retraining": "lr_rewinding"},
    "adam": {"retraining": "weight_rewinding"},
}
_GRIDS = {
    "sgd": {"low": 0.005, "high": 4, "points": 12, "extend": False},
    "adam": {"low": 0.0002, "high": 0.2, "points": 12, "extend": False},
}
_POLICIES = ("oracle", "adaptive", "edge")


def searched(images: Path, folder: Path, setting: str, policy: str) -> Results:
    """The search, run where it isn't finished yet; one that its policy refuses stays as it is."""
    place = folder / f"{setting}-{policy}"
    place.mkdir(parents=True, exist_ok=True)
    ledger = f"sqlite:///{place}/ledger.db"
    adam = setting == "adam"
    optimizer = {"name": "adam"} if adam else {"name": "sgd", "arguments": {"momentum": 0.9}}
    spec = _SPEC | _SETTINGS[setting] | {"name": "images", "policy": policy, "ledger": ledger}
    spec |= {
        "training": _SPEC["training"] | {"optimizer": optimizer},
        "grid": _GRIDS["adam" if adam else "sgd"],
    }
    spec |= {"storage": str(place / "files")}
    arguments = {"root": str(images), "image_size": 16, "resize": True, "validation_share": 0.25}
    spec["dataset"] = {"name": "image_folder", "arguments": arguments}
    with (place / "spec.yaml").open("w") as file:
        YAML(typ="safe").dump(spec, file)
    if not _is_done(ledger):
        print(f"running {setting}, {policy}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "oracle", "run", str(place / "spec.yaml")]
        subprocess.run(command, check=policy != "edge", stdout=subprocess.DEVNULL)
    return oracle.load("images", ledger)


def _is_done(ledger: str) -> bool:
    try:
        return oracle.load("images", ledger).done
    except Refused:  # no ledger yet, or no search in it
        return False


def edges(found: Results) -> list[float]:
    """Per cycle, the rate at which half of the replicates collapse, by the trainings up to it."""
    learned = Learned(found.search_spec.tolerance, found.chance.highest if found.chance else None)
    known = learned.from_cycles(found.decided)
    places = [learned.landscape.edges.mean(one.edge) if one is not None else float("nan") for one in known]
    return np.exp(places).tolist()


def lost(found: Results, rate: Callable[[int], float]) -> dict[str, Any]:
    """What rates lose after cycle 0, by what all the trainings tell."""
    later = [belief for belief in found.beliefs[1:] if not belief.silent]
    losses = [belief.loss(rate(belief.cycle)) for belief in later]
    told = [loss.verdict for loss in losses]
    return {
        "inside": told.count("inside"),
        "unknown": told.count("unknown"),
        "outside": told.count("outside"),
        "cycles": len(told),
        "mean loss": float(np.mean([loss.mean for loss in losses])) if losses else float("nan"),
    }


def agreement(one: Results, other: Results) -> float:
    """The mean Jaccard index of two searches' likeliest intervals, where both tell something."""
    found = []
    for a, b in zip(one.beliefs, other.beliefs, strict=True):
        if not (a.silent or b.silent):
            (low, high), (first, last) = a.stated, b.stated
            common = max(0, min(high, last) - max(low, first) + 1)
            found.append(common / (high - low + last - first + 2 - common))
    return float(np.mean(found)) if found else float("nan")


def study(images: Path, folder: Path, setting: str, console: Console) -> dict[str, Any]:
    """Runs a setting's searches and prints what they say."""
    runs = {policy: searched(images, folder, setting, policy) for policy in _POLICIES}
    exhaustive = runs["oracle"]
    costs = Table("policy", "cycles", "trainings", "worker-minutes", "wall minutes", "of wall", title=setting)
    kept: dict[str, Any] = {}
    for policy, found in runs.items():
        cost, wall = found.policy_costs[0], (found.wall_seconds or 0.0) / 60
        ratio = wall * 60 / (exhaustive.wall_seconds or float("nan"))
        kept[policy] = {
            "cycles": len(found.decided), "trainings": cost.trainings,
            "worker-minutes": 60 * cost.worker_hours, "wall minutes": wall,
            "of the exhaustive's wall time": ratio,
            "optima": [each.interval.optimum for each in found.decided],
            "intervals": [[each.interval.low, each.interval.high] for each in found.decided],
            "sure": [belief.sure for belief in found.beliefs],
        }  # fmt: skip
        numbers = f"{60 * cost.worker_hours:.1f}", f"{wall:.1f}", f"{ratio:.2f}"
        costs.add_row(policy, str(len(found.decided)), str(cost.trainings), *numbers)
    console.print(costs)
    kept["agreement"] = agreement(exhaustive, runs["adaptive"])
    console.print(f"adaptive's likeliest intervals against the exhaustive's: Jaccard {kept['agreement']:.2f}")
    places, beliefs = edges(exhaustive), exhaustive.beliefs
    first = float(beliefs[0].rates[beliefs[0].optimum()])
    table = Table("cycle", "edge T", "optimum", "optimum / T", "T's rule", "loses")
    for place, belief in zip(places, beliefs, strict=True):
        if not belief.silent:
            best, rate = float(belief.rates[belief.optimum()]), first * place / places[0]
            loss = belief.loss(rate)
            table.add_row(
                str(belief.cycle), f"{place:.3g}", f"{best:.3g}", f"{best / place:.2f}", f"{rate:.3g}",
                f"{100 * loss.mean:.2f} % [{100 * loss.low:.2f}, {100 * loss.high:.2f}] {loss.verdict}",
            )  # fmt: skip
    console.print(table)
    top = [
        sum(each.score < 0.5 * cycle.best.score for each in cycle.candidates[-1].trials)
        for cycle in exhaustive.decided
    ]
    constant = exhaustive.constant
    kept["edge"] = {
        "places": places,
        "collapsed at the top": top,
        "rule": lost(exhaustive, lambda m: first * places[m] / places[0]),
        "cycle 0's optimum": lost(exhaustive, lambda m: first),
        "best constant": lost(exhaustive, lambda m: float(constant.rates[0])) if constant else None,
    }
    for name in ("rule", "cycle 0's optimum", "best constant"):
        console.print(f"{name}: {kept['edge'][name]}", highlight=False)
    return kept


def main() -> None:
    """Runs what is missing and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--settings", nargs="*", choices=list(_SETTINGS), default=list(_SETTINGS))
    parser.add_argument("--keep", action="store_true", help="write results/DATE-images.json")
    options = parser.parse_args()
    console = Console(width=120)
    kept = {
        setting: study(options.images.resolve(), options.folder.resolve(), setting, console)
        for setting in options.settings
    }
    print(", ".join(f"{key} {value}" for key, value in header().items()))
    if options.keep:
        print(f"kept as {keep('images', kept)}")


if __name__ == "__main__":
    main()
