"""Every network of the registry: a copy in a pack is trained as it would be alone, in double precision."""

import dataclasses
import itertools

import pytest

from tests.trials.thin import make_thin
from tests.trials.toys import (
    assert_same_outcome,
    double,
    random_masks,
    toy_data,
    toy_network,
    toy_recipe,
    train,
)
from trials.engine import why_not_packed
from trials.networks import NETWORKS
from trials.objectives import CrossEntropy
from trials.tasks import Component, Execution

STEPS = 30
TAME, SLOW = (0.02, 0.05, 0.1), (1e-4, 2e-4, 5e-4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A network, small by its arguments or made thin, and a training that is well-conditioned."""

    name: str
    arguments: dict = dataclasses.field(default_factory=dict)
    shape: tuple
    batch: int = 8
    rates: tuple = TAME
    steps: int = STEPS


CASES = {
    "fc": Case(name="fc", arguments={"hidden": [7, 5]}, shape=(6,)),
    # 2.5 million weights, whatever its arguments: the 30 steps are a matter of seconds, fewer do.
    "alexnet": Case(name="alexnet", shape=(1, 32, 32), batch=2, rates=(0.005, 0.01, 0.02), steps=10),
    "resnet20": Case(name="resnet20", shape=(1, 8, 8), batch=4),
    "resnet20, conv": Case(name="resnet20", arguments={"shortcut": "conv"}, shape=(1, 8, 8), batch=4),
    "vgg19": Case(name="vgg19", shape=(1, 32, 32), rates=(0.005, 0.01, 0.02)),
    "densenet40": Case(name="densenet40", shape=(1, 4, 4)),
    "mobilenetv2": Case(name="mobilenetv2", shape=(1, 16, 16), rates=SLOW),
    "resnet50": Case(name="resnet50", shape=(3, 32, 32), rates=SLOW),
    "vit": Case(name="vit", arguments={"layers": 2, "heads": 2, "width": 8, "mlp": 16}, shape=(3, 8, 8)),
    "vit_b_16": Case(name="vit_b_16", shape=(3, 16, 16), batch=4),
}


@pytest.fixture(params=CASES)
def case(request, monkeypatch):
    make_thin(monkeypatch)
    return CASES[request.param]


def trainings(case, module, masks, size):
    """The candidates' trainings with the only validation at the end: it has the weights of the last step."""
    recipe = toy_recipe(
        length=case.steps,
        unit="iterations",
        evaluate_every=case.steps,
        batch_size=case.batch,
        optimizer=Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 5e-3}),
        schedule=Component(
            name="warmup_drops",
            arguments={"warmup": case.steps // 3, "drops": [case.steps * 3 // 5, case.steps * 5 // 6]},
        ),
        execution=Execution(pack_size=size),
    )
    # Six batches an epoch, and three examples that are left out of each.
    data = toy_data(shape=case.shape, train=6 * case.batch + 3, validation=8, test=8)
    start = double(module.state_dict())
    return train(module, data, recipe, case.rates, start=start, masks=masks, cycle=2, replicate=1)


def distance(one, other):
    """The largest difference of two copies' weights and buffers."""
    return max(float((one[name].double() - tensor.double()).abs().max()) for name, tensor in other.items())


def test_every_network_of_the_registry_is_among_the_cases():
    assert {case.name for case in CASES.values()} == NETWORKS.keys()


def test_a_copy_in_a_pack_ends_as_it_does_alone(case):
    module = toy_network(case.name, case.arguments, shape=case.shape)
    masks = random_masks(module, 0.7)
    packed, alone = (trainings(case, module, masks, size) for size in (len(case.rates), 1))
    for one, other in zip(packed, alone, strict=True):
        assert one.best_step == case.steps and not one.diverged
        assert_same_outcome(one, other)  # its training loss is the mean over all steps
        assert all(not one.state[name][~mask].any() for name, mask in masks.items())
    # It would be seen if a copy had another one's rate, weights or running statistics.
    statistics = [name for name in packed[0].state if name.endswith("running_var")]
    for one, other in itertools.permutations(range(len(packed)), 2):
        ours, theirs = packed[one], alone[other]
        assert distance(ours.state, theirs.state) > 1e-3
        assert abs(ours.train_loss - theirs.train_loss) > 1e-6
        for name in statistics:
            assert distance({name: ours.state[name]}, {name: theirs.state[name]}) > 1e-6, name


def test_dropout_in_the_large_transformer_stands_against_packing(monkeypatch):
    make_thin(monkeypatch)
    case = CASES["vit_b_16"]
    data = toy_data(shape=case.shape, train=8)
    module = toy_network(case.name, {"dropout": 0.1}, shape=case.shape)
    reason = why_not_packed(module, CrossEntropy(), data.train.inputs.float(), data.train.labels)
    assert reason == "it uses a random operation, as dropout is"
