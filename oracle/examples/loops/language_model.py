"""A language model on token ids: an embedding, a GRU and a head, judged by its perplexity.

network: "oracle.examples.loops.language_model:LanguageModel"
pruning: {also: ["embedding.*"]}
training: {loop: "oracle.examples.loops.language_model:train", arguments: {steps: 20}}
metric: {name: perplexity, goal: min, diverged: 12.0}
tolerance: 2 %
"""

import torch
from torch import nn

from trials.loops import Outcome, Training

TOKENS = 12


class LanguageModel(nn.Module):
    """Token ids [B, T] to the next token's logits [B, T, TOKENS]."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, width)
        self.body = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, TOKENS)

    def forward(self, ids):
        return self.head(self.body(self.embedding(ids))[0])


def text(count: int, seed: int):
    """Token ids [count, 17]: each is followed by the sum of the last two, but for one in ten."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(TOKENS, (count, 17), generator=draw)
    keep = torch.rand(count, 17, generator=draw) < 0.9
    for place in range(2, 17):
        follows = (ids[:, place - 1] + ids[:, place - 2]) % TOKENS
        ids[:, place] = torch.where(keep[:, place], follows, ids[:, place])
    return ids


def train(network: nn.Module, training: Training, *, steps: int) -> Outcome:
    """Trains on 256 sequences, with AdamW."""
    sequences, validation, test = text(256, 0), text(64, 1), text(64, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.max_lr)
    for _ in range(steps):
        loss = loss_of(network, sequences[torch.randint(len(sequences), (32,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores = [loss_of(network, ids).exp().item() for ids in (validation, test)]
    return Outcome(score=scores[0], test_score=scores[1], diverged=not loss.isfinite() or scores[0] > 1e6)


def loss_of(network, ids):
    """Mean cross-entropy of the next token, in nats."""
    return nn.functional.cross_entropy(network(ids[:, :-1]).transpose(1, 2), ids[:, 1:])
