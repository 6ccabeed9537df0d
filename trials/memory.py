"""Memory: what this process takes, may take, and hasn't got."""

from __future__ import annotations

import gc
import sys

import torch


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held so far, on CUDA in tensors there; 0 where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: torch.device) -> None:
    """Gives a device what nothing holds any more, and what torch keeps of it for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


_CONTEXT = 2**30
"""Bytes that CUDA, its libraries and their kernels take of a GPU for each process, beside its tensors."""


def keep_to_share(device: torch.device, share: float) -> None:
    """Holds this process to a part of a GPU's memory: beyond it is out of memory, as on a smaller GPU.

    Args:
        device: The device; on a CPU nothing is held.
        share: The part, in (0, 1]; its own context is taken off it. 1 for all of it.
    """
    if device.type == "cuda" and share < 1:
        index = torch.cuda.current_device() if device.index is None else device.index
        context = _CONTEXT / torch.cuda.get_device_properties(index).total_memory
        torch.cuda.set_per_process_memory_fraction(max(share - context, share / 2), index)


_WORDS = ("out of memory", "can't allocate memory", "alloc_failed", "low on memory")
"""Of CUDA, of torch's allocator on a CPU, of cuBLAS and cuDNN, and of Ray, which ends a worker for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less at a time could have gone well."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or says_out_of_memory(str(error))


def says_out_of_memory(message: str) -> bool:
    """:func:`is_out_of_memory` of an error that only its message is left of."""
    return any(words in message.lower() for words in _WORDS)
