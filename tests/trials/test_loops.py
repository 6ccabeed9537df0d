"""Training loops of one's own: what they are given, what is held, and what is refused."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from tests.trials.toys import toy_recipe
from trials.datasets import load_dataset
from trials.loops import Outcome, held, run_loop
from trials.networks import build_network
from trials.schedules import multipliers
from trials.tasks import Component, Metric

HERE = __name__
CPU = torch.device("cpu")
SEEN = {}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)

    def forward(self, inputs):
        return self.head(self.norm(self.first(inputs)).relu())


def run(name, *, cycle=1, max_lr=0.1, network=f"{HERE}:Net", recipe=None, masks=True, **arguments):
    given = {"loop": Component(name=f"{HERE}:{name}", arguments=arguments), "dataset": Component(name="none")}
    metric = {"metric": Metric(name="rmse", goal="min", diverged=9.0)}
    module = build_network(network, {}, input_shape=None, num_classes=None, seed=0)
    start = {key: value.clone() for key, value in module.state_dict().items()}
    mask = torch.rand(start["first.weight"].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    found = run_loop(
        toy_recipe(**{"network": Component(name=network), "length": 0, **given, **metric, **(recipe or {})}),
        module=build_network(network, {}, input_shape=None, num_classes=None, seed=1),
        start=start,
        masks={"first.weight": mask} if masks else {},
        data=load_dataset("none", {}, seed=0),
        cycle=cycle,
        replicate=0,
        max_lr=max_lr,
        device=CPU,
    )
    return found, start, mask


def steps(network, training, *, optimizer="SGD", count=3, **options):
    """Plain steps of any optimizer of torch.optim."""
    SEEN.update(vars(training), start=network.first.weight.detach().clone(), draw=torch.rand(3))
    made = getattr(torch.optim, optimizer)(network.parameters(), lr=training.max_lr, **options)
    for step in range(count):
        made.zero_grad()
        loss = network(torch.ones(4, 4) + torch.randn(4, 4)).square().mean()
        loss.backward()
        made.step(lambda loss=loss: loss)
        SEEN[f"after {step}"] = network.first.weight.detach().clone()
        training.report(step + 1, loss.item(), train_loss=2 * loss.item())
    return Outcome(score=loss.item(), test_score=2.0)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "LBFGS", "Rprop"])
def test_pruned_weights_are_zero_after_every_step_of_any_optimizer(optimizer):
    found, start, mask = run("steps", optimizer=optimizer)
    for name in ("start", "after 0", "after 1", "after 2"):
        assert not SEEN[name][~mask].any() and SEEN[name][mask].any()
    assert not torch.equal(SEEN["after 2"][mask], start["first.weight"][mask])
    assert torch.equal(found.state["first.weight"], SEEN["after 2"]) and found.best_step == 3
    assert found.state.keys() == start.keys()
    assert [each.step for each in found.curve] == [1, 2, 3]
    assert found.curve[1].train_loss == 2 * found.curve[1].score
    assert (found.score, found.test_score, found.diverged) == (found.curve[-1].score, 2.0, False)


def test_nothing_is_held_once_the_training_is_over():
    module = Net()
    with held(module, {"first.weight": torch.zeros(8, 4, dtype=torch.bool)}):
        pass
    module(torch.ones(2, 4)).sum().backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert module.first.weight.any()


def test_a_training_is_told_where_it_stands_and_seeded_alike_for_every_rate():
    draws = []
    for max_lr in (0.1, 0.2):
        run("steps", max_lr=max_lr, cycle=2)
        assert (SEEN["max_lr"], SEEN["cycle"], SEEN["replicate"]) == (max_lr, 2, 0)
        assert SEEN["device"] == CPU and SEEN["data"] is None and SEEN["masks"].keys() == {"first.weight"}
        draws.append((SEEN["draw"], SEEN["seed"]))
    assert torch.equal(draws[0][0], draws[1][0]) and draws[0][1] == draws[1][1]
    before = torch.get_rng_state()
    run("steps", cycle=3)
    assert not torch.equal(SEEN["draw"], draws[0][0]) and torch.equal(torch.get_rng_state(), before)


def schedules(network, training):
    given = training.schedule(6, steps_per_epoch=2)
    SEEN["multipliers"] = [given(step) for step in range(8)]
    return 1


@pytest.mark.parametrize("retraining", ["weight_rewinding", "fine_tuning"])
@pytest.mark.parametrize("cycle", [0, 1])
def test_the_spec_s_schedule_is_a_function_of_the_step(retraining, cycle):
    schedule = Component(name="warmup_drops", arguments={"warmup": 2, "drops": [4]})
    recipe = {"schedule": schedule, "retraining": retraining, "unit": "iterations", "length": 6}
    run("schedules", cycle=cycle, recipe=recipe | {"rewind_to": 0})
    tuned = retraining == "fine_tuning"
    whole = multipliers(schedule, steps=6, steps_per_unit=1, fine_tuning=tuned)
    expected = [whole[-1]] * 8 if tuned and cycle else [*whole, whole[-1], whole[-1]]
    assert SEEN["multipliers"] == expected


def test_weight_rewinding_goes_back_to_the_step_that_was_counted():
    recipe = {"unit": "iterations", "length": 3, "rewind_to": 2}
    found, _, _ = run("steps", cycle=0, recipe=recipe)
    assert torch.equal(found.rewind["first.weight"], SEEN["after 1"])
    found, _, _ = run("steps", cycle=1, recipe=recipe)
    assert found.rewind is None and SEEN["first_step"] == 2
    with pytest.raises(InvalidInput, match="took 1 optimizer steps, and later cycles rewind to step 2"):
        run("steps", cycle=0, recipe=recipe, count=1)


def nothing(network, training):
    pass


def a_text(network, training):
    return "0.5"


def flag(network, training):
    return True


def nan(network, training):
    return math.nan


def exits(network, training):
    raise SystemExit(3)


def word_for_diverged(network, training):
    return Outcome(score=1.0, diverged="no")


def half_a_step(network, training):
    return Outcome(score=1.0, best_step=2.5)


def vector_of_losses(network, training):
    return Outcome(score=1.0, train_loss=torch.ones(2))


def named_step(network, training):
    training.report("last", 1.0)
    return 1.0


def backwards(network, training):
    training.report(2, 1.0)
    training.report(1, 1.0)
    return 1.0


def accuracy_of_93(network, training):
    return Outcome(score=0.5, test_score=93.0)


def other_network(network, training):
    return Outcome(score=1.0, network=nn.Linear(4, 4))


def wrapped(network, training):
    return Outcome(score=1.0, network=nn.Sequential(network))


def no_network(network, training):
    return Outcome(score=1.0, network={"weight": 1})


def dense(network, training):
    with torch.no_grad():
        network.first.weight.fill_(1.0)
    return 1.0


def by_hand(network, training):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    training.apply_masks(network)
    return torch.tensor(1.0)


REFUSED = {
    "nothing": "gave nothing: it must give its validation score, a number, or trials.loops.Outcome",
    "a_text": "gave str: it must give its validation score",
    "flag": "gave bool: it must give",
    "exits": r"called sys.exit\(3\): it must give its validation score",
    "word_for_diverged": "gave diverged='no': it must be True or False",
    "half_a_step": "gave best_step=2.5: it must be a number of optimizer steps, or None",
    "vector_of_losses": r"train_loss gives Tensor of shape \(2,\): it must give one number",
    "nan": "gave the score nan: of a training that came to nothing",
    "other_network": r"gave a network of other tensors \(first.weight, first.bias, norm.weight\)",
    "wrapped": "of a wrapper, give what it wraps",
    "no_network": "gave a network of type dict: it must be a torch.nn.Module",
    "dense": r"gave a network in which \d+ pruned weights of 'first.weight' aren't 0: .*apply_masks",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_loop_gives_back_is_looked_at(name):
    with pytest.raises(InvalidInput, match=REFUSED[name]) as caught:
        run(name)
    assert "\n" not in str(caught.value) and f"{HERE}:{name}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("named_step", "step gives str: it must give one number"),
        ("backwards", "step is 1: .* so far, 2 or more"),
    ],
)
def test_a_report_is_of_a_step_further_on(name, said):
    with pytest.raises(InvalidInput, match=f"training.report: {said}"):
        run(name)


NUMBERS = (
    np.float32(0.5),
    np.array(0.5),
    np.array([0.5]),
    torch.tensor([[0.5]]),
    Fraction(1, 2),
    Decimal("0.5"),
)


def any_number(network, training, *, index):
    given = NUMBERS[index]
    training.report(np.int64(1), given)
    return Outcome(score=given, test_score=given, diverged=np.bool_(False), best_step=torch.tensor(7))


@pytest.mark.parametrize("index", range(len(NUMBERS)))
def test_a_number_may_be_numpy_s_or_a_tensor_s(index):
    found, _, _ = run("any_number", index=index)
    assert (found.score, found.test_score, found.curve[0].score, found.best_step) == (0.5, 0.5, 0.5, 7)
    assert found.diverged is False and type(found.best_step) is int


def test_an_accuracy_is_a_share():
    with pytest.raises(InvalidInput, match=r"gave a test accuracy of 93: give a share in \[0, 1\]"):
        run("accuracy_of_93", recipe={"metric": Metric()})
    found, _, _ = run("accuracy_of_93")
    assert found.test_score == 93.0


def test_a_network_that_is_stepped_by_hand_can_be_masked():
    found, start, mask = run("by_hand")
    assert not found.state["first.weight"][~mask].any()
    assert torch.equal(found.state["first.weight"][mask], start["first.weight"][mask] + 1)
    assert found.score == 1.0 and math.isnan(found.test_score) and found.curve == ()


def diverging(network, training):
    with torch.no_grad():
        network.first.weight.fill_(math.nan)
    return Outcome(score=math.nan, diverged=True, train_loss=1.0)


def too_fast(network, training):
    optimizer = torch.optim.SGD(network.parameters(), lr=training.max_lr)
    for _ in range(3):
        optimizer.zero_grad()
        loss = network(torch.randn(4, 4)).square().mean()
        loss.backward()
        optimizer.step()
    return Outcome(score=loss, test_score=0.1, train_loss=loss.item()) if training.cycle else loss


@pytest.mark.parametrize("cycle", [0, 1])
def test_a_training_whose_score_and_weights_are_nan_has_diverged_without_saying_so(cycle):
    found, _, mask = run("too_fast", max_lr=1e30, cycle=cycle)
    assert (found.score, found.test_score, found.diverged) == (9.0, 9.0, True)
    assert math.isnan(found.train_loss) and not found.state["first.weight"][~mask].any()


def test_a_training_that_diverged_gets_the_spec_s_score_or_chance_level():
    found, _, _ = run("diverging")
    assert (found.score, found.test_score, found.diverged) == (9.0, 9.0, True)
    assert math.isnan(found.train_loss)
    found, _, _ = run("diverging", recipe={"metric": Metric()})
    assert found.score == found.test_score == 0.0
