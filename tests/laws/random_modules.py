"""Networks as people write them, drawn by a seed: layers, tied weights, buffers, dropout, types."""

import functools
import random

import numpy
import torch
from torch import nn
from torch.nn import functional

WIDTH = 8


def random_module(seed):
    """A network of a few random parts for 16 numbers and 4 classes; its weights are drawn as it is built."""
    draw = random.Random(seed)
    return RandomModule([draw.choice(PARTS) for _ in range(draw.randint(1, 5))], draw.choice(HEADS))


class RandomModule(nn.Module):
    def __init__(self, parts, head):
        super().__init__()
        self.stem = nn.Linear(16, WIDTH)
        self.parts = nn.ModuleList(part() for part in parts)
        self.head = head()
        self.described = " ".join([*(each.__name__ for each in parts), head.__name__])

    def forward(self, inputs):
        hidden = self.stem(inputs.flatten(1)).tanh()
        for part in self.parts:
            hidden = hidden + part(hidden)  # residual, so that no part cuts the gradient off
        return self.head(hidden)


class Dense(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.LayerNorm(WIDTH))


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 4, 3, padding=1),
            nn.BatchNorm1d(4),
            nn.ReLU(inplace=True),
            nn.Conv1d(4, 1, 1, bias=False),
        )

    def forward(self, inputs):
        return self.layers(inputs[:, None]).squeeze(1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.there, self.back = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        self.back.weight = self.there.weight

    def forward(self, inputs):
        return self.back(self.there(inputs).relu())


class Transposed(nn.Module):
    """A weight that is used twice, read by a reference."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.kept = {"weight": self.layer.weight}

    def forward(self, inputs):
        return self.layer(inputs).tanh() @ self.kept["weight"]


class Referred(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.read = functools.partial(functional.linear, weight=self.layer.weight, bias=self.layer.bias)

    def forward(self, inputs):
        return self.read(inputs).relu()


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.drop = nn.Linear(WIDTH, WIDTH), nn.Dropout(0.3)

    def forward(self, inputs):
        return self.drop(self.layer(inputs).relu())


class DroppingByNumpy(Dropping):
    def forward(self, inputs):
        kept = torch.tensor(numpy.random.random(WIDTH) > 0.3) if self.training else 1
        return self.layer(inputs) * kept


class Skipped(Dropping):
    """Stochastic depth."""

    def forward(self, inputs):
        return self.layer(inputs) * (random.random() > 0.5 if self.training else 0.5)


class Averaging(nn.Module):
    """A running mean that is assigned, a count that is written in place, and a buffer that is no state."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("scale", torch.full((WIDTH,), 0.5), persistent=False)

    def forward(self, inputs):
        if self.training:
            self.count += 1
            self.mean = self.mean + (inputs.detach().mean(0) - self.mean) / (1 + self.count)
        return self.layer(inputs - self.mean) * self.scale


class Gated(nn.Module):
    """Own parameters: a scalar, a vector, one that nothing reads, one that is frozen."""

    def __init__(self):
        super().__init__()
        self.gate, self.weight = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.randn(WIDTH, WIDTH) / 3)
        self.unused = nn.Parameter(torch.randn(3))
        self.fixed = nn.Parameter(torch.randn(WIDTH), requires_grad=False)

    def forward(self, inputs):
        return (inputs @ self.weight + self.fixed) * self.gate.sigmoid()


class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH, dtype=torch.float64)

    def forward(self, inputs):
        return self.layer(inputs.double()).tanh().float()


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.spectrum = nn.Parameter(torch.randn(WIDTH // 2 + 1, dtype=torch.complex64))

    def forward(self, inputs):
        return torch.fft.irfft(torch.fft.rfft(inputs) * self.spectrum, n=WIDTH)


class WeightNormed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))

    def forward(self, inputs):
        return self.layer(inputs).relu()


class SpectralNormed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.utils.parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH))

    def forward(self, inputs):
        return self.layer(inputs).relu()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(2, WIDTH, batch_first=True)

    def forward(self, inputs):
        return self.layer(inputs.reshape(-1, WIDTH // 2, 2))[0][:, -1]


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, inputs):
        tokens = inputs.reshape(-1, 2, 4)
        return self.layer(tokens, tokens, tokens, need_weights=False)[0].flatten(1)


class Branching(nn.Module):
    """A branch on the data."""

    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, inputs):
        return self.low(inputs) if inputs[0].sum() < 0 else self.high(inputs)


class Clamped(nn.Module):
    """A weight that its own forward pass keeps small."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, inputs):
        with torch.no_grad():
            self.layer.weight.clamp_(-0.3, 0.3)
        return self.layer(inputs)


class Head(nn.Linear):
    def __init__(self):
        super().__init__(WIDTH, 4)


class DoubleHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 4).double()

    def forward(self, inputs):
        return self.layer(inputs.double())


class ClippedHead(Head):
    """A hook on the gradient of its weight."""

    def __init__(self):
        super().__init__()
        self.weight.register_hook(lambda gradient: gradient.clamp(-0.05, 0.05))


PARTS = [
    Dense,
    Convolutional,
    Tied,
    Transposed,
    Referred,
    Dropping,
    DroppingByNumpy,
    Skipped,
    Averaging,
    Gated,
    Double,
    Complex,
    WeightNormed,
    SpectralNormed,
    Recurrent,
    Attending,
    Branching,
    Clamped,
]
HEADS = [Head, DoubleHead, ClippedHead]
