"""A data set as numpy arrays, which the processes of a machine can read without a copy for each."""

import dataclasses
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trials.datasets.base import SPLITS, Dataset, Split


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Array:
    """A tensor: its memory as it lies, and its axes in the order in which they lie there."""

    values: np.ndarray
    axes: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PackedDataset:
    """A data set that lies in memory, as plain arrays; see :func:`pack`.

    Attributes:
        about: The fields of the data set that are no splits.
        splits: Name of each split to its inputs and its labels.
    """

    about: dict[str, Any]
    splits: dict[str, tuple[_Array, _Array]]

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(array.values.nbytes for split in self.splits.values() for array in split)

    def unpack(self) -> Dataset:
        """The data set, on the memory of the arrays.

        Where that can't be written to (as in Ray's object store), an attempt ends the process: nothing may
        change a data set in place.
        """
        splits = {
            name: Split(inputs=_tensor(inputs), labels=_tensor(labels))
            for name, (inputs, labels) in self.splits.items()
        }
        return Dataset(
            train=splits["train"], validation=splits["validation"], test=splits["test"], **self.about
        )


def pack(dataset: Dataset) -> PackedDataset | None:
    """The data set as arrays on its own memory; None if a split isn't plain memory of the CPU."""
    splits = {name: getattr(dataset, name) for name in SPLITS}
    if type(dataset) is not Dataset or any(type(split) is not Split for split in splits.values()):
        return None
    if any(tensor.device.type != "cpu" for s in splits.values() for tensor in (s.inputs, s.labels)):
        return None
    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)}
    return PackedDataset(
        about={name: value for name, value in fields.items() if name not in SPLITS},
        splits={name: (_array(split.inputs), _array(split.labels)) for name, split in splits.items()},
    )


def _array(tensor: Tensor) -> _Array:
    # Only what lies in one piece is shared, and how it lies must stay: it decides how a network computes.
    axes = tuple(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))
    return _Array(values=tensor.permute(axes).contiguous().numpy(), axes=axes)


def _tensor(array: _Array) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(array.values)
    return tensor.permute(*np.argsort(array.axes).tolist())
