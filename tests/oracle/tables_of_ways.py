"""Searches that differ by their way to train alone, and what may differ in what they find."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ruamel.yaml import YAML
from scipy.stats import t as student

from oracle.cli.specs import example
from oracle.spec import Spec
from tests.support import run_in_process

TIE = 0.005
"""Rates within 0.5 % of the best are as good as it: the tolerance of the optimized interval."""

EAGER = {"pack": 1, "compile": False}


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a search found.

    Attributes:
        way: The way that was taken, in words.
        optima: The optimum of each cycle.
        means: Of each cycle, rate to mean validation accuracy.
        best: Validation accuracies at the optimum, by cycle and replicate.
    """

    execution: str
    optima: list[float]
    means: list[dict[float, float]]
    best: dict[tuple[int, int], float]


def demo(folder, **training):
    """The demo's spec with its network and data, but fewer cycles, rates and epochs."""
    data = YAML(typ="safe").load(example())
    data["training"] |= {
        "epochs": 6,
        "schedule": {"name": "warmup_drops", "arguments": {"warmup": 1, "drops": [4, 5]}},
    }
    return _spec(data, folder, [0.003, 0.006, 0.012, 0.036, 0.1], training)


def images(folder, **training):
    """ResNet-20 on a few small images, at a rate that is known to train it."""
    data = {
        "name": "images",
        "network": "resnet20",
        "dataset": {
            "name": "synthetic",
            "arguments": {
                "shape": [3, 8, 8],
                "noise": 0.9,
                "train_size": 256,
                "validation_size": 300,
                "test_size": 10,
            },
        },
        "training": {
            "epochs": 6,
            "batch_size": 32,
            "schedule": {"name": "warmup_drops", "arguments": {"warmup": 1, "drops": [4, 5]}},
        },
    }
    data["policy"] = {"name": "fixed", "arguments": {"max_lr": 0.03}}
    return _spec(data, folder, None, training)


def _spec(data, folder, rates, changes):
    searched = {key: changes.pop(key) for key in ("cycles", "replicates") if key in changes}
    return Spec.model_validate(
        data
        | {"cycles": 3, "replicates": 3, "grid": rates and {"values": rates, "extend": False}}
        | {"storage": str(folder / "networks"), "ledger": f"sqlite:///{folder}/ledger.db"}
        | {"training": data["training"] | changes}
        | searched
    )


def search(spec) -> Table:
    """Runs a search in this process."""
    session = run_in_process(spec)
    decisions = session.search.decisions
    return Table(
        execution=str(session.record.execution),
        optima=[decision.interval.optimum for decision in decisions],
        means=[{each.max_lr: each.score for each in decision.candidates} for decision in decisions],
        best={
            (trial.cycle, trial.replicate): trial.score
            for decision in decisions
            for trial in decision.selected.trials
        },
    )


def disagreements(ours: Table, theirs: Table, tie: float = TIE) -> list[str]:
    """The cycles whose optima differ though they don't tie, each in words; none if the tables agree.

    Two rates tie if either table has the other's optimum within ``tie`` of its own.
    """
    found = []
    for cycle, (one, other) in enumerate(zip(ours.optima, theirs.optima, strict=True)):
        behind = max(
            ours.means[cycle][one] - ours.means[cycle][other],
            theirs.means[cycle][other] - theirs.means[cycle][one],
        )
        if one != other and behind > tie:
            found.append(f"cycle {cycle}: optimum {one} against {other}, {behind:.2%} apart")
    return found


def losses(ours: Table, theirs: Table) -> list[float]:
    """How much lower our best accuracies are, one number per cycle and replicate."""
    assert ours.best.keys() == theirs.best.keys()
    return [theirs.best[key] - ours.best[key] for key in sorted(ours.best)]


def mean_interval(values: Sequence[float], confidence: float = 0.9) -> tuple[float, float]:
    """Student's confidence interval of a mean.

    If the 90 % interval lies inside ±margin, both one-sided tests at 5 % reject a mean difference as large
    as the margin (Schuirmann 1987's two one-sided tests of equivalence).
    """
    mean = statistics.fmean(values)
    half = (
        student.ppf((1 + confidence) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    )
    return mean - half, mean + half


def equivalent(values: Sequence[float], margin: float) -> bool:
    """Whether differences of pairs show that their mean is within ±margin."""
    low, high = mean_interval(values)
    return -margin < low and high < margin
