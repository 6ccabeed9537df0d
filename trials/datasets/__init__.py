"""The data sets, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from silo.errors import InvalidInput
from trials.datasets.base import Dataset
from trials.datasets.examples import Examples, Split, beginning
from trials.datasets.streaming import StreamedSplit
from trials.registry import call, resolve

__all__ = ["DATASETS", "Dataset", "Examples", "Split", "StreamedSplit", "beginning", "load_dataset"]

DATASETS = {
    "digits": "trials.datasets.digits:digits",
    "cifar10": "trials.datasets.cifar:cifar10",
    "cifar100": "trials.datasets.cifar:cifar100",
    "mnist": "trials.datasets.mnist:mnist",
    "fashion_mnist": "trials.datasets.mnist:fashion_mnist",
    "svhn": "trials.datasets.svhn:svhn",
    "imagenet": "trials.datasets.imagenet:imagenet",
    "image_folder": "trials.datasets.image_folder:image_folder",
    "synthetic": "trials.datasets.synthetic:synthetic",
}


def load_dataset(name: str, arguments: Mapping[str, Any], *, seed: int) -> Dataset:
    """Loads a data set, into memory unless it streams, and checks it.

    Args:
        name: A key of DATASETS, or ``"package.module:name"``: a function ``(*, seed, **arguments) ->
            Dataset``.
        arguments: The data set's own arguments.
        seed: Seed of the split into training, validation and test data.

    Raises:
        InvalidInput: No such data set, arguments that it doesn't take, missing or unreadable files, or data
            that can't be trained on (see :meth:`Dataset.check`).
    """
    load: Callable[..., Any] = resolve("data set", name, DATASETS)
    dataset = call("data set", name, load, arguments, seed=seed)
    if not isinstance(dataset, Dataset):
        raise InvalidInput(
            f"data set {name!r} must give a trials.datasets.Dataset, it gave {type(dataset).__name__}"
        )
    dataset.check()
    return dataset
