"""Networks of the user's own that a search can take for others than they are."""

import functools
import random
import warnings

import numpy
import torch
from torch import nn
from torch.nn.functional import dropout, linear


class Plain(nn.Module):
    """What the others are variations of; 64 inputs."""

    def __init__(self, *, input_shape, num_classes):
        super().__init__()
        self.body, self.top = nn.Linear(64, 32), nn.Linear(32, num_classes)

    def hidden(self, x):
        return self.body(x.flatten(1)).relu()

    def forward(self, x):
        return self.top(self.hidden(x))


class Stale(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.read = functools.partial(linear, weight=self.top.weight, bias=self.top.bias)

    def forward(self, x):
        return self.read(self.hidden(x))


class Parts(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.parts = {"weight": self.top.weight, "rest": [self.top.bias]}

    def forward(self, x):
        return linear(self.hidden(x), self.parts["weight"], self.parts["rest"][0])


class Closure(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        weight, bias = self.top.weight, self.top.bias
        self.read = lambda x: linear(x, weight, bias)

    def forward(self, x):
        return self.read(self.hidden(x))


class Clipped(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.top.weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))


class Clamped(Plain):
    def forward(self, x):
        with torch.no_grad():
            self.top.weight.clamp_(-0.1, 0.1)
        return super().forward(x)


class Scripted(Plain):
    """A part of it compiled by torch.jit, whose parameters are in no dictionary."""

    def __init__(self, **given):
        super().__init__(**given)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.body = torch.jit.script(nn.Sequential(self.body, nn.BatchNorm1d(self.body.out_features)))


class Recurrent(Plain):
    def __init__(self, *, input_shape, num_classes):
        nn.Module.__init__(self)
        self.body, self.top = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, num_classes)

    def forward(self, x):
        return self.top(self.body(x.reshape(-1, 8, 8))[0][:, -1])


class Normed(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.body = nn.utils.parametrizations.weight_norm(self.body)


class Parallel(nn.DataParallel):
    def __init__(self, **given):
        super().__init__(Plain(**given))


class Wide(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.top.double()

    def forward(self, x):
        return self.top(self.hidden(x).double()).float()


class Narrow(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.top.bfloat16()

    def forward(self, x):
        return self.top(self.hidden(x).bfloat16()).float()


class Doubled(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.double()

    def forward(self, x):
        return super().forward(x.double())


class Complex(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.phase = nn.Parameter(torch.randn(32, dtype=torch.complex64))

    def forward(self, x):
        return self.top((self.hidden(x) * self.phase).abs())


class ComplexLayer(Plain):
    """Complex weights that can be pruned."""

    def __init__(self, **given):
        super().__init__(**given)
        self.body = nn.Linear(64, 32, dtype=torch.complex64)

    def hidden(self, x):
        return self.body(x.flatten(1).to(torch.complex64)).abs()


class Defaults(Plain):
    """Sets torch's defaults for all that comes after it."""

    def __init__(self, **given):
        torch.set_default_dtype(torch.float64)
        super().__init__(**given)
        torch.set_grad_enabled(False)

    def forward(self, x):
        return super().forward(x.double())


class Frozen(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.body.requires_grad_(False)


class Drawn(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.body.weight.data = torch.tensor(numpy.random.normal(0, 0.1, (32, 64)), dtype=torch.float32)


class Gauss(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        for value in self.body.weight.data:
            value.copy_(torch.tensor([random.gauss(0, 0.1) for _ in range(64)]))


class NumpyDropout(Plain):
    def hidden(self, x):
        hidden = super().hidden(x)
        return hidden * torch.tensor(numpy.random.random(hidden.shape) > 0.5) if self.training else hidden


class OwnGenerator(Plain):
    """Weights from a generator that nobody seeds."""

    def __init__(self, **given):
        super().__init__(**given)
        draws = numpy.random.default_rng().normal(0, 0.1, (32, 64))
        self.body.weight.data = torch.tensor(draws, dtype=torch.float32)


class OwnDropout(Plain):
    """A generator that goes on from training to training."""

    def __init__(self, **given):
        super().__init__(**given)
        self.draws = numpy.random.default_rng(0)

    def hidden(self, x):
        hidden = super().hidden(x)
        return hidden * torch.tensor(self.draws.random(hidden.shape) > 0.5) if self.training else hidden


class UnseededDropout(OwnDropout):
    def __init__(self, **given):
        super().__init__(**given)
        self.draws = numpy.random.default_rng()


class Fading(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.count = 0

    def forward(self, x):
        self.count += self.training
        return self.top(dropout(self.hidden(x), max(0.0, 0.8 - self.count / 250), self.training))


class Buffered(Plain):
    """As Fading wants to be."""

    def __init__(self, **given):
        super().__init__(**given)
        self.register_buffer("count", torch.tensor(0.0))

    def forward(self, x):
        self.count += self.training
        return self.top(dropout(self.hidden(x), max(0.0, 0.8 - float(self.count) / 250), self.training))


class Late(Plain):
    """A count that matters after a thousand steps."""

    def __init__(self, **given):
        super().__init__(**given)
        self.count = 0

    def forward(self, x):
        self.count += self.training
        return self.top(dropout(self.hidden(x), 0.5 * (self.count > 1000), self.training))


class Global(Plain):
    """A count of all objects of the class."""

    count = 0

    def forward(self, x):
        Global.count += self.training
        return self.top(self.hidden(x)) * (1 + Global.count / 100)


class InPlace(Plain):
    """Takes its inputs for its own."""

    def forward(self, x):
        return super().forward(x.mul_(0.5))


class InPlaceInEvaluation(Plain):
    def forward(self, x):
        return super().forward(x if self.training else x.mul_(0.5))


class Cached(Plain):
    """Folds its weights once."""

    def forward(self, x):
        if not hasattr(self, "folded"):
            self.folded = self.top.weight.detach() + 0.0
        return super().forward(x) + linear(self.hidden(x), self.folded)


class RunningMean(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.mean = torch.zeros(32)

    def hidden(self, x):
        hidden = super().hidden(x)
        if not self.training:
            return hidden - self.mean
        self.mean = 0.9 * self.mean + 0.1 * hidden.detach().mean(0)
        return hidden - hidden.mean(0)


class Two(Plain):
    def forward(self, x):
        y = super().forward(x)
        return (y, y) if self.training else y


class Auxiliary(Plain):
    def forward(self, x):
        y = super().forward(x)
        return {"out": y, "aux": y} if self.training else y


class Spread(Plain):
    def forward(self, x):
        y = super().forward(x)
        return y[..., None] if self.training else y


class Fails(Plain):
    def forward(self, x):
        if self.training:
            raise ZeroDivisionError("not\nhere")
        return super().forward(x)


class Growing(Plain):
    def forward(self, x):
        if self.training and not hasattr(self, "more"):
            self.more = nn.Linear(32, self.top.out_features)
        return super().forward(x) + (self.more(self.hidden(x)) if self.training else 0)


class Listed(Plain):
    """Layers in a list, which no optimizer sees."""

    def __init__(self, **given):
        super().__init__(**given)
        self.layers = [nn.Linear(32, 32)]

    def hidden(self, x):
        return self.layers[0](super().hidden(x))


class Projected(Plain):
    """A random projection that is no buffer."""

    def __init__(self, **given):
        super().__init__(**given)
        self.projection = torch.randn(32, 32)

    def hidden(self, x):
        return super().hidden(x) @ self.projection


class AlwaysDropping(Plain):
    def hidden(self, x):
        return dropout(super().hidden(x), 0.5)


class NormedByBatch(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.norm = nn.BatchNorm1d(32, track_running_stats=False)

    def hidden(self, x):
        return self.norm(super().hidden(x))


class Unused(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.spare = nn.Linear(3, 3)


class Alike(Plain):
    def __init__(self, **given):
        torch.manual_seed(42)
        super().__init__(**given)


class AlikeByNumpy(Drawn):
    def __init__(self, **given):
        numpy.random.seed(0)
        torch.manual_seed(0)
        super().__init__(**given)
