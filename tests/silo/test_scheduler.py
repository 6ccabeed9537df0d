from typing import Any

import pytest
import torch

from silo.scheduler import SiloLR
from tests.silo.scheduler_toys import CURVE, KINDS, MAKERS, Toy, algorithm_1
from trials.schedules import warmup_drops


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MAKERS)
def test_is_algorithm_1_at_every_iteration(name: str, kind: str) -> None:
    toy = Toy(MAKERS[name])
    scheduler = KINDS[kind](toy.optimizer, warmup=4, milestones=[7, 10])
    expected = algorithm_1(8, 12, 4, [7, 10])
    for cycle in range(8):
        assert scheduler.cycle == cycle
        assert scheduler.max_lr == CURVE.max_lr(cycle)
        for _ in range(12):
            (rate,) = toy.iterate(scheduler)
            assert rate == pytest.approx(next(expected), rel=1e-12, abs=0)
            assert scheduler.get_last_lr() == toy.rates() == scheduler.get_lr()
        assert scheduler.next_cycle() == CURVE.max_lr(cycle + 1)
    assert next(expected, None) is None
    assert all(torch.isfinite(one).all() for one in toy.weights)


@pytest.mark.parametrize(
    ("warmup", "milestones", "factor"), [(0, [], 0.1), (1, [3], 1), (5, [2, 9], 0.1), (12, [6], 0.5)]
)
def test_a_milestone_may_lie_in_the_warmup(warmup: int, milestones: list[int], factor: float) -> None:
    toy = Toy()
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=warmup, milestones=milestones, factor=factor, cycle=0)
    used = [rate for (rate,) in toy.train(scheduler, 12)]
    assert used == pytest.approx(list(algorithm_1(1, 12, warmup, milestones, factor)), rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("unit", "per_epoch", "warmup", "milestones"),
    [("iterations", None, 6, [9, 14]), ("epochs", 7, 1.2, [0.5, 2.5]), ("epochs", 4, 0.1, [1, 2, 3.3])],
)
def test_the_same_as_a_trials_schedule(
    unit: Any, per_epoch: int | None, warmup: float, milestones: list[float]
) -> None:
    toy = Toy()
    scheduler = SiloLR(
        toy.optimizer,
        CURVE,
        warmup=warmup,
        milestones=milestones,
        unit=unit,
        steps_per_epoch=per_epoch,
        cycle=4,
    )
    schedule = warmup_drops(steps=20, steps_per_unit=per_epoch or 1, warmup=warmup, drops=milestones)
    assert toy.train(scheduler, 20) == [[CURVE.max_lr(4) * schedule(step)] for step in range(20)]


def test_epochs_count_in_iterations() -> None:
    state = SiloLR(
        Toy().optimizer, CURVE, warmup=2.5, milestones=range(80, 121, 40), unit="epochs", steps_per_epoch=391
    ).state_dict()
    assert (state["warmup"], state["milestones"]) == (978, [31_280, 46_920])
    # Where the unit is iterations, the length of an epoch changes nothing.
    state = SiloLR(Toy().optimizer, CURVE, warmup=1e4, steps_per_epoch=391).state_dict()
    assert state["warmup"] == 10_000 and type(state["warmup"]) is int


def test_next_cycle_sets_the_rates_at_once() -> None:
    toy = Toy(rates=(0.2, 0.1))
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=4, milestones=[5], cycle=3)
    toy.train(scheduler, 6)
    assert scheduler.next_cycle() == scheduler.max_lr == CURVE.max_lr(4)
    assert (scheduler.cycle, scheduler.last_epoch) == (4, 0)
    first = CURVE.max_lr(4) / 4
    assert toy.rates() == scheduler.get_last_lr() == pytest.approx([first, first / 2], rel=1e-12)


def test_cycles_without_a_step_warn_of_nothing() -> None:
    toy = Toy()
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=2)
    for _ in range(3):
        scheduler.next_cycle()
    assert toy.train(scheduler, 2) == [[CURVE.max_lr(3) / 2], [CURVE.max_lr(3)]]


def test_torch_still_warns_of_a_scheduler_that_steps_first() -> None:
    scheduler = SiloLR(Toy().optimizer, CURVE)
    scheduler.next_cycle()
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()


def test_the_optimizer_can_be_rewound_before_the_next_cycle() -> None:
    toy = Toy(rates=(0.2, 0.1))
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=2, cycle=2)
    early = toy.optimizer.state_dict()
    toy.train(scheduler, 5)
    toy.optimizer.load_state_dict(early)
    scheduler.next_cycle()
    assert toy.rates() == pytest.approx([CURVE.max_lr(3) / 2, CURVE.max_lr(3) / 4], rel=1e-12)
