"""Images in folders named after their classes."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.datasets.base import Dataset, Split, channel_statistics
from trials.datasets.splits import share_of, split_indices
from trials.registry import listed, one_line
from trials.vision import load_torchvision


def image_folder(
    *,
    seed: int,
    root: str | Path,
    image_size: int | Sequence[int] | None = None,
    resize: bool = False,
    validation_share: float = 0.1,
    augment: bool = False,
) -> Dataset:
    """Reads ``root/train/<class>/*`` and ``root/test/<class>/*`` into memory, as RGB.

    The formats are those of ``torchvision.datasets.ImageFolder``, the classes are numbered in the order of
    their names. If there is a ``root/validation`` it decides; otherwise a share of the training images does.

    Args:
        seed: Seed of the split.
        root: The folder with ``train`` and ``test``.
        image_size: Height and width in pixels, or one number for both; without it, those of the first image.
        resize: Resize images of another size (bilinear with antialiasing, the aspect ratio is not kept).
        validation_share: Share of the training images that decides where there is no ``root/validation``.
        augment: Whether training images are cropped and flipped at random.

    Returns:
        Inputs [N, 3, H, W], uint8, normalised by the training split's mean and standard deviation per
        channel.

    Raises:
        InvalidInput: Folders are missing or have different classes, an image can't be read or has another
            size.
    """
    root = Path(root).expanduser()
    size = _read_size(image_size, resize)
    has_validation = (root / "validation").is_dir()
    names = ["train", "test", "validation"] if has_validation else ["train", "test"]
    listings = {name: _list_images(root / name) for name in names}
    classes = listings["train"][0]
    for name, (others, _) in listings.items():
        if others != classes:
            raise InvalidInput(
                f"{root / name} and {root / 'train'} differ in the classes "
                f"{listed(sorted(set(others) ^ set(classes)))}: "
                "every split needs a folder for each class"
            )
    size = size or _size_of(listings["train"][1][0][0])
    splits = {name: _decode(samples, size, resize) for name, (_, samples) in listings.items()}
    if not has_validation:
        splits |= _part_off(splits["train"], validation_share, seed)
    mean, std = channel_statistics(splits["train"].inputs)
    return Dataset(**splits, num_classes=len(classes), mean=mean, std=std, augment=augment)


def _read_size(image_size: int | Sequence[int] | None, resize: bool) -> tuple[int, int] | None:
    if image_size is None:
        if resize:
            raise InvalidInput(
                "resize: true needs an image_size to resize to: give [height, width] or one number"
            )
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise InvalidInput(
            f"image_size {image_size!r} can't be read: give [height, width] or one number, in pixels"
        )
    return sides


def _list_images(folder: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """The class names and the (file, label) pairs under a folder."""
    try:
        listing = load_torchvision().datasets.ImageFolder(folder)
    except FileNotFoundError as error:
        raise InvalidInput(
            f"{folder} can't be used: {one_line(error)}; image_folder needs "
            "root/train/<class>/* and root/test/<class>/*"
        ) from None
    return listing.classes, listing.samples


def _part_off(train: Split, validation_share: float, seed: int) -> dict[str, Split]:
    size = share_of("validation_share", validation_share, len(train))
    validation, rest = split_indices(train.labels, [size], seed=seed)
    return {
        "train": Split(inputs=train.inputs[rest], labels=train.labels[rest]),
        "validation": Split(inputs=train.inputs[validation], labels=train.labels[validation]),
    }


def _decode(samples: Sequence[tuple[str, int]], size: tuple[int, int], resize: bool) -> Split:
    inputs = torch.empty(len(samples), 3, *size, dtype=torch.uint8)

    def fill(index: int) -> None:
        inputs[index] = _decode_one(samples[index][0], size, resize)

    # Threads, because the decoders let go of the interpreter lock.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, range(len(samples))):
            pass
    return Split(inputs=inputs, labels=torch.tensor([label for _, label in samples], dtype=torch.int64))


def _size_of(file: str) -> tuple[int, int]:
    return tuple(_decode_one(file, None, resize=False).shape[1:])


def _decode_one(file: str, size: tuple[int, int] | None, resize: bool) -> Tensor:
    """One image as uint8 [3, H, W]."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            mode = image.mode
            pixels = image.convert("RGB")
    except Exception as error:  # the decoders raise whatever a damaged file drives them into
        raise InvalidInput(
            f"image {file} can't be read, replace it or take it out: {one_line(error)}"
        ) from error
    if mode.startswith(("I", "F")):
        # PIL would clip these to 8 bits, which turns nearly everything white.
        raise InvalidInput(
            f"image {file} has more than 8 bits per channel (mode {mode}): convert it to 8 bits"
        )
    height, width = size or (pixels.height, pixels.width)
    if (pixels.height, pixels.width) != (height, width):
        if not resize:
            raise InvalidInput(
                f"image {file} has {pixels.height}×{pixels.width} pixels (height×width), "
                f"not {height}×{width}: make all images one size, or set image_size and resize: true"
            )
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
