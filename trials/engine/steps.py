"""One optimizer step of K copies of a network: forward, backward, mask, update.

An :class:`EagerStep` takes any module. A :class:`GraphStep` is traced once to a single graph that is
compiled, recorded as a CUDA graph, or both; it is kept from pack to pack. Tracing runs the module's Python
code once and never again, so :meth:`trials.engine.Engine.why_not` tries whether that makes a
difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from silo.errors import InvalidInput
from trials.engine.gradients import Gradients, TensorTree, functional_gradients, over_copies
from trials.engine.graphs import Captured, Program, Traced, trace
from trials.engine.rows import Places, Rows, Shared
from trials.engine.stacked import StackedNetwork
from trials.objectives import Loss
from trials.optimizers import MaskBits, Optimizer, Stateful, build_optimizer
from trials.tasks import Component

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
        gradients: See :data:`trials.engine.gradients.Gradients`.
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
