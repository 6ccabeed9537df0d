import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, LambdaLR, LinearLR, MultiStepLR

from silo.errors import InvalidInput
from tests.trials.toys import toy_recipe
from trials.schedules import multipliers
from trials.tasks import Component
from trials.training import rate_multipliers

NAN, INF = float("nan"), float("inf")


def values(name, length, /, *, unit=1, **arguments):
    return multipliers(Component(name=name, arguments=arguments), steps=length, steps_per_unit=unit)


def test_constant():
    assert values("constant", 4) == [1.0] * 4


def test_warmup_and_drops_in_epochs():
    got = values("warmup_drops", 12, unit=3, warmup=1, drops=[2, 3.5], factor=0.5)
    thirds = [1 / 3, 2 / 3, 1]
    assert got == pytest.approx([*thirds, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25], rel=1e-15)


def test_the_recipe_of_the_lottery_ticket_paper():
    got = values("warmup_drops", 30_000, warmup=20_000, drops=[20_000, 25_000])
    assert got[:2] == [1 / 20_000, 2 / 20_000]
    assert [got[step] for step in (19_999, 20_000, 24_999, 25_000, 29_999)] == pytest.approx(
        [1, 0.1, 0.1, 0.01, 0.01]
    )


def test_no_step_is_lost_on_a_rate_of_zero():
    assert min(values("warmup_drops", 50, warmup=50)) == 1 / 50
    assert values("warmup_drops", 3, warmup=0.2) == values("warmup_drops", 3) == [1.0] * 3


def torch_rates(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    for _ in range(steps):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("warmup", "drops"), [(2, []), (7, [9, 15]), (10, [4, 12, 19])])
def test_the_same_as_torchs_linear_and_multi_step(warmup, drops):
    def chained(optimizer):
        ramp = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
        return ChainedScheduler([ramp, MultiStepLR(optimizer, milestones=drops, gamma=0.1)])

    ours = values("warmup_drops", 20, warmup=warmup, drops=drops)
    assert ours == pytest.approx(list(torch_rates(chained, 20)), rel=1e-12)
    lambdas = torch_rates(lambda optimizer: LambdaLR(optimizer, lambda step: ours[min(step, 19)]), 20)
    assert list(lambdas) == ours


REFUSED = [
    ({"warmup": -1}, r"warmup must lie between 0 and the training's length, got -1"),
    ({"warmup": -0.2}, "warmup must lie between 0"),
    ({"warmup": 11}, r"got 11 \(11 of 10 steps\)"),
    ({"warmup": NAN}, "warmup must be a number, got nan"),
    ({"warmup": "2"}, "warmup must be a number, got '2'"),
    ({"warmup": True}, "'warmup' must be a number, got True"),
    ({"warmup": 1e308}, r"warmup must be a number, got 1e\+308"),
    ({"drops": [10]}, r"drops must ascend and lie inside the training, got \[10\]"),
    ({"drops": [0]}, "lie inside the training"),
    ({"drops": [-1, 3]}, "lie inside the training"),
    ({"drops": [6, 3]}, r"must ascend.*got \[6, 3\]"),
    ({"drops": [3, 3]}, "must ascend"),
    ({"drops": 5}, r"must be a list of numbers, such as \[80, 120\], got 5"),
    ({"drops": "5"}, "must be a list of numbers"),
    ({"drops": [INF]}, "must be a list of numbers"),
    ({"factor": 0}, r"factor must lie in \(0, 1\], got 0"),
    ({"factor": 1.5}, "got 1.5"),
    ({"factor": NAN}, "got nan"),
    ({"warmpu": 1}, "takes no argument 'warmpu' .did you mean 'warmup'"),
    ({"steps": 3}, "'steps'.*is set by the search itself"),
]


def test_arguments_that_are_refused():
    for given_arguments, message in REFUSED:
        with pytest.raises(InvalidInput, match=message):
            values("warmup_drops", 10, **given_arguments)


def test_an_unknown_schedule_lists_the_known():
    known = "'constant', 'warmup_drops', 'linear_decay', 'cyclical', 'cosine', 'one_cycle'"
    with pytest.raises(InvalidInput, match=rf"{known} \(did you mean 'warmup_drops'\?\)"):
        values("warmup_drop", 10)


OWN = """
def linear(*, steps, steps_per_unit, end=0.0):
    return lambda step: 1 + (end - 1) * step / (steps - 1)

def in_units(*, steps, steps_per_unit):
    return lambda step: 1 / (1 + step // steps_per_unit)
"""


@pytest.fixture
def own(own_module):
    return own_module("own_schedules", OWN)


def test_own_schedule(own):
    assert values(f"{own}:linear", 5) == [1, 0.75, 0.5, 0.25, 0]
    assert values(f"{own}:in_units", 4, unit=2) == [1, 1, 0.5, 0.5]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (-1.0, "gives -0.5 at step 3: it must lie in"),
        (2.0, "gives 1.25 at step 1"),
        (NAN, "gives nan at step 0"),
    ],
)
def test_own_schedule_that_leaves_its_range(own, end, message):
    with pytest.raises(InvalidInput, match=message):
        values(f"{own}:linear", 5, end=end)


def test_the_recipes_unit_is_the_schedules():
    schedule = Component(name="warmup_drops", arguments={"warmup": 2, "drops": [3]})
    in_epochs = rate_multipliers(toy_recipe(schedule=schedule, length=4), cycle=0, steps=20, per_epoch=5)
    in_steps = rate_multipliers(
        toy_recipe(schedule=schedule, length=20, unit="iterations"), cycle=0, steps=20, per_epoch=5
    )
    assert in_epochs == pytest.approx([(step + 1) / 10 for step in range(10)] + [1] * 5 + [0.1] * 5)
    assert in_steps == pytest.approx([0.5, 1, 1, *[0.1] * 17])


@pytest.mark.parametrize("retraining", ["weight_rewinding", "lr_rewinding", "fine_tuning"])
def test_only_fine_tuning_holds_the_last_multiplier_and_only_from_cycle_1_on(retraining):
    schedule = Component(name="warmup_drops", arguments={"warmup": 2, "drops": [4]})
    recipe = toy_recipe(schedule=schedule, retraining=retraining, unit="iterations", length=5)
    whole = pytest.approx([0.5, 1, 1, 1, 0.1])
    for cycle in range(3):
        held = retraining == "fine_tuning" and cycle > 0
        expected = pytest.approx([0.1] * 5) if held else whole
        assert rate_multipliers(recipe, cycle=cycle, steps=5, per_epoch=2) == expected
