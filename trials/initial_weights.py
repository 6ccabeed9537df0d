"""The weights that a replicate's network begins with: made once, kept in a file, known by their checksum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from safetensors import SafetensorError
from torch import Tensor

from trials.checkpoints import Store
from trials.tasks import WeightsFingerprint
from trials.weights import weights_sha256


def initial_weights(
    store: Store,
    replicate: int,
    begun_with: Sequence[WeightsFingerprint],
    build: Callable[[], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Parameters and buffers by name that a replicate begins with, to the last bit as its search began.

    They are read from their file. Where it is missing or damaged, they are made again, and written if they
    are the same bits: another kind of processor may round them otherwise.

    Args:
        store: The search's files.
        replicate: The replicate.
        begun_with: Fingerprints of the weights that the search began with, by replicate, if it has any.
        build: Makes them, and refuses others.

    Raises:
        StorageFailed: The storage is full or read-only.
    """
    if replicate >= len(begun_with):
        return build()
    wanted, path = begun_with[replicate].sha256, f"cycle-00/replicate-{replicate}/start.safetensors"
    try:
        stored = store.read_unchecked(path)
    except (OSError, SafetensorError):
        stored = {}
    if weights_sha256(stored) == wanted:
        return stored
    made = build()
    if weights_sha256(made) == wanted:
        store.write(path, {name: tensor.clone() for name, tensor in made.items()})  # none shares memory
    return made
