"""Image files in folders named after their classes: what is there, and the decoding of any part of it.

The two are apart so that a split can be drawn before anything is decoded.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.datasets.base import Split
from trials.registry import listed, one_line
from trials.vision import load_torchvision

if TYPE_CHECKING:
    from PIL.Image import Image

Prepare = Callable[["Image", str], "Image"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """Image files of one split.

    Attributes:
        folder: Where they are.
        classes: The classes' names in the order of their numbers, which is that of the alphabet.
        files: [N] paths, ordered by class and name.
        labels: [N], int64.
    """

    folder: Path
    classes: Sequence[str]
    files: Sequence[str]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def part(self, chosen: Tensor) -> "Listing":
        """The files at some indices."""
        files = [self.files[index] for index in chosen.tolist()]
        return Listing(folder=self.folder, classes=self.classes, files=files, labels=self.labels[chosen])


def list_images(folder: Path, *, layout: str) -> Listing:
    """Lists ``folder/<class>/*`` as ``torchvision.datasets.ImageFolder`` does; nothing is decoded.

    Args:
        folder: One split's folder.
        layout: The folders that the data set needs, for the message.

    Raises:
        InvalidInput: The folder is missing, or a class is empty.
    """
    try:
        found = load_torchvision().datasets.ImageFolder(folder)
    except OSError as error:
        raise InvalidInput(f"{folder} can't be used: {one_line(error)}; {layout}") from None
    return Listing(
        folder=folder,
        classes=found.classes,
        files=[file for file, _ in found.samples],
        labels=torch.tensor(found.targets, dtype=torch.int64),
    )


def require_same_classes(listings: Mapping[str, Listing]) -> None:
    """Refuses splits that differ in their classes from ``train``.

    Raises:
        InvalidInput: A split has a class that the training split lacks, or the reverse.
    """
    train = listings["train"]
    for other in listings.values():
        if other.classes != train.classes:
            raise InvalidInput(
                f"{other.folder} and {train.folder} differ in the classes "
                f"{listed(sorted(set(other.classes) ^ set(train.classes)))}: "
                "every split needs a folder for each class"
            )


def decode(listing: Listing, size: tuple[int, int], prepare: Prepare) -> Split:
    """Decodes images into memory.

    Args:
        listing: Which.
        size: Height and width in pixels.
        prepare: Brings one RGB image to that size, or refuses it; its file's name is for the message.

    Returns:
        Inputs [N, 3, H, W], uint8.

    Raises:
        InvalidInput: An image can't be read, has more than 8 bits per channel, or ``prepare`` refuses it.
    """
    threads = min(16, os.cpu_count() or 1)
    return Split(inputs=decode_files(listing.files, size, prepare, threads=threads), labels=listing.labels)


def decode_files(
    files: Sequence[str], size: tuple[int, int], prepare: Prepare, *, threads: int = 1
) -> Tensor:
    """Inputs [N, 3, H, W], uint8, of some files; see :func:`decode`."""
    inputs = torch.empty(len(files), 3, *size, dtype=torch.uint8)

    def fill(index: int) -> None:
        image = prepare(open_image(files[index]), files[index])
        inputs[index] = torch.from_numpy(np.array(image)).permute(2, 0, 1)

    if threads == 1:
        for index in range(len(files)):
            fill(index)
        return inputs
    # Threads, because the decoders let go of the interpreter lock.
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(len(files))):
            pass
    return inputs


def open_image(file: str) -> "Image":
    """One image in RGB.

    Raises:
        InvalidInput: It can't be read, or has more than 8 bits per channel.
    """
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
    return pixels
