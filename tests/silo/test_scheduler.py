""""""

import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import MultiStepLR

from silo import InvalidInput, SiloCurve
from silo.scheduler import PeakLR, RateTableLR, SiloLR
from tests.silo.scheduler_toys import CURVE, KINDS, MAKERS, Toy, algorithm_1


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


def test_groups_keep_their_proportions() -> None:
    toy = Toy(rates=(0.2, 0.02, 0.0, 0.6))
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=2, milestones=[4], cycle=6)
    for rates in toy.train(scheduler, 8):
        assert rates == pytest.approx([rates[0], rates[0] / 10, 0, rates[0] * 3], rel=1e-12, abs=0)
    scheduler.next_cycle()
    top = CURVE.max_lr(7) / 2
    assert toy.rates() == pytest.approx([top, top / 10, 0, top * 3], rel=1e-12, abs=0)


def test_given_ratios_replace_the_proportions() -> None:
    toy = Toy(rates=(0.0, 0.5, 0.5))
    scheduler = SiloLR(toy.optimizer, CURVE, ratios=(0.5, 0, 2))
    assert toy.iterate(scheduler) == [CURVE.epsilon / 2, 0, CURVE.epsilon * 2]
    alone = Toy(rates=(0.3,))
    SiloLR(alone.optimizer, CURVE, ratios=[0.25])
    assert alone.rates() == [CURVE.epsilon / 4]


def test_the_rate_of_a_single_group_does_not_matter() -> None:
    for rate in (0.0, 0.3, 1e-300):
        toy = Toy(rates=(rate,))
        SiloLR(toy.optimizer, CURVE)
        assert toy.rates() == [CURVE.epsilon]


def from_zero() -> SiloCurve:
    """A curve whose first cycles have a rate of 0, in which proportions get lost."""
    return SiloCurve(q=1, beta=5, epsilon=0, delta=0.1, pruning_rate=0.2)


@pytest.mark.parametrize("curve", [CURVE, from_zero()])
def test_a_scheduler_for_each_cycle_on_the_same_optimizer(curve: SiloCurve) -> None:
    once, anew = Toy(rates=(0.2, 0.02)), Toy(rates=(0.2, 0.02))
    scheduler = SiloLR(once.optimizer, curve, warmup=3, milestones=[5])
    for cycle in range(6):
        own = SiloLR(anew.optimizer, curve, warmup=3, milestones=[5], cycle=cycle)
        used = anew.train(own, 7)
        assert used == once.train(scheduler, 7)
        assert [tenth for _, tenth in used] == pytest.approx([one / 10 for one, _ in used], rel=1e-12, abs=0)
        scheduler.next_cycle()


@pytest.mark.parametrize("curve", [CURVE, from_zero()])
def test_a_scheduler_on_an_optimizer_whose_state_was_loaded(curve: SiloCurve) -> None:
    before = Toy(rates=(0.2, 0.02))
    before.train(SiloLR(before.optimizer, curve, warmup=3), 2)
    after = Toy(rates=(1.0, 1.0))
    after.optimizer.load_state_dict(before.optimizer.state_dict())
    SiloLR(after.optimizer, curve, cycle=5)
    assert after.rates() == pytest.approx([curve.max_lr(5), curve.max_lr(5) / 10], rel=1e-12)


def test_a_new_group_is_measured_by_the_original_rates() -> None:
    toy = Toy(rates=(0.2, 0.02))
    scheduler = SiloLR(toy.optimizer, CURVE, milestones=[1])
    toy.train(scheduler, 2)
    toy.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.1})
    with pytest.raises(InvalidInput, match=r"has 3 parameter groups, .* made for 2: .* with cycle=0"):
        scheduler.step()
    SiloLR(toy.optimizer, CURVE, cycle=9)
    top = CURVE.max_lr(9)
    assert toy.rates() == pytest.approx([top, top / 10, top / 2], rel=1e-12)


def shared_tensor() -> Toy:
    toy = Toy(rates=(1.0, 1.0))
    toy.optimizer = SGD([{"params": [one]} for one in toy.weights], lr=torch.tensor(0.1, dtype=torch.float64))
    return toy


