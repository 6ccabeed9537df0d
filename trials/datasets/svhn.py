"""SVHN: house numbers from street views, cut to one digit each, 32×32 pixels in colour (Netzer et al. 2011,
"Reading Digits in Natural Images with Unsupervised Feature Learning")."""

from pathlib import Path

from trials.datasets.base import Dataset
from trials.datasets.published import Part, Published, load_published


def _part(name: str) -> Part:
    return Part(arguments={"split": name}, held=f"{name}_32x32.mat")


# Several projects publish (0.43768, 0.44377, 0.47280) and (0.19803, 0.20102, 0.19704) as computed from
# ``train``.
SVHN = Published(
    name="svhn",
    reader="SVHN",
    parts={name: _part(name) for name in ("train", "test", "extra")},
    images=lambda data: data,
    num_classes=10,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    augmentation="pad_crop",  # a mirrored 2 is no digit
)


def svhn(
    *,
    seed: int,
    root: str | Path,
    download: bool = False,
    extra: bool = False,
    validation_size: int = 5000,
    augment: bool = False,
) -> Dataset:
    """Reads SVHN's cropped digits from a folder, checksums included.

    Args:
        seed: Seed of the split.
        root: The folder that holds ``train_32x32.mat`` and ``test_32x32.mat``.
        download: Fetch the files that the folder lacks (182 MB and 64 MB, ``extra`` 1.3 GB). Several
            processes that share a folder should not do so at the same time.
        extra: Train on the 531,131 easier images of ``extra_32x32.mat`` too. The validation split comes from
            ``train`` alone and is the same with and without them. Takes 2 GB of memory, and 4 GB while it
            loads.
        validation_size: How many of the 73,257 training images decide in place of being trained on.
        augment: Whether training images are cropped at random out of a frame of 4 black pixels. They are not
            flipped.

    Returns:
        Inputs [N, 3, 32, 32], uint8; the digit 0 has the label 0.

    Raises:
        InvalidInput: The files are missing or damaged, can't be downloaded, or the sizes leave nothing to
            train on.
    """
    return load_published(
        SVHN,
        seed=seed,
        root=root,
        download=download,
        validation_size=validation_size,
        augment=augment,
        more="extra" if extra else None,
    )
