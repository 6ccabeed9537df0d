"""Graphs that were compiled ahead of time for a CPU, and that are kept on disk.

A library runs without Python, and is kept under checksums of all that determines it: a machine compiles a
graph once, and every process loads it in milliseconds. The compiler, torch's AOTInductor, runs in a process
of its own for each graph: this file is its program. It takes a C++ compiler.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

_GRAPH, _LIBRARY = "graph.pickle", "program.so"
_FORM = 1
"""To be counted up when libraries are to be compiled otherwise than they were."""

_KEPT = 200
"""Libraries that are kept, of some 2 MB each; those that were not used for the longest time go."""


_NO_PLACE = tuple(
    os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
)


class CompilerFailed(Exception):
    """A graph can't be compiled here."""


def lacks_place(reason: str) -> bool:
    """Whether a graph can't be compiled for want of a place that takes it: full, or not to be written."""
    return any(each in reason for each in _NO_PLACE)


def key_of(graph: GraphModule, arguments: Sequence[Tensor]) -> str:
    """Checksums over all that determines a library: machine and layouts, then the graph."""
    digest = hashlib.sha256(graph.code.encode())
    for nested in graph.modules():
        digest.update(getattr(nested, "code", "").encode())
    for name, tensor in sorted(_constants(graph).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return f"{_place(arguments)}-{digest.hexdigest()}"


def is_compiled(key: str) -> bool:
    """Whether this machine has compiled a graph before, by :func:`key_of`."""
    return is_built(folder_of(key))


def is_built(folder: Path) -> bool:
    """Whether a folder has a library."""
    return (folder / _LIBRARY).is_file()


def discard(folders: Iterable[Path]) -> None:
    """Deletes libraries."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def folder_of(key: str) -> Path:
    """Where a library is kept: below ``$XDG_CACHE_HOME`` or ``~/.cache``, or where neither can be written to
    in a folder of this user's below the one for temporary files.

    Raises:
        CompilerFailed: Somebody else can write to that folder: what lies there is not to be run.
    """
    return _cache() / "graphs" / key


def cache_folder(name: str) -> Path:
    """A folder of this user's alone for what may be lost.

    Raises:
        CompilerFailed: As :func:`folder_of`, or it can't be made.
    """
    folder = _cache() / name
    _make(folder.parent)  # by itself: parents are made as the umask has it
    _make(folder)
    return folder


def compiler_folder() -> Path:
    """Settles where torch's compiler keeps what it makes, and loads again: in ``$TORCHINDUCTOR_CACHE_DIR`` if
    that is this user's alone, else in a folder beside the libraries.

    Left to itself torch takes a folder below the one for temporary files, whose name can be guessed, and runs
    what it finds there.

    Raises:
        CompilerFailed: As :func:`folder_of`, or it can't be made.
    """
    given = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or "")
    folder = given if given.name and _is_mine(given) else cache_folder("compiler")
    _make(folder)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    return folder


def keep_to_own_folder() -> None:
    """As :func:`compiler_folder`, for whoever may call the compiler; even to trace a graph settles it."""
    with suppress(CompilerFailed):  # which it also ends with that is to compile
        compiler_folder()


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()).absolute()
    there = next(folder for folder in (cache, *cache.parents) if os.path.exists(folder))
    if not os.access(there, os.W_OK | os.X_OK) or not _is_mine(cache / "silo-oracle"):
        cache = Path(tempfile.gettempdir()) / f"cache-{_user()}"
        _make(cache)
    return cache / "silo-oracle"


def _make(folder: Path) -> None:
    """Makes a folder of this user's alone, or looks whether it is that.

    Raises:
        CompilerFailed: It isn't, or can't be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CompilerFailed(f"{folder} can't be made: {error.strerror}") from error
    if not _is_mine(folder):
        raise CompilerFailed(f"others can write to {folder}: set XDG_CACHE_HOME to a folder of yours alone")


def _user() -> int | None:
    """This user's number; None on Windows, where temporary folders are a user's own."""
    return os.getuid() if hasattr(os, "getuid") else None


def _is_mine(folder: Path) -> bool:
    """Whether a folder is this user's, and nobody else can write to it, or isn't there."""
    if _user() is None:
        return not folder.is_symlink()
    try:
        found = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    others = stat.S_IWGRP | stat.S_IWOTH
    return stat.S_ISDIR(found.st_mode) and found.st_uid == _user() and not found.st_mode & others


def find(key: str, arguments: Sequence[Tensor]) -> Library | None:
    """A library that this machine has compiled for such arguments before, as :func:`key_of` named it.

    Nothing is traced. That the key's graph is the one that is wanted is on the caller's word.
    """
    try:
        folder = folder_of(key)
        known = key.startswith(_place(arguments) + "-") and is_built(folder)
        return load(folder, arguments) if known else None
    except (
        CompilerFailed,
        OSError,
        RuntimeError,
    ):  # damaged, gone, or not to be trusted
        return None


def load(folder: Path, arguments: Sequence[Tensor]) -> Library:
    """Loads a library.

    Raises:
        RuntimeError: It is damaged, or was made where other system libraries are.
    """
    os.utime(folder)
    return Library(folder / _LIBRARY, arguments)


def build(missing: Mapping[Path, tuple[GraphModule, Sequence[Tensor]]]) -> None:
    """Compiles graphs for arguments like these into folders, each in a process of its own.

    Raises:
        CompilerFailed: One of them can't be compiled; the others were.
    """
    if not missing:
        return
    parent, compiler = next(iter(missing)).parent, compiler_folder()
    for folder in (parent.parent, parent):
        _make(folder)
    failure, works, started = "", [], []
    try:
        for folder in (parent, compiler):
            _tidy(folder)
        for folder, (graph, arguments) in missing.items():
            works.append(Path(tempfile.mkdtemp(prefix="compiling-", dir=parent)))
            with (works[-1] / _GRAPH).open("wb") as file:
                pickle.dump((graph, _layouts(arguments), torch.get_num_threads()), file)
            # -P: the modules beside this file have names of the standard library's.
            command = [sys.executable, "-P", __file__, str(works[-1])]
            pipe = subprocess.PIPE
            started.append((folder, subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT)))
        for work, (folder, process) in zip(works, started, strict=True):
            output = process.communicate()[0].decode(errors="replace")
            if process.returncode == 0:
                _put(work, folder)
            else:
                failure = failure or _reason(output, process.returncode)
    except OSError as error:
        raise CompilerFailed(f"libraries can't be kept in {parent}: {error.strerror}") from error
    finally:
        for _, process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        for work in works:
            shutil.rmtree(work, ignore_errors=True)
    if failure:
        raise CompilerFailed(failure)


