"""Image files decoded: any part of what was listed, so that a split can be drawn before."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.datasets.base import Split
from trials.datasets.listing import Listing, printable
from trials.registry import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

Prepare = Callable[["Image", str], "Image"]

_ORIENTATION = 0x0112
"""The EXIF tag that says how an image is to be turned."""


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
    """One image in RGB, the way up that its camera has noted.

    Raises:
        InvalidInput: It can't be read, or has more than 8 bits per channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            mode, turned = image.mode, _is_turned(image)
            pixels = (ImageOps.exif_transpose(image) if turned else image).convert("RGB")
    except Exception as error:  # the decoders raise whatever a damaged file drives them into
        raise InvalidInput(
            f"image {printable(file)} can't be read, replace it or take it out: {one_line(error)}"
        ) from error
    if mode.startswith(("I", "F")):
        # PIL would clip these to 8 bits, which turns nearly everything white.
        raise InvalidInput(
            f"image {printable(file)} has more than 8 bits per channel (mode {mode}): convert it to 8 bits"
        )
    return pixels


def _is_turned(image: "Image") -> bool:
    try:
        return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # what the camera noted is damaged; the pixels need not be
        return False
