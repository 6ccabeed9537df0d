import pytest
import torch

from tests.trials.workers import RATES, WARM, chain, opened, pack, pruning, recipe, runner
from trials.copies import named_tensors
from trials.pruning.masks import alive
from trials.recipe import Component
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
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_exactly_the_asked_share_goes_and_never_comes_back(tmp_path):
    worker = runner(tmp_path)
    weights = 64 * 12 + 12 * 8 + 8 * 10
    expected, before, start = weights, None, None
    for cycle in range(1, 5):
        trained = worker.run(pack(cycle - 1, 0, start))
        pruned = worker.run(pruning(trained[0].checkpoint, cycle=cycle, parent_start=start))
        expected -= round(0.2 * expected)
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
        assert (outcome.accuracy, outcome.test_accuracy) == (copy.accuracy, copy.test_accuracy)
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
        assert outcome.accuracy > 0.3
        state = worker.store.read(outcome.checkpoint)
        module.load_state_dict(state)
        assert torch.equal(state["second.bias"], worker.network(1).second.bias)
        assert torch.equal(state["second.weight"], state["third.weight"])
