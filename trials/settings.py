"""Settings of the process that code of the user's own may change: no training changes what comes after it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Sets back afterwards what torch, numpy and Python keep for a whole process.

    That is gradients, default type and device, threads, deterministic algorithms, the precision of float32,
    autocast, anomaly detection, numpy's answers to errors, the working directory, and the handlers of SIGINT
    and SIGTERM. What a module sets while it is imported is not for this: imports come before.
    """
    before = [(read(), read, write) for read, write in _SETTINGS]
    try:
        yield
    finally:
        for value, read, write in before:
            if read() != value:
                write(value)


def float32_precision() -> tuple[Any, ...]:
    """torch's words for the precision of float32, the older and the newer ones.

    What a module has set by the newer words is no longer read by the older ones, which raise.
    """
    backends: Any = torch.backends  # torch annotates not all of them
    return (
        read_or(torch.get_float32_matmul_precision, "highest"),
        read_or(lambda: backends.cudnn.allow_tf32, True),
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
        *(kind.fp32_precision for kind in _kinds()),
    )


def set_float32_precision(words: tuple[Any, ...]) -> None:
    """Sets what :func:`float32_precision` gave."""
    products, convolutions, deterministic, benchmark, *newer = words
    backends: Any = torch.backends
    torch.set_float32_matmul_precision(products)
    backends.cudnn.allow_tf32 = convolutions
    backends.cudnn.deterministic, backends.cudnn.benchmark = deterministic, benchmark
    for kind, word in zip(_kinds(), newer, strict=True):  # the older word for products is the CPU's, too
        kind.fp32_precision = word


def _kinds() -> tuple[Any, ...]:
    backends: Any = torch.backends
    cpu, cudnn = backends.mkldnn, backends.cudnn
    return backends.cuda.matmul, cudnn.conv, cudnn.rnn, cpu.matmul, cpu.conv, cpu.rnn


def read_or(get: Callable[[], T], default: T) -> T:
    """A setting by torch's older words; its default where the newer ones say something else."""
    try:
        return get()
    except RuntimeError:
        return default


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda"))


def _set_autocast(enabled: tuple[bool, ...]) -> None:
    for kind, on in zip(("cpu", "cuda"), enabled, strict=True):
        torch.set_autocast_enabled(kind, on)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _set_handlers(handlers: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:  # set by another language: Python can't set it again
                signal.signal(number, handler)


_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),
    ),
    (torch.get_num_threads, torch.set_num_threads),
    (
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda mode: torch.use_deterministic_algorithms(mode[0], warn_only=mode[1]),
    ),
    (float32_precision, set_float32_precision),
    (_autocast, _set_autocast),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda mode: torch.autograd.set_detect_anomaly(*mode),
    ),
    (np.geterr, lambda answers: np.seterr(**answers)),
    (os.getcwd, os.chdir),
    (_handlers, _set_handlers),
)
"""Pairs of what reads a setting and what sets it."""
