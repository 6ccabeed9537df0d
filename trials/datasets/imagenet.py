"""ImageNet's 1000 classes (Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge")."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trials.datasets.base import Dataset
from trials.datasets.checks import available_memory, folder_of, require_memory, whole_number
from trials.datasets.listing import Lister, described_left_out, require_same_classes
from trials.datasets.splits import share_of, split_indices
from trials.datasets.streaming import read_workers, split_of
from trials.vision import load_torchvision

if TYPE_CHECKING:
    from PIL.Image import Image

# The constants of torchvision's reference trainings.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_LAYOUT = (
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
    lister = Lister(_LAYOUT)
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
