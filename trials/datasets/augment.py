"""Random crops and flips of a batch of images, where the batch is."""

import torch
from torch import Tensor
from torch.nn import functional


def pad_crop_flip(inputs: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Crops each image at random out of its zero-padded self and mirrors half of them left to right.

    The distribution is that of torchvision's ``RandomCrop(size, padding)`` followed by
    ``RandomHorizontalFlip()``: every one of the (2 × padding + 1)² positions and either side is equally
    likely, for each image on its own. The numbers are drawn on the CPU, so that a seed gives the same crops
    on every device.

    Args:
        inputs: [B, C, H, W], uint8 or floating point, before normalisation (zero is black).
        generator: A CPU generator; three draws per image.
        padding: Rows and columns of zeros on each side.

    Returns:
        Same shape, dtype and device.
    """
    batch, channels, height, width = inputs.shape
    offsets = torch.randint(2 * padding + 1, (2, batch), generator=generator)
    mirrored = torch.randint(2, (1, batch), generator=generator)
    top, left, mirror = torch.cat([offsets, mirrored]).to(inputs.device)
    column = torch.arange(width, device=inputs.device)
    columns = left[:, None] + torch.where(mirror[:, None] == 1, column.flip(0), column)
    rows = top[:, None] + torch.arange(height, device=inputs.device)
    return functional.pad(inputs, [padding] * 4)[
        torch.arange(batch, device=inputs.device)[:, None, None, None],
        torch.arange(channels, device=inputs.device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
