"""The rates of several parameter groups, on fresh, used and loaded optimizers, as numbers and as tensors."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from silo import InvalidInput, SiloCurve
from silo.scheduler import SiloLR
from tests.silo.scheduler_toys import CURVE, Toy, algorithm_1


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