@pytest.mark.parametrize("make", [SGD, Adam, partial(AdamW, foreach=False), RMSprop])
def test_a_rate_that_is_a_tensor_stays_that_tensor(make: Callable[..., Optimizer]) -> None:
    if make in (Adam, RMSprop):
        make = partial(make, foreach=False)
    toy = Toy(make, rates=tuple(torch.tensor(rate, dtype=torch.float64) for rate in (0.2, 0.02)))
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=4, milestones=[7, 10])
    tensors = [group["lr"] for group in toy.optimizer.param_groups]
    expected = list(algorithm_1(3, 12, 4, [7, 10]))
    used = []
    for _ in range(3):
        used += toy.train(scheduler, 12)
        scheduler.next_cycle()
    assert [one for one, _ in used] == pytest.approx(expected, rel=1e-12, abs=0)
    assert [tenth for _, tenth in used] == pytest.approx([rate / 10 for rate in expected], rel=1e-12, abs=0)
    assert all(group["lr"] is one for group, one in zip(toy.optimizer.param_groups, tensors, strict=True))
    # What get_last_lr returns is a copy: changing it changes nothing.
    for copy in scheduler.get_last_lr():
        copy.fill_(9.0)
    assert toy.rates() == pytest.approx([CURVE.max_lr(3) / 4, CURVE.max_lr(3) / 40], rel=1e-12)


def test_groups_that_share_a_tensor_get_one_each() -> None:
    toy = shared_tensor()
    scheduler = SiloLR(toy.optimizer, CURVE, ratios=[1, 0.5])
    assert toy.iterate(scheduler) == pytest.approx([CURVE.epsilon, CURVE.epsilon / 2], rel=1e-12)
    assert float(toy.optimizer.defaults["lr"]) == pytest.approx(0.1)
    # A state saved before there was a scheduler has them shared again.
    toy.optimizer.load_state_dict(shared_tensor().optimizer.state_dict())
    scheduler.next_cycle()
    assert toy.rates() == pytest.approx([CURVE.epsilon, CURVE.epsilon / 2], rel=1e-12)


def test_a_tensor_of_integers_does_not_round_the_rate_to_zero() -> None:
    toy = Toy(rates=(torch.tensor(1), torch.tensor([2])))
    SiloLR(toy.optimizer, CURVE)
    assert toy.rates() == pytest.approx([CURVE.epsilon, CURVE.epsilon * 2], rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"curve": 0.1}, "curve must be a SiloCurve, not a float: give"),
        ({"warmup": -1}, "warmup must be a number of iterations, finite and at least 0, not -1: give 10000"),
        ({"warmup": float("nan")}, "warmup must be .* not nan"),
        ({"warmup": 0.5}, "warmup must be a whole number of iterations, not 0.5: .* unit='epochs'"),
        (
            {"warmup": 1e308, "unit": "epochs", "steps_per_epoch": 100},
            "number of epochs, finite.* not 1e[+]308",
        ),
        ({"milestones": "567"}, "milestones must be a list of numbers, not '567'"),
        ({"milestones": [5, "6"]}, r"milestones\[1\] must be a number of iterations.* not '6'"),
        ({"milestones": [5, 3]}, r"milestones must ascend and be above 0, not \[5, 3\]"),
        ({"milestones": [0, 5]}, r"milestones must ascend .* not \[0, 5\]"),
        ({"milestones": [-5, 5]}, r"milestones\[0\] must be .* at least 0, not -5"),
        (
            {"milestones": [1, 1.01], "unit": "epochs", "steps_per_epoch": 10},
            r"not \[1, 1.01\] \(iterations \[10, 10\]\)",
        ),
        ({"factor": 0}, "factor must be above 0 and at most 1, not 0"),
        ({"factor": 10}, "factor must be above 0 and at most 1, not 10"),
        ({"unit": "epoch"}, r"no unit 'epoch': known are iterations, epochs; did you mean 'epochs'\?"),
        ({"unit": "epochs"}, r"unit='epochs' needs steps_per_epoch: give len\(loader\)"),
        ({"unit": "epochs", "steps_per_epoch": 0}, "steps_per_epoch must be an integer of at least 1, not 0"),
        ({"unit": "epochs", "steps_per_epoch": 2.5}, "steps_per_epoch must be .* not 2.5"),
        ({"unit": "iterations", "steps_per_epoch": True}, "steps_per_epoch must be .* not True"),
        (
            {"ratios": [1.0]},
            r"ratios must be 2, one for each parameter group, not \[1.0\]: give \[1.0, 1.0\]",
        ),
        ({"ratios": "12"}, "ratios must be a list of numbers, not '12'"),
        ({"ratios": [1, -1]}, r"ratios\[1\] must be at least 0, not -1"),
        ({"cycle": 1.0}, "cycle must be an integer of at least 0, not 1.0"),
    ],
)
def test_bad_arguments_are_named_and_leave_the_optimizer_alone(
    arguments: dict[str, Any], message: str
) -> None:
    toy = Toy(rates=(0.2, 0.1))
    with pytest.raises(InvalidInput, match=message) as raised:
        SiloLR(toy.optimizer, **({"curve": CURVE} | arguments))
    assert "\n" not in str(raised.value)
    assert toy.rates() == [0.2, 0.1]
    assert "initial_lr" not in toy.optimizer.param_groups[0]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (
            (0.0, 0.1),
            r"first parameter group has an lr of 0, to which \[0.1\] have no ratio: give ratios, such",
        ),
        ((float("inf"), 0.1), "lr of parameter group 0 must be finite, not inf"),
        ((5e-324, 0.1), r"ratios\[1\] must be finite, not inf"),
    ],
)
def test_rates_without_a_proportion_are_refused(rates: tuple[float, ...], message: str) -> None:
    optimizer = Toy(rates=rates).optimizer
    with pytest.raises(InvalidInput, match=message):
        SiloLR(optimizer, CURVE)
    SiloLR(optimizer, CURVE, ratios=[1, 1])


