"""The step and the evaluation of one recipe's trainings, as its execution and its precision say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from trials.datasets import Dataset, Examples, beginning
from trials.engine.compile_cache import find, is_compiled
from trials.engine.copies import (
    StackedNetwork,
    lone_gradients,
    lone_outputs,
    named_tensors,
    over_copies,
    packed_gradients,
    packed_outputs,
    quiet_vmap,
)
from trials.engine.graphs import Program, Traced, as_traced, compile_all, in_a_line, trace
from trials.engine.steps import Batch, CudaGraphSteps, EagerStep, GraphStep, Shared, Step
from trials.objectives import Scorer, make_loss, scorer_of
from trials.optimizers import build_optimizer
from trials.process import float32_precision, global_draws_kept, set_float32_precision
from trials.tasks import Execution, Metric, Precision, Recipe

EVALUATION_BATCH = 1024
"""Most examples of a batch."""

EVALUATION_BYTES = 2**25
"""Most bytes of a batch's normalised inputs, but for as many examples as a training step takes: of images of
32 by 32 pixels 1,024 are less, of those of ImageNet 55 are as much."""

FEWEST_PACKED = 5
"""Fewer copies train faster one after the other than in one call, as long as nothing is compiled: vmap's own
work takes as long as two steps of a small network."""

Outputs = Iterator[tuple[Tensor, Tensor]]
"""Outputs [K, B, …] of K copies on batch after batch of a split, and its targets [B, …]."""


def largest_batch(split: Examples, batch_size: int) -> int:
    """Most examples of a batch, where a step takes ``batch_size``: so many fit with their gradients, too."""
    _, *shape = split.shape
    bytes_each = 4 * math.prod(shape)
    return min(EVALUATION_BATCH, max(batch_size, EVALUATION_BYTES // bytes_each))


def evaluation_batch(split: Examples, batch_size: int) -> int:
    """Examples of a batch that divides a split evenly: a graph is made for one size."""
    batches = -(-len(split) // largest_batch(split, batch_size))  # few, and then as small as that many allow
    return -(-len(split) // batches)


@torch.no_grad()
def eager_outputs(
    module: nn.Module, copies: StackedNetwork, data: Dataset, split: Examples, together: bool, size: int
) -> Outputs:
    """The outputs of each copy on a split, ``size`` examples at a time, one operation after another."""
    module.eval()
    forward = packed_outputs(module) if together else lone_outputs(module)
    for inputs, targets in split.batches([torch.arange(len(split))], size):
        yield forward(copies, data.normalise(inputs)), targets


@torch.no_grad()
def scores_of(outputs: Outputs, scorer: Scorer, count: int) -> tuple[Tensor, Tensor]:
    """The score of each of ``count`` copies on a split, and whether all its outputs were finite: both [K]."""
    finite: Tensor | None = None
    for found, targets in outputs:
        sound = found.isfinite().flatten(1).all(dim=-1)
        finite = sound if finite is None else finite & sound
        scorer.update(found, targets)
    assert finite is not None, "no split is empty"
    scores = scorer.scores().to(finite.device)
    return scores, finite & scores.isfinite()


class GraphEvaluation:
    """The forward pass as one graph, for batches of one size.

    Smaller batches are filled up with their first example, which no copy's outputs for the others depend on.

    Args:
        module: The network.
        count: Copies; fewer are filled up too.
        size: Examples of a batch.
        vectorised: Whether the copies are computed in one call; else ``count`` is 1.
    """

    program: Program
    """The graph to call: to be set before the first count."""

    def __init__(self, module: nn.Module, count: int, size: int, *, vectorised: bool) -> None:
        self._module, self._count, self._size, self._vectorised = module, count, size, vectorised

    def arguments(self, copies: StackedNetwork, data: Dataset) -> list[Tensor]:
        """The tensors that the graph is called with, on the first batch of the validation split."""
        return self._arguments(copies, data.normalise(data.validation.first(self._size)[0]))

    @torch.no_grad()
    def traced(self, copies: StackedNetwork, data: Dataset) -> Traced:
        """The graph, for copies and data like these."""
        was_training = self._module.training
        self._module.eval()
        try:
            return trace(self._flat, self.arguments(copies, data))
        finally:
            self._module.train(was_training)

    @torch.no_grad()
    def outputs(self, copies: StackedNetwork, data: Dataset, split: Examples) -> Outputs:
        """The outputs of each copy on a split."""
        count = copies.flat.shape[0]
        for inputs, targets in split.batches([torch.arange(len(split))], self._size):
            with torch.autocast(inputs.device.type, enabled=False):  # the casts are in the graph
                (found,) = self.program(*self._arguments(copies, data.normalise(inputs)))
            yield found[:count, : len(targets)], targets

    def _arguments(self, copies: StackedNetwork, inputs: Tensor) -> list[Tensor]:
        if missing := self._size - len(inputs):
            inputs = torch.cat([inputs, inputs[:1].expand(missing, *inputs.shape[1:])])
        # Contiguous, as the graph was traced: copies are rows of a larger tensor.
        state = {name: each.contiguous() for name, each in {**copies.parameters, **copies.buffers}.items()}
        empty = self._count - copies.flat.shape[0]
        if empty:
            state = {
                name: torch.cat([tensor, tensor[:1].expand(empty, *tensor.shape[1:])])
                for name, tensor in state.items()
            }
        tensors, self._structure = pytree.tree_flatten(state)
        return [*tensors, inputs]

    def _flat(self, *arguments: Tensor) -> tuple[Tensor]:
        inputs = arguments[-1]
        state = pytree.tree_unflatten(list(arguments[:-1]), self._structure)

        def forward(state: dict[str, Tensor], inputs: Tensor) -> Tensor:
            found: Tensor = functional_call(self._module, state, (inputs,))
            return found

        if self._vectorised:
            return (over_copies(forward, in_dims=(0, None))(state, inputs),)
        return (forward({name: tensor[0] for name, tensor in state.items()}, inputs).unsqueeze(0),)


_T = TypeVar("_T")

Compiler = Callable[[Sequence[Traced]], list[Program]]


class Engine:
    """Computes one recipe's trainings; graphs are made when they are first needed, and kept.

    Args:
        module: The network; it gives the forward pass only.
        recipe: How to train.
        compiler: Makes programs of graphs, where the recipe's execution is compiled.
        graphs: The attribute of this name of another process, for the same recipe: graphs that were compiled
            on this machine aren't traced again.

    Attributes:
        graphs: Names of the graphs: see :func:`trials.engine.compile_cache.key_of`.
    """

    def __init__(
        self,
        module: nn.Module,
        recipe: Recipe,
        *,
        compiler: Compiler = compile_all,
        graphs: Sequence[str] = (),
    ) -> None:
        self.module, self.recipe, self.graphs = module, recipe, tuple(graphs)
        self._compiler = compiler if recipe.execution.compiled else as_traced
        self.loss_of, self._scorer = make_loss(recipe.loss), scorer_of(recipe.metric)
        self._step: GraphStep | CudaGraphSteps | None = None
        self._evaluation: GraphEvaluation | None = None

    @property
    def traced(self) -> bool:
        """Whether a step has been traced."""
        return self._step is not None

    def begin(self, copies: StackedNetwork, mask: Tensor, data: Dataset) -> Step:
        """The step of a training that begins.

        Args:
            copies: The copies to train, in place.
            mask: [P], 1 where a weight is alive, else 0.
            data: The data set, laid out as the execution wants it.

        Raises:
            CompilerFailed: The execution is compiled, and it can't be done.
            InvalidInput: The optimizer can't be traced.
        """
        execution, module, optimizer = self.recipe.execution, self.module, self.recipe.optimizer
        count = copies.flat.shape[0]
        if not execution.traced or not worth_filling(count, execution):
            gradients = packed_gradients if worth_packing(count, execution) else lone_gradients
            found = gradients(module, self.loss_of)
            return EagerStep(found, build_optimizer(optimizer), copies, mask, self.recipe.clip)
        if self._step is None:
            self._make(copies, mask, data)
        assert self._step is not None
        self._step.begin(copies, mask)
        return self._step

    def scores(self, copies: StackedNetwork, data: Dataset, split: Examples) -> tuple[Tensor, Tensor]:
        """The score of each copy on a split, and whether all its outputs were finite.

        Returns:
            [K], float64, and [K], bool, on the copies' device.
        """
        execution, count = self.recipe.execution, copies.flat.shape[0]
        size = largest_batch(split, self.recipe.batch_size)
        outputs = eager_outputs(self.module, copies, data, split, worth_packing(count, execution), size)
        if self._evaluation is not None and worth_filling(count, execution):
            outputs = self._evaluation.outputs(copies, data, split)
        return scores_of(outputs, self._scorer(count, copies.flat.device), count)

    @torch.no_grad()
    def some_outputs(self, copies: StackedNetwork, data: Dataset) -> tuple[Tensor, Tensor]:
        """Outputs [B, …] of the first copy for a few examples of the validation split, and their targets."""
        few = beginning(data.validation, 4)
        ((outputs, targets),) = eager_outputs(self.module, copies.row(0), data, few, False, len(few))
        return outputs[0], targets

    def scores_of_nothing(self, copies: StackedNetwork, data: Dataset, split: Examples) -> float:
        """The score of outputs that are all zero, shaped as those of the first copy are."""
        outputs, _ = self.some_outputs(copies, data)
        nothing = (
            (outputs.new_zeros((1, len(targets), *outputs.shape[1:])), targets)
            for _, targets in split.batches(
                [torch.arange(len(split))], largest_batch(split, self.recipe.batch_size)
            )
        )
        return float(scores_of(nothing, self._scorer(1, copies.flat.device), 1)[0])

    @contextmanager
    def computing(self, device: torch.device) -> Iterator[None]:
        """Computes in the recipe's precision on a device; random numbers and settings are set back after."""
        with global_draws_kept(device), computing(self.recipe.precision, device), quiet_vmap():
            yield

    def was_compiled(self, data: Dataset) -> bool:
        """Whether this machine has compiled the graphs before, so that they cost nothing any more."""
        if data.train.labels.device.type != "cpu":
            return False
        look = Engine(self.module, self.recipe, compiler=as_traced)
        with self._as_in_training(data) as laid_out:
            try:
                look.begin(*look._different_copies(laid_out), laid_out)
                self.graphs = look.graphs
                return all(map(is_compiled, look.graphs))
            except Exception:  # what can't be traced, or lies where it can't be read, wasn't compiled
                return False

    def why_not(self, data: Dataset) -> str | None:
        """Tries whether the graphs do what the eager operations do; None if so, else the reason.

        Three steps from the module's weights must agree in weights, buffers and losses as far as float32
        goes, and then the scores on the beginning of the validation split, but for a hundredth. The graphs
        are made; the module isn't changed.

        Args:
            data: The data set, on the device to train on.
        """
        with self._as_in_training(data) as laid_out:
            return self._compared_with_eager(laid_out)

    @contextmanager
    def _as_in_training(self, data: Dataset) -> Iterator[Dataset]:
        was_training = self.module.training
        try:
            with self.computing(data.train.labels.device):
                yield replace(data, channels_last=self.recipe.execution.channels_last)
        finally:
            self.module.train(was_training)

    def _different_copies(self, data: Dataset) -> tuple[StackedNetwork, Tensor]:
        """Copies that differ a little, the same every time, and a mask that prunes nothing."""
        module, draw = self.module, torch.Generator().manual_seed(0)
        count = self.recipe.execution.pack_size
        copies = StackedNetwork.of(module, named_tensors(module), count, data.train.labels.device)
        noise = torch.randn(copies.flat.shape, generator=draw, dtype=copies.flat.dtype)
        copies.flat.add_(noise.to(copies.flat.device), alpha=0.01)
        return copies, torch.ones_like(copies.flat[0])

    def _compared_with_eager(self, data: Dataset) -> str | None:
        module, recipe = self.module, self.recipe
        (ours, mask), (theirs, _) = (self._different_copies(data) for _ in range(2))
        eagerly = replace(recipe, execution=replace(recipe.execution, compiled=False, captured=False))
        inputs, labels = data.train.first(recipe.batch_size)
        inputs = data.normalise(inputs)
        split = beginning(data.validation, evaluation_batch(data.validation, recipe.batch_size))
        rates = torch.linspace(0.5e-3, 1e-3, len(ours.flat), device=inputs.device, dtype=ours.flat.dtype)
        eager = Engine(module, eagerly)
        other = eager.begin(theirs, mask, data)
        try:
            step = self.begin(ours, mask, data)
            module.train()
            losses = [(step(inputs, labels, rates).clone(), other(inputs, labels, rates)) for _ in range(3)]
            step.settle()
            scores, finite = self.scores(ours, data, split)
        except Exception as error:  # whatever can't be traced or compiled is a reason: the eager step works
            return in_a_line(error)
        pairs = [*losses, (ours.flat, theirs.flat)]
        pairs += [(ours.buffers[name], theirs.buffers[name]) for name in ours.buffers]
        if not all(torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-4) for a, b in pairs):
            return "the graph and the eager training differ"
        expected, sound = eager.scores(theirs, data, split)
        off = (scores - expected).abs() > _same_scores(recipe.metric, expected, len(split))
        if not torch.equal(finite, sound) or bool(off.any()):
            return "the graph and the eager evaluation differ"
        return None

    def _make(self, copies: StackedNetwork, mask: Tensor, data: Dataset) -> None:
        execution, size = self.recipe.execution, self.recipe.execution.pack_size
        shared = Shared.of(copies.flat, size) if execution.streams and size > 1 else None
        steps, batch = self._steps(data, shared)
        steps[0].begin(copies.row(0) if execution.streams else copies, mask)
        evaluation = self._graph_evaluation(data) if execution.compiled and not execution.streams else None
        arguments = [steps[0].arguments(batch)]
        if evaluation is not None:
            arguments.append(evaluation.arguments(copies, data))
        found = self._known(arguments)
        if found is None:
            traced = [steps[0].traced(batch)]
            if evaluation is not None:
                traced.append(evaluation.traced(copies, data))
            found = self._compiler(traced)
            self.graphs = tuple(each.key() for each in traced)
        for step in steps:
            step.program = found[0]
        if evaluation is not None:
            evaluation.program = found[1]
        self._evaluation = evaluation
        self._step = CudaGraphSteps(steps, batch, shared) if execution.captured else steps[0]

    def _known(self, arguments: Sequence[Sequence[Tensor]]) -> list[Program] | None:
        """The programs of the graphs that were named, if this machine has all of them."""
        if len(self.graphs) != len(arguments):
            return None
        found = [find(key, each) for key, each in zip(self.graphs, arguments, strict=True)]
        programs: list[Program] = [program for program in found if program is not None]
        return programs if len(programs) == len(found) else None

    def _steps(self, data: Dataset, shared: Shared | None) -> tuple[list[GraphStep], Batch]:
        execution, optimizer = self.recipe.execution, self.recipe.optimizer
        inputs, labels = data.train.first(self.recipe.batch_size)
        count, each = (execution.pack_size, 1) if execution.streams else (1, execution.pack_size)
        parts = [None if shared is None else shared.row(index) for index in range(count)]
        make = partial(
            GraphStep,
            self.module,
            self.loss_of,
            optimizer,
            each,
            self.recipe.clip,
            together=not execution.compiled,
            channels_last=execution.channels_last,
        )
        steps = [make(shared=part) for part in parts]
        return steps, (data.normalise(inputs), labels)

    def _graph_evaluation(self, data: Dataset) -> GraphEvaluation:
        execution = self.recipe.execution
        size = evaluation_batch(data.validation, self.recipe.batch_size)
        return GraphEvaluation(self.module, execution.pack_size, size, vectorised=execution.vectorised)


