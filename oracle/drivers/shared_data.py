"""Data sets that workers share: Ray's object store has one copy a node, which they read in place."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from trials.datasets import Dataset

_LARGEST_SHARE = 0.5
"""Share of the smallest node's store that a data set may take: beyond, Ray would move it to the disk."""

_FETCH_SECONDS = 300
"""Seconds for a data set to come from another node, after which a worker loads its own."""


def share(datasets: MutableMapping[str, Dataset]) -> dict[str, Any]:
    """Moves data sets that lie in memory into the object store, for as long as this process lives.

    Args:
        datasets: Data sets by :func:`trials.datasets.dataset_key`; what is shared is taken out.

    Returns:
        Key to a reference, for :class:`SharedData`. What can't be shared is left out: a streamed data set, or
        one that is too large for the store.
    """
    from trials.datasets.packed import pack

    shared, room = {}, _LARGEST_SHARE * _smallest_store()
    for key, dataset in list(datasets.items()):
        try:
            packed = pack(dataset)
            if packed is not None and packed.size <= room:
                shared[key] = ray.put(packed)
                del datasets[key]
                room -= packed.size
        except Exception:  # no search fails for it: workers load theirs, as they do of what streams
            continue
    return shared


class SharedData:
    """A worker's way to its data sets: the shared copy where there is one, else it loads its own.

    Args:
        shared: As :func:`share` returns.
    """

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self._shared = shared

    def __call__(self, name: str, arguments: Mapping[str, Any], *, seed: int) -> Dataset:
        """As :func:`trials.datasets.load_dataset`; a shared copy was checked by who put it there."""
        from trials.datasets import dataset_key, load_dataset

        reference = self._shared.get(dataset_key(name, arguments, seed))
        if reference is not None:
            try:
                found: Dataset = ray.get(reference, timeout=_FETCH_SECONDS).unpack()
                return found
            except Exception:  # lost, or too long on its way: no search fails for it
                pass
        return load_dataset(name, arguments, seed=seed)


def _smallest_store() -> float:
    """Bytes of the object store of the node that has the smallest."""
    stores = [node["Resources"].get("object_store_memory", 0.0) for node in ray.nodes() if node["Alive"]]
    return min(stores, default=0.0)
