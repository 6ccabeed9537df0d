"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32×32 pixels in ten or a hundred classes (Krizhevsky 2009,
"Learning Multiple Layers of Features from Tiny Images")."""

from pathlib import Path

from torch import Tensor

from trials.datasets.base import Dataset
from trials.datasets.published import Part, Published, load_published


def _images(data: Tensor) -> Tensor:
    return data.permute(0, 3, 1, 2)


def _parts(folder: str) -> dict[str, Part]:
    return {
        "train": Part(arguments={"train": True}, held=folder),
        "test": Part(arguments={"train": False}, held=folder),
    }


CIFAR10 = Published(
    name="cifar10",
    reader="CIFAR10",
    parts=_parts("cifar-10-batches-py"),
    images=_images,
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

# The constants of weiaicunzai/pytorch-cifar100, computed from the training images, to four digits.
CIFAR100 = Published(
    name="cifar100",
    reader="CIFAR100",
    parts=_parts("cifar-100-python"),
    images=_images,
    num_classes=100,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def cifar10(
    *, seed: int, root: str | Path, download: bool = False, validation_size: int = 5000, augment: bool = True
) -> Dataset:
    """Reads CIFAR-10 from a folder, checksums included.

    Args:
        seed: Seed of the split.
        root: The folder that holds ``cifar-10-batches-py``.
        download: Fetch the archive (170 MB) where the folder lacks it. Several processes that share a folder
            should not do so at the same time.
        validation_size: How many of the 50,000 training images decide in place of being trained on.
        augment: Whether training images are cropped and flipped at random.

    Returns:
        Inputs [N, 3, 32, 32], uint8.

    Raises:
        InvalidInput: The files are missing or damaged, can't be downloaded, or the sizes leave nothing to
            train on.
    """
    return load_published(
        CIFAR10,
        seed=seed,
        root=root,
        download=download,
        validation_size=validation_size,
        augment=augment,
    )


def cifar100(
    *, seed: int, root: str | Path, download: bool = False, validation_size: int = 5000, augment: bool = True
) -> Dataset:
    """Reads CIFAR-100 with its hundred fine classes: as :func:`cifar10`, from ``cifar-100-python`` (archive:
    169 MB)."""
    return load_published(
        CIFAR100,
        seed=seed,
        root=root,
        download=download,
        validation_size=validation_size,
        augment=augment,
    )
