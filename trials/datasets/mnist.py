"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): 70,000 grey images of 28×28 pixels in ten
classes."""

from pathlib import Path

from torch import Tensor

from trials.datasets.base import Dataset
from trials.datasets.published import Part, Published, load_published


def _images(data: Tensor) -> Tensor:
    return data.unsqueeze(1)


def _parts(folder: str) -> dict[str, Part]:
    return {
        "train": Part(arguments={"train": True}, held=folder),
        "test": Part(arguments={"train": False}, held=folder),
    }


# The constants of PyTorch's own MNIST example (pytorch/examples); several projects publish 0.13066, 0.30811
# as computed from the training images.
MNIST = Published(
    name="mnist",
    reader="MNIST",
    parts=_parts("MNIST/raw"),
    images=_images,
    num_classes=10,
    mean=(0.1307,),
    std=(0.3081,),
    augmentation="pad_crop",  # a mirrored 2 is no digit
)

# Several projects publish 0.286041, 0.353024 as computed from the training images.
FASHION_MNIST = Published(
    name="fashion_mnist",
    reader="FashionMNIST",
    parts=_parts("FashionMNIST/raw"),
    images=_images,
    num_classes=10,
    mean=(0.2860,),
    std=(0.3530,),
)


def mnist(
    *, seed: int, root: str | Path, download: bool = False, validation_size: int = 5000, augment: bool = False
) -> Dataset:
    """Reads MNIST from a folder.

    torchvision checks what it downloads, or finds as ``.gz``, by checksum before it unpacks it; of unpacked
    files it checks the form alone.

    Args:
        seed: Seed of the split.
        root: The folder that holds ``MNIST/raw`` with the unpacked files.
        download: Unpack the ``.gz`` files where the folder lacks the unpacked ones, and fetch those that are
            not there (11 MB). Several processes that share a folder should not do so at the same time.
        validation_size: How many of the 60,000 training images decide in place of being trained on.
        augment: Whether training images are cropped at random out of a frame of 4 black pixels. They are not
            flipped.

    Returns:
        Inputs [N, 1, 28, 28], uint8.

    Raises:
        InvalidInput: The files are missing or damaged, can't be downloaded, or the sizes leave nothing to
            train on.
    """
    return load_published(
        MNIST,
        seed=seed,
        root=root,
        download=download,
        validation_size=validation_size,
        augment=augment,
    )


def fashion_mnist(
    *, seed: int, root: str | Path, download: bool = False, validation_size: int = 5000, augment: bool = False
) -> Dataset:
    """Reads Fashion-MNIST: as :func:`mnist`, from ``FashionMNIST/raw`` (31 MB); ``augment`` also flips."""
    return load_published(
        FASHION_MNIST,
        seed=seed,
        root=root,
        download=download,
        validation_size=validation_size,
        augment=augment,
    )
