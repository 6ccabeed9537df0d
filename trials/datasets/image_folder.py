"""Images in folders named after their classes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from silo.errors import InvalidInput
from trials.datasets.arguments import folder_of
from trials.datasets.base import Dataset, channel_statistics
from trials.datasets.images import Listing, decode, list_images, open_image, require_same_classes
from trials.datasets.memory import require_memory
from trials.datasets.splits import share_of, split_indices

if TYPE_CHECKING:
    from PIL.Image import Image

_LAYOUT = "image_folder needs root/train/<class>/* and root/test/<class>/*"


def image_folder(
    *,
    seed: int,
    root: str | Path,
    image_size: int | Sequence[int] | None = None,
    resize: bool = False,
    validation_share: float = 0.1,
    augment: bool = False,
    augmentation: str = "pad_crop_flip",
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
        augment: Whether training images are changed at random.
        augmentation: How: ``pad_crop_flip``, ``pad_crop`` (for what must not be mirrored),
            ``resized_crop_flip``, or your own: see :class:`Dataset`.

    Returns:
        Inputs [N, 3, H, W], uint8, normalised by the training split's mean and standard deviation per
        channel.

    Raises:
        InvalidInput: Folders are missing or have different classes, an image can't be read or has another
            size, or they don't fit into memory.
    """
    root = folder_of(root)
    size = _read_size(image_size, resize)
    has_validation = (root / "validation").is_dir()
    names = ["train", "test", "validation"] if has_validation else ["train", "test"]
    listings = {name: list_images(root / name, layout=_LAYOUT) for name in names}
    require_same_classes(listings)
    if size is None:
        first = open_image(listings["train"].files[0])
        size = (first.height, first.width)
    require_memory(
        "image_folder",
        sum(map(len, listings.values())),
        (3, *size),
        remedy="set a smaller image_size and resize: true",
    )
    if not has_validation:
        listings |= _part_off(listings["train"], validation_share, seed)
    fit = partial(_fit, size=size, resize=resize)
    splits = {name: decode(listing, size, fit) for name, listing in listings.items()}
    mean, std = channel_statistics(splits["train"].inputs)
    return Dataset(
        **splits,
        num_classes=len(listings["train"].classes),
        mean=mean,
        std=std,
        augment=augment,
        augmentation=augmentation,
    )


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


def _part_off(whole: Listing, validation_share: float, seed: int) -> dict[str, Listing]:
    count = share_of("validation_share", validation_share, len(whole))
    validation, train = split_indices(whole.labels, [count], seed=seed)
    return {"train": whole.part(train), "validation": whole.part(validation)}


def _fit(image: "Image", file: str, *, size: tuple[int, int], resize: bool) -> "Image":
    from PIL.Image import Resampling

    height, width = size
    if (image.height, image.width) == size:
        return image
    if not resize:
        raise InvalidInput(
            f"image {file} has {image.height}×{image.width} pixels (height×width), "
            f"not {height}×{width}: make all images one size, or set image_size and resize: true"
        )
    return image.resize((width, height), Resampling.BILINEAR)
