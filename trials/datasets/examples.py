"""One split of a data set: what every split answers, and the one that lies in memory."""

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from silo.errors import InvalidInput


class Examples(ABC):
    """Inputs and their classes, wherever the inputs are.

    Attributes:
        labels: [N], int64, from 0 to the number of classes - 1, on the device that batches come on.
    """

    labels: Tensor

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of all inputs together: (N, C, H, W) or (N, F)."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the inputs: uint8 (images, 0 to 255) or float32."""

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

    def check(self, name: str, num_classes: int) -> None:
        """Refuses what can't be trained on.

        Raises:
            InvalidInput: See :meth:`Dataset.check`; ``name`` says which split it was.
        """
        labels = self.labels
        if len(self.shape) < 2 or self.dtype not in (torch.uint8, torch.float32):
            raise InvalidInput(
                f"the {name} split has inputs of {self.described()}: "
                "give uint8 or float32, [N, C, H, W] or [N, F]"
            )
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise InvalidInput(
                f"the {name} split has labels of {_described(labels.dtype, labels.shape)}: give int64, [N]"
            )
        if self.shape[0] != len(labels):
            raise InvalidInput(
                f"the {name} split has {self.shape[0]} inputs and {len(labels)} labels: "
                "give one label per input"
            )
        if 0 in self.shape:
            raise InvalidInput(f"the {name} split is empty: give it at least one example")
        self._check_inputs(name)
        outside = ((labels < 0) | (labels >= num_classes)).nonzero()
        if len(outside):
            first = int(outside[0])
            raise InvalidInput(
                f"the {name} split has {len(outside)} labels outside 0 to {num_classes - 1}, the first is "
                f"{int(labels[first])} at labels[{first}]: number the {num_classes} classes from 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Split(Examples):
    """Examples in memory.

    Attributes:
        inputs: [N, C, H, W] or [N, F]; uint8 (images, 0 to 255) or float32.
        labels: [N], int64, from 0 to the number of classes - 1.
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
            yield from map(self.batch, torch.split(order.to(self.labels.device), size))

    def feed(self, digest: "hashlib._Hash", name: str) -> None:
        for tensor in (self.inputs, self.labels):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)

    def _check_inputs(self, name: str) -> None:
        if self.dtype == torch.uint8:
            return
        wrong = (~self.inputs.isfinite()).nonzero()
        if len(wrong):
            raise InvalidInput(
                f"the {name} split has {len(wrong)} values that are NaN or infinite, the first at inputs"
                f"{wrong[0].tolist()}: leave those examples out or fill them in"
            )


def beginning(split: Examples, count: int) -> Split:
    """The first ``count`` examples of a split, in memory."""
    inputs, labels = split.first(count)
    return Split(inputs=inputs, labels=labels)


def _described(dtype: torch.dtype, shape: Iterable[int]) -> str:
    return f"{str(dtype).removeprefix('torch.')} {tuple(shape)}"
