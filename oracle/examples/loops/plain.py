"""A plain PyTorch loop: label smoothing, gradient clipping, OneCycleLR, and the weights' moving average.

network: fc
dataset: digits
training: {loop: "oracle.examples.loops.plain:train", arguments: {epochs: 2}, batch_size: 64}
"""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trials.loops import Outcome, Training


def train(network: nn.Module, training: Training, *, epochs: int, smoothing: float = 0.1) -> Outcome:
    """Trains on the spec's data set; the averaged network is the one that is judged, and pruned."""
    data = training.data
    assert data is not None
    steps = len(data.train) // training.batch_size
    optimizer = torch.optim.SGD(network.parameters(), lr=training.max_lr, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.max_lr, total_steps=epochs * steps)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.95))
    loss_of = nn.CrossEntropyLoss(label_smoothing=smoothing)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(data.train)).split(training.batch_size)[:steps]:
            inputs, labels = data.train.batch(chosen)
            loss = loss_of(network(data.normalise(inputs)), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
        reached = accuracy(average, data, data.validation)
        training.report((epoch + 1) * steps, reached, train_loss=loss.item())
    return Outcome(
        score=reached,
        test_score=accuracy(average, data, data.test),
        network=average.module,
        diverged=not loss.isfinite(),
        train_loss=loss.item(),
    )


@torch.no_grad()
def accuracy(network, data, split):
    """Share of right answers on a split."""
    inputs, labels = split.first(len(split))
    return (network.eval()(data.normalise(inputs)).argmax(1) == labels).float().mean().item()
