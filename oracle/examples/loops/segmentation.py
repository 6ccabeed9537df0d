"""A segmentation: squares in noisy images, judged by the intersection over union.

network: "oracle.examples.loops.segmentation:Segmenter"
training: {loop: "oracle.examples.loops.segmentation:train", arguments: {steps: 20}}
metric: {name: IoU, goal: max, diverged: 0.0}
tolerance: 0.02
"""

import torch
from torch import nn

from trials.loops import Outcome, Training


class Segmenter(nn.Module):
    """Two classes per pixel, half of the resolution inside."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, stride=2), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.head = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, images):
        return self.head(self.up(self.down(images)).relu())


def squares(count: int, seed: int):
    """Images [count, 1, 16, 16] and their masks [count, 16, 16], int64."""
    draw = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 10, (count, 2), generator=draw)
    rows, columns = torch.arange(16)[:, None], torch.arange(16)[None]
    top, left = corners[:, :1, None], corners[:, 1:, None]
    inside = (rows >= top) & (rows < top + 6) & (columns >= left) & (columns < left + 6)
    images = inside.float() + 0.7 * torch.randn(count, 16, 16, generator=draw)
    return images[:, None], inside.long()


def train(network: nn.Module, training: Training, *, steps: int) -> Outcome:
    """Trains on 64 images, with RMSprop."""
    (images, masks), validation, test = squares(64, 0), squares(32, 1), squares(32, 2)
    optimizer = torch.optim.RMSprop(network.parameters(), lr=training.max_lr)
    for _ in range(steps):
        chosen = torch.randint(len(images), (16,))
        loss = nn.functional.cross_entropy(network(images[chosen]), masks[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    finite = bool(loss.isfinite())
    return Outcome(score=iou(network, *validation), test_score=iou(network, *test), diverged=not finite)


@torch.no_grad()
def iou(network, images, masks):
    """Intersection over union of the squares."""
    found = network.eval()(images).argmax(1).bool()
    return ((found & masks.bool()).sum() / (found | masks.bool()).sum().clamp(min=1)).item()