def test_the_optimizer_and_the_curve_are_not_mixed_up() -> None:
    with pytest.raises(InvalidInput, match="optimizer must be a torch optimizer, not a SiloCurve: give"):
        SiloLR(CURVE, Toy().optimizer)  # type: ignore[arg-type]


def through_torch(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def through_json(state: Any) -> Any:
    return json.loads(json.dumps(state))


def finish(toy: Toy, scheduler: PeakLR) -> list[list[float]]:
    used = toy.train(scheduler, 9)
    for _ in range(3):
        scheduler.next_cycle()
        used += toy.train(scheduler, 12)
    return used


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "copied", "passed", "optimizer_first"),
    [
        ("sgd", through_torch, 0, True),
        ("sgd", through_json, 8, False),
        ("adam", through_torch, 3, False),
        ("adam", through_json, 1, True),
        ("rmsprop", through_json, 0, False),
        ("rmsprop", through_torch, 8, True),
    ],
)
def test_resume_equals_no_resume(
    name: str, copied: Callable[[Any], Any], passed: int, optimizer_first: bool, kind: str
) -> None:
    whole = Toy(MAKERS[name], rates=(0.2, 0.03))
    scheduler = KINDS[kind](whole.optimizer, warmup=4, milestones=[6, 10], factor=0.3, cycle=2)
    whole.train(scheduler, 12)
    scheduler.next_cycle()
    whole.train(scheduler, passed)
    saved, optimizer_state = copied(scheduler.state_dict()), through_torch(whole.optimizer.state_dict())
    weights = [one.detach().clone() for one in whole.weights]
    expected = finish(whole, scheduler)

    again = Toy(MAKERS[name], rates=(1.0, 1.0))
    others = {"curve": SiloCurve(q=3, beta=1, epsilon=1, delta=1, pruning_rate=0.5), "rates": [1.0]}
    given = {name: others[name] for name in others if name in saved}
    resumed = KINDS[kind](again.optimizer, **given)
    for one, value in zip(again.weights, weights, strict=True):
        one.data.copy_(value)
    if optimizer_first:
        again.optimizer.load_state_dict(optimizer_state)
    resumed.load_state_dict(saved)
    assert again.rates() == resumed.get_last_lr() == expected[0]
    if not optimizer_first:
        again.optimizer.load_state_dict(optimizer_state)
    assert (resumed.cycle, resumed.max_lr) == (3, CURVE.max_lr(3))
    assert resumed.state_dict() == saved
    assert finish(again, resumed) == expected
    assert all(torch.equal(one, other) for one, other in zip(again.weights, whole.weights, strict=True))


def test_a_state_saved_between_the_two_steps_resumes_with_the_schedulers() -> None:
    toy, again = Toy(), Toy()
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=3)
    toy.optimizer.step(toy.loss)
    state = scheduler.state_dict()
    resumed = SiloLR(again.optimizer, CURVE)
    resumed.load_state_dict(state)
    resumed.step()
    assert again.rates() == pytest.approx([CURVE.epsilon * 2 / 3], rel=1e-12)


def test_a_state_is_plain_and_stays_what_it_was() -> None:
    toy = Toy(rates=(torch.tensor(0.5), torch.tensor(0.25)))
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=3, milestones=(4, 6))
    state = scheduler.state_dict()
    kept = through_json(state)
    assert kept == state
    assert kept == {
        "curve": CURVE.to_dict(),
        "warmup": 3,
        "milestones": [4, 6],
        "factor": 0.1,
        "ratios": [1.0, 0.5],
        "cycle": 0,
        "iteration": 0,
    }
    toy.train(scheduler, 5)
    state["milestones"].append(7)
    state["curve"]["q"] = 9
    assert scheduler.state_dict() == kept | {"iteration": 5}


