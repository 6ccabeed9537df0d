import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import MultiStepLR

from silo import InvalidInput, SiloCurve
from silo.scheduler import SiloLR
from silo.scheduler_base import PeakLR
from tests.silo.scheduler_toys import CURVE, KINDS, MAKERS, Toy


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
