"""A tiny training and the paper's own loop, for the tests of the scheduler."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop

from silo import SiloCurve
from silo.scheduler import RateTableLR, SiloLR

CURVE = SiloCurve(q=1, beta=5, epsilon=0.04, delta=0.06, pruning_rate=0.2)
KINDS = {
    "silo": partial(SiloLR, curve=CURVE),
    "table": partial(RateTableLR, rates=[CURVE.max_lr(cycle) for cycle in range(12)]),
}
"""Each scheduler, with the same rates."""

MAKERS = {
    "sgd": partial(SGD, momentum=0.9, weight_decay=1e-4),
    "nesterov": partial(SGD, momentum=0.9, nesterov=True),
    "adam": Adam,
    "adamw": AdamW,
    "nadam": NAdam,
    "rmsprop": partial(RMSprop, momentum=0.9),
    "adagrad": Adagrad,
    "lbfgs": partial(LBFGS, max_iter=2),
}


class Toy:
    """A tiny model whose optimizer really steps, so that torch's warnings, errors in tests, would show."""

    def __init__(self, make: Callable[..., Optimizer] = SGD, *, rates: tuple[Any, ...] = (0.7,)) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(6, 3, generator=generator)
        self.weights = [torch.randn(3, generator=generator).requires_grad_() for _ in rates]
        if len(rates) == 1:
            self.optimizer = make(self.weights, lr=rates[0])
        else:
            groups = [{"params": [one], "lr": lr} for one, lr in zip(self.weights, rates, strict=True)]
            self.optimizer = make(groups)

    def loss(self) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = sum(((self.inputs @ one).tanh() - 0.5).square().mean() for one in self.weights)
        loss.backward()
        return loss

    def rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def iterate(self, scheduler: Any) -> list[float]:
        """One iteration of training: the rates it went by."""
        used = self.rates()
        self.optimizer.step(self.loss)
        scheduler.step()
        return used

    def train(self, scheduler: Any, steps: int) -> list[list[float]]:
        return [self.iterate(scheduler) for _ in range(steps)]


def algorithm_1(
    cycles: int, steps: int, warmup: int, drops: list[int], factor: float = 0.1
) -> Iterator[float]:
    """The paper's loop, with the numbers of CURVE."""
    epsilon, delta, p, q, beta = 0.04, 0.06, 0.2, 1, 5
    for m in range(cycles):
        if m <= q:
            max_lr = epsilon
        else:
            gamma = 1 - (1 - p) ** (m - q)
            max_lr = delta / (1 + (gamma / (1 - gamma)) ** -beta) + epsilon
        for i in range(steps):
            lr = max_lr * (i + 1) / warmup if i < warmup else max_lr
            for drop in drops:
                if i >= drop:
                    lr *= factor
            yield lr
