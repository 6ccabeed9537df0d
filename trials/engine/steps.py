"""One optimizer step of K copies of a network: forward, backward, mask, update.

An :class:`EagerStep` takes any module. A :class:`GraphStep` is traced once to a single graph that is
compiled, recorded as a CUDA graph, or both; it is kept from pack to pack. Tracing runs the module's Python
code once and never again, so :meth:`trials.engine.Engine.why_not` tries whether that makes a
difference.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from silo.errors import InvalidInput
from trials.engine.copies import Gradients, StackedNetwork, TensorTree, functional_gradients, over_copies
from trials.engine.graphs import Captured, Program, Traced, trace
from trials.objectives import Loss
from trials.optimizers import MaskBits, Optimizer, Stateful, build_optimizer
from trials.tasks import Component

_ALIGNED = 16
"""Bytes that a parameter's place is a multiple of: wide reads of an accelerator need that many."""

_WIDE = 16
"""Numbers from one copy's rate to the next: as many bytes at least."""


@dataclass(frozen=True)
class Place:
    """The place of one parameter in rows [K, P].

    Attributes:
        begin: Its first column.
        shape: A copy's parameter.
        filled: Columns up to the next parameter, at least as many as it has numbers.
        last: Whether its second dimension lies innermost, as the channels of a convolution's kernel may.
    """

    begin: int
    shape: torch.Size
    filled: int
    last: bool

    def view(self, rows: Tensor) -> Tensor:
        """The parameter [K, *shape], or what belongs to it in other rows like these."""
        part, count = rows[:, self.begin : self.begin + self.shape.numel()], rows.shape[0]
        if not self.last:
            return part.view(count, *self.shape)
        outer, inner, *others = self.shape
        return part.view(count, outer, *others, inner).movedim(-1, 2)

    def row(self, tensor: Tensor) -> Tensor:
        """A tensor [K, *shape] as it lies in rows: [K, numbers]."""
        return (tensor.movedim(2, -1) if self.last else tensor).reshape(tensor.shape[0], -1)


