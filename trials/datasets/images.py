"""Images in folders: listed, decoded, and read while training where they don't fit into memory."""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from silo.errors import InvalidInput
from trials.datasets.base import Examples, Split, whole_number
from trials.registry import listed, one_line

if TYPE_CHECKING:
    from PIL.Image import Image


SUFFIXES: tuple[str, ...] = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm")
SUFFIXES += (".tif", ".tiff", ".webp")
"""Of image files, in small letters; of an animation the first picture counts."""

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
"""What the folder of a split may be called, in whatever letters."""

_Identity = tuple[int, int]
"""A file's or folder's device and its number there."""

_HIDDEN = ("__MACOSX", "__pycache__", "@eaDir")
"""Folders that programs leave behind, beside those whose name begins with a dot."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """Image files of one split.

    Attributes:
        folder: Where they are.
        classes: The classes' names in the order of their numbers, which is that of the alphabet.
        files: [N] paths, ordered by class and name.
        labels: [N], int64.
        left_out: What else lies there, in words, and how often.
    """

    folder: Path
    classes: Sequence[str]
    files: Sequence[str]
    labels: Tensor
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    def part(self, chosen: Tensor) -> "Listing":
        """The files at some indices."""
        files = [self.files[index] for index in chosen.tolist()]
        return Listing(folder=self.folder, classes=self.classes, files=files, labels=self.labels[chosen])


def printable(file: str | Path) -> str:
    """A file's name for messages: bytes that are no UTF-8 are escaped."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """The folders of the splits below a root, by what they are called, and the names of other folders there.

    Raises:
        InvalidInput: There is no such root, or two folders may be the same split.
    """
    try:
        names = sorted(
            entry.name for entry in os.scandir(root) if entry.is_dir() and not _is_hidden(entry.name)
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidInput(f"root {printable(root.absolute())} can't be read: {reason}") from error
    found: dict[str, Path] = {}
    for split, known in _SPLITS.items():
        called = [name for name in names if name.lower() in known]
        if len(called) > 1:
            raise InvalidInput(
                f"{printable(root)} has several folders that may be the {split} split, {listed(called)}: "
                "rename all but one, or move them elsewhere"
            )
        if called:
            found[split] = root / called[0]
    return found, [name for name in names if root / name not in found.values()]


class Lister:
    """Lists the splits of a data set, and makes sure that no file is in two of them, or in two classes.

    Args:
        layout: The folders that the data set needs, for messages.
    """

    def __init__(self, layout: str) -> None:
        self._layout = layout
        self._seen: dict[_Identity, tuple[Path, int, str]] = {}

    def __call__(self, folder: Path) -> Listing:
        """Lists ``folder/<class>/**``, in the order of ``torchvision.datasets.ImageFolder``; decodes nothing.

        Raises:
            InvalidInput: The folder is missing, a class is empty, a link leads nowhere, or a file was listed
                already, under another class or in another split.
        """
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
            left_out = Counter(_reason(entry) for entry in inside if not entry.is_dir())
            left_out["hidden folders"] = sum(entry.is_dir() and _is_hidden(entry.name) for entry in inside)
            classes = [entry.name for entry in inside if entry.is_dir() and not _is_hidden(entry.name)]
            if not classes:
                raise FileNotFoundError(f"there is no class folder in {printable(folder)}")
            files: list[str] = []
            labels: list[int] = []
            for label, name in enumerate(classes):
                found = list(self._take(folder, label, folder / name, left_out))
                if not found:
                    held = ", ".join(f"{reason} {count}" for reason, count in left_out.items() if count)
                    raise FileNotFoundError(
                        f"there is no image for the class {printable(name)} (images end with "
                        f"{' '.join(SUFFIXES)}{f'; left out: {held}' if held else ''})"
                    )
                files += found
                labels += [label] * len(found)
        except OSError as error:
            reason = f"{error.strerror}: {printable(error.filename)}" if error.filename else str(error)
            raise InvalidInput(f"{printable(folder)} can't be used: {reason}; {self._layout}") from None
        return Listing(
            folder=folder,
            classes=classes,
            files=files,
            labels=torch.tensor(labels, dtype=torch.int64),
            left_out={reason: count for reason, count in sorted(left_out.items()) if count},
        )

    def _take(self, split: Path, label: int, folder: Path, left_out: Counter[str]) -> Iterator[str]:
        """The images of a class, each once."""
        above = {_identity(os.stat(place)) for place in (split.resolve(), *split.resolve().parents)}
        for _, device, entries in sorted(_folders(str(folder), above, left_out), key=lambda each: each[0]):
            for entry in sorted(entries, key=lambda each: each.name):
                if reason := _reason(entry, otherwise=""):
                    left_out[reason] += 1
                elif self._is_new(split, label, entry, device):
                    yield entry.path
                else:
                    left_out["links to images that are there already"] += 1

    def _is_new(self, split: Path, label: int, entry: os.DirEntry[str], device: int) -> bool:
        try:
            # Asking the file system for 1.3 million files takes its time; the folder knows the plain ones.
            identity = _identity(entry.stat()) if entry.is_symlink() else (device, entry.inode())
        except FileNotFoundError:
            raise InvalidInput(
                f"image {printable(entry.path)} is a link to nothing: fetch what it leads to, or take it out"
            ) from None
        known = self._seen.setdefault(identity, (split, label, entry.path))
        if known[2] == entry.path or not _same_file(known[2], entry.path):
            return True
        if known[:2] != (split, label):
            raise InvalidInput(
                f"images {printable(known[2])} and {printable(entry.path)} are one file: "
                "it can be in one split and in one class only"
            )
        return False


def require_same_classes(listings: Mapping[str, Listing]) -> None:
    """Refuses splits that differ in their classes from ``train``.

    Raises:
        InvalidInput: A split has a class that the training split lacks, or the reverse.
    """
    train = listings["train"]
    for other in listings.values():
        if other.classes != train.classes:
            raise InvalidInput(
                f"{printable(other.folder)} and {printable(train.folder)} differ in the classes "
                f"{listed(sorted(set(other.classes) ^ set(train.classes)))}: "
                "every split needs a folder for each class"
            )


def described_left_out(listings: Mapping[str, Listing]) -> str:
    """What of the splits' folders is not taken, in a few words; empty where all is."""
    total = sum((Counter(listing.left_out) for listing in listings.values()), Counter())
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(total.items()))


def _folders(
    folder: str, above: set[_Identity], left_out: Counter[str]
) -> Iterator[tuple[str, int, list[os.DirEntry[str]]]]:
    """A folder and those below it, each with its device and what it holds but folders.

    Links to a folder above lead nowhere.
    """
    identity = _identity(os.stat(folder))
    if identity in above:
        left_out["links to a folder that they lie in"] += 1
        return
    with os.scandir(folder) as entries:
        inside = list(entries)
    yield folder, identity[0], [entry for entry in inside if not entry.is_dir()]
    for entry in inside:
        if entry.is_dir() and _is_hidden(entry.name):
            left_out["hidden folders"] += 1
        elif entry.is_dir():
            yield from _folders(entry.path, {*above, identity}, left_out)


def _reason(entry: os.DirEntry[str], otherwise: str = "files beside the class folders") -> str:
    """Why a file is not taken; ``otherwise`` for an image."""
    suffix = os.path.splitext(entry.name)[1].lower()
    if not entry.is_file() and not entry.is_symlink():
        return "entries that are no files"
    if _is_hidden(entry.name):
        return "hidden files"
    if suffix not in SUFFIXES:
        return f"files that end with {printable(suffix)}" if suffix else "files without an ending"
    return otherwise


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _HIDDEN


def _identity(stat: os.stat_result) -> _Identity:
    return stat.st_dev, stat.st_ino


def _same_file(one: str, other: str) -> bool:
    """Whether two names are of one file: not every file system gives each file a number of its own."""
    first, second = os.stat(one), os.stat(other)
    return os.path.realpath(one) == os.path.realpath(other) or min(first.st_nlink, second.st_nlink) > 1


Prepare = Callable[["Image", str], "Image"]

_ORIENTATION = 0x0112
"""The EXIF tag that says how an image is to be turned."""


def decode(listing: Listing, size: tuple[int, int], prepare: Prepare) -> Split:
    """Decodes images into memory.

    Args:
        listing: Which.
        size: Height and width in pixels.
        prepare: Brings one RGB image to that size, or refuses it; its file's name is for the message.

    Returns:
        Inputs [N, 3, H, W], uint8.

    Raises:
        InvalidInput: An image can't be read, has more than 8 bits per channel, or ``prepare`` refuses it.
    """
    threads = min(16, os.cpu_count() or 1)
    return Split(inputs=decode_files(listing.files, size, prepare, threads=threads), labels=listing.labels)


def decode_files(
    files: Sequence[str], size: tuple[int, int], prepare: Prepare, *, threads: int = 1
) -> Tensor:
    """Inputs [N, 3, H, W], uint8, of some files; see :func:`decode`."""
    inputs = torch.empty(len(files), 3, *size, dtype=torch.uint8)

    def fill(index: int) -> None:
        image = prepare(open_image(files[index]), files[index])
        inputs[index] = torch.from_numpy(np.array(image)).permute(2, 0, 1)

    if threads == 1:
        for index in range(len(files)):
            fill(index)
        return inputs
    # Threads, because the decoders let go of the interpreter lock.
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(len(files))):
            pass
    return inputs


def open_image(file: str) -> "Image":
    """One image in RGB, the way up that its camera has noted.

    Raises:
        InvalidInput: It can't be read, or has more than 8 bits per channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            mode, turned = image.mode, _is_turned(image)
            pixels = (ImageOps.exif_transpose(image) if turned else image).convert("RGB")
    except Exception as error:  # the decoders raise whatever a damaged file drives them into
        raise InvalidInput(
            f"image {printable(file)} can't be read, replace it or take it out: {one_line(error)}"
        ) from error
    if mode.startswith(("I", "F")):
        # PIL would clip these to 8 bits, which turns nearly everything white.
        raise InvalidInput(
            f"image {printable(file)} has more than 8 bits per channel (mode {mode}): convert it to 8 bits"
        )
    return pixels


def _is_turned(image: "Image") -> bool:
    try:
        return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # what the camera noted is damaged; the pixels need not be
        return False


_Loaded = tuple[Tensor | InvalidInput, Tensor]
"""Inputs, or the reason why they can't be read, and labels."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StreamedSplit(Examples):
    """Image files, of which only those in use are in memory: [B, 3, H, W], uint8.

    The same files prepared in the same way give the same batches as a split in memory, bit for bit, however
    many processes decode: those only read, and nothing random happens in them.

    Attributes:
        listing: The files and their labels.
        size: Height and width in pixels.
        prepare: Brings one RGB image to that size, or refuses it. It can be pickled, and its ``repr`` says
            all that it does, numbers included: the fingerprint covers it.
        workers: Processes that decode ahead for :meth:`batches`, two whole batches each, from its first batch
            to its last; they hand them over in shared memory (on Linux /dev/shm). 0 decodes in this process
            when a batch is asked for.
        device: Where batches come. On their way to a GPU they lie in pinned memory.
    """

    listing: Listing
    size: tuple[int, int]
    prepare: Prepare
    workers: int = 0
    device: torch.device | str = "cpu"
    labels: Tensor = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", self.listing.labels.to(self.device))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.listing), 3, *self.size)

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8

    def to(self, device: torch.device | str) -> "StreamedSplit":
        return dataclasses.replace(self, device=device)

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        alone = dataclasses.replace(self, workers=0)
        return next(alone.batches([chosen], max(1, len(chosen))))

    def batches(self, orders: Iterable[Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
        parts = (self.listing.part(chosen) for order in orders for chosen in torch.split(order.cpu(), size))
        loader: DataLoader[_Loaded] = DataLoader(
            _Decoded(self.size, self.prepare),
            # The files' names go to the workers with each batch, so that none holds those of the whole.
            sampler=((part.files, part.labels) for part in parts),
            batch_size=None,
            num_workers=self.workers,
            pin_memory=torch.device(self.device).type == "cuda",
            # Of its own, unused: the loader would else draw from the generator that dropout draws from.
            generator=torch.Generator(),
        )
        for inputs, labels in loader:
            if isinstance(inputs, InvalidInput):
                raise inputs
            yield inputs.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def feed(self, digest: "hashlib._Hash", name: str) -> None:
        """Feeds a checksum with the files' names below their folder and their sizes in bytes, the labels, and
        how images are prepared. Reading 140 GB of pixels would take too long, so a file that is replaced by
        another of its size and name goes unnoticed."""
        digest.update(f"{name} streamed upright {self.shape} {self.prepare!r}".encode())
        for file, label in zip(self.listing.files, self.listing.labels.tolist(), strict=True):
            place = Path(file).relative_to(self.listing.folder).as_posix()
            about = f"{place}\0{os.stat(file).st_size}\0{label}\0"
            digest.update(about.encode("utf-8", "surrogateescape"))  # names need not be UTF-8

    def _check_inputs(self, name: str) -> None:
        self.first(1)


def split_of(
    listing: Listing, size: tuple[int, int], prepare: Prepare, *, stream: bool, workers: int
) -> Split | StreamedSplit:
    """The images of a listing, streamed or decoded into memory: see :class:`StreamedSplit`.

    Raises:
        InvalidInput: See :func:`trials.datasets.images.decode`.
    """
    if not stream:
        return decode(listing, size, prepare)
    return StreamedSplit(listing=listing, size=size, prepare=prepare, workers=workers)


def read_workers(workers: Any, stream: bool) -> int:
    """A data set's argument ``workers``.

    Raises:
        InvalidInput: It is no whole number from 0 on, or above 0 without ``stream``.
    """
    count = whole_number("workers", workers, least=0)
    if count and not stream:
        raise InvalidInput(f"workers: {count} needs stream: true: data in memory has nothing to decode")
    return count


class _Decoded(torch.utils.data.Dataset[_Loaded]):
    """Images by their files and labels, as the loader asks for them in whichever process."""

    def __init__(self, size: tuple[int, int], prepare: Prepare) -> None:
        self._size, self._prepare = size, prepare

    def __getitem__(self, chosen: tuple[list[str], Tensor]) -> _Loaded:
        files, labels = chosen
        try:
            return decode_files(files, self._size, self._prepare), labels
        except InvalidInput as error:
            return error, labels  # raised there, the loader would wrap it into a traceback of many lines
