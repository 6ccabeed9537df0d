"""The data sets, by name; loaded once where several ask."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from silo.errors import InvalidInput
from trials.datasets.base import Dataset, Examples, Split, beginning
from trials.datasets.images import StreamedSplit
from trials.process import derive_seed, global_draws_kept, seed_global, settings_kept
from trials.registry import call, resolve
from trials.tasks import Recipe

__all__ = ["DATASETS", "Dataset", "Examples", "Split", "StreamedSplit", "beginning", "load_dataset"]

DATASETS = {
    "digits": "trials.datasets.builtin:digits",
    "cifar10": "trials.datasets.builtin:cifar10",
    "cifar100": "trials.datasets.builtin:cifar100",
    "mnist": "trials.datasets.builtin:mnist",
    "fashion_mnist": "trials.datasets.builtin:fashion_mnist",
    "svhn": "trials.datasets.builtin:svhn",
    "imagenet": "trials.datasets.image_folder:imagenet",
    "image_folder": "trials.datasets.image_folder:image_folder",
    "synthetic": "trials.datasets.builtin:synthetic",
}

NO_DATASET = "none"
"""The name that stands for none, with a training loop of the user's own."""


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
    if name == NO_DATASET:
        nothing = Split(inputs=torch.empty(0, 0), labels=torch.empty(0))
        return Dataset(train=nothing, validation=nothing, test=nothing)
    load: Callable[..., Any] = resolve("data set", name, DATASETS)
    with global_draws_kept(), settings_kept():
        seed_global(seed)  # for those that draw, and don't by their seed
        dataset = call("data set", name, load, arguments, seed=seed)
    if not isinstance(dataset, Dataset):
        raise InvalidInput(
            f"data set {name!r} must give a trials.datasets.Dataset, it gave {type(dataset).__name__}"
        )
    dataset.check()
    return dataset


LoadDataset = Callable[..., Dataset]
"""``(name, arguments, *, seed) -> Dataset``, as :func:`trials.datasets.load_dataset`."""


def dataset_key(name: str, arguments: Mapping[str, Any], seed: int) -> str:
    """A text that is the same for two data sets if they are."""
    return repr((name, dict(arguments), seed))


def key_of(recipe: Recipe) -> str:
    """The key of the data set that a recipe trains on."""
    return dataset_key(recipe.dataset.name, recipe.dataset.arguments, split_seed(recipe))


def split_seed(recipe: Recipe) -> int:
    """The seed that a recipe's data set is split with."""
    return derive_seed(recipe.seed, "split")


class LoadOnce:
    """Loads data sets, and keeps them.

    Args:
        load: Loads one.
    """

    def __init__(self, load: LoadDataset) -> None:
        self._load = load
        self.kept: dict[str, Dataset] = {}

    def __call__(self, name: str, arguments: Mapping[str, Any], *, seed: int) -> Dataset:
        key = dataset_key(name, arguments, seed)
        if key not in self.kept:
            self.kept[key] = self._load(name, arguments, seed=seed)
        return self.kept[key]