@dataclass(frozen=True)
class Places:
    """The places of some parameters in rows, one after another.

    Attributes:
        each: By the parameters' names.
        width: Columns of the rows.
    """

    each: dict[str, Place]
    width: int

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], *, channels_last: bool) -> Places:
        """Places for parameters [K, *shape] by name."""
        found, width = {}, 0
        for name, tensor in parameters.items():
            shape, unit = tensor.shape[1:], max(1, _ALIGNED // tensor.itemsize)
            filled = -(-shape.numel() // unit) * unit if len(parameters) > 1 else shape.numel()
            found[name] = Place(width, shape, filled, channels_last and len(shape) == 4)
            width += filled
        return cls(found, width)

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows by parameter."""
        return {name: place.view(rows) for name, place in self.each.items()}

    def joined(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Tensors [K, *shape] by parameter as rows; numbers of no meaning lie between them."""
        found = []
        for name, place in self.each.items():
            found.append(row := place.row(parts[name]))
            if missing := place.filled - place.shape.numel():
                found.append(row[:, :1].expand(-1, missing))
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)


class Rows(NamedTuple):
    """Parameters in rows, and all that changes them.

    Attributes:
        weights: [K, P].
        mask: [P], 1 where a weight is alive, else 0.
        state: The optimizer's, by attribute.
        bits: Those of the mask, as :meth:`trials.optimizers.MaskBits.of` makes them, if the optimizer takes
            them.
    """

    weights: Tensor
    mask: Tensor
    state: dict[str, Tensor]
    bits: list[Tensor]


class Shared(NamedTuple):
    """Where the rates of several steps lie, and their losses: both [K], of which each step has a part."""

    rates: Tensor
    losses: Tensor

    @classmethod
    def of(cls, like: Tensor, count: int) -> Shared:
        """For ``count`` copies like [K, P], each number at a place that any kernel can read widely."""
        return cls(*like.new_zeros((2, count, _WIDE))[..., 0])

    def row(self, index: int) -> Shared:
        """The part of one copy."""
        return Shared(self.rates[index : index + 1], self.losses[index : index + 1])


Batch = tuple[Tensor, Tensor]
"""Normalised inputs [B, …] and labels [B]."""


class Step(Protocol):
    """Steps the copies that it was begun with."""

    def __call__(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """One step.

        Args:
            inputs: [B, …], normalised.
            labels: [B].
            rates: [K], the learning rate of each copy.

        Returns:
            [K], the losses before the step. The next call may overwrite them.
        """

    def settle(self) -> None:
        """Brings the copies up to date: until then they may be as they were at the last call of this."""

    def leave(self, copies: Sequence[int]) -> None:
        """Copies by their rows that have diverged: they needn't be stepped any more."""


class EagerStep:
    """One operation after another.

    Args:
        gradients: See :data:`trials.engine.copies.Gradients`.
        optimizer: An optimizer without state.
        copies: The copies to train, in place.
        mask: [P], 1 where a weight is alive, else 0.
        clip: The largest norm of a copy's gradient.
    """

    def __init__(
        self,
        gradients: Gradients,
        optimizer: Optimizer,
        copies: StackedNetwork,
        mask: Tensor,
        clip: float | None = None,
    ) -> None:
        self._clip = clip
        self._gradients, self._optimizer, self._copies, self._mask = gradients, optimizer, copies, mask

    def __call__(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """See :class:`Step`."""
        gradient, losses = self._gradients(self._copies, inputs, labels)
        if self._clip is not None:
            gradient.mul_(self._mask)
            gradient.mul_(shortened(gradient.norm(dim=1), self._clip))
        self._optimizer.step(self._copies.flat, gradient, self._mask, rates)
        return losses

    def settle(self) -> None:
        """See :class:`Step`; the copies are stepped in place."""

    def leave(self, copies: Sequence[int]) -> None:
        """See :class:`Step`; one operation steps all copies, and a smaller one would take them apart."""


def shortened(norms: Tensor, clip: float) -> Tensor:
    """[K, 1], what gradients of such norms [K] are scaled by: as ``torch.nn.utils.clip_grad_norm_`` does it.

    The norm is that of the weights that are left: what is pruned has none.
    """
    return (clip / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1)


class GraphStep:
    """The whole step as one graph for ``count`` copies, and the tensors that it works on.

    A graph that is compiled has each parameter in a tensor of its own: the compiler then updates each with a
    loop that reads nothing else. Where one operation follows another they lie in one row per copy, so that an
    update is as many operations for all of them as for one.

    Args:
        module: The network.
        loss_of: The loss.
        optimizer: The optimizer and its arguments.
        count: Copies that the graph steps; a training of fewer leaves the rest idle, at a rate of 0.
        clip: The largest norm of a copy's gradient.
        shared: Where rates and losses lie, if steps beside this one have them in the same tensors.
        together: Whether the parameters lie in one row.
        channels_last: Whether kernels of convolutions lie in that row with their channels innermost.

    Raises:
        InvalidInput: The optimizer can't be traced.
    """

    program: Program
    """The graph to call: to be set before the first step."""

    def __init__(
        self,
        module: nn.Module,
        loss_of: Loss,
        optimizer: Component,
        count: int,
        clip: float | None = None,
        *,
        shared: Shared | None = None,
        together: bool = False,
        channels_last: bool = False,
    ) -> None:
        self._module, self._optimizer, self._count = module, optimizer, count
        self._loss_of, self._clip = loss_of, clip
        self._shared = shared
        self._together, self._channels_last = together, channels_last and together
        if not isinstance(build_optimizer(optimizer), Stateful):
            raise InvalidInput(
                f"optimizer {optimizer.name!r} can't be compiled: it has no begin() and STATE; "
                "see trials.optimizers.Stateful"
            )
        self._tensors: list[Any] | None = None

    def begin(self, copies: StackedNetwork, mask: Tensor) -> None:
        """Starts a training of at most ``count`` copies."""
        self._copies, self._live = copies, copies.flat.shape[0]
        if self._tensors is None:
            self._make(copies)
        for own, given in self._pairs():
            own[: self._live].copy_(given)
            own[self._live :].copy_(given[:1])
        masks = copies.rows(mask.unsqueeze(0), self._module)
        for places, group in zip(self._places, self._groups, strict=True):
            for name, own in places.views(group.mask.unsqueeze(0)).items():
                own.copy_(masks[name])
            for bits, made in zip(group.bits, MaskBits.of(group.mask, mask.dtype), strict=False):
                bits.copy_(made)
            for state in group.state.values():
                state.zero_()
        self._rates.zero_()

    def arguments(self, batch: Batch) -> list[Tensor]:
        """The tensors that the graph is called with, on a batch; to be asked for after :meth:`begin`."""
        assert self._tensors is not None
        return [*self._tensors, *batch]

    def traced(self, batch: Batch) -> Traced:
        """The graph, for batches like this one; to be asked for after :meth:`begin`."""
        was_training = self._module.training
        self._module.train()
        try:
            return trace(self._flat, self.arguments(batch))
        finally:
            self._module.train(was_training)

    def __call__(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """See :class:`Step`."""
        assert self._tensors is not None
        self.set_rates(rates)
        # The casts of a lower precision are in the graph.
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            return self.program(*self._tensors, inputs, labels)[0][: self._live]

    def set_rates(self, rates: Tensor) -> None:
        """Sets the learning rates of the copies that train: [K]."""
        self._rates[: self._live].copy_(rates)

    def captured(self, batch: Batch, stream: torch.cuda.Stream | None = None) -> Captured:
        """The program on this step's own tensors; it returns the losses of all ``count`` copies."""
        with torch.no_grad(), torch.autocast(batch[0].device.type, enabled=False):
            return Captured(self.program, self.arguments(batch), stream)

    def settle(self) -> None:
        """See :class:`Step`."""
        for own, given in self._pairs():
            given.copy_(own[: self._live])

    def leave(self, copies: Sequence[int]) -> None:
        """See :class:`Step`; the graph is for all copies."""

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Tensors of the graph beside those of the copies."""
        copies, parameters = self._copies, self._parameters(self._groups)
        pairs = [(own, copies.parameters[name]) for name, own in parameters.items()]
        return pairs + [(own, copies.buffers[name]) for name, own in self._buffers.items()]

    def _make(self, copies: StackedNetwork) -> None:
        given = copies.parameters
        together = [given] if self._together else [{name: tensor} for name, tensor in given.items()]
        self._places = [Places.of(each, channels_last=self._channels_last) for each in together]
        self._groups = [self._rows(copies.flat.new_zeros(self._count, each.width)) for each in self._places]
        self._buffers = {
            name: tensor.new_zeros((self._count, *tensor.shape[1:]))
            for name, tensor in copies.buffers.items()
        }
        self._rates = copies.flat.new_zeros(self._count) if self._shared is None else self._shared.rates
        losses = [] if self._shared is None else [self._shared.losses]
        tree = (self._groups, self._buffers, self._rates, losses)
        self._tensors, self._structure = pytree.tree_flatten(tree)

    def _rows(self, weights: Tensor) -> Rows:
        optimizer = build_optimizer(self._optimizer)
        assert isinstance(optimizer, Stateful)
        optimizer.begin(weights)
        found = {attribute: getattr(optimizer, attribute) for attribute in optimizer.STATE}
        state = {key: value for key, value in found.items() if value is not None}
        mask = torch.zeros_like(weights[0])  # as it stays between the parameters
        lends = self._together and isinstance(getattr(optimizer, "pruned", None), MaskBits)
        return Rows(weights, mask, state, list(MaskBits.of(mask, mask.dtype)) if lends else [])

    def _parameters(self, groups: Sequence[Rows]) -> TensorTree:
        views = [places.views(each.weights) for places, each in zip(self._places, groups, strict=True)]
        return {name: view for each in views for name, view in each.items()}

    def _flat(self, *arguments: Tensor) -> tuple[Tensor]:
        tree = pytree.tree_unflatten(list(arguments[:-2]), self._structure)
        return (self._step(*tree, *arguments[-2:]),)

    def _step(
        self,
        groups: list[Rows],
        buffers: TensorTree,
        rates: Tensor,
        shared: list[Tensor],
        inputs: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """The function that is traced: everything that it changes is among its arguments."""
        gradients, losses, after = self._gradients(self._parameters(groups), buffers, inputs, labels)
        for name, buffer in after.items():
            buffers[name].copy_(buffer)
        found = [places.joined(gradients) for places in self._places]
        if self._clip is not None:
            pairs = zip(found, groups, strict=True)
            squares = [(rows * group.mask).square().sum(dim=1) for rows, group in pairs]
            scale = shortened(torch.stack(squares).sum(dim=0).sqrt(), self._clip)
            found = [rows * scale for rows in found]
        for rows, group in zip(found, groups, strict=True):
            optimizer = build_optimizer(self._optimizer)
            assert isinstance(optimizer, Stateful)
            optimizer.begin(group.weights)
            for attribute, state in group.state.items():
                setattr(optimizer, attribute, state)
            if isinstance(pruned := getattr(optimizer, "pruned", None), MaskBits) and group.bits:
                pruned.take(group.mask, *group.bits)
            optimizer.step(group.weights, rows, group.mask, rates)
        for each in shared:
            each.copy_(losses)
        return losses

    def _gradients(
        self, parameters: TensorTree, buffers: TensorTree, inputs: Tensor, labels: Tensor
    ) -> tuple[TensorTree, Tensor, TensorTree]:
        """Gradients, losses [K], and the buffers after the forward pass that aren't changed in place."""
        each = functional_gradients(self._module, self._loss_of, in_place=self._together)
        if self._count > 1:
            packed = over_copies(each, in_dims=(0, 0, None, None))
            found, (losses, after) = packed(parameters, buffers, inputs, labels)
            return found, losses, after

        def lone(tensors: TensorTree) -> TensorTree:
            return {name: tensor[0] for name, tensor in tensors.items()}

        def stacked(tensors: TensorTree) -> TensorTree:
            return {name: tensor.unsqueeze(0) for name, tensor in tensors.items()}

        found, (losses, after) = each(lone(parameters), lone(buffers), inputs, labels)
        return stacked(found), losses.unsqueeze(0), stacked(after)


class CudaGraphSteps:
    """Steps that are recorded as CUDA graphs: one for all copies, or one for each, on streams of their own.

    Every recording reads its batch and its rates from the same memory, into which those of each step are
    copied first, and leaves its losses there.

    Args:
        steps: One for all copies, or as many as there are copies at most, each for one.
        batch: A batch like those to come.
        shared: The rates and the losses of all steps, if there are several.
    """

    def __init__(self, steps: Sequence[GraphStep], batch: Batch, shared: Shared | None = None) -> None:
        self._steps, self._shared = steps, shared
        self._batch = (batch[0].clone(), batch[1].clone())
        self._recorded: list[Captured] = []
        self._used: Sequence[int] = ()
        device = batch[0].device
        several = device.type == "cuda" and len(steps) > 1
        # torch annotates no Stream.
        streams = [torch.cuda.Stream(device) for _ in steps] if several else []  # type: ignore[no-untyped-call]
        self._streams: list[torch.cuda.Stream] = streams

    def begin(self, copies: StackedNetwork, mask: Tensor) -> None:
        """Starts a training."""
        self._live = copies.flat.shape[0]
        self._used = range(1 if self._shared is None else self._live)
        if self._shared is None:
            self._steps[0].begin(copies, mask)
            return
        for index, step in enumerate(self._steps):
            step.begin(copies.row(min(index, self._live - 1)), mask)

    def leave(self, copies: Sequence[int]) -> None:
        """See :class:`Step`; a graph of its own isn't replayed again."""
        if self._shared is not None:
            for index in set(self._used) & set(copies):
                self._shared.losses[index].fill_(torch.nan)
            self._used = [index for index in self._used if index not in copies]

    def __call__(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """See :class:`Step`."""
        if not self._recorded:
            gc.collect()  # once, and not while it records: see Captured
            pairs = zip_longest(self._steps, self._streams)
            self._recorded = [step.captured(self._batch, stream) for step, stream in pairs]
        for own, given in zip(self._batch, (inputs, labels), strict=True):
            own.copy_(given)
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            if self._shared is None:
                self._steps[0].set_rates(rates)
                return self._recorded[0]()[0][: self._live]
            self._shared.rates[: self._live].copy_(rates)
            self._side_by_side()
            return self._shared.losses[: self._live]

    def _side_by_side(self) -> None:
        """Steps the copies that are left."""
        if not self._streams:
            for index in self._used:
                self._recorded[index]()
            return
        main = torch.cuda.current_stream(self._batch[0].device)
        ready = main.record_event()
        for index in self._used:
            self._streams[index].wait_event(ready)
            with torch.cuda.stream(self._streams[index]):
                self._recorded[index]()
        for index in self._used:
            main.wait_stream(self._streams[index])

    def settle(self) -> None:
        """See :class:`Step`."""
        for index in self._used:
            self._steps[index].settle()
