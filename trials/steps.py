"""One optimizer step of K copies of a network: forward, backward, mask, update.

An :class:`EagerStep` takes any module. A :class:`CompiledStep` is traced once and compiled to a single graph,
in which the candidates' small operations are fused; it is kept from pack to pack. Tracing runs the module's
Python code once and never again, so :func:`why_not_compiled` tries whether that makes a difference.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import cross_entropy
from torch.utils import _pytree as pytree

from silo.errors import InvalidInput
from trials.copies import Copies, named_tensors
from trials.gradients import lone_gradients, packed_gradients
from trials.optimizers import build_optimizer
from trials.optimizers.base import Optimizer, Stateful
from trials.recipe import Component, Recipe

TensorTree = dict[str, Tensor]


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


class Steps:
    """The steps of one recipe's trainings.

    Args:
        module: The network; it gives the forward pass only.
        recipe: How to train.
        backend: What compiles, where the recipe's way is to: a backend of ``torch.compile``.
    """

    def __init__(self, module: nn.Module, recipe: Recipe, *, backend: str = "inductor") -> None:
        self._module, self._recipe, self._backend = module, recipe, backend
        self._compiled: CompiledStep | None = None

    def begin(self, copies: Copies, mask: Tensor) -> Step:
        """The step of a training that begins.

        Args:
            copies: The copies to train, in place.
            mask: [P], 1 where a weight is alive, else 0.
        """
        way, count = self._recipe.way, copies.flat.shape[0]
        if not way.compiled or not worth_filling(count, way.pack_size):
            gradients = packed_gradients if way.pack_size > 1 else lone_gradients
            return EagerStep(gradients(self._module), build_optimizer(self._recipe.optimizer), copies, mask)
        if self._compiled is None:
            self._compiled = CompiledStep(
                self._module, self._recipe.optimizer, way.pack_size, backend=self._backend
            )
        self._compiled.begin(copies, mask)
        return self._compiled


def worth_filling(count: int, pack_size: int) -> bool:
    """Whether a pack of ``count`` is trained by the graph for ``pack_size``, filled up with idle copies."""
    return 2 * count > pack_size


class EagerStep:
    """One operation after another.

    Args:
        gradients: See :data:`trials.gradients.Gradients`.
        optimizer: An optimizer without state.
        copies: The copies to train, in place.
        mask: [P], 1 where a weight is alive, else 0.
    """

    def __init__(
        self,
        gradients: Callable[[Copies, Tensor, Tensor], tuple[Tensor, Tensor]],
        optimizer: Optimizer,
        copies: Copies,
        mask: Tensor,
    ) -> None:
        self._gradients, self._optimizer, self._copies, self._mask = gradients, optimizer, copies, mask

    def __call__(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """See :class:`Step`."""
        gradient, losses = self._gradients(self._copies, inputs, labels)
        self._optimizer.step(self._copies.flat, gradient, self._mask, rates)
        return losses

    def settle(self) -> None:
        """See :class:`Step`; the copies are stepped in place."""


class CompiledStep:
    """The whole step as one graph for ``count`` copies, and the tensors that it works on.

    A parameter is a tensor of its own here, not a part of a row: the compiler then updates each with a loop
    that reads nothing else.

    Args:
        module: The network.
        optimizer: The optimizer and its arguments.
        count: Copies that the graph steps; a training of fewer leaves the rest idle, at a rate of 0.
        backend: What compiles the graph: a backend of ``torch.compile``.

    Raises:
        InvalidInput: The optimizer can't be compiled.
    """

    def __init__(
        self, module: nn.Module, optimizer: Component, count: int, *, backend: str = "inductor"
    ) -> None:
        self._module, self._optimizer, self._count, self._backend = module, optimizer, count, backend
        if not isinstance(build_optimizer(optimizer), Stateful):
            raise InvalidInput(
                f"optimizer {optimizer.name!r} can't be compiled: it has no begin() and STATE; "
                "see trials.optimizers.base.Stateful"
            )
        self._tensors: list[Any] | None = None
        self._graph: Callable[..., Tensor] | None = None

    def begin(self, copies: Copies, mask: Tensor) -> None:
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

    def __call__(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        """See :class:`Step`."""
        assert self._tensors is not None
        self._rates[: self._live].copy_(rates)
        if self._graph is None:
            with warnings.catch_warnings():  # the compiler's own, about its own code
                warnings.simplefilter("ignore")
                self._graph = self._trace(inputs, labels)
                return self._run(inputs, labels)
        return self._run(inputs, labels)

    def _run(self, inputs: Tensor, labels: Tensor) -> Tensor:
        assert self._tensors is not None and self._graph is not None
        # The casts of a lower precision are in the graph.
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            return self._graph(*self._tensors, inputs, labels)[: self._live]

    def settle(self) -> None:
        """See :class:`Step`."""
        for own, given in self._pairs():
            given.copy_(own[: self._live])

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Tensors of the graph beside those of the copies."""
        copies = self._copies
        pairs = [(own, copies.parameters[name]) for name, own in self._parameters.items()]
        return pairs + [(own, copies.buffers[name]) for name, own in self._buffers.items()]

    def _make(self, copies: Copies) -> None:
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

    def _trace(self, inputs: Tensor, labels: Tensor) -> Callable[..., Tensor]:
        assert self._tensors is not None
        kept = [tensor.clone() for tensor in self._tensors]  # tracing takes a step

        def flat(*arguments: Tensor) -> Tensor:
            tree = pytree.tree_unflatten(list(arguments[:-2]), self._structure)
            return self._step(*tree, *arguments[-2:])

        graph = make_fx(flat)(*self._tensors, inputs, labels)
        for tensor, before in zip(self._tensors, kept, strict=True):
            tensor.copy_(before)
        compiled: Callable[..., Tensor] = torch.compile(
            graph, backend=self._backend, dynamic=False, fullgraph=True
        )
        return compiled

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
        """What is traced: everything that it changes is among its arguments."""
        gradients, losses, after = self._gradients(parameters, buffers, inputs, labels)
        for name, buffer in buffers.items():
            buffer.copy_(after[name])
        for name, weights in parameters.items():
            optimizer = build_optimizer(self._optimizer)
            rows = weights.view(self._count, -1)
            assert isinstance(optimizer, Stateful)
            optimizer.begin(rows)
            for attribute, state in states[name].items():
                setattr(optimizer, attribute, state)
            optimizer.step(rows, gradients[name].reshape(self._count, -1), masks[name], rates)
        return losses

    def _gradients(
        self, parameters: TensorTree, buffers: TensorTree, inputs: Tensor, labels: Tensor
    ) -> tuple[TensorTree, Tensor, TensorTree]:
        """Gradients, losses [K] and the buffers after the forward pass."""

        def loss(
            weights: TensorTree, before: TensorTree, inputs: Tensor, labels: Tensor
        ) -> tuple[Tensor, tuple[Tensor, TensorTree]]:
            state = {**weights, **{name: buffer.clone() for name, buffer in before.items()}}
            value = cross_entropy(functional_call(self._module, state, (inputs,)), labels)
            # Read after the call, which puts a tensor that the module assigned in the place of the old one.
            return value, (value.detach(), {name: state[name] for name in before})

        each = grad(loss, has_aux=True)
        if self._count > 1:
            packed = vmap(each, in_dims=(0, 0, None, None), randomness="error")
            found, (losses, after) = packed(parameters, buffers, inputs, labels)
            return found, losses, after
        lone = pytree.tree_map(lambda tensor: tensor[0], (parameters, buffers))
        found, (losses, after) = each(*lone, inputs, labels)
        return pytree.tree_map(lambda tensor: tensor.unsqueeze(0), (found, losses, after))


