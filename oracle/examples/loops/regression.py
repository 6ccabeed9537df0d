"""A regression on data that the loop makes itself: the spec names no data set.

network: {name: "oracle.examples.loops.regression:Curve", arguments: {width: 16}}
training: {loop: "oracle.examples.loops.regression:train", arguments: {steps: 60}}
metric: {name: rmse, goal: min, diverged: 1.0}
tolerance: 5 %
"""

import torch
from torch import nn

from trials.loops import Outcome, Training


class Curve(nn.Module):
    """A function of one number."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.head = nn.Linear(width, 1)

    def forward(self, inputs):
        return self.head(self.layers(inputs))


def train(network: nn.Module, training: Training, *, steps: int) -> Outcome:
    """Fits a noisy sine, with Adam and the spec's schedule."""
    draw = torch.Generator().manual_seed(0)  # the data: the same for every training
    inputs = 6 * torch.rand(300, 1, generator=draw) - 3
    targets = inputs.sin() + 0.1 * torch.randn(300, 1, generator=draw)
    inputs, targets = inputs.to(training.device), targets.to(training.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=training.max_lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, training.schedule(steps))
    for step in range(1, steps + 1):
        chosen = torch.randint(200, (32,), device=training.device)
        loss = nn.functional.mse_loss(network(inputs[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            training.report(step, rmse(network, inputs[200:250], targets[200:250]), train_loss=loss.item())
    validation = rmse(network, inputs[200:250], targets[200:250])
    test = rmse(network, inputs[250:], targets[250:])
    return Outcome(score=validation, test_score=test, diverged=not loss.isfinite())


@torch.no_grad()
def rmse(network, inputs, targets):
    """Root of the mean squared error."""
    return nn.functional.mse_loss(network(inputs), targets).sqrt().item()
