"""Traces a function of tensors to a graph, and makes programs of graphs.

On a CPU a graph is compiled ahead of time, see :mod:`trials.libraries`; on CUDA in this process, by
``torch.compile``. Compiled or not, a program's kernels can be recorded on CUDA and replayed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trials import libraries

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule


Program = Callable[..., "Sequence[Tensor]"]
"""What a graph has become: takes the tensors that it was traced with, or others just like them."""


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
        """What the graph is kept by on a CPU: see :func:`trials.libraries.key_of`."""
        return libraries.key_of(self.graph, self.arguments)


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
    wanted = [(libraries.folder_of(each.key()), each) for each in traced]
    sources = {folder: (each.graph, each.arguments) for folder, each in wanted}
    libraries.build({folder: each for folder, each in sources.items() if not libraries.is_built(folder)})
    try:
        return [libraries.load(folder, each.arguments) for folder, each in wanted]
    except RuntimeError:  # damaged, or made where other system libraries are: compiled anew, once
        libraries.discard(sources)
        libraries.build(sources)
        return [libraries.load(folder, each.arguments) for folder, each in wanted]


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
