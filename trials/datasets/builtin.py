"""Data sets that need no preparation: scikit-learn's digits, one made up from a seed, and published ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.datasets.base import (
    Dataset,
    Split,
    channel_statistics,
    folder_of,
    part_off,
    require_memory,
    share_of,
    split_indices,
    whole_number,
)
from trials.process import generator
from trials.registry import one_line
from trials.vision import load_torchvision


def digits(
    *, seed: int, validation_share: float = 0.2, test_share: float = 0.2, split: int | None = None
) -> Dataset:
    """Loads the digits; nothing is downloaded.

    Args:
        seed: Seed of the split.
        validation_share: Share of all images that decides.
        test_share: Share of all images that is reported.
        split: Seed of the split in place of the search's own: searches with other seeds then have the same
            images to learn from and to decide by.

    Returns:
        Inputs [N, 1, 8, 8], float32 from 0 to 1 (sixteen grey levels / 16), normalised by the training
        split's mean and standard deviation.

    Raises:
        InvalidInput: scikit-learn is not installed, or the shares leave nothing to train on.
    """
    rows = _digits_file()
    inputs = rows[:, :-1].to(torch.float32).div(16).view(-1, 1, 8, 8)
    labels = rows[:, -1].to(torch.int64)
    sizes = [
        share_of("validation_share", validation_share, len(labels)),
        share_of("test_share", test_share, len(labels)),
    ]
    validation, test, train = (
        Split(inputs=inputs[chosen], labels=labels[chosen])
        for chosen in split_indices(labels, sizes, seed=seed if split is None else split)
    )
    mean, std = channel_statistics(train.inputs)
    return Dataset(train=train, validation=validation, test=test, num_classes=10, mean=mean, std=std)


def _digits_file() -> Tensor:
    """What scikit-learn's load_digits reads, 64 grey levels and a label a row.

    To import that takes as long as a small search, so the file is read by itself where it is found.
    """
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise InvalidInput("data set 'digits' comes with scikit-learn: pip install scikit-learn")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        return torch.from_numpy(np.loadtxt(path, delimiter=","))
    from sklearn.datasets import load_digits  # another version may have it elsewhere

    bundle = load_digits()
    return torch.from_numpy(np.column_stack([bundle.data, bundle.target]))


_MIDDLE, _AMPLITUDE = 128, 48
_MOST_CLASSES = 100_000
_CELLS = 4
_CHUNK = 1024


def synthetic(
    *,
    seed: int,
    shape: int | Sequence[int] = (3, 32, 32),
    num_classes: int = 10,
    train_size: int = 5000,
    validation_size: int = 1000,
    test_size: int = 1000,
    noise: float = 2.0,
    augment: bool = False,
) -> Dataset:
    """Makes data that a linear network learns, and a convolutional one too.

    Each class has a template: images are 4×4 cells (fewer where there are fewer pixels) of one value per
    channel each, features have a value each, drawn uniformly from 80 to 176. An example is the template of
    its class plus noise per cell, near to normal. The classes are equally frequent.

    Only whole numbers are drawn and added, so that a seed gives the same data on every platform. Each split
    has a stream of its own: changing one's size leaves the others alone, and a larger one begins with the
    smaller one's examples.

    Args:
        seed: Seed of the templates and the noise.
        shape: Shape of an input: [C, H, W], or [F], or F.
        num_classes: Number of classes.
        train_size: Examples to train on.
        validation_size: Examples that decide.
        test_size: Examples that are reported.
        noise: Standard deviation of the noise in those of the templates, from 0 to 10; values are cut off at
            0 and 255. For colour images in ten classes, taking the nearest template errs in 1 % of the
            examples at 1.5, 6 % at 2, 26 % at 3; with fewer channels the same noise is harder.
        augment: Whether training images are cropped and flipped at random.

    Returns:
        Inputs [N, *shape], uint8, normalised by the training split's mean and standard deviation per channel.

    Raises:
        InvalidInput: A size, the shape or the noise is out of its range, or it doesn't fit into memory.
    """
    dimensions = _read_shape(shape)
    classes = whole_number("num_classes", num_classes)
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    for name, size in sizes.items():
        whole_number(f"{name}_size", size)
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise <= 10:
        raise InvalidInput(f"noise must be from 0 to 10, such as 2.0: given was {noise!r}")
    if classes > _MOST_CLASSES:
        raise InvalidInput(f"num_classes must be at most {_MOST_CLASSES:,}: given was {classes:,}")
    require_memory("synthetic", sum(sizes.values()), dimensions, remedy="take smaller sizes")
    cells = (dimensions[0], *(min(_CELLS, side) for side in dimensions[1:]))
    templates = torch.randint(
        -_AMPLITUDE, _AMPLITUDE + 1, (classes, *cells), generator=generator(seed, "templates")
    )
    # Four uniform numbers of this half-width add up to `noise` standard deviations of the templates.
    width = round(noise * _AMPLITUDE / 2)
    splits = {
        name: _draw(templates, dimensions, size, width, generator(seed, name)) for name, size in sizes.items()
    }
    mean, std = channel_statistics(splits["train"].inputs)
    return Dataset(
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        num_classes=classes,
        mean=mean,
        std=std,
        augment=augment,
    )


def _read_shape(shape: Any) -> tuple[int, ...]:
    sides = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sides, list | tuple) or len(sides) not in (1, 3):
        raise InvalidInput(f"shape {shape!r} can't be read: give [channels, height, width] or [features]")
    return tuple(whole_number("each number of shape", side) for side in sides)


def _draw(templates: Tensor, shape: tuple[int, ...], size: int, width: int, draws: torch.Generator) -> Split:
    labels = torch.arange(size) % len(templates)
    inputs = torch.empty(size, *shape, dtype=torch.uint8)
    for begin in range(0, size, _CHUNK):
        chunk = labels[begin : begin + _CHUNK]
        noise = torch.randint(-width, width + 1, (len(chunk), 4, *templates.shape[1:]), generator=draws)
        values = (_MIDDLE + templates[chunk] + noise.sum(1)).clamp(0, 255).to(torch.uint8)
        for axis, side in enumerate(shape[1:], start=2):
            values = values.index_select(axis, torch.arange(side) * values.shape[axis] // side)
        inputs[begin : begin + _CHUNK] = values
    return Split(inputs=inputs, labels=labels)


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
    """A data set that torchvision reads; calling it does.

    Attributes:
        name: Our name of it.
        reader: The class in ``torchvision.datasets``.
        parts: ``train`` and ``test``, and what else there is.
        images: Makes [N, C, H, W] of the reader's ``data``.
        num_classes: Number of classes.
        mean: Of the published training images, per channel.
        std: As ``mean``.
        augment: Whether training images are changed at random, where the caller doesn't say.
        augmentation: See :class:`Dataset`.
    """

    name: str
    reader: str
    parts: Mapping[str, Part]
    images: Callable[[Tensor], Tensor]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: bool = False
    augmentation: str = "pad_crop_flip"

    def __call__(
        self,
        *,
        seed: int,
        root: str | Path,
        download: bool = False,
        validation_size: int = 5000,
        augment: bool | None = None,
    ) -> Dataset:
        """Reads it; its test images are the test split, and a part of its training images decides.

        Args:
            seed: Seed of the split.
            root: The folder that holds its files.
            download: Fetch what the folder lacks. Several processes that share a folder should not do so at
                the same time.
            validation_size: How many of the training images decide in place of being trained on.
            augment: Whether training images are changed at random.

        Returns:
            Inputs [N, C, H, W], uint8.

        Raises:
            InvalidInput: The files are missing or damaged, can't be fetched, or the sizes leave nothing to
                train on.
        """
        folder = folder_of(root)
        size = whole_number("validation_size", validation_size)
        fitted, test = (_read(self, part, folder, download) for part in ("train", "test"))
        validation, train = part_off(fitted, size, seed=seed)
        return Dataset(
            train=train,
            validation=validation,
            test=test,
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            augment=self.augment if augment is None else augment,
            augmentation=self.augmentation,
        )


def _parts(folder: str) -> dict[str, Part]:
    return {name: Part(arguments={"train": name == "train"}, held=folder) for name in ("train", "test")}


def _channels_first(data: Tensor) -> Tensor:
    return data.permute(0, 3, 1, 2)


def _grey(data: Tensor) -> Tensor:
    return data.unsqueeze(1)


cifar10 = Published(
    name="cifar10",
    reader="CIFAR10",
    parts=_parts("cifar-10-batches-py"),
    images=_channels_first,
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    augment=True,
)
"""CIFAR-10: 60,000 colour images of 32×32 pixels (Krizhevsky 2009, "Learning Multiple Layers of Features from
Tiny Images"), cropped and flipped unless told otherwise; the archive has 170 MB."""

# The constants of weiaicunzai/pytorch-cifar100, computed from the training images, to four digits.
cifar100 = Published(
    name="cifar100",
    reader="CIFAR100",
    parts=_parts("cifar-100-python"),
    images=_channels_first,
    num_classes=100,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    augment=True,
)
"""CIFAR-100 with its hundred fine classes: as CIFAR-10; the archive has 169 MB."""

# The constants of PyTorch's own MNIST example (pytorch/examples); several projects publish 0.13066, 0.30811
# as computed from the training images.
mnist = Published(
    name="mnist",
    reader="MNIST",
    parts=_parts("MNIST/raw"),
    images=_grey,
    num_classes=10,
    mean=(0.1307,),
    std=(0.3081,),
    augmentation="pad_crop",  # a mirrored 2 is no digit
)
"""MNIST (LeCun et al. 1998): 70,000 grey digits of 28×28 pixels.

torchvision checks what it downloads (11 MB), or finds as ``.gz``, by checksum before it unpacks it; of
unpacked files it checks the form alone."""

# Several projects publish 0.286041, 0.353024 as computed from the training images.
fashion_mnist = Published(
    name="fashion_mnist",
    reader="FashionMNIST",
    parts=_parts("FashionMNIST/raw"),
    images=_grey,
    num_classes=10,
    mean=(0.2860,),
    std=(0.3530,),
)
"""Fashion-MNIST (Xiao et al. 2017): as MNIST, 31 MB; ``augment`` also flips."""

# Several projects publish (0.43768, 0.44377, 0.47280) and (0.19803, 0.20102, 0.19704) as computed from
# ``train``.
_svhn = Published(
    name="svhn",
    reader="SVHN",
    parts={
        name: Part(arguments={"split": name}, held=f"{name}_32x32.mat") for name in ("train", "test", "extra")
    },
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
    """Reads SVHN: house numbers from street views, cut to one digit each, 32×32 pixels in colour.

    Netzer et al. 2011, "Reading Digits in Natural Images with Unsupervised Feature Learning". The digit 0 has
    the label 0; the files have 182 MB and 64 MB, ``extra`` 1.3 GB.

    Args:
        seed: See :meth:`Published.__call__`, as for all arguments but ``extra``.
        root: The folder that holds ``train_32x32.mat`` and ``test_32x32.mat``.
        download: Fetch what the folder lacks.
        extra: Train on the 531,131 easier images of ``extra_32x32.mat`` too. The validation split comes from
            ``train`` alone and is the same with and without them. Takes 2 GB of memory, and 4 GB while it
            loads.
        validation_size: How many of the 73,257 training images decide.
        augment: Whether training images are cropped at random, and never flipped.
    """
    found = _svhn(seed=seed, root=root, download=download, validation_size=validation_size, augment=augment)
    if not extra:
        return found
    more, train = _read(_svhn, "extra", folder_of(root), download), found.train
    assert isinstance(train, Split)  # it was read into memory
    inputs, labels = torch.cat([train.inputs, more.inputs]), torch.cat([train.labels, more.labels])
    return replace(found, train=Split(inputs=inputs, labels=labels))


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
