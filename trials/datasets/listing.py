"""Image files in folders named after their classes: what is there, what is not taken, and why."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.registry import listed

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
