"""What a training shares with its process: random streams, settings that any code may change, memory, GPU."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

from silo.errors import SiloOracleError

_CPU = torch.device("cpu")


def derive_seed(seed: int, *path: int | str) -> int:
    """A 63-bit seed for one use, a pure function of the search's seed and the path.

    Args:
        seed: The search's seed.
        path: The use of the seed, for example ``(replicate, cycle, "order")``.
    """
    text = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """A torch generator on the CPU, seeded by :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, *path))


def seed_global(seed: int, device: torch.device = _CPU) -> None:
    """Seeds what draws without a generator of its own: torch's for a device, numpy's and Python's."""
    if device.type == "cpu":  # torch.manual_seed would seed the accelerators under a training on the CPU
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def global_draws_kept(device: torch.device = _CPU) -> Iterator[None]:
    """Sets the generators of :func:`seed_global` back afterwards to where they were."""
    # Only the generator of this device: fork_rng's default makes a context on every GPU that it sees.
    numpys, pythons = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)


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


def _folder() -> str | None:
    """The working directory; None once it is deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


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
    (_folder, lambda folder: None if folder is None else os.chdir(folder)),
    (_handlers, _set_handlers),
)
"""Pairs of what reads a setting and what sets it."""


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


class DeviceLost(SiloOracleError):
    """This process can't use its GPU any more; another process can.

    After some errors of CUDA (an assertion on the device, an access to memory that isn't there) every later
    call of the process fails, whatever it is for.
    """


def name_of(device: torch.device) -> str:
    """The model of a GPU; empty for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def check_answers(device: torch.device) -> None:
    """Makes sure that a device computes, before anything is entrusted to it.

    Raises:
        DeviceLost: It doesn't.
    """
    if device.type == "cuda":
        try:
            torch.ones(1, device=device).sum().item()
        except Exception as error:
            raise _lost(error) from error


def raise_if_lost(error: BaseException, device: torch.device) -> None:
    """Tells an error after which a process can't go on from all others; to be asked while it is handled.

    Args:
        error: What computing on the device ended with.
        device: The device; a loop of the user's own may use another one, so CUDA's own errors count on each.

    Raises:
        DeviceLost: The GPU doesn't answer any more.
    """
    of_cuda = isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)
    if device.type == "cuda" or of_cuda:
        try:
            torch.cuda.synchronize()
        except Exception:
            raise _lost(error) from error


def _lost(error: BaseException) -> DeviceLost:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return DeviceLost(f"the GPU can't be used by this process any more ({type(error).__name__}: {lines[0]})")
