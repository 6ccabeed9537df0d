"""A data set: three splits, in memory or wherever else, and how their inputs are normalised."""

import dataclasses
import functools
import hashlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.datasets.augment import AUGMENTATIONS, Change, changes, sent
from trials.paths import expanded
from trials.registry import resolve


def folder_of(root: Any) -> Path:
    """A folder's path, ``~`` and environment variables expanded; the folder need not exist.

    Raises:
        InvalidInput: It is no path, or the home folder or variable it names doesn't exist.
    """
    if not isinstance(root, str | Path) or not str(root) or "\0" in str(root):
        raise InvalidInput(f"root {root!r} can't be used: give a folder, such as data")
    return Path(expanded(str(root), "root"))


def whole_number(name: str, value: Any, *, least: int = 1) -> int:
    """The value itself.

    Raises:
        InvalidInput: It is no integer (a bool is none) or below ``least``; ``name`` says which argument it
            was.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{name} must be a whole number from {least} on: given was {value!r}")
    return value


GIGABYTE = 1e9
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def require_memory(name: str, count: int, shape: Sequence[int], *, remedy: str) -> None:
    """Refuses a data set that this process could not hold.

    Args:
        name: The data set's name, for the message.
        count: Examples of all splits.
        shape: Shape of one, in bytes (uint8).
        remedy: A way out, for the message.

    Raises:
        InvalidInput: It needs more than there is; the message states both.
    """
    needed, there = count * math.prod(shape), available_memory()
    if needed > there:
        raise InvalidInput(
            f"data set {name!r} needs {needed / GIGABYTE:,.1f} GB of memory in every worker "
            f"({count:,} examples of {'×'.join(map(str, shape))} bytes), "
            f"{there / GIGABYTE:,.1f} GB are available: {remedy}"
        )


def available_memory(control_group: Path = _CONTROL_GROUP) -> int:
    """Bytes that this process can take: what the machine has free, or the container's limit (Linux control
    groups, version 2) less what can't be taken back from it, if that is less.

    Args:
        control_group: Folder with the container's ``memory.max`` and ``memory.stat``.
    """
    import psutil  # which data that is made in memory already does without

    there = psutil.virtual_memory().available
    try:
        limit = int((control_group / "memory.max").read_text())
        statistics = (control_group / "memory.stat").read_text().split()
        held = int(statistics[statistics.index("anon") + 1])
    except (OSError, ValueError):  # no such system, or no limit: "max"
        return there
    return max(0, min(there, limit - held))


class Examples(ABC):
    """Inputs and their targets, wherever the inputs are.

    Attributes:
        labels: The targets, on the device that batches come on: [N], int64, from 0 to the number of classes -
            1; or of any shape [N, …] and type, for a loss and a metric of the user's own.
    """

    labels: Tensor

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of all inputs together: (N, C, H, W), (N, F), or any other of two dimensions or more."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the inputs: float32, uint8 (of images: 0 to 255), or another integer (token ids)."""

    @abstractmethod
    def to(self, device: torch.device | str) -> "Examples":
        """The same split, whose batches come on a device."""

    @abstractmethod
    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Some examples.

        Args:
            chosen: [B], int64 indices.

        Returns:
            Inputs [B, …] as they are stored, and labels [B], on the device of ``labels``.

        Raises:
            InvalidInput: One of them can't be read.
        """

    @abstractmethod
    def batches(self, orders: Iterable[Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batch after batch of some orders of the examples: the same as asking :meth:`batch` for each.

        Args:
            orders: Vectors of int64 indices. Each is taken when the one before it is used up, or earlier.
            size: Examples of a batch; the last batch of an order may be smaller.

        Yields:
            As :meth:`batch` returns.
        """

    @abstractmethod
    def feed(self, digest: "hashlib._Hash", name: str) -> None:
        """Feeds a checksum with what a training sees of the split of this name."""

    @abstractmethod
    def _check_inputs(self, name: str) -> None:
        """Refuses inputs that can't be trained on."""

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """The first ``count`` examples, or all where there are fewer; see :meth:`batch`."""
        return self.batch(torch.arange(min(count, len(self))))

    def described(self) -> str:
        """Type and shape of the inputs, for messages."""
        return _described(self.dtype, self.shape)

    def check(self, name: str, num_classes: int | None) -> None:
        """Refuses what can't be trained on.

        Raises:
            InvalidInput: See :meth:`Dataset.check`; ``name`` says which split it was.
        """
        labels = self.labels
        for what, given in (("inputs", getattr(self, "inputs", labels)), ("labels", labels)):
            if not isinstance(given, Tensor):
                raise InvalidInput(
                    f"the {name} split has {what} of type {type(given).__name__}: give a torch.Tensor, as by "
                    "torch.as_tensor"
                )
            if given.requires_grad:
                raise InvalidInput(
                    f"the {name} split has {what} that require gradients: give {what}.detach()"
                )
        if len(self.shape) < 2 or self.dtype not in (torch.float32, *_INTEGERS):
            raise InvalidInput(
                f"the {name} split has inputs of {self.described()}: "
                "give float32, uint8 or another integer, [N, C, H, W] or [N, F]"
            )
        if labels.ndim < 1 or (num_classes is not None and labels.dtype != torch.int64):
            raise InvalidInput(
                f"the {name} split has labels of {_described(labels.dtype, labels.shape)}: give int64, "
                "[N], or "
                "leave num_classes out for targets that are no classes"
            )
        if self.shape[0] != len(labels):
            raise InvalidInput(
                f"the {name} split has {self.shape[0]} inputs and {len(labels)} labels: "
                "give one label per input"
            )
        if 0 in self.shape or 0 in labels.shape:
            raise InvalidInput(f"the {name} split is empty: give it at least one example")
        self._check_inputs(name)
        if num_classes is not None:
            _check_classes(name, labels, num_classes)
        elif labels.is_floating_point():
            _check_finite(name, "labels", labels)