class Library:
    """A graph that was compiled ahead of time.

    Args:
        path: The library.
        arguments: The tensors that it was compiled for: the library itself looks at no tensor's layout.
    """

    def __init__(self, path: Path, arguments: Sequence[Tensor]) -> None:
        from torch._C._aoti import AOTIModelContainerRunnerCpu

        self._run = AOTIModelContainerRunnerCpu(str(path), 1).run
        self._known = tuple(arguments)
        self._layouts = _layouts(arguments)

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        given = [
            tensor if tensor is known else _laid_out(tensor, *layout)
            for tensor, known, layout in zip(tensors, self._known, self._layouts, strict=True)
        ]
        found: list[Tensor] = self._run(given)
        return found


def _put(work: Path, folder: Path) -> None:
    try:
        work.rename(folder)
    except OSError:
        if not is_built(folder):  # else another process was faster
            discard([folder])
            work.rename(folder)


def _tidy(parent: Path) -> None:
    """Removes the folders that were not used for the longest time, of more than are kept."""
    used = {}
    for folder in parent.iterdir():
        with suppress(FileNotFoundError):  # another process has just finished, or tidied up
            used[folder] = folder.stat().st_mtime
    for folder in sorted(used, key=lambda folder: used[folder], reverse=True)[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _reason(output: str, code: int) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line or "error: " in line or "Exception: " in line]
    errors = list(filter(lacks_place, lines)) or errors
    return (errors or lines or [f"the compiler ended with exit code {code}"])[-1]


def _layouts(tensors: Sequence[Tensor]) -> list[tuple[tuple[int, ...], tuple[int, ...], torch.dtype, str]]:
    return [(tuple(each.shape), each.stride(), each.dtype, each.device.type) for each in tensors]


def _laid_out(
    tensor: Tensor, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, device: str
) -> Tensor:
    """A tensor in the layout that a library was compiled for; a copy where it has another."""
    if tuple(tensor.shape) != shape or tensor.dtype != dtype or tensor.device.type != device:
        raise ValueError(
            f"compiled for {dtype} {shape} on {device}, "
            f"not for {tensor.dtype} {tuple(tensor.shape)} on {tensor.device.type}"
        )
    if tensor.stride() == stride:
        return tensor
    return torch.empty_strided(shape, stride, dtype=dtype).copy_(tensor)


def _constants(graph: GraphModule) -> dict[str, Tensor]:
    plain = {name: value for name, value in vars(graph).items() if isinstance(value, torch.Tensor)}
    return {**plain, **dict(graph.named_buffers()), **dict(graph.named_parameters())}


def _place(arguments: Sequence[Tensor]) -> str:
    """A checksum over the machine, torch's version and threads, and the arguments' layouts."""
    parts = (_FORM, processor(), torch.__version__, torch.get_num_threads(), _layouts(arguments))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


@cache
def processor() -> str:
    """The processor, as far as a library's instructions depend on it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()} {flags}"


def _main(work: Path) -> None:
    """The compiler's process."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL", "O0")  # half the time, the same speed
    import torch._inductor.compile_fx  # a graph can't be read without what this imports
    from torch._inductor import config

    with (work / _GRAPH).open("rb") as file:
        graph, layouts, threads = pickle.load(file)
    torch.set_num_threads(threads)
    for node in graph.graph.nodes:
        node.meta = {}  # of the reading, which the compiler would take for its own
    arguments = tuple(
        torch.empty_strided(shape, stride, dtype=dtype).zero_() for shape, stride, dtype, _ in layouts
    )
    options: dict[str, Any] = {}
    if hasattr(config.aot_inductor, "precompile_headers"):
        options["aot_inductor.precompile_headers"] = False  # takes longer than it saves a single graph
    library = torch._inductor.aot_compile(graph, arguments, options=options)
    assert isinstance(library, str)  # its path; other forms come for other options
    built = Path(library)
    (work / _GRAPH).unlink()
    shutil.copy(built, work / _LIBRARY)
    # Beside the library lies what its operators without C++ code need.
    if (described := built.with_suffix(".json")).is_file():
        shutil.copy(described, work / _LIBRARY.replace(".so", ".json"))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
