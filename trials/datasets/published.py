"""The published data sets that torchvision reads: files, checksums, downloads, splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.datasets.arguments import folder_of, whole_number
from trials.datasets.base import Dataset
from trials.datasets.examples import Split
from trials.datasets.splits import part_off
from trials.registry import one_line
from trials.vision import load_torchvision


@dataclass(frozen=True, kw_only=True)
class Part:
    """A data set that torchvision reads at once.

    Attributes:
        arguments: The reader's own, such as ``{"train": True}``.
        held: The folder or the file that it looks for below the root.
    """

    arguments: Mapping[str, Any]
    held: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """A data set that torchvision reads.

    Attributes:
        name: Our name of it.
        reader: The class in ``torchvision.datasets``.
        parts: ``train`` and ``test``, and what else there is.
        images: Makes [N, C, H, W] of the reader's ``data``.
        num_classes: Number of classes.
        mean: Of the published training images, per channel.
        std: As ``mean``.
        augmentation: See :class:`Dataset`.
    """

    name: str
    reader: str
    parts: Mapping[str, Part]
    images: Callable[[Tensor], Tensor]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: str = "pad_crop_flip"


def load_published(
    about: Published,
    *,
    seed: int,
    root: str | Path,
    download: bool,
    validation_size: int,
    augment: bool,
    more: str | None = None,
) -> Dataset:
    """Reads a published data set; its test images are the test split, and a part of its training images
    decides.

    Args:
        about: Which.
        seed: Seed of the split.
        root: The folder that holds its files.
        download: Fetch what the folder lacks.
        validation_size: How many of the training images decide in place of being trained on.
        augment: Whether training images are changed at random.
        more: A further part to train on. None of it decides, so that the validation split stays the same.

    Returns:
        Inputs [N, C, H, W], uint8.

    Raises:
        InvalidInput: The files are missing or damaged, can't be fetched, or the sizes leave nothing to train
            on.
    """
    folder = folder_of(root)
    size = whole_number("validation_size", validation_size)
    fitted, test = (_read(about, part, folder, download) for part in ("train", "test"))
    validation, train = part_off(fitted, size, seed=seed)
    del fitted
    if more:
        extra = _read(about, more, folder, download)
        train = Split(
            inputs=torch.cat([train.inputs, extra.inputs]), labels=torch.cat([train.labels, extra.labels])
        )
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        num_classes=about.num_classes,
        mean=about.mean,
        std=about.std,
        augment=augment,
        augmentation=about.augmentation,
    )


def _read(about: Published, name: str, root: Path, download: bool) -> Split:
    part, reader = about.parts[name], getattr(load_torchvision().datasets, about.reader)
    try:
        found = reader(root=root, download=download, **part.arguments)
        inputs = about.images(torch.as_tensor(found.data)).contiguous()
        labels = torch.as_tensor(found.targets if hasattr(found, "targets") else found.labels)
        if len(inputs) != len(labels):
            raise ValueError(f"{len(inputs)} images, {len(labels)} labels")
    except MemoryError:
        raise
    except Exception as error:  # RuntimeError is torchvision's word; damaged files drive decoders into any
        raise InvalidInput(_complaint(about, root, root / part.held, download, error)) from error
    return Split(inputs=inputs, labels=labels.to(torch.int64))


def _complaint(about: Published, root: Path, where: Path, download: bool, error: Exception) -> str:
    if download:
        return (
            f"data set {about.name!r} can't be fetched into root {str(root)!r}: "
            f"{one_line(error) or type(error).__name__}; "
            f"if it was not the network, delete {where} and try again"
        )
    held = " and ".join(dict.fromkeys(about.parts[name].held for name in ("train", "test")))
    return (
        f"data set {about.name!r} is missing or damaged in root {str(root)!r} (looked for {where}): "
        f"set download: true, or set root to the folder that holds {held}"
    )
