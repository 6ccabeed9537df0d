import pytest
import torch

from tests.trials.workers import RATES, WARM, chain, opened, pack, pruning, recipe, runner
from trials.engine import named_tensors
from trials.process import derive_seed
from trials.pruning import PRUNERS, prune
from trials.pruning.masks import alive, full_masks, prunable_names
from trials.tasks import Component
from trials.training import train_pack

RETRAINING = pytest.mark.parametrize("retraining", ["weight_rewinding", "lr_rewinding", "fine_tuning"])
OWN = '''
import torch
from torch import nn

class Odd(nn.Module):
    """Shared weights, a frozen layer, and a random buffer that state_dict leaves out."""
    def __init__(self, *, input_shape, num_classes):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(64, 12), nn.Linear(12, 12), nn.Linear(12, 12)
        self.third.weight = self.second.weight
        self.norm, self.again = nn.BatchNorm1d(12), nn.BatchNorm1d(12)
        self.again.weight = self.norm.weight
        self.second.bias.requires_grad_(False)
        self.head = nn.Linear(12, num_classes)
        self.register_buffer("noise", torch.randn(64), persistent=False)
    def forward(self, inputs):
        features = self.first(inputs.flatten(1) + self.noise)
        return self.head(self.again(self.third(self.norm(self.second(features)).relu())).relu())

class Small(nn.Module):
    def __init__(self, *, input_shape, num_classes):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.head = nn.Linear(5 * 4, num_classes)
    def forward(self, inputs):
        values = nn.functional.max_pool2d(self.norm1(self.conv1(inputs.view(-1, 1, 8, 8))).relu(), 2)
        return self.head(nn.functional.max_pool2d(self.norm2(self.conv2(values)).relu(), 2).flatten(1))
'''
SMALL = {"conv1.weight": 54, "conv2.weight": 270, "head.weight": 200}


@pytest.fixture
def own(own_module):
    return own_module("odd_networks", OWN)


@pytest.mark.parametrize("rate", [0.2, (0.5, 0.25)])
def test_exactly_the_asked_share_goes_and_never_comes_back(tmp_path, rate):
    worker = runner(tmp_path, pruning_rate=rate)
    weights = 64 * 12 + 12 * 8 + 8 * 10
    expected, before, start = weights, None, None
    for cycle in range(1, 5):
        trained = worker.run(pack(cycle - 1, 0, start))
        pruned = worker.run(pruning(trained[0].checkpoint, cycle=cycle, parent_start=start))
        expected -= round((rate if rate == 0.2 else rate[min(cycle, 2) - 1]) * expected)
        assert (pruned.cycle, pruned.replicate, pruned.alive, pruned.prunable) == (
            cycle,
            0,
            expected,
            weights,
        )
        assert pruned.parameters == weights + 12 + 8 + 10
        assert pruned.start.path == f"cycle-{cycle:02d}/replicate-0/start.safetensors"
        start, (tensors, masks) = pruned.start, opened(worker, pruned)
        assert alive(masks) == expected
        assert not any(tensors[name][~mask].any() for name, mask in masks.items())
        state = worker.store.read(trained[0].checkpoint)
        left = torch.cat([state[name][mask].abs() for name, mask in masks.items()])
        old = before or {name: torch.ones_like(mask) for name, mask in masks.items()}
        gone = torch.cat([state[name][old[name] & ~mask].abs() for name, mask in masks.items()])
        assert gone.max() <= left.min()
        assert not any((mask & ~old[name]).any() for name, mask in masks.items())
        before = masks


def test_what_is_kept_is_never_pruned(tmp_path):
    worker = runner(tmp_path, keep=("layers.2.*",))
    _, pruned, _, again = chain(worker, 2)
    assert pruned.prunable == 64 * 12 + 12 * 8
    tensors, masks = opened(worker, again)
    assert set(masks) == {"layers.0.weight", "layers.1.weight"}
    assert tensors["layers.2.weight"].all()


@RETRAINING
def test_what_a_pruned_network_starts_from(tmp_path, retraining):
    worker = runner(tmp_path, retraining=retraining)
    trained, pruned, later, pruned_again = chain(worker, 2, replicate=2)
    for parent, child in ((trained, pruned), (later, pruned_again)):
        tensors, masks = opened(worker, child)
        expected = worker.network(2).state_dict()
        if retraining != "weight_rewinding":
            expected = worker.store.read(parent[-1].checkpoint)
        assert tensors.keys() == expected.keys()
        for name, tensor in tensors.items():
            mask = masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
            assert torch.equal(tensor[mask], expected[name][mask])
            assert not tensor[~mask].any()


