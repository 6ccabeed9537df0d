"""CIFAR-10: 60,000 colour images of 32×32 pixels in ten classes (Krizhevsky 2009)."""

from pathlib import Path

import torch

from silo.errors import InvalidInput
from trials.datasets.base import Dataset, Split
from trials.datasets.splits import split_indices
from trials.vision import load_torchvision

# Of the 50,000 training images, per channel.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def cifar10(
    *, seed: int, root: str | Path, download: bool = False, validation_size: int = 5000, augment: bool = True
) -> Dataset:
    """Reads CIFAR-10 from a folder, checksums included.

    Args:
        seed: Seed of the split.
        root: The folder that holds ``cifar-10-batches-py``.
        download: Fetch the archive (170 MB) where the folder lacks it. Several processes that share a folder
            should not do so at the same time.
        validation_size: How many of the training images decide in place of being trained on.
        augment: Whether training images are cropped and flipped at random.

    Returns:
        Inputs [N, 3, 32, 32], uint8.

    Raises:
        InvalidInput: The files are missing or damaged, can't be downloaded, or the sizes leave nothing to
            train on.
    """
    root = Path(root).expanduser()
    fitted = _read(root, train=True, download=download)
    test = _read(root, train=False, download=False)
    validation, train = (
        Split(inputs=fitted.inputs[chosen], labels=fitted.labels[chosen])
        for chosen in split_indices(fitted.labels, [validation_size], seed=seed)
    )
    return Dataset(
        train=train, validation=validation, test=test, num_classes=10, mean=MEAN, std=STD, augment=augment
    )


def _read(root: Path, *, train: bool, download: bool) -> Split:
    reader = load_torchvision().datasets.CIFAR10
    try:
        part = reader(root=root, train=train, download=download)
    except OSError as error:
        raise InvalidInput(f"data set 'cifar10' can't be fetched into root {str(root)!r}: {error}") from error
    except RuntimeError as error:  # torchvision's word for a missing file and for a wrong checksum
        raise InvalidInput(
            f"data set 'cifar10' is missing or damaged in root {str(root)!r} "
            f"(looked for {root / reader.base_folder}): "
            "set download: true, or set root to the folder that holds cifar-10-batches-py"
        ) from error
    inputs = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return Split(inputs=inputs, labels=torch.tensor(part.targets, dtype=torch.int64))
