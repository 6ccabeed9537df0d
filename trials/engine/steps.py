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
from torch.func import vmap
from torch.utils import _pytree as pytree

from silo.errors import InvalidInput
from trials.engine.gradients import Gradients, TensorTree, functional_gradients
from trials.engine.graphs import Captured, Program, Traced, trace
from trials.engine.stacked import StackedNetwork
from trials.losses import Loss
from trials.optimizers import Optimizer, Stateful, build_optimizer
from trials.recipe import Component

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

    A parameter is a tensor of its own here, not a part of a row: the compiler then updates each with a loop
    that reads nothing else.

    Args:
        module: The network.
        loss_of: The loss.
        optimizer: The optimizer and its arguments.
        count: Copies that the graph steps; a training of fewer leaves the rest idle, at a rate of 0.
        clip: The largest norm of a copy's gradient.

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
    ) -> None:
        self._module, self._optimizer, self._count = module, optimizer, count
        self._loss_of, self._clip = loss_of, clip
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
        offset = 0
        for name, alive in self._masks.items():
            alive.copy_(mask[offset : offset + alive.numel()])
            offset += alive.numel()
            for state in self._states[name].values():
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
        copies = self._copies
        pairs = [(own, copies.parameters[name]) for name, own in self._parameters.items()]
        return pairs + [(own, copies.buffers[name]) for name, own in self._buffers.items()]

    def _make(self, copies: StackedNetwork) -> None:
        def like(tensor: Tensor) -> Tensor:
            return tensor.new_zeros((self._count, *tensor.shape[1:]))

        self._parameters = {name: like(tensor) for name, tensor in copies.parameters.items()}
        self._buffers = {name: like(tensor) for name, tensor in copies.buffers.items()}
        self._masks = {
            name: tensor[0].reshape(-1).clone().detach() for name, tensor in copies.parameters.items()
        }
        self._rates = copies.flat.new_zeros(self._count)
        self._states = {}
        for name, tensor in self._parameters.items():
            optimizer = build_optimizer(self._optimizer)
            assert isinstance(optimizer, Stateful)
            optimizer.begin(tensor.view(self._count, -1))
            found = {attribute: getattr(optimizer, attribute) for attribute in optimizer.STATE}
            self._states[name] = {key: value for key, value in found.items() if value is not None}
        tree = (self._parameters, self._buffers, self._states, self._masks, self._rates)
        self._tensors, self._structure = pytree.tree_flatten(tree)

    def _flat(self, *arguments: Tensor) -> tuple[Tensor]:
        tree = pytree.tree_unflatten(list(arguments[:-2]), self._structure)
        return (self._step(*tree, *arguments[-2:]),)

    def _step(
        self,
        parameters: TensorTree,
        buffers: TensorTree,
        states: dict[str, TensorTree],
        masks: TensorTree,
        rates: Tensor,
        inputs: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """The function that is traced: everything that it changes is among its arguments."""
        gradients, losses, after = self._gradients(parameters, buffers, inputs, labels)
        for name, buffer in buffers.items():
            buffer.copy_(after[name])
        found = {name: gradients[name].reshape(self._count, -1) for name in parameters}
        if self._clip is not None:
            squares = [(found[name] * masks[name]).square().sum(dim=1) for name in found]
            scale = shortened(torch.stack(squares).sum(dim=0).sqrt(), self._clip)
            found = {name: rows * scale for name, rows in found.items()}
        for name, weights in parameters.items():
            optimizer = build_optimizer(self._optimizer)
            rows = weights.view(self._count, -1)
            assert isinstance(optimizer, Stateful)
            optimizer.begin(rows)
            for attribute, state in states[name].items():
                setattr(optimizer, attribute, state)
            optimizer.step(rows, found[name], masks[name], rates)
        return losses

    def _gradients(
        self, parameters: TensorTree, buffers: TensorTree, inputs: Tensor, labels: Tensor
    ) -> tuple[TensorTree, Tensor, TensorTree]:
        """Gradients, losses [K] and the buffers after the forward pass."""
        each = functional_gradients(self._module, self._loss_of)
        if self._count > 1:
            packed = vmap(each, in_dims=(0, 0, None, None), randomness="error")
            found, (losses, after) = packed(parameters, buffers, inputs, labels)
            return found, losses, after

        def lone(tensors: TensorTree) -> TensorTree:
            return {name: tensor[0] for name, tensor in tensors.items()}

        def stacked(tensors: TensorTree) -> TensorTree:
            return {name: tensor.unsqueeze(0) for name, tensor in tensors.items()}

        found, (losses, after) = each(lone(parameters), lone(buffers), inputs, labels)
        return stacked(found), losses.unsqueeze(0), stacked(after)