def why_not_compiled(module: nn.Module, recipe: Recipe, inputs: Tensor, labels: Tensor) -> str | None:
    """Tries whether the compiled step does what the eager one does; None if so, else the reason.

    Three steps from the module's weights must agree, in weights, buffers and losses, as far as float32 goes.

    Args:
        module: The network, in training mode; it is not changed.
        recipe: How to train; its way says how many copies.
        inputs: A normalised batch of the size that will be trained with: the graph is made for it.
        labels: [B].
    """
    count, device = recipe.way.pack_size, inputs.device
    state = named_tensors(module)
    ours, theirs = (Copies.of(module, state, count, device) for _ in range(2))
    mask = torch.ones_like(ours.flat[0])
    rates = torch.linspace(0.5e-3, 1e-3, count, device=device, dtype=ours.flat.dtype)
    gradients = packed_gradients if count > 1 else lone_gradients
    eager = EagerStep(gradients(module), build_optimizer(recipe.optimizer), theirs, mask)
    try:
        compiled = CompiledStep(module, recipe.optimizer, count)
        compiled.begin(ours, mask)
        losses = [(compiled(inputs, labels, rates).clone(), eager(inputs, labels, rates)) for _ in range(3)]
        compiled.settle()
    except Exception as error:  # whatever can't be traced or compiled is a reason: the eager step works
        lines = [line for line in str(error).splitlines() if line][:2]  # the first may only announce another
        return ": ".join([type(error).__name__, " ".join(lines)]) if lines else type(error).__name__
    pairs = [*losses, (ours.flat, theirs.flat)]
    pairs += [(ours.buffers[name], theirs.buffers[name]) for name in ours.buffers]
    if all(torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-4) for a, b in pairs):
        return None
    return "compiled and eager training differ"
