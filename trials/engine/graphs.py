"""Traces a function of tensors to a graph, and makes programs of graphs.

On a CPU a graph is compiled ahead of time, see :mod:`trials.engine.compile_cache`; on CUDA in this process,
by ``torch.compile``. Compiled or not, a program's kernels can be recorded on CUDA and replayed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trials.engine import compile_cache
from trials.imports import uncollected
from trials.process import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node


Program = Callable[..., "Sequence[Tensor]"]
"""A graph that can be called, compiled or not: takes the tensors that it was traced with, or others just like
them."""


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
        """The name that the graph is kept by on a CPU: see :func:`trials.engine.compile_cache.key_of`."""
        return compile_cache.key_of(self.graph, self.arguments)


def trace(function: Callable[..., tuple[Tensor, ...]], arguments: Sequence[Tensor]) -> Traced:
    """Runs a function once and notes its operations; what it changes among its arguments is set back."""
    from torch.fx.experimental.proxy_tensor import make_fx

    compile_cache.keep_to_own_folder()
    kept = [tensor.clone() for tensor in arguments]
    graph = make_fx(function)(*arguments)
    for tensor, before in zip(arguments, kept, strict=True):
        tensor.copy_(before)
    graph.graph.eliminate_dead_code(_changes_something)
    graph.recompile()
    return Traced(graph, tuple(arguments))


def _changes_something(node: Node) -> bool:
    # The running statistics change by what these operators' signatures don't tell.
    return node.is_impure() or "batch_norm" in str(node.target)


def as_traced(traced: Sequence[Traced]) -> list[Program]:
    """The graphs uncompiled, one operation after another."""
    return [each.graph for each in traced]


def compile_all(traced: Sequence[Traced]) -> list[Program]:
    """Compiles graphs, side by side where it takes long.

    Raises:
        CompilerFailed: There is no compiler, or it can't compile one of them, or what it made can't be run.
    """
    if not all(map(_on_cpu, traced)):
        return [_just_in_time(each) for each in traced]
    wanted = [(compile_cache.folder_of(each.key()), each) for each in traced]
    sources = {folder: (each.graph, each.arguments) for folder, each in wanted}
    compile_cache.build(
        {folder: each for folder, each in sources.items() if not compile_cache.is_built(folder)}
    )
    try:
        return [compile_cache.load(folder, each.arguments) for folder, each in wanted]
    except (OSError, RuntimeError):  # gone, damaged, or made where other system libraries are: anew, once
        compile_cache.discard(sources)
        compile_cache.build(sources)
        return [compile_cache.load(folder, each.arguments) for folder, each in wanted]


def compile_if_possible(traced: Sequence[Traced]) -> list[Program]:
    """Compiles graphs where that can be done, and else leaves them as they are: slower, and as right."""
    try:
        return compile_all(traced)
    except compile_cache.CompilerFailed as error:
        logging.getLogger(__name__).warning("graphs are used uncompiled: %s", error)
        return as_traced(traced)


_COMPILER: dict[str, str | int | bool | Callable[..., Any]] = {"deterministic": True}
"""Options of torch's compiler on CUDA: else it times kernels of sums and takes the fastest, which may add up
in another order the next time."""


class Captured:
    """A program whose kernels are recorded as a CUDA graph, and replayed without a launch from Python.

    On a CPU, where there is nothing to record, the program is called.

    Args:
        program: Works on its arguments in place, without a synchronisation.
        arguments: The tensors of every call: their memory is part of the recording.
        stream: The CUDA stream to record on; those that are replayed side by side are recorded on their own.
    """

    def __init__(
        self, program: Program, arguments: Sequence[Tensor], stream: torch.cuda.Stream | None = None
    ) -> None:
        self._program, self._arguments = program, tuple(arguments)
        self._graph: torch.cuda.CUDAGraph | None = None
        device = self._arguments[0].device
        if device.type == "cuda":
            with torch.cuda.device(device):  # which may be another one than this thread's
                # torch annotates no Stream.
                own = torch.cuda.Stream(device) if stream is None else stream  # type: ignore[no-untyped-call]
                self._capture(own)

    def _capture(self, stream: torch.cuda.Stream) -> None:
        kept, before = [tensor.clone() for tensor in self._arguments], torch.cuda.current_stream()
        stream.wait_stream(before)
        debugging = torch.cuda.get_sync_debug_mode()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(stream):  # libraries set themselves up in their first calls
                self._program(*self._arguments)
                # What waits for the device would break a recording off, and all later ones with it.
                torch.cuda.set_sync_debug_mode("error")
                for _ in range(2):
                    self._program(*self._arguments)
            torch.cuda.set_sync_debug_mode(debugging)
            # The products' workspace is the stream's, not the graph's: each graph must get one of its own.
            torch._C._cuda_clearCublasWorkspaces()
            # A graph that goes while another is recorded would take memory with it.
            with uncollected(), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._outputs = self._program(*self._arguments)
            torch._C._cuda_clearCublasWorkspaces()
        finally:
            torch.cuda.set_sync_debug_mode(debugging)
            torch.cuda.set_stream(before)
            before.wait_stream(stream)
            for tensor, value in zip(self._arguments, kept, strict=True):
                tensor.copy_(value)
        self._graph = graph

    def __call__(self) -> Sequence[Tensor]:
        """Runs it; the next call overwrites what this one returns."""
        if self._graph is None:
            return self._program(*self._arguments)
        self._graph.replay()
        return self._outputs


def in_a_line(error: Exception) -> str:
    """An error in short."""
    lines = [line for line in str(error).splitlines() if line][:2]  # one may only announce another
    return ": ".join([type(error).__name__, " ".join(lines)]) if lines else type(error).__name__


def _on_cpu(traced: Traced) -> bool:
    return all(tensor.device.type == "cpu" for tensor in traced.arguments)


def _just_in_time(traced: Traced) -> Program:
    """Compiles a graph by calling it once, on clones: at a training's first step it would be too late."""
    compile_cache.compiler_folder()
    compiled: Program = torch.compile(traced.graph, dynamic=False, fullgraph=True, options=_COMPILER)

    def program(*tensors: Tensor) -> Sequence[Tensor]:
        with warnings.catch_warnings():  # the compiler's own, about its own code
            warnings.simplefilter("ignore")
            return compiled(*tensors)

    try:
        # As a step calls it: another mode would be another program.
        with torch.no_grad(), torch.autocast(traced.arguments[0].device.type, enabled=False):
            program(*(tensor.clone() for tensor in traced.arguments))
    except Exception as error:  # the compiler's, of Triton's, of the driver's
        if is_out_of_memory(error):
            raise
        raise compile_cache.CompilerFailed(in_a_line(error)) from error
    return program