MISSING = object()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_last_lr": [0.1]}, r"has '_last_lr': known are curve, warmup"),
        ({"itration": 3}, r"did you mean 'iteration'\?"),
        ({"cycle": MISSING, "factor": MISSING}, "lacks factor, cycle: give"),
        ({"curve": 0.1}, "its curve is a float"),
        ({"curve": CURVE.to_dict() | {"beta": -1}}, "beta must be above 0, not -1"),
        ({"warmup": 2.5}, "warmup must be a whole number of iterations, not 2.5"),
        ({"milestones": [6, 4]}, r"milestones must ascend .* not \[6, 4\]"),
        ({"ratios": [1.0]}, r"ratios must be 2, one for each parameter group, not \[1.0\]"),
        ({"iteration": 1.5}, "iteration must be .* not 1.5"),
    ],
)
def test_a_state_that_is_not_ours_changes_nothing(change: dict[str, Any], message: str) -> None:
    toy = Toy(rates=(0.2, 0.1))
    scheduler = SiloLR(toy.optimizer, CURVE, warmup=3, cycle=4)
    toy.train(scheduler, 2)
    before, rates = scheduler.state_dict(), toy.rates()
    state = {name: value for name, value in (before | change).items() if value is not MISSING}
    with pytest.raises(InvalidInput, match=f"^not a state of this SiloLR: .*{message}") as raised:
        scheduler.load_state_dict(state)
    assert "\n" not in str(raised.value)
    assert (scheduler.state_dict(), toy.rates()) == (before, rates)


@pytest.mark.parametrize("state", [None, [1, 2], {}, MultiStepLR(Toy().optimizer, [3]).state_dict()])
def test_a_state_of_something_else_is_refused(state: Any) -> None:
    with pytest.raises(InvalidInput, match=r"not a state of this SiloLR: it (is a|has|lacks)"):
        SiloLR(Toy().optimizer, CURVE).load_state_dict(state)


TABLE = [0.03, 0.1, 0.05]


@pytest.mark.parametrize("given", [TABLE, tuple(TABLE), np.array(TABLE), pd.Series(TABLE), iter(TABLE)])
def test_each_cycle_has_its_rate_and_the_last_holds_for_all_later_ones(given: Any) -> None:
    toy = Toy(rates=(0.2, 0.1))
    scheduler = RateTableLR(toy.optimizer, given, warmup=2)
    found = []
    for _ in range(5):
        found.append(scheduler.max_lr)
        assert toy.train(scheduler, 3)[1] == [scheduler.max_lr, scheduler.max_lr / 2]
        scheduler.next_cycle()
    assert found == [0.03, 0.1, 0.05, 0.05, 0.05]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (
            0.1,
            r"rates must be a list of numbers, those of cycles 0, 1, …, not 0\.1: give \[0\.05, 0\.1\], or",
        ),
        ("0.1", "rates must be a list of numbers, .* not '0.1'"),
        ({0: 0.1}, "rates must be a list of numbers, .* not {0: 0.1}"),
        ({0.1, 0.2}, "rates must be a list of numbers, .* not {0"),
        (CURVE, "rates must be a list of numbers, .* not SiloCurve"),
        ([], "rates must have a number for cycle 0 at least, not none"),
        ([0.1, 0], r"rates\[1\] must be above 0, not 0: give"),
        ([0.1, -0.1], r"rates\[1\] must be above 0, not -0.1"),
        ([0.1, None], r"rates\[1\] must be a number, not None"),
        ([float("nan")], r"rates\[0\] must be finite, not nan"),
        ([True], r"rates\[0\] must be a number, not True"),
    ],
)
def test_what_is_no_table_is_named_and_leaves_the_optimizer_alone(rates: Any, message: str) -> None:
    toy = Toy(rates=(0.2, 0.1))
    with pytest.raises(InvalidInput, match=message) as raised:
        RateTableLR(toy.optimizer, rates)
    assert "\n" not in str(raised.value)
    assert toy.rates() == [0.2, 0.1] and "initial_lr" not in toy.optimizer.param_groups[0]


def test_the_sisters_do_not_take_each_others_states() -> None:
    one, other = (make(Toy().optimizer, warmup=3) for make in KINDS.values())
    assert isinstance(one, SiloLR) and isinstance(other, RateTableLR)
    with pytest.raises(
        InvalidInput, match="not a state of this RateTableLR: it has 'curve': known are rates"
    ):
        other.load_state_dict(one.state_dict())
    with pytest.raises(InvalidInput, match="not a state of this SiloLR: it has 'rates': known are curve"):
        one.load_state_dict(other.state_dict())
    with pytest.raises(InvalidInput, match=r"this RateTableLR: rates\[0\] must be above 0, not -1"):
        other.load_state_dict(other.state_dict() | {"rates": [-1]})