@RETRAINING
def test_a_pruned_network_trains_from_its_start_file(tmp_path, retraining):
    worker = runner(tmp_path, retraining=retraining)
    _, pruned = chain(worker, 1)
    trained = worker.run(pack(1, 0, pruned.start))
    start, masks = opened(worker, pruned)
    schedule, factor = WARM, 1.0
    if retraining == "fine_tuning":  # the last multiplier all along
        schedule, factor = Component(name="constant"), 0.5
    copies = train_pack(
        module=worker.network(0),
        start=start,
        masks=masks,
        data=worker.data,
        recipe=recipe(schedule=schedule),
        cycle=1,
        replicate=0,
        max_lrs=[factor * max_lr for max_lr in RATES],
    )
    for outcome, copy in zip(trained, copies, strict=True):
        assert (outcome.score, outcome.test_score) == (copy.score, copy.test_score)
        state = worker.store.read(outcome.checkpoint)
        assert all(torch.equal(tensor, copy.state[name]) for name, tensor in state.items())
        assert not any(state[name][~mask].any() for name, mask in masks.items())


@RETRAINING
def test_shared_frozen_and_unsaved_tensors(tmp_path, own, retraining):
    worker = runner(tmp_path, network=Component(name=f"{own}:Odd"), retraining=retraining)
    trained, pruned, later, _ = chain(worker, 2, replicate=1)
    module = worker.network(1)
    tensors, masks = opened(worker, pruned)
    assert tensors.keys() == named_tensors(module).keys()
    assert torch.equal(tensors["noise"], module.noise) and not torch.equal(
        module.noise, worker.network(0).noise
    )
    assert set(masks) == {"first.weight", "second.weight", "head.weight"}
    for outcome in (*trained, *later):
        assert outcome.score > 0.3
        state = worker.store.read(outcome.checkpoint)
        module.load_state_dict(state)
        assert torch.equal(state["second.bias"], worker.network(1).second.bias)
        assert torch.equal(state["second.weight"], state["third.weight"])


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_sees_the_trained_network(tmp_path, own, pruner):
    """The runner's masks are those of the pruner on the stored state: BatchNorm's statistics as trained, and
    batches and seed as the recipe has them."""
    worker = runner(tmp_path, network=Component(name=f"{own}:Small"), pruner=Component(name=pruner))
    trained, first, later, second = chain(worker, 2, replicate=1)
    masks = None
    for cycle, (parent, child) in enumerate(((trained, first), (later, second)), start=1):
        module = worker.network(1)
        names = prunable_names(module)
        state = worker.store.read(parent[-1].checkpoint)
        assert (state["norm1.running_var"] != 1).all()
        module.load_state_dict(state)
        masks = prune(
            pruner,
            {},
            module=module,
            masks=masks or full_masks(module, names),
            data=worker.data,
            batch_size=128,
            rate=0.2,
            seed=derive_seed(5, 1, cycle, "prune"),
        )
        found = opened(worker, child)[1]
        assert found.keys() == masks.keys()
        assert all(torch.equal(found[name], mask) for name, mask in masks.items())
        assert child.alive == alive({name: masks[name] for name in names})
        assert child.prunable == sum(SMALL.values())
        assert child.parameters == sum(SMALL.values()) + 6 + 5 + 10 + 2 * (6 + 5)


@pytest.mark.parametrize("pruner", ["global_magnitude", "l1_filter"])
def test_the_share_of_the_norm_that_goes(tmp_path, own, pruner):
    worker = runner(tmp_path, network=Component(name=f"{own}:Small"), pruner=Component(name=pruner))
    trained, first, later, second = chain(worker, 2)
    old = None
    for parent, child in ((trained, first), (later, second)):
        state, masks = worker.store.read(parent[-1].checkpoint), opened(worker, child)[1]
        before = sum((state[name] if old is None else state[name][old[name]]).norm() ** 2 for name in SMALL)
        after = sum(state[name][masks[name]].norm() ** 2 for name in SMALL)
        assert 0 < child.norm_drop < 1
        assert child.norm_drop == pytest.approx((1 - after / before).sqrt().item(), rel=1e-3)
        old = masks


def test_a_checkpoint_without_a_parameter_is_no_network(tmp_path, own):
    worker = runner(tmp_path, network=Component(name=f"{own}:Small"))
    trained = worker.run(pack())
    state = worker.store.read(trained[-1].checkpoint)
    del state["norm1.bias"]
    failed = worker.run(pruning(worker.store.write("half.safetensors", state)))
    assert "KeyError: 'norm1.bias'" in failed.error
