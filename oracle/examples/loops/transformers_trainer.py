"""A Trainer of Hugging Face's transformers (pip install transformers accelerate), with a tiny random model.

network: "oracle.examples.loops.transformers_trainer:tiny"
training: {loop: "oracle.examples.loops.transformers_trainer:train", arguments: {steps: 10}}
tolerance: 0.02
"""

import tempfile

import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from trials.loops import Outcome, Training


def tiny() -> nn.Module:
    """A BERT of one layer for two classes. A pretrained one: ``….from_pretrained(name)``."""
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def sentences(count: int, seed: int):
    """Examples as a Trainer takes them: does token 7 come up?"""
    ids = torch.randint(20, (count, 12), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": each, "labels": (each == 7).any().long()} for each in ids]


def train(network: nn.Module, training: Training, *, steps: int) -> Outcome:
    """Trains on 256 sentences, with what the Trainer takes for an optimizer and a schedule."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            learning_rate=training.max_lr,
            max_steps=steps,
            per_device_train_batch_size=32,
            seed=training.seed,
            use_cpu=training.device.type == "cpu",
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            logging_strategy="no",
        )
        trainer = Trainer(model=network, args=arguments, train_dataset=sentences(256, 0))
        loss = trainer.train().training_loss
        scores = [accuracy(trainer.predict(sentences(100, seed))) for seed in (1, 2)]
    finite = all(bool(each.isfinite().all()) for each in network.parameters())
    return Outcome(score=scores[0], test_score=scores[1], diverged=not finite, train_loss=loss)


def accuracy(predicted):
    """Share of right answers."""
    return float((predicted.predictions.argmax(1) == predicted.label_ids).mean())
