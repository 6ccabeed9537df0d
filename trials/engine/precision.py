"""How exactly a training computes: float32, TF32 or bfloat16, as a setting that ends with the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trials.recipe import Precision


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Computes with a precision on a device, and sets back what was set before."""
    if device.type == "cuda":
        with _cuda_kernels(tf32=precision == "tf32"), _autocast(precision, device):
            yield
    else:
        with _autocast(precision, device):
            yield


def _autocast(precision: Precision, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def _cuda_kernels(*, tf32: bool) -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
