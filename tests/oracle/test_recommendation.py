"""What is recommended: the simplest rates that do as well as the best, as code that runs."""

import math
import random
from functools import cache

import pytest
import torch

from oracle.results import Results
from oracle.results.verdict import recommend
from silo import SiloCurve
from silo.scheduler import RateTableLR, SiloLR
from tests.oracle.invented import invent
from tests.pages import PAGES, blocks

CURVE = SiloCurve(q=1, beta=5, epsilon=0.02, delta=0.14, pruning_rate=0.2)
ZIGZAG = (0.02, 0.16)
FINE = {"low": 0.01, "high": 0.32, "points": 11}


def noisy(center, noise=0.004):
    """Scores that fall to both sides of a cycle's best rate, and differ by chance."""

    def score(cycle, replicate, max_lr):
        luck = random.Random(f"{cycle} {replicate} {max_lr}").gauss(0, noise)
        return 0.9 - 0.006 * math.log2(max_lr / center(cycle)) ** 2 + luck

    return score


CENTERS = {
    "constant": lambda cycle: 0.05,
    "silo": CURVE.max_lr,
    "table": lambda cycle: ZIGZAG[cycle % 2],
}


@cache
def found(kind):
    schedule = {"name": "warmup_drops", "arguments": {"warmup": 2, "drops": [4, 6]}}
    training = {"epochs": 8, "schedule": schedule}
    spec, search = invent(
        noisy(CENTERS[kind]), cycles=8, grid=FINE, training=training, decide="posterior",
        silo={"q": 1, "beta": 5, "epsilon": 0.02, "delta": 0.14},
    )  # fmt: skip
    return Results.of(spec, search, draws=0)


def run(code, cycle):
    """The rates that the code sets at the peak of a cycle."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    names = {"optimizer": optimizer, "loader": range(7), "cycle": cycle}
    exec(code, names)
    return names


@pytest.mark.parametrize("kind", CENTERS)
def test_the_simplest_that_does_as_well_as_the_best_is_taken(kind):
    results = found(kind)
    taken = results.recommendation
    assert taken.kind == kind, taken
    assert taken.text.startswith("Take ") and taken.text.count("% [") == 3 and "\n" not in taken.text
    assert ("surely more" in taken.text) == (kind != "constant")
    made = run(taken.code, 3)
    if kind == "constant":
        assert made["max_lr"] == pytest.approx(results.constant.rates[0], rel=0.01)
        assert taken.text.count("as good as far as these trainings tell") == 2
        return
    assert ("the found rates" in taken.text.split(":")[0]) == (kind == "table")
    scheduler = made["scheduler"]
    assert isinstance(scheduler, SiloLR if kind == "silo" else RateTableLR)
    state = scheduler.state_dict()
    assert (state["warmup"], state["milestones"]) == (14, [28, 42])
    if kind == "table":
        assert state["rates"] == pytest.approx(results.rates, rel=1e-3)
    else:
        for _ in range(6):
            scheduler.next_cycle()
        assert scheduler.max_lr == pytest.approx(CURVE.max_lr(6), rel=0.3)


def test_with_a_schedule_of_another_kind_it_gives_the_peak():
    results = found("table")
    for changes in (
        {"training": results.search_spec.training.model_copy(update={"schedule": cosine(results)})},
        {"retraining": "fine_tuning"},
        {"training": results.search_spec.training.model_copy(update={"loop": cosine(results)})},
    ):
        spec = results.search_spec.model_copy(update=changes)
        code = recommend(Results(search_spec=spec, decided=results.decided, outcomes=())).code
        assert "the peak of schedule" in code
        assert run(code, 3)["max_lr"] == pytest.approx(results.rates[3], rel=1e-3)


@pytest.mark.parametrize("kind", ["constant", "table"])
def test_another_number_that_was_searched_is_recommended_by_its_name(kind):
    over = "training.optimizer.arguments.weight_decay"
    spec, search = invent(
        noisy(CENTERS[kind]),
        cycles=6,
        grid={**FINE, "over": over},
        training={"epochs": 8, "max_lr": 0.1},
        silo=None,
        decide="posterior",
    )
    results = Results.of(spec, search, draws=0)
    taken = results.recommendation
    assert taken.kind == kind and "SILO" not in taken.text and "rate" not in taken.text
    assert "best weight_decay of each cycle" in taken.text
    found = run(taken.code, 3)["weight_decay"]
    assert found == pytest.approx(results.rates[3], rel=1e-3) if kind == "table" else found in FINE_VALUES


FINE_VALUES = [float(f"{0.01 * 2 ** (at / 2):.3g}") for at in range(11)]


def cosine(results):
    return results.search_spec.training.schedule.model_copy(update={"name": "cosine", "arguments": {}})


def test_what_is_under_way_is_said_so_far():
    results = found("constant")
    part = Results(search_spec=results.search_spec, decided=results.decided[:3], outcomes=())
    assert part.recommendation.text.startswith("So far, take ")


@pytest.mark.parametrize(
    "changes",
    [
        {"cycles": 1},
        {"decided": 0},
        {"policy": {"name": "fixed", "arguments": {"max_lr": 0.04}}, "grid": None, "decide": None},
        {"accuracy": lambda cycle, replicate, max_lr: 0.1},
    ],
)
def test_where_nothing_can_be_compared_nothing_is_recommended(changes, capsys):
    fields = {name: value for name, value in changes.items() if value is not None}
    spec, search = invent(**fields)
    results = Results.of(spec, search, draws=0)
    assert results.recommendation is None
    code = [line.strip() for page in PAGES for block in blocks(page, "python") for line in block.splitlines()]
    shown = [line for line in code if "results.recommendation" in line]
    assert len(shown) == 3
    for line in shown:
        exec(line, {"results": results, "scheduler": SiloLR})
        assert results.verdict() in capsys.readouterr().out
