"""Data sets that are asked for several times and loaded once."""

from collections.abc import Callable, Mapping
from typing import Any

from trials.datasets.base import Dataset
from trials.recipe import Recipe
from trials.seeding import derive_seed

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