def _same_scores(metric: Metric, expected: Tensor, examples: int) -> Tensor:
    """How far the graph's scores may be away: a hundredth of the right answers, or of the score."""
    if metric.function is None:
        return torch.full_like(expected, max(1 / examples, 0.01) + 1e-9)
    return expected.abs() * 0.01 + 1e-6


def worth_filling(count: int, execution: Execution) -> bool:
    """Whether a pack of ``count`` is trained by the execution's graph, filled up with idle copies."""
    # The graph steps idle copies too, at the cost of live ones. Where packs are worth it at all, launches are
    # what takes time, and a graph spares so many that its step costs about what a quarter of its copies do
    # one operation after another (small networks; 4 to 16 copies).
    return execution.captured or 4 * count >= execution.pack_size


def worth_packing(count: int, execution: Execution) -> bool:
    """Whether ``count`` copies that no graph trains are computed in one call, and not one after another."""
    return execution.vectorised and count >= min(execution.pack_size, FEWEST_PACKED)


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
    """Sets torch's words for the precision of float32, the older and the newer ones alike."""
    backends: Any = torch.backends  # torch annotates not all of them
    cudnn, before = backends.cudnn, float32_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = tf32, True, False
    for kind in (backends.cuda.matmul, cudnn.conv, cudnn.rnn):
        kind.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        set_float32_precision(before)
