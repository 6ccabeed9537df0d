"""Random changes of a batch of training images, where the batch is."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_TRIES = 10


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
    top, left = torch.randint(2 * padding + 1, (2, len(inputs)), generator=generator)
    return _cropped(inputs, top, left, _mirrored(len(inputs), generator), padding)


def pad_crop(inputs: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """:func:`pad_crop_flip` without the mirroring, for what means something else in a mirror, such as digits
    and letters. Two draws per image."""
    top, left = torch.randint(2 * padding + 1, (2, len(inputs)), generator=generator)
    return _cropped(inputs, top, left, torch.zeros_like(top), padding)


def resized_crop_flip(
    inputs: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Enlarges a random part of each image to the image's size and mirrors half of them left to right.

    The distribution is that of torchvision's ``RandomResizedCrop`` (Szegedy et al. 2015, section 6) followed
    by ``RandomHorizontalFlip()``: the part's area is uniform over ``scale`` (shares of the image's), its
    width : height uniform over ``ratio`` in the logarithm, its place uniform. Bilinear; a part is never
    larger than the image, so there is nothing to smooth against aliasing. The numbers are drawn on the CPU.

    Args:
        inputs: [B, C, H, W], uint8 or floating point, before normalisation.
        generator: A CPU generator; 23 draws per image.
        scale: Smallest and largest area.
        ratio: Smallest and largest width : height.

    Returns:
        Same shape, dtype and device; uint8 is rounded.
    """
    size = inputs.shape[-2:]
    boxes = _boxes(len(inputs), size, generator, scale, ratio)
    mirror = _mirrored(len(inputs), generator)
    # Pixel x of the output lies at left + (x + 1/2)·width/W - 1/2 of the input, and not beyond the box.
    rows, columns = (
        torch.minimum(
            begin + ((torch.arange(side) + 0.5) * extent / side - 0.5).clamp(min=0), begin + extent - 1
        )
        for begin, extent, side in zip(boxes[:2], boxes[2:], size, strict=True)
    )
    columns = torch.where(mirror[:, None] == 1, columns.flip(1), columns)
    dtype = inputs.dtype if inputs.is_floating_point() else torch.float32
    y, x = (
        ((2 * place + 1) / side - 1).to(inputs.device, dtype)
        for place, side in zip((rows, columns), size, strict=True)
    )
    every = (len(inputs), y.shape[1], x.shape[1])
    grid = torch.stack([x[:, None, :].expand(every), y[:, :, None].expand(every)], dim=-1)
    parts = functional.grid_sample(inputs.to(dtype), grid, padding_mode="border", align_corners=False)
    return parts if inputs.is_floating_point() else parts.round().to(inputs.dtype)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "pad_crop_flip": pad_crop_flip,
    "pad_crop": pad_crop,
    "resized_crop_flip": resized_crop_flip,
}


def _mirrored(batch: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (batch,), generator=generator)


def _cropped(inputs: Tensor, top: Tensor, left: Tensor, mirror: Tensor, padding: int) -> Tensor:
    batch, channels, height, width = inputs.shape
    top, left, mirror = torch.stack([top, left, mirror]).to(inputs.device)
    column = torch.arange(width, device=inputs.device)
    columns = left[:, None] + torch.where(mirror[:, None] == 1, column.flip(0), column)
    rows = top[:, None] + torch.arange(height, device=inputs.device)
    return functional.pad(inputs, [padding] * 4)[
        torch.arange(batch, device=inputs.device)[:, None, None, None],
        torch.arange(channels, device=inputs.device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def _boxes(
    batch: int,
    size: torch.Size,
    generator: torch.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Tensor:
    """Top, left, height and width (float64, whole numbers) of one part per image: [4, B, 1]."""
    height, width = size
    area, shape, place = torch.rand(
        batch, 2 * _TRIES + 2, generator=generator, dtype=torch.float64
    ).tensor_split([_TRIES, 2 * _TRIES], dim=1)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
    shape = ratio[0] * (ratio[1] / ratio[0]) ** shape
    heights, widths = (area / shape).sqrt().round(), (area * shape).sqrt().round()
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    # As torchvision does: the first try that fits, or else the largest part of an allowed shape, centred.
    first = fits.int().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1, keepdim=True)
    whole_height = min(height, round(width / ratio[0]))
    whole_width = min(width, round(height * ratio[1]))
    heights = torch.where(found, heights.gather(1, first), whole_height)
    widths = torch.where(found, widths.gather(1, first), whole_width)
    room = torch.cat([height - heights, width - widths], dim=1)
    corner = torch.where(found, (place * (room + 1)).floor(), (room / 2).floor())
    return torch.stack([*torch.split(corner, 1, dim=1), heights, widths])
