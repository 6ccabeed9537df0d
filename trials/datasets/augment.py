"""Random changes of a batch of training images, where the batch is.

The numbers are drawn on the CPU, so that a seed gives the same images on every device, and for an accelerator
many batches ahead, so that no step waits for them: see :func:`changes`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

Change = Callable[[Tensor], Tensor]
"""Changes a batch [B, C, H, W]."""

_TRIES = 10

_AHEAD, _BYTES_AHEAD = 64, 2**24
"""Batches that numbers are drawn for at a time, and bytes of those numbers, for an accelerator."""


def pad_crop_flip(inputs: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Crops each image at random out of its zero-padded self and mirrors half of them left to right.

    The distribution is that of torchvision's ``RandomCrop(size, padding)`` followed by
    ``RandomHorizontalFlip()``: every one of the (2 × padding + 1)² positions and either side is equally
    likely, for each image on its own.

    Args:
        inputs: [B, C, H, W], uint8 or floating point, before normalisation (zero is black).
        generator: A CPU generator; three draws per image.
        padding: Rows and columns of zeros on each side.

    Returns:
        Same shape, dtype and device.
    """
    drawn = _crops(len(inputs), inputs.shape[-2:], generator, padding, mirrors=True)
    return _cropped(inputs, drawn.to(inputs.device), padding)


def pad_crop(inputs: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """:func:`pad_crop_flip` without the mirroring, for what means something else in a mirror, such as digits
    and letters. Two draws per image."""
    drawn = _crops(len(inputs), inputs.shape[-2:], generator, padding, mirrors=False)
    return _cropped(inputs, drawn.to(inputs.device), padding)


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
    larger than the image, so there is nothing to smooth against aliasing.

    Args:
        inputs: [B, C, H, W], uint8 or floating point, before normalisation.
        generator: A CPU generator; 23 draws per image.
        scale: Smallest and largest area.
        ratio: Smallest and largest width : height.

    Returns:
        Same shape, dtype and device; uint8 is rounded.
    """
    drawn = _parts(len(inputs), inputs.shape[-2:], generator, scale, ratio)
    return _resized(inputs, drawn.to(inputs.device))


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "pad_crop_flip": pad_crop_flip,
    "pad_crop": pad_crop,
    "resized_crop_flip": resized_crop_flip,
}


@dataclass(frozen=True)
class _Halves:
    """An augmentation as what it draws for (B, size, generator) on the CPU, and what it does with that."""

    draw: Callable[[int, torch.Size, torch.Generator], Tensor]
    change: Callable[[Tensor, Tensor], Tensor]


def changes(
    augmentation: Callable[[Tensor, torch.Generator], Tensor],
    batch: int,
    size: torch.Size,
    generator: torch.Generator,
    device: torch.device,
) -> Iterator[Change]:
    """What an augmentation does to one batch after another, without an end.

    Args:
        augmentation: One of AUGMENTATIONS, or any other like them.
        batch: Images of each batch.
        size: (H, W) of the images.
        generator: A CPU generator; more may be drawn from it than what is asked for needs.
        device: Where the batches are.

    Yields:
        The same changes as calls of the augmentation with the generator make, in their order.
    """
    halves = _HALVES.get(augmentation)
    while halves is None or device.type == "cpu":
        yield lambda inputs: augmentation(inputs, generator)
    draw = partial(halves.draw, batch, size, generator)
    first = [draw()]
    ahead = max(1, min(_AHEAD, _BYTES_AHEAD // max(1, first[0].nbytes)))
    while True:
        drawn = first + [draw() for _ in range(ahead - len(first))]
        for each in sent(torch.stack(drawn), device):
            yield _with(halves.change, each)
        first = []


def _with(change: Callable[[Tensor, Tensor], Tensor], drawn: Tensor) -> Change:
    return lambda inputs: change(inputs, drawn)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what that still computes."""
    return tensor.to(device) if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _mirrored(batch: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (batch,), generator=generator)


def _crops(
    batch: int, size: torch.Size, generator: torch.Generator, padding: int = 4, *, mirrors: bool
) -> Tensor:
    """Rows and columns of the padded image that each image becomes: [B, H + W]."""
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator)
    rows, columns = (torch.arange(side).expand(batch, -1) for side in size)
    if mirrors:
        columns = torch.where(_mirrored(batch, generator)[:, None] == 1, columns.flip(1), columns)
    return torch.cat([top[:, None] + rows, left[:, None] + columns], dim=1)


def _cropped(inputs: Tensor, drawn: Tensor, padding: int = 4) -> Tensor:
    batch, channels, *size = inputs.shape
    rows, columns = torch.split(drawn, list(size), dim=1)
    return functional.pad(inputs, [padding] * 4)[
        torch.arange(batch, device=inputs.device)[:, None, None, None],
        torch.arange(channels, device=inputs.device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def _parts(
    batch: int,
    size: torch.Size,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Places in the image, from -1 to 1, of the rows and columns of each: [B, H + W], float64."""
    boxes = _boxes(batch, size, generator, scale, ratio)
    mirror = _mirrored(batch, generator)
    # Pixel x of the output lies at left + (x + 1/2)·width/W - 1/2 of the input, and not beyond the box.
    rows, columns = (
        torch.minimum(
            begin + ((torch.arange(side) + 0.5) * extent / side - 0.5).clamp(min=0), begin + extent - 1
        )
        for begin, extent, side in zip(boxes[:2], boxes[2:], size, strict=True)
    )
    columns = torch.where(mirror[:, None] == 1, columns.flip(1), columns)
    places = ((2 * place + 1) / side - 1 for place, side in zip((rows, columns), size, strict=True))
    return torch.cat(list(places), dim=1)


def _resized(inputs: Tensor, drawn: Tensor) -> Tensor:
    dtype = inputs.dtype if inputs.is_floating_point() else torch.float32
    y, x = torch.split(drawn.to(dtype), list(inputs.shape[-2:]), dim=1)
    every = (len(inputs), y.shape[1], x.shape[1])
    grid = torch.stack([x[:, None, :].expand(every), y[:, :, None].expand(every)], dim=-1)
    parts = functional.grid_sample(inputs.to(dtype), grid, padding_mode="border", align_corners=False)
    return parts if inputs.is_floating_point() else parts.round().to(inputs.dtype)


_HALVES = {
    pad_crop_flip: _Halves(partial(_crops, mirrors=True), _cropped),
    pad_crop: _Halves(partial(_crops, mirrors=False), _cropped),
    resized_crop_flip: _Halves(_parts, _resized),
}


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
