"""A split whose images stay in their files, and are decoded batch by batch."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from silo.errors import InvalidInput
from trials.datasets.base import Examples, Split
from trials.datasets.checks import whole_number
from trials.datasets.images import Prepare, decode, decode_files
from trials.datasets.listing import Listing

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
