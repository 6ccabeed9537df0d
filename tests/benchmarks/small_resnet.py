"""A small residual network with batch normalisation, for searches on images that last minutes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, pad


class _Block(nn.Module):
    """Two convolutions beside the identity, which is thinned out and filled with zeros where sizes change."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        self.stride, self.more = stride, width - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, before, H, W) to (N, width, H / stride, W / stride)."""
        y = self.norms[0](self.first(x)).relu()
        kept = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return (self.norms[1](self.second(y)) + kept).relu()


class ResNet8(nn.Module):
    """ResNet-8 as He et al. (2016, arXiv 1512.03385, Section 4.2) build them for CIFAR-10, with n = 1.

    Args:
        input_shape: (C, H, W).
        num_classes: Classes.
    """

    def __init__(self, *, input_shape: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(_Block(16, 16, 1), _Block(16, 32, 2), _Block(32, 64, 2))
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, num_classes)."""
        y = self.blocks(self.norm(self.stem(x)).relu())
        return self.head(adaptive_avg_pool2d(y, 1).flatten(1))  # type: ignore[no-any-return]
