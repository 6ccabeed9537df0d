"""A Trainer of Lightning (pip install lightning).

network: fc
dataset: digits
training: {loop: "oracle.examples.loops.lightning_trainer:train", arguments: {epochs: 1}, batch_size: 64}
"""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trials.loops import Outcome, Training


class Classifier(lightning.LightningModule):
    """What Lightning trains: the network that is pruned, its loss and its optimizer."""

    def __init__(self, network: nn.Module, max_lr: float) -> None:
        super().__init__()
        self.network, self.max_lr, self.right = network, max_lr, []

    def training_step(self, batch, _):
        inputs, labels = batch
        return nn.functional.cross_entropy(self.network(inputs), labels)

    def on_validation_epoch_start(self):
        self.right = []

    def validation_step(self, batch, _):
        inputs, labels = batch
        self.right += (self.network(inputs).argmax(1) == labels).tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.max_lr, momentum=0.9)


def train(network: nn.Module, training: Training, *, epochs: int) -> Outcome:
    """Trains on the spec's data set."""
    data = training.data
    assert data is not None

    def loader(split, shuffle=False):
        inputs, labels = split.first(len(split))
        return DataLoader(TensorDataset(data.normalise(inputs), labels), training.batch_size, shuffle=shuffle)

    model = Classifier(network, training.max_lr)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="gpu" if training.device.type == "cuda" else "cpu",
        devices=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader(data.train, shuffle=True))
    judge = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    scores = []
    for split in (data.validation, data.test):
        judge.validate(model, loader(split), verbose=False)
        scores.append(sum(model.right) / len(model.right))
    finite = all(bool(each.isfinite().all()) for each in network.parameters())
    return Outcome(score=scores[0], test_score=scores[1], diverged=not finite)
