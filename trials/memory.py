"""Memory that this process takes."""

from __future__ import annotations

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
