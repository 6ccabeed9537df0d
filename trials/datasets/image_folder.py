"""Data sets of image files: the user's own folders, and ImageNet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from silo.errors import InvalidInput
from trials.datasets.base import (
    Dataset,
    Examples,
    available_memory,
    folder_of,
    require_memory,
    share_of,
    split_indices,
    statistics_of,
    whole_number,
)
from trials.datasets.images import (
    Lister,
    Listing,
    described_left_out,
    open_image,
    printable,
    read_workers,
    require_same_classes,
    split_folders,
    split_of,
)
from trials.registry import listed
from trials.vision import load_torchvision

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
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    stream: bool = False,
    workers: int = 0,
) -> Dataset:
    """Reads ``root/train/<class>/*`` and ``root/test/<class>/*`` as RGB, into memory or batch by batch.

    Files are taken by their endings (:data:`trials.datasets.images.SUFFIXES`), the classes are numbered in
    the order of their names. If there is a ``root/validation`` (or ``val``, ``valid``, ``dev``) it decides;
    otherwise a share of the training images does. What was found, and what left out, is in the data set's
    notes. No file may be in two splits or classes, by whatever link.

    Args:
        seed: Seed of the split.
        root: The folder with ``train`` and ``test``.
        image_size: Height and width in pixels, or one number for both; without it, those of the first image.
        resize: Resize images of another size (bilinear with antialiasing, the aspect ratio is not kept).
        validation_share: Share of the training images that decides where there is no ``root/validation``.
        augment: Whether training images are changed at random.
        augmentation: How: ``pad_crop_flip``, ``pad_crop`` (for what must not be mirrored),
            ``resized_crop_flip``, or your own: see :class:`Dataset`.
        mean: Per channel, for pixels from 0 to 1; with ``std``, or neither. By default both are the training
            split's, for which ``stream`` decodes every training image once in each process: a large data
            set's are better given.
        std: As ``mean``.
        stream: Leave the images in their files, and decode those of a batch when it is due: for data that
            doesn't fit into memory. The results are the same; an image that can't be used is only met in
            training, and the fingerprint covers the files' names and sizes alone.
        workers: Processes that decode ahead while it trains; needs ``stream``. The results don't depend on
            it. 0 decodes in the training's own process, which waits for it.

    Returns:
        Inputs [N, 3, H, W], uint8.

    Raises:
        InvalidInput: Folders are missing or have different classes, an image can't be read or has another
            size, they don't fit into memory, or there is a ``mean`` without ``std`` or the reverse.
    """
    root, workers = folder_of(root), read_workers(workers, stream)
    given = _read_statistics(mean, std)
    size = _read_size(image_size, resize)
    folders, unused = split_folders(root)
    lister = Lister(_LAYOUT)
    names = ["train", "test"] + ["validation"] * ("validation" in folders)
    listings = {name: lister(folders.get(name, root / name)) for name in names}
    require_same_classes(listings)
    if size is None:
        first = open_image(listings["train"].files[0])
        size = (first.height, first.width)
    if not stream:
        require_memory(
            "image_folder",
            sum(map(len, listings.values())),
            (3, *size),
            remedy="set stream: true, or a smaller image_size and resize: true",
        )
    whole = dict(listings)
    if "validation" not in folders:
        listings |= _part_off(listings["train"], validation_share, seed)
    fit = _Fit(size=size, resize=resize)
    splits = {
        name: split_of(listing, size, fit, stream=stream, workers=workers)
        for name, listing in listings.items()
    }
    means, stds = given or _statistics(splits["train"])
    return Dataset(
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        num_classes=len(listings["train"].classes),
        mean=means,
        std=stds,
        augment=augment,
        augmentation=augmentation,
        notes=tuple(_notes(whole, listings, unused)),
    )


def _notes(
    whole: Mapping[str, Listing], listings: Mapping[str, Listing], unused: Sequence[str]
) -> Iterator[str]:
    """The notes of what was found.

    Args:
        whole: What the folders hold.
        listings: The splits.
        unused: Names of folders that are no split's.
    """
    count, decides = len(listings["train"].classes), listings["validation"]
    if "validation" in whole:
        origin = f"those of {printable(decides.folder)}"
    else:
        origin = "split off the training images, as there is no folder validation, val, valid or dev"
    yield f"{count} classes, {sum(map(len, whole.values())):,} images; {len(decides):,} decide, {origin}"
    if left_out := described_left_out(whole):
        yield f"left out: {left_out}"
    if unused:
        yield f"left out: folders that are no split's, {listed(unused)}"


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


def _read_statistics(mean: Any, std: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if mean is None and std is None:
        return None
    for values in (mean, std):
        if not isinstance(values, list | tuple) or not all(type(value) in (int, float) for value in values):
            raise InvalidInput(
                f"mean {mean!r} and std {std!r} can't be read: give both, 3 numbers each, or neither"
            )
    return tuple(map(float, mean)), tuple(map(float, std))


def _statistics(split: Examples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return statistics_of(inputs for inputs, _ in split.batches([torch.arange(len(split))], 64))


def _part_off(whole: Listing, validation_share: float, seed: int) -> dict[str, Listing]:
    count = share_of("validation_share", validation_share, len(whole))
    validation, train = split_indices(whole.labels, [count], seed=seed)
    return {"train": whole.part(train), "validation": whole.part(validation)}


@dataclass(frozen=True, kw_only=True)
class _Fit:
    size: tuple[int, int]
    resize: bool

    def __call__(self, image: "Image", file: str) -> "Image":
        from PIL.Image import Resampling

        height, width = self.size
        if (image.height, image.width) == self.size:
            return image
        if not self.resize:
            raise InvalidInput(
                f"image {printable(file)} has {image.height}×{image.width} pixels (height×width), "
                f"not {height}×{width}: make all images one size, or set image_size and resize: true"
            )
        return image.resize((width, height), Resampling.BILINEAR)


# The constants of torchvision's reference trainings.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_IMAGENET_LAYOUT = (
    "imagenet needs root/train/<class>/* and root/val/<class>/*, into which torchvision.datasets.ImageNet "
    "unpacks the archives"
)


def imagenet(
    *,
    seed: int,
    root: str | Path,
    image_size: int = 224,
    validation_share: float = 0.04,
    augment: bool = True,
    stream: bool = False,
    workers: int = 0,
) -> Dataset:
    """Reads ``root/train/<class>/*`` and ``root/val/<class>/*`` at one size, into memory or batch by batch.

    A part of ``train`` decides; ``val`` is the test split, since the labels of ImageNet's own test images are
    not published. Fewer classes, as links in a folder of their own, make a smaller data set.

    Validation and test images are those of the usual evaluation: the shorter side resized to 256/224 of
    ``image_size``, and the middle ``image_size`` × ``image_size`` cut out. Training images are the whole
    middle square at ``image_size``, out of which ``resized_crop_flip`` takes its random parts. Published
    trainings take them out of the original file, which has finer detail and what lies beside the square:
    expect accuracies below theirs. Without ``augment`` training images are prepared like the others.

    Args:
        seed: Seed of the split.
        root: The folder with ``train`` and ``val``.
        image_size: Height and width in pixels. At 224 the whole takes 200 GB of memory, at 64 16 GB, unless
            it streams.
        validation_share: Share of the training images that decides.
        augment: Whether training images are resized crops, flipped at random.
        stream: Leave the images in their files, and decode those of a batch when it is due. The results are
            the same; an image that can't be used is only met in training, and the fingerprint covers the
            files' names and sizes alone.
        workers: Processes that decode ahead while it trains; needs ``stream``. The results don't depend on
            it. 0 decodes in the training's own process, which waits for it.

    Returns:
        Inputs [N, 3, image_size, image_size], uint8.

    Raises:
        InvalidInput: Folders are missing or have different classes, an image can't be read, or they don't fit
            into memory.
    """
    root, size = folder_of(root), whole_number("image_size", image_size)
    workers = read_workers(workers, stream)
    lister = Lister(_IMAGENET_LAYOUT)
    whole, test = (lister(root / name) for name in ("train", "val"))
    require_same_classes({"train": whole, "val": test})
    left_out = described_left_out({"train": whole, "val": test})
    count = len(whole) + len(test)
    if not stream:
        require_memory("imagenet", count, (3, size, size), remedy=_remedy(count))
    held_out = share_of("validation_share", validation_share, len(whole))
    validation, train = split_indices(whole.labels, [held_out], seed=seed)
    evaluated = _Middle(shorter=round(size * 256 / 224), side=size)
    fitted = _Middle(shorter=size, side=size) if augment else evaluated
    split = partial(split_of, size=(size, size), stream=stream, workers=workers)
    return Dataset(
        train=split(whole.part(train), prepare=fitted),
        validation=split(whole.part(validation), prepare=evaluated),
        test=split(test, prepare=evaluated),
        num_classes=len(whole.classes),
        mean=MEAN,
        std=STD,
        augment=augment,
        augmentation="resized_crop_flip",
        notes=(f"left out: {left_out}",) if left_out else (),
    )


@dataclass(frozen=True, kw_only=True)
class _Middle:
    shorter: int
    side: int

    def __call__(self, image: "Image", file: str) -> "Image":
        change = load_torchvision().transforms.functional
        cropped: Image = change.center_crop(change.resize(image, [self.shorter]), [self.side])
        return cropped


def _remedy(count: int) -> str:
    fitting = int((available_memory() / (3 * count)) ** 0.5)
    less = f"image_size to {fitting} or less" if fitting else "a smaller image_size"
    return f"set stream: true, or {less}"
