"""Small data sets, recipes and trainings in double precision."""

import torch
from torch import nn
from torch.nn import functional

from trials.datasets import Dataset, Split
from trials.networks import build_network
from trials.pruning.masks import prunable_names
from trials.tasks import Component, Execution, Recipe
from trials.training import train_pack


class Exact(Dataset):
    """A data set in double precision: two ways of computing the same differ by 1e-9 at most."""

    def normalise(self, inputs):
        return inputs.double()


def toy_data(
    *, shape=(6,), classes=4, train=50, validation=23, test=29, noise=2.0, augment=False, kind=Exact
) -> Dataset:
    """Noisy points around one centre per class, so that accuracies are neither 0 nor 1 and often tie."""
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, *shape, generator=draw, dtype=torch.float64)

    def split(count: int) -> Split:
        labels = torch.randint(classes, (count,), generator=draw)
        spread = torch.randn(count, *shape, generator=draw, dtype=torch.float64)
        return Split(inputs=centres[labels] + noise * spread, labels=labels)

    return kind(
        train=split(train),
        validation=split(validation),
        test=split(test),
        num_classes=classes,
        mean=(0.0,),
        std=(1.0,),
        augment=augment,
    )


def toy_recipe(**changes) -> Recipe:
    fields = {
        "network": Component(name="fc"),
        "dataset": Component(name="digits"),
        "pruner": Component(name="global_magnitude"),
        "pruning_rate": 0.2,
        "length": 3,
        "batch_size": 8,
        "optimizer": Component(name="sgd"),
        "schedule": Component(name="constant"),
        "seed": 5,
    }
    if "pack_size" in changes:
        changes["execution"] = Execution(pack_size=changes.pop("pack_size"))
    return Recipe(**fields | changes)


def toy_network(name="fc", arguments=None, *, shape=(6,), classes=4, seed=0):
    arguments = {"hidden": [7, 5]} if arguments is None and name == "fc" else arguments or {}
    return build_network(name, arguments, input_shape=shape, num_classes=classes, seed=seed)


def double(state):
    """A state with its floating point tensors in double precision."""
    return {name: each.double() if each.is_floating_point() else each.clone() for name, each in state.items()}


def random_masks(module, share=0.5):
    draw = torch.Generator().manual_seed(1)
    parameters = dict(module.named_parameters())
    return {
        name: torch.rand(parameters[name].shape, generator=draw) < share for name in prunable_names(module)
    }


def train(module, data, recipe, max_lrs, *, start=None, masks=None, cycle=0, replicate=0, engine=None):
    """``train_pack`` in double precision."""
    return train_pack(
        module=module,
        start=double(module.state_dict()) if start is None else start,
        masks=masks or {},
        data=data,
        recipe=recipe,
        cycle=cycle,
        replicate=replicate,
        max_lrs=max_lrs,
        engine=engine,
    )


def assert_same_outcome(one, other, tolerance=1e-9):
    """That two copies ended the same, to rounding."""
    for name in ("score", "test_score", "best_step", "diverged"):
        found, expected = getattr(one, name), getattr(other, name)
        assert abs(found - expected) <= tolerance * max(1.0, abs(expected)), name
    loss = {"rtol": tolerance, "atol": tolerance, "equal_nan": True}
    torch.testing.assert_close(torch.tensor(one.train_loss), torch.tensor(other.train_loss), **loss)
    assert one.state.keys() == other.state.keys()
    for name, tensor in one.state.items():
        torch.testing.assert_close(tensor, other.state[name], rtol=tolerance, atol=tolerance, msg=name)


def assert_bitwise_equal(one, other):
    """That two copies ended the same to the last bit."""
    for name in ("score", "test_score", "best_step", "diverged"):
        assert getattr(one, name) == getattr(other, name), name
    assert repr(one.train_loss) == repr(other.train_loss)
    assert one.state.keys() == other.state.keys()
    assert all(torch.equal(tensor, other.state[name]) for name, tensor in one.state.items())


def watch(module):
    """Notes each call: "t" or "e" for the mode, and the inputs of those in training mode."""
    modes, seen = [], []

    def note(module, arguments):
        modes.append("t" if module.training else "e")
        if module.training:
            seen.append(arguments[0].clone())

    module.register_forward_pre_hook(note)
    return modes, seen


class Dropping(nn.Module):
    """A linear network with dropout, which notes what it drew."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.drawn = []

    def forward(self, inputs):
        outputs = self.linear(inputs)
        if self.training:
            kept = functional.dropout(torch.ones_like(inputs[:, :4]), 0.3)
            self.drawn.append(kept.clone())
            outputs = outputs * kept
        return outputs
