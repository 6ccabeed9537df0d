"""Dividing examples into splits that keep the proportions of the classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from silo.errors import InvalidInput
from trials.datasets.base import Split


def split_indices(labels: Tensor, sizes: Sequence[int], *, seed: int) -> tuple[Tensor, ...]:
    """Draws disjoint sets of examples, each with the classes in the proportions of the whole.

    Within a class every example is as likely as any other. Where a class's share is no whole number, the
    largest remainders are rounded up (the lower class first among equals), so that every size is met
    exactly.

    Args:
        labels: [N], int64 from 0 on.
        sizes: How many examples each set takes.
        seed: Seed of the draw. The same labels, sizes and seed give the same sets; the global random state
            plays no part.

    Returns:
        Index vectors (int64, ascending), one per size, and last the one of all examples that no set took.

    Raises:
        InvalidInput: A size is below 1, or together they leave nothing.
    """
    if any(size < 1 for size in sizes) or sum(sizes) >= len(labels):
        raise InvalidInput(
            f"can't split {len(labels)} examples into parts of {list(sizes)} and a rest to train on: "
            "every part needs at least one example"
        )
    generator = torch.Generator().manual_seed(seed)
    waiting = []
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().squeeze(1)
        waiting.append(members[torch.randperm(len(members), generator=generator)])
    parts = []
    for size in sizes:
        taken = _apportion(size, [len(members) for members in waiting])
        parts.append(torch.cat([members[:count] for members, count in zip(waiting, taken, strict=True)]))
        waiting = [members[count:] for members, count in zip(waiting, taken, strict=True)]
    return tuple(part.sort().values for part in (*parts, torch.cat(waiting)))


def part_off(split: Split, size: int, *, seed: int) -> tuple[Split, Split]:
    """Divides a split into one of ``size`` examples and the rest, by :func:`split_indices`."""
    part, rest = (
        Split(inputs=split.inputs[chosen], labels=split.labels[chosen])
        for chosen in split_indices(split.labels, [size], seed=seed)
    )
    return part, rest


def share_of(name: str, share: float, count: int) -> int:
    """The number of examples that a share of ``count`` comes to, rounded.

    Raises:
        InvalidInput: The share is not between 0 and 1; ``name`` says which argument it was.
    """
    if not 0 < share < 1:
        raise InvalidInput(f"{name} must be above 0 and below 1, such as 0.2: given was {share}")
    return round(share * count)


def _apportion(size: int, counts: Sequence[int]) -> list[int]:
    # Whole numbers throughout: quotas as floats would round differently for large counts.
    total = sum(counts)
    shares = [size * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda index: -(size * counts[index] % total))
    for index in by_remainder[: size - sum(shares)]:
        shares[index] += 1
    return shares
