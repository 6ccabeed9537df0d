"""Traces a function of tensors to a graph, and compiles graphs.

On a CPU a graph is compiled ahead of time to a library: it runs without Python, and is kept on disk under a
checksum of all that determines it, so that a machine compiles a graph once and every process loads it in
milliseconds. The compiler runs in a process of its own, one for each graph. On CUDA a graph is compiled in
this process by ``torch.compile``. Either way it takes torch's Inductor, and on a CPU a C++ compiler.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

Program = Callable[..., "Sequence[Tensor]"]
"""What a graph has become: takes the tensors that it was traced with, or others just like them."""

_GRAPH, _LIBRARY = "graph.pickle", "program.so"
_KEPT = 200
"""Libraries that are kept, of some 2 MB each; those that were not used for the longest time go."""


class CompilerFailed(Exception):
    """A graph can't be compiled here."""


@dataclass(frozen=True, eq=False)
class Traced:
    """A function as a graph.

    Attributes:
        graph: The graph; it takes the arguments and returns a tuple of tensors.
        arguments: The tensors that it was traced with; shapes, strides and devices are fixed with them.
    """

    graph: GraphModule
    arguments: tuple[Tensor, ...]

    def key(self) -> str:
        """Checksums over all that determines a library: machine and layouts, then the graph."""
        digest = hashlib.sha256(self.graph.code.encode())
        for name, tensor in sorted(_constants(self.graph).items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return f"{_place(self.arguments)}-{digest.hexdigest()}"


def trace(function: Callable[..., tuple[Tensor, ...]], arguments: Sequence[Tensor]) -> Traced:
    """Runs a function once and notes its operations; what it changes among its arguments is set back."""
    from torch.fx.experimental.proxy_tensor import make_fx

    kept = [tensor.clone() for tensor in arguments]
    graph = make_fx(function)(*arguments)
    for tensor, before in zip(arguments, kept, strict=True):
        tensor.copy_(before)
    return Traced(graph, tuple(arguments))


def as_traced(traced: Sequence[Traced]) -> list[Program]:
    """The graphs uncompiled, one operation after another."""
    return [each.graph for each in traced]


def compile_all(traced: Sequence[Traced]) -> list[Program]:
    """Compiles graphs, side by side where it takes long.

    Raises:
        CompilerFailed: There is no compiler, or it can't compile one of them.
    """
    if any(tensor.device.type != "cpu" for each in traced for tensor in each.arguments):
        return [_just_in_time(each) for each in traced]
    pairs = [(folder_of(each.key()), each) for each in traced]
    if missing := {folder: each for folder, each in pairs if not (folder / _LIBRARY).is_file()}:
        _build(missing)
    try:
        return [_loaded(folder, each.arguments) for folder, each in pairs]
    except RuntimeError:  # damaged, or made where other system libraries are: compiled anew, once
        for folder, _ in pairs:
            shutil.rmtree(folder, ignore_errors=True)
        _build(dict(pairs))
        return [_loaded(folder, each.arguments) for folder, each in pairs]


def find(key: str, arguments: Sequence[Tensor]) -> Program | None:
    """A library that this machine has compiled for such arguments before, as :meth:`Traced.key` named it.

    Nothing is traced. That the key's graph is the one that is wanted is on the caller's word.
    """
    folder = folder_of(key)
    if not key.startswith(_place(arguments) + "-") or not (folder / _LIBRARY).is_file():
        return None
    try:
        return _loaded(folder, arguments)
    except RuntimeError:  # damaged
        return None


def _loaded(folder: Path, arguments: Sequence[Tensor]) -> Program:
    os.utime(folder)
    return Library(folder / _LIBRARY, arguments)


def is_compiled(key: str) -> bool:
    """Whether this machine has compiled a graph before, by :meth:`Traced.key`."""
    return (folder_of(key) / _LIBRARY).is_file()


def folder_of(key: str) -> Path:
    """Where a library is kept: below ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "silo-oracle" / "graphs" / key


class Library:
    """A graph that was compiled ahead of time.

    Args:
        path: The library.
        arguments: What it was compiled for: the library itself looks at no tensor's layout.
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


class Captured:
    """A program whose kernels are recorded as a CUDA graph, and replayed without a launch from Python.

    On a CPU, where there is nothing to record, the program is called.

    Args:
        program: Works on its arguments in place, without a synchronisation.
        arguments: The tensors of every call: their memory is part of the recording.
    """

    def __init__(self, program: Program, arguments: Sequence[Tensor]) -> None:
        self._program, self._arguments = program, tuple(arguments)
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._arguments[0].is_cuda:
            self._capture()

    def _capture(self) -> None:
        kept = [tensor.clone() for tensor in self._arguments]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # libraries set themselves up in their first calls
            for _ in range(3):
                self._program(*self._arguments)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outputs = self._program(*self._arguments)
        for tensor, before in zip(self._arguments, kept, strict=True):
            tensor.copy_(before)
        self._graph = graph

    def __call__(self) -> Sequence[Tensor]:
        """Runs it; the next call overwrites what this one returns."""
        if self._graph is None:
            return self._program(*self._arguments)
        self._graph.replay()
        return self._outputs


def _just_in_time(traced: Traced) -> Program:
    compiled: Program = torch.compile(traced.graph, dynamic=False, fullgraph=True)

    def program(*tensors: Tensor) -> Sequence[Tensor]:
        with warnings.catch_warnings():  # the compiler's own, about its own code
            warnings.simplefilter("ignore")
            return compiled(*tensors)

    return program


def _build(missing: dict[Path, Traced]) -> None:
    """Compiles graphs into folders, each in a process of its own."""
    parent = next(iter(missing)).parent
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _tidy(parent)
    started = []
    for folder, traced in missing.items():
        work = Path(tempfile.mkdtemp(prefix="compiling-", dir=parent))
        with (work / _GRAPH).open("wb") as file:
            pickle.dump((traced.graph, _layouts(traced.arguments), torch.get_num_threads()), file)
        # -P: the modules beside this file have names of the standard library's.
        command = [sys.executable, "-P", __file__, str(work)]
        pipe = subprocess.PIPE
        started.append((folder, work, subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT)))
    failure = ""
    try:
        for folder, work, process in started:
            output = process.communicate()[0].decode(errors="replace")
            if process.returncode == 0:
                _put(work, folder)
            else:
                failure = failure or _reason(output, process.returncode)
    finally:
        for _, work, process in started:
            process.kill()
            process.wait()
            shutil.rmtree(work, ignore_errors=True)
    if failure:
        raise CompilerFailed(failure)


def _put(work: Path, folder: Path) -> None:
    try:
        work.rename(folder)
    except OSError:  # another process was faster
        if not (folder / _LIBRARY).is_file():
            raise


def _tidy(parent: Path) -> None:
    kept = sorted(parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in kept[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _reason(output: str, code: int) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line or "error: " in line or "Exception: " in line]
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
    return {name: value for name, value in vars(graph).items() if isinstance(value, torch.Tensor)} | dict(
        graph.named_buffers()
    )


def _place(arguments: Sequence[Tensor]) -> str:
    """A checksum over the machine, torch's version and threads, and the arguments' layouts."""
    parts = (_processor(), torch.__version__, torch.get_num_threads(), _layouts(arguments))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


@cache
def _processor() -> str:
    """What a library's instructions depend on."""
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
    built = Path(torch._inductor.aot_compile(graph, arguments, options=options))
    shutil.copy(built, work / _LIBRARY)
    # Beside the library lies what its operators without C++ code need.
    if (described := built.with_suffix(".json")).is_file():
        shutil.copy(described, work / _LIBRARY.replace(".so", ".json"))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