def _check_classes(name: str, labels: Tensor, num_classes: int) -> None:
    # Of each pixel or token some may be marked to count for nothing, as losses of torch know it.
    wrong = (labels < 0) | (labels >= num_classes) if labels.ndim == 1 else labels >= num_classes
    outside = wrong.nonzero()
    if len(outside):
        first = outside[0].tolist()
        place = first[0] if len(first) == 1 else first
        raise InvalidInput(
            f"the {name} split has {len(outside)} labels outside 0 to {num_classes - 1}, the first is "
            f"{int(labels[tuple(first)])} at labels[{place}]: number the {num_classes} classes from 0"
            if labels.ndim == 1
            else f"the {name} split has {len(outside)} labels above {num_classes - 1}, the first is "
            f"{int(labels[tuple(first)])} at labels{place}: number the {num_classes} classes from 0, and "
            "mark "
            "what counts for nothing by -100"
        )


def _check_finite(name: str, what: str, values: Tensor) -> None:
    wrong = (~values.isfinite()).nonzero()
    if len(wrong):
        raise InvalidInput(
            f"the {name} split has {len(wrong)} values that are NaN or infinite, the first at {what}"
            f"{wrong[0].tolist()}: leave those examples out or fill them in"
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Split(Examples):
    """Examples in memory.

    Attributes:
        inputs: [N, C, H, W], [N, F] or any other shape; float32, uint8 (of images: 0 to 255) or another
            integer.
        labels: The targets, see :class:`Examples`.
    """

    inputs: Tensor
    labels: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.inputs.dtype

    def to(self, device: torch.device | str) -> "Split":
        return Split(inputs=self.inputs.to(device), labels=self.labels.to(device))

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        chosen = chosen.to(self.labels.device)
        return self.inputs[chosen], self.labels[chosen]

    def batches(self, orders: Iterable[Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
        # An order goes to the device at once: a copy in every step would hold up an accelerator.
        for order in orders:
            yield from map(self.batch, torch.split(sent(order, self.labels.device), size))

    def feed(self, digest: "hashlib._Hash", name: str) -> None:
        for tensor in (self.inputs, self.labels):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(_bytes(tensor.flatten()).numpy().data)

    def digests(self) -> list[bytes]:
        """A digest of each example, its inputs and its label."""
        parts = [
            _bytes(tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None])
            for tensor in (self.inputs, self.labels)
        ]
        return [hashlib.blake2b(row.data, digest_size=16).digest() for row in torch.cat(parts, dim=1).numpy()]

    def _check_inputs(self, name: str) -> None:
        if self.dtype.is_floating_point:
            _check_finite(name, "inputs", self.inputs)


def _bytes(tensor: Tensor) -> Tensor:
    """A tensor's bytes, along its last dimension, on the CPU."""
    return tensor.detach().cpu().contiguous().view(torch.uint8)


def beginning(split: Examples, count: int) -> Split:
    """The first ``count`` examples of a split, in memory."""
    inputs, labels = split.first(count)
    return Split(inputs=inputs, labels=labels)


def _described(dtype: torch.dtype, shape: Iterable[int]) -> str:
    return f"{str(dtype).removeprefix('torch.')} {tuple(shape)}"


SPLITS = ("train", "validation", "test")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


_USUAL = "pad_crop_flip"

_COMPARED = 2e9
"""Bytes up to which a split's examples are compared with those of others."""

_LEAK = 0.05
"""Share of a split's examples that may be in another one, too, as twins are found in any collection."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """The splits that a search trains, decides and reports on.

    Attributes:
        train: Examples that the weights are fitted to.
        validation: Examples that pick the epoch and the learning rate.
        test: Examples whose accuracy is reported, and decides nothing.
        num_classes: Number of classes; None where the targets are no classes.
        mean: One number per channel (or feature), or a single one for all: see :meth:`normalise`. Of integers
            that are no images nothing is subtracted.
        std: As ``mean``.
        augment: Whether training images are changed at random: see :meth:`augmented`.
        augmentation: How: a key of AUGMENTATIONS, or ``"package.module:name"``, a function of a batch of
            images (as they are stored) and a CPU generator. ``pad_crop`` does not flip: a mirrored digit is
            another thing, or none.
        channels_last: Whether batches of images are laid out in memory with their channels innermost.
        notes: What there is to say of where the data came from, and what was left out; a sentence each.
    """

    train: Examples
    validation: Examples
    test: Examples
    num_classes: int | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    augment: bool = False
    augmentation: str = _USUAL
    channels_last: bool = False
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (C, H, W) or (F,)."""
        return self.train.shape[1:]

    @property
    def has_ids(self) -> bool:
        """Whether the inputs are integers that are no images, nor flattened ones, of which mean or std "
        "tell."""
        if self.train.dtype != torch.uint8:
            return not self.train.dtype.is_floating_point
        return len(self.train.shape) != 4 and not self._is_normalised

    @property
    def _is_normalised(self) -> bool:
        return (set(self.mean), set(self.std)) != ({0.0}, {1.0})

    @property
    def is_classified(self) -> bool:
        """Whether each example has one class: then there is an accuracy, and a chance level."""
        return self.num_classes is not None and self.train.labels.ndim == 1

    @property
    def is_empty(self) -> bool:
        """Whether it is no data set at all: the data set ``none``."""
        return not len(self.train)

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data set on a device."""
        return dataclasses.replace(self, **{name: getattr(self, name).to(device) for name in SPLITS})

    def augmented(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Stored images as a training sees them: changed at random if ``augment`` is set.

        Args:
            inputs: [B, C, H, W], a batch of the training split, before :meth:`normalise`.
            generator: A CPU generator.

        Returns:
            Same shape, dtype and device.
        """
        return self._change(inputs, generator) if self.augment else inputs

    def augmentations(self, batch: int, generator: torch.Generator) -> Iterator[Change]:
        """What :meth:`augmented` does to one batch of ``batch`` images after another, without an end; it may
        draw more from the generator."""
        if not self.augment:
            return itertools.repeat(lambda inputs: inputs)
        size = torch.Size(self.input_shape[-2:])
        return changes(self._change, batch, size, generator, self.train.labels.device)

    @functools.cached_property
    def _change(self) -> Callable[[Tensor, torch.Generator], Tensor]:
        return resolve("augmentation", self.augmentation, AUGMENTATIONS)

    def normalise(self, inputs: Tensor) -> Tensor:
        """Inputs as the network sees them.

        That is (x / 255 - mean) / std of uint8 images [B, C, H, W] (flattened ones, too, if there are a mean
        and a std), (x - mean) / std of floating-point numbers, and integers that are no images as they are:
        token ids, in int64.

        Args:
            inputs: [B, *input_shape], a batch of any split, augmented or not, on any device.

        Returns:
            float32 of the same shape, or int64.
        """
        if self.has_ids:
            return inputs.long()
        mean, std = (each.to(inputs.device) for each in self._mean_and_std)
        values = inputs.to(torch.float32)
        if inputs.dtype == torch.uint8:
            values = values / 255
        values = (values - mean) / std
        if self.channels_last and values.dim() == 4:
            return values.contiguous(memory_format=torch.channels_last)
        return values

    @functools.cached_property
    def _mean_and_std(self) -> tuple[Tensor, Tensor]:
        # Made once, on the data's device: a copy from the host in every step would hold up an accelerator.
        shape = (1, -1, *[1] * (len(self.input_shape) - 1))
        device = self.train.labels.device
        mean, std = (torch.tensor(each, device=device, dtype=torch.float32) for each in (self.mean, self.std))
        return mean.view(shape), std.view(shape)

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over all that a training sees: shapes, dtypes, bytes, normalisation.

        Of a streamed split it covers the files' names and sizes in place of the images' bytes: see
        :class:`trials.datasets.images.StreamedSplit`.
        """
        digest = hashlib.sha256()
        digest.update(repr((self.num_classes, tuple(self.mean), tuple(self.std), self.augment)).encode())
        if self.augment and self.augmentation != _USUAL:  # what ledgers know keeps its fingerprint
            digest.update(self.augmentation.encode())
        for name in SPLITS:
            getattr(self, name).feed(digest, name)
        return digest.hexdigest()

    def leaks(self) -> Iterator[str]:
        """A sentence for each split of which many examples, bit for bit, are in another one, too.

        Splits that are streamed, or larger than 2 GB, are not looked at.
        """
        digests = {
            name: split.digests()
            for name in SPLITS
            if isinstance(split := getattr(self, name), Split) and split.inputs.nbytes <= _COMPARED
        }
        for one, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
            if one in digests and other in digests:
                known = set(digests[other])
                count = sum(each in known for each in digests[one])
                if count > _LEAK * len(digests[one]):
                    yield (
                        f"{count:,} of {len(digests[one]):,} {one} examples are in the {other} split, too: "
                        "its scores tell what was remembered; split them apart"
                    )

    def check(self) -> None:
        """Refuses what can't be trained on.

        Raises:
            InvalidInput: A split is empty, has inputs of another shape or dtype than the training split,
                values that are NaN or infinite, more inputs than labels or the reverse, or classes outside
                [0, num_classes); or mean and std don't fit the inputs; or ``augment`` is set for inputs that
                are no images; or there is no such augmentation.
        """
        for name in ("augment", "channels_last"):
            if (value := getattr(self, name)) not in (True, False):
                raise InvalidInput(f"a Dataset's {name} must be true or false, got {value!r}")
        for name in SPLITS:
            if not isinstance(given := getattr(self, name), Examples):
                raise InvalidInput(_no_split(name, given))
        if self.num_classes is not None and (
            not isinstance(self.num_classes, int) or isinstance(self.num_classes, bool)
        ):
            raise InvalidInput(
                f"a Dataset's num_classes must be a whole number, got {self.num_classes!r}; None for "
                "targets that are none"
            )
        _ = self._change
        for name in SPLITS:
            getattr(self, name).check(name, self.num_classes)
        for name in SPLITS[1:]:
            split: Examples = getattr(self, name)
            if (split.shape[1:], split.dtype) != (self.train.shape[1:], self.train.dtype):
                raise InvalidInput(
                    f"the {name} split has inputs of {split.described()}, the train split of "
                    f"{self.train.described()}: they must be the same"
                )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not isinstance(values, Sequence) or not all(isinstance(each, Real) for each in values):
                raise InvalidInput(f"{name} {values!r} is no tuple of numbers: give one such as (0.5,)")
            fits = len(values) in (1, self.input_shape[0]) and all(map(math.isfinite, values))
            if not fits or (name == "std" and min(values) <= 0):
                raise InvalidInput(
                    f"{name} {values} doesn't fit inputs of shape {self.input_shape}: "
                    f"give 1 or {self.input_shape[0]} finite numbers{', above 0' if name == 'std' else ''}"
                )
        if self.has_ids and self._is_normalised:
            raise InvalidInput(
                f"the inputs are {self.train.described()}, integers that are no images [N, C, H, W], "
                "which go "
                "in as they are: leave mean and std out, or give float32"
            )
        if self.augment and len(self.input_shape) != 3:
            raise InvalidInput(
                f"augment needs images (C, H, W), the inputs have the shape {self.input_shape}: turn it off"
            )


def _no_split(name: str, given: object) -> str:
    """What is wrong with what was given for a split, and what would do."""
    kind, would_do = type(given), "give a trials.datasets.Split(inputs=..., labels=...)"
    if isinstance(given, tuple | list) and len(given) == 2:
        would_do = f"give a trials.datasets.Split(inputs={name}[0], labels={name}[1])"
    elif kind.__name__ == "ImageFolder":
        would_do = "take the data set 'image_folder', or decode the images into a trials.datasets.Split"
    elif isinstance(given, torch.utils.data.Dataset | torch.utils.data.DataLoader):
        would_do = "read its examples into a trials.datasets.Split(inputs=..., labels=...)"
    return f"the {name} split is of type {kind.__module__}.{kind.__qualname__}: {would_do}"


def channel_statistics(inputs: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in the units of :meth:`Dataset.normalise`.

    Args:
        inputs: [N, C, H, W] or [N, F], uint8 or floating point.

    Returns:
        Two tuples of length C, summed in float64. A constant channel gets the standard deviation 1, so that
        it can be divided by.
    """
    return statistics_of(torch.split(inputs, 64))


def statistics_of(chunks: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """:func:`channel_statistics` of inputs that come in parts; of uint8, whichever the parts are."""
    total = squares = torch.zeros((), dtype=torch.float64)
    count, scale = 0, 1
    for chunk in chunks:
        values = chunk.transpose(0, 1).flatten(1).double()
        total = total + values.sum(1).cpu()
        squares = squares + values.square().sum(1).cpu()
        count, scale = count + values.shape[1], 255 if chunk.dtype == torch.uint8 else 1
    # Scaled only now: sums of whole numbers are exact, so the number of threads doesn't show in the digits.
    mean = total / count / scale
    variance = (squares / count / scale**2 - mean.square()).clamp(min=0)
    std = torch.where(variance > 1e-12, variance.sqrt(), 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


def split_indices(labels: Tensor, sizes: Sequence[int], *, seed: int) -> tuple[Tensor, ...]:
    """Draws disjoint sets of examples, each with the classes in the proportions of the whole.

    Within a class every example is as likely as any other. Where a class's share is no whole number, the
    largest remainders are rounded up (the lower class first among equals), so that every size is met
    exactly.

    Args:
        labels: [N], int64 from 0 on.
        sizes: How many examples each set takes.
        seed: Seed of the draw. The same labels, sizes and seed give the same sets; the global random state
            plays no part.

    Returns:
        Index vectors (int64, ascending), one per size, and last the one of all examples that no set took.

    Raises:
        InvalidInput: A size is below 1, or together they leave nothing.
    """
    if any(size < 1 for size in sizes) or sum(sizes) >= len(labels):
        raise InvalidInput(
            f"can't split {len(labels)} examples into parts of {list(sizes)} and a rest to train on: "
            "every part needs at least one example"
        )
    generator = torch.Generator().manual_seed(seed)
    waiting = []
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().squeeze(1)
        waiting.append(members[torch.randperm(len(members), generator=generator)])
    parts = []
    for size in sizes:
        taken = _apportion(size, [len(members) for members in waiting])
        parts.append(torch.cat([members[:count] for members, count in zip(waiting, taken, strict=True)]))
        waiting = [members[count:] for members, count in zip(waiting, taken, strict=True)]
    return tuple(part.sort().values for part in (*parts, torch.cat(waiting)))


def part_off(split: Split, size: int, *, seed: int) -> tuple[Split, Split]:
    """Divides a split into one of ``size`` examples and the rest, by :func:`split_indices`."""
    part, rest = (
        Split(inputs=split.inputs[chosen], labels=split.labels[chosen])
        for chosen in split_indices(split.labels, [size], seed=seed)
    )
    return part, rest


def share_of(name: str, share: float, count: int) -> int:
    """The number of examples that a share of ``count`` comes to, rounded.

    Raises:
        InvalidInput: The share is not between 0 and 1; ``name`` says which argument it was.
    """
    if not 0 < share < 1:
        raise InvalidInput(f"{name} must be above 0 and below 1, such as 0.2: given was {share}")
    return round(share * count)


def _apportion(size: int, counts: Sequence[int]) -> list[int]:
    # Whole numbers throughout: quotas as floats would round differently for large counts.
    total = sum(counts)
    shares = [size * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda index: -(size * counts[index] % total))
    for index in by_remainder[: size - sum(shares)]:
        shares[index] += 1
    return shares
