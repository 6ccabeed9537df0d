"""Modules as users write them: which are trained in packs, and why the others aren't."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from tests.trials.toys import assert_same_outcome, random_masks, toy_data, toy_recipe, train
from trials.engine import why_not_packed
from trials.objectives import CrossEntropy

SHAPE = (12,)
RATES = [0.01, 0.02, 0.05]


class Parts(nn.Module):
    """A part on features or on a sequence of three times four, and a linear layer on what it gives."""

    def __init__(self, part, width, *, sequence=False, pick=lambda outputs: outputs):
        super().__init__()
        self.part, self.head, self.sequence, self.pick = part, nn.Linear(width, 4), sequence, pick

    def forward(self, inputs):
        values = inputs.view(len(inputs), 3, 4) if self.sequence else inputs
        return self.head(self.pick(self.part(values)).flatten(1))


class Attention(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=dropout, batch_first=True)

    def forward(self, inputs):
        return self.attention(inputs, inputs, inputs)[0]


class Lookup(nn.Module):
    """A row of a table for each sign, as of words."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(2, 5)

    def forward(self, inputs):
        return self.table((inputs > 0).long())


class OnInputs(nn.Module):
    """A branch on what all copies see."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 5)

    def forward(self, inputs):
        return self.linear(inputs) if inputs.sum() > 0 else -self.linear(inputs)


class OnWeights(nn.Module):
    """A branch on what differs from copy to copy."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 5)

    def forward(self, inputs):
        outputs = self.linear(inputs)
        return outputs if outputs.sum() > 0 else -outputs


class Item(OnWeights):
    def forward(self, inputs):
        outputs = self.linear(inputs)
        return outputs / outputs.detach().abs().max().item()


class WritesInPlace(OnWeights):
    def forward(self, inputs):
        outputs = inputs.new_zeros(len(inputs), 5)
        return outputs.copy_(self.linear(inputs))


class SelectsByMask(OnWeights):
    def forward(self, inputs):
        outputs = self.linear(inputs)
        return outputs - outputs[outputs > 0].mean()


def features(*parts):
    return Parts(nn.Sequential(nn.Linear(12, 8), *parts), 8)


def recurrent(kind, **arguments):
    return Parts(
        kind(4, 5, batch_first=True, **arguments), 15, sequence=True, pick=lambda outputs: outputs[0]
    )


def hooked():
    """A weight that a hook makes of another one and a mask, before every call."""
    linear = nn.Linear(12, 8)
    prune.random_unstructured(linear, "weight", amount=0.5)
    return Parts(linear, 8)


TAKEN = {
    "no dropout": lambda: features(nn.Dropout(0.0)),
    "batch norm": lambda: features(nn.BatchNorm1d(8)),
    "batch norm without running statistics": lambda: features(nn.BatchNorm1d(8, track_running_stats=False)),
    "instance norm": lambda: Parts(nn.InstanceNorm1d(3, track_running_stats=True), 12, sequence=True),
    "group norm": lambda: features(nn.GroupNorm(2, 8)),
    "layer norm": lambda: features(nn.LayerNorm(8)),
    "in-place activation": lambda: features(nn.ReLU(inplace=True)),
    "weight norm": lambda: Parts(parametrizations.weight_norm(nn.Linear(12, 8)), 8),
    "orthogonal weights": lambda: Parts(parametrizations.orthogonal(nn.Linear(12, 8)), 8),
    "attention": lambda: Parts(Attention(), 12, sequence=True),
    "embedding": lambda: Parts(Lookup(), 60),
    "convolution in one dimension": lambda: Parts(nn.Conv1d(3, 2, 2), 6, sequence=True),
    "hook of torch's pruning": hooked,
    "branch on the inputs": lambda: Parts(OnInputs(), 5),
}

RANDOM = "it uses a random operation, as dropout is"
BRANCHES = "it has data-dependent control flow, as an if on a tensor, a loop over one or calling .item() are"
REFUSED = {
    "dropout": (lambda: features(nn.Dropout(0.5)), RANDOM),
    "dropout in attention": (lambda: Parts(Attention(0.2), 12, sequence=True), RANDOM),
    "dropout between layers": (lambda: recurrent(nn.LSTM, num_layers=2, dropout=0.3), RANDOM),
    "LSTM": (lambda: recurrent(nn.LSTM), "vmap has no rule for aten::lstm"),
    "GRU": (lambda: recurrent(nn.GRU), "vmap has no rule for aten::gru"),
    "RNN": (lambda: recurrent(nn.RNN), "vmap has no rule for aten::rnn_tanh"),
    "random slopes": (lambda: features(nn.RReLU()), "vmap has no rule for aten::rrelu_with_noise"),
    "spectral norm": (
        lambda: Parts(parametrizations.spectral_norm(nn.Linear(12, 8)), 8),
        "vmap has no rule for aten::div",
    ),
    "batch norm by averaging": (lambda: features(nn.BatchNorm1d(8, momentum=None)), BRANCHES),
    "branch on the weights": (lambda: Parts(OnWeights(), 5), BRANCHES),
    "item": (lambda: Parts(Item(), 5), BRANCHES),
    "writing in place": (
        lambda: Parts(WritesInPlace(), 5),
        "it writes in place into a tensor that the copies share",
    ),
    "boolean mask": (
        lambda: Parts(SelectsByMask(), 5),
        "the shape of a tensor depends on values, as with a boolean mask",
    ),
}


def built(make):
    torch.manual_seed(0)
    return make()


def reason(module):
    data = toy_data(shape=SHAPE)
    return why_not_packed(module, CrossEntropy(), data.train.inputs[:8].float(), data.train.labels[:8])


def outcomes(module, size):
    """Trained packed or alone, in double precision, under masks where there are some."""
    recipe = toy_recipe(length=3, pack_size=size)
    return train(module.double(), toy_data(shape=SHAPE), recipe, RATES, masks=random_masks(module, 0.8))


@pytest.mark.parametrize("name", TAKEN)
def test_a_module_that_is_taken_trains_packed_as_it_does_alone(name):
    module = built(TAKEN[name])
    assert reason(module) is None
    for one, other in zip(outcomes(module, len(RATES)), outcomes(module, 1), strict=True):
        assert_same_outcome(one, other)
        assert not one.diverged and one.best_step


@pytest.mark.parametrize("name", REFUSED)
def test_a_module_that_is_refused_says_why_in_a_line_and_is_trained_alone(name):
    make, said = REFUSED[name]
    module = built(make)
    assert reason(module) == said and len(said) < 120
    assert all(outcome.best_step and not outcome.diverged for outcome in outcomes(module, 1))


class Talkative(nn.Module):
    """Fails with a message of many lines and words, as torch does about sparse tensors."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 4)

    def forward(self, inputs):
        raise ValueError("a " + "very " * 500 + "long message\nof two lines")


def test_a_reason_that_is_not_known_is_cut_to_a_line():
    said = reason(Talkative())
    assert said.startswith("ValueError: a very very") and len(said) <= 160 and "\n" not in said
