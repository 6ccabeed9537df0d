"""K copies of one network: their tensors, stacked, and the gradients of their losses on one batch.

Names are those of ``named_parameters`` and ``named_buffers``: a tensor that two layers share has one. A
parameter that needs no gradient (``requires_grad=False``) counts as a buffer: no step changes it. A complex
parameter is trained as pairs of real numbers, as torch's optimizers do it.

Gradients are those of one copy after another, or of all at once. A :class:`PlainModule` computes one copy by
the module itself: all other ways to compute a copy are tried against this one before they are taken.
"""

from __future__ import annotations

import importlib
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.overrides import TorchFunctionMode

from trials.imports import uncollected
from trials.objectives import Loss, scalar


@dataclass(frozen=True)
class StackedNetwork:
    """K copies of a network, each parameter a view into one flat tensor.

    Attributes:
        flat: [K, P], all parameters of each copy, one after another.
        parameters: Name to [K, *shape], views into ``flat``; [K, *shape, 2] of a complex one.
        buffers: Name to [K, *shape].
        keys: Each key of ``Module.state_dict`` to the name of its tensor.
        types: Name to type of each parameter that has another one than ``flat``, which has the widest of all.
    """

    flat: Tensor
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    keys: dict[str, str]
    types: dict[str, torch.dtype]

    @classmethod
    def of(
        cls, module: nn.Module, state: Mapping[str, Tensor], count: int, device: torch.device
    ) -> StackedNetwork:
        """``count`` equal copies that start from ``state``: parameters and buffers by name.

        Buffers that ``state`` lacks, as those that aren't persistent may be, are the module's own.
        """
        trained = _trained(module)
        row = torch.cat([as_real(state[name]).reshape(-1) for name in trained]).to(device)
        flat = row.expand(count, -1).clone()
        others = {name: tensor for name, tensor in named_tensors(module).items() if name not in trained}
        starts = {name: state.get(name, tensor).to(device) for name, tensor in others.items()}
        buffers = {name: tensor.expand(count, *tensor.shape).clone() for name, tensor in starts.items()}
        types = {name: state[name].dtype for name in trained if state[name].dtype != flat.dtype}
        return cls(
            flat=flat, parameters=_views(module, flat), buffers=buffers, keys=_keys(module), types=types
        )

    def clone(self, module: nn.Module) -> StackedNetwork:
        """A copy of the copies that shares no memory."""
        flat = self.flat.clone()
        return StackedNetwork(
            flat=flat,
            parameters=_views(module, flat),
            buffers={name: buffer.clone() for name, buffer in self.buffers.items()},
            keys=self.keys,
            types=self.types,
        )

    def row(self, index: int) -> StackedNetwork:
        """One of the copies: a view."""
        chosen = slice(index, index + 1)
        return StackedNetwork(
            flat=self.flat[chosen],
            parameters={name: tensor[chosen] for name, tensor in self.parameters.items()},
            buffers={name: tensor[chosen] for name, tensor in self.buffers.items()},
            keys=self.keys,
            types=self.types,
        )

    def rows(self, flat: Tensor, module: nn.Module) -> dict[str, Tensor]:
        """Another tensor like ``flat``, such as its gradients, by parameter: views of [K, *shape]."""
        return _views(module, flat)

    def take(self, other: StackedNetwork, chosen: Tensor) -> None:
        """Overwrites the copies that ``chosen`` ([K], bool) marks with those of ``other``."""
        pairs = [(self.flat, other.flat)]
        pairs += [(buffer, other.buffers[name]) for name, buffer in self.buffers.items()]
        for own, given in pairs:  # without asking how many are chosen, which an accelerator would wait for
            torch.where(chosen.view(-1, *[1] * (own.dim() - 1)), given, own, out=own)

    def state(self, index: int) -> dict[str, Tensor]:
        """Parameters and buffers of one copy on the CPU, as ``Module.load_state_dict`` takes them."""
        stacked = {**self.parameters, **self.buffers}
        return {
            key: self._typed(name, stacked[name][index].detach()).to("cpu", copy=True)
            for key, name in self.keys.items()
        }

    @contextmanager
    def opened(self, index: int) -> Iterator[dict[str, Tensor]]:
        """Parameters and buffers of one copy by name, each of its own type; what is written there stays."""
        rows = {name: each[index].detach() for name, each in {**self.parameters, **self.buffers}.items()}
        typed = {name: self._typed(name, rows[name]) for name in self.types}
        yield {**rows, **typed}
        for name, tensor in typed.items():  # rounded, too: as narrow as the network has it
            rows[name].copy_(as_real(tensor))

    def _typed(self, name: str, row: Tensor) -> Tensor:
        kind = self.types.get(name, row.dtype)
        # Cloned, as a complex number can't begin at an odd place.
        return (torch.view_as_complex(row.clone()) if kind.is_complex and name in self.types else row).to(
            kind
        )


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor as pairs of real numbers, [*shape, 2]; any other as it is."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name: those that ``state_dict`` leaves out too, shared ones once."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def flat_mask(module: nn.Module, masks: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """The masks as one row [P] of ones and zeros, in the order of :attr:`StackedNetwork.flat`."""
    return flat_rows(module, masks, 1.0, device)


def flat_rows(module: nn.Module, values: Mapping[str, Tensor], other: float, device: torch.device) -> Tensor:
    """Values by parameter as one row [P], in the order of :attr:`StackedNetwork.flat`, else ``other``."""
    parts = []
    for name, parameter in _trained(module).items():
        real = as_real(parameter.detach())
        shape, row = real.shape, torch.full(real.shape, other, dtype=real.dtype)
        if name in values:
            given = values[name].to(row.dtype)
            row = (given.unsqueeze(-1) if parameter.is_complex() else given).expand(shape)
        parts.append(row.reshape(-1))
    return torch.cat(parts).to(device)


def _keys(module: nn.Module) -> dict[str, str]:
    names = {id(tensor): name for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    kept = module.state_dict(keep_vars=True)
    return {key: names[id(tensor)] for key, tensor in kept.items() if id(tensor) in names}


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _views(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    views, offset = {}, 0
    for name, parameter in _trained(module).items():
        shape = as_real(parameter.detach()).shape
        views[name] = flat[:, offset : offset + shape.numel()].view(flat.shape[0], *shape)
        offset += shape.numel()
    return views


class PlainModule:
    """A module that is lent to copies of itself.

    It computes one copy at a time, as a plain PyTorch loop does. The copy's tensors are put into the module's
    own, and not in their place as ``torch.func.functional_call`` does it: what the module keeps of its
    parameters and buffers (in a list, a partial, a closure, a hook) sees them, too.

    Args:
        module: The network; its own parameters and buffers are the same before and after every call.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._own: dict[str, tuple[Tensor, dict[str, Tensor | None], str]] = {}
        for kind, found in (
            ("_parameters", module.named_parameters()),
            ("_buffers", module.named_buffers()),
        ):
            for name, tensor in found:
                owner, _, leaf = name.rpartition(".")
                self._own[name] = tensor, getattr(module.get_submodule(owner), kind), leaf

    def outputs(self, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """The module's outputs, with these parameters and buffers by name."""
        with self._holding(tensors):
            found: Tensor = self._module(inputs)
            return found

    def gradients(
        self,
        tensors: Mapping[str, Tensor],
        names: Sequence[str],
        inputs: Tensor,
        labels: Tensor,
        loss_of: Loss,
    ) -> tuple[list[Tensor], Tensor]:
        """Gradients of the loss on a batch, and that loss.

        Args:
            tensors: Parameters and buffers by name; what the module writes into them or assigns stays there.
            names: The parameters to have gradients of, zeros where the loss doesn't depend on one.
            inputs: [B, …], normalised.
            labels: [B, …].
            loss_of: The loss.
        """
        with self._holding(tensors), torch.enable_grad():
            owned = [self._own[name][0].requires_grad_() for name in names]
            loss = scalar(loss_of(self._module(inputs), labels))
            loss.backward()  # type: ignore[no-untyped-call]
            found = [torch.zeros_like(each) if each.grad is None else each.grad for each in owned]
        return [each.detach() for each in found], loss.detach()

    @contextmanager
    def _holding(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        kept = {name: (own.data, own.grad, own.requires_grad) for name, (own, _, _) in self._own.items()}
        for name, (own, _, _) in self._own.items():
            own.grad = None
            own.data = tensors[name].detach()
        torch.clear_autocast_cache()  # of the weights that these tensors held before
        try:
            yield
        finally:
            torch.clear_autocast_cache()
            for name, (own, place, leaf) in self._own.items():
                now, given = dict(place.items()).get(leaf), tensors[name].detach()
                place[leaf] = own
                if now is not None and now.data_ptr() != given.data_ptr():  # it was assigned anew
                    given.copy_(now.detach())
                own.grad = None
                own.data, own.grad, own.requires_grad = kept[name]


TensorTree = dict[str, Tensor]
"""Tensors by name."""

Gradients = Callable[[StackedNetwork, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(copies, inputs, labels) to gradients [K, P] and losses [K]; the copies' buffers are updated in place.

The caller may change the gradients; the next call may overwrite them.
"""


@contextmanager
def quiet_vmap() -> Iterator[None]:
    """Without vmap's warnings about operators that it takes one copy at a time: what is slow is measured."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
        yield


def over_copies(function: Callable[..., Any], in_dims: tuple[int | None, ...]) -> Callable[..., Any]:
    """A function of one copy as one of all of them, where it draws no random numbers."""
    vectorised = vmap(function, in_dims=in_dims, randomness="error")

    def call(*arguments: Any) -> Any:
        with _BatchNormInFloat() if torch.is_autocast_enabled("cpu") else nullcontext():
            return vectorised(*arguments)

    return call


class _BatchNormInFloat(TorchFunctionMode):
    """Normalises batches of a lower precision in float32: on a CPU vmap's rule takes no statistics of another
    type than theirs."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not nn.functional.batch_norm or args[0].dtype != torch.bfloat16:
            return function(*args, **kwargs)
        return function(args[0].float(), *args[1:], **kwargs).to(args[0].dtype)


def batch_loss(
    module: nn.Module,
    loss_of: Loss,
    parameters: TensorTree,
    buffers: TensorTree,
    inputs: Tensor,
    labels: Tensor,
) -> tuple[Tensor, TensorTree]:
    """The loss on a batch, and the buffers after the forward pass.

    A buffer that the module writes into is changed; one that it assigns anew is given back as the new tensor,
    which ``functional_call`` puts in the place of the old one.
    """
    state = {**parameters, **buffers}
    loss = scalar(loss_of(functional_call(module, state, (inputs,)), labels))
    return loss, {name: state[name] for name in buffers}


def functional_gradients(
    module: nn.Module, loss_of: Loss, *, in_place: bool = False
) -> Callable[[TensorTree, TensorTree, Tensor, Tensor], tuple[TensorTree, tuple[Tensor, TensorTree]]]:
    """``(parameters, buffers, inputs, labels)`` to gradients, and the loss and buffers after.

    Nothing that is given is changed; with ``in_place`` the buffers are, and those alone are given back that
    the module has assigned anew.
    """

    def loss(
        parameters: TensorTree, buffers: TensorTree, inputs: Tensor, labels: Tensor
    ) -> tuple[Tensor, tuple[Tensor, TensorTree]]:
        own = buffers if in_place else {name: buffer.clone() for name, buffer in buffers.items()}
        value, after = batch_loss(module, loss_of, parameters, own, inputs, labels)
        if in_place:  # cloned: one may have been assigned another
            after = {name: each.clone() for name, each in after.items() if each is not own[name]}
        return value, (value.detach(), after)

    return grad(loss, has_aux=True)


def lone_gradients(module: nn.Module, loss_of: Loss) -> Gradients:
    """Autograd on one copy after another, by the module itself: works for every module."""
    plain = PlainModule(module)
    rows: Tensor | None = None

    def gradients(copies: StackedNetwork, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal rows
        if rows is None:  # made once: fresh memory of a large network costs a tenth of its step
            rows = torch.empty_like(copies.flat)
        losses = []
        for index in range(copies.flat.shape[0]):
            with copies.opened(index) as tensors:
                parts, loss = plain.gradients(tensors, list(copies.parameters), inputs, labels, loss_of)
            torch.cat([as_real(part).reshape(-1) for part in parts], out=rows[index])
            losses.append(loss)
        return rows, torch.stack(losses)

    return gradients


def packed_gradients(module: nn.Module, loss_of: Loss) -> Gradients:
    """One vectorised call for all copies (``torch.func.vmap``): fast where a single copy is too small to
    keep the machine busy. Modules that draw random numbers or branch on data are refused by vmap."""
    with uncollected():
        importlib.import_module("torch._dynamo")  # as torch.func.grad does when it is first called
    vectorised = over_copies(functional_gradients(module, loss_of), in_dims=(0, 0, None, None))
    rows: Tensor | None = None

    def gradients(copies: StackedNetwork, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal rows
        if rows is None:  # made once: fresh memory in every step costs more than what is written to it
            rows = torch.empty_like(copies.flat)
        parts, (losses, buffers) = vectorised(copies.parameters, copies.buffers, inputs, labels)
        # Each call has weights of its own for autocast, which would keep a cast copy of them to its end.
        torch.clear_autocast_cache()
        for name, buffer in buffers.items():
            copies.buffers[name].copy_(buffer)
        torch.cat([part.reshape(len(rows), -1) for part in parts.values()], dim=1, out=rows)
        return rows, losses

    return gradients


def lone_outputs(module: nn.Module) -> Callable[[StackedNetwork, Tensor], Tensor]:
    """Forward of one copy after another, by the module itself: (copies, inputs) to [K, B, classes]."""
    plain = PlainModule(module)

    def outputs(copies: StackedNetwork, inputs: Tensor) -> Tensor:
        rows = []
        for index in range(copies.flat.shape[0]):
            with copies.opened(index) as tensors:
                rows.append(plain.outputs(tensors, inputs))
        return torch.stack(rows)

    return outputs


def packed_outputs(module: nn.Module) -> Callable[[StackedNetwork, Tensor], Tensor]:
    """Forward of all copies at once: (copies, inputs) to outputs [K, B, classes]."""

    def forward(state: TensorTree, inputs: Tensor) -> Tensor:
        outputs: Tensor = functional_call(module, state, (inputs,))
        return outputs

    vectorised = over_copies(forward, in_dims=(0, None))
    return lambda copies, inputs: vectorised({**copies.parameters, **copies.buffers}, inputs)


def why_not_packed(module: nn.Module, loss_of: Loss, inputs: Tensor, labels: Tensor) -> str | None:
    """Tries whether the module trains the same packed and alone; None if it does, else the reason.

    Two copies with different weights take a step in double precision either way; losses, gradients, buffers
    and the outputs in evaluation mode must agree to 1e-9 of the largest.

    Args:
        module: The network; it is not changed.
        loss_of: The loss.
        inputs: A small normalised batch.
        labels: [B, …].
    """
    state = {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in named_tensors(module).items()
    }
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if len(kinds := {str(each.dtype).removeprefix("torch.") for each in trained}) > 1:
        return f"its parameters are of several types ({', '.join(sorted(kinds))})"
    was_training = module.training
    module.train()
    pair = StackedNetwork.of(module, state, 2, torch.device("cpu"))
    # Added, not multiplied: a head that starts at 0, as some do, would hide all that is before it.
    noise = torch.randn(pair.flat.shape, generator=torch.Generator().manual_seed(0), dtype=pair.flat.dtype)
    pair.flat.add_(noise, alpha=0.01)
    alone = pair.clone(module)
    try:
        with quiet_vmap():
            grads, losses = packed_gradients(module, loss_of)(pair, doubled(inputs), doubled(labels))
        lone_grads, lone_losses = lone_gradients(module, loss_of)(alone, doubled(inputs), doubled(labels))
        module.eval()
        with torch.no_grad(), quiet_vmap():
            outputs = packed_outputs(module)(pair, doubled(inputs))
            lone = lone_outputs(module)(alone, doubled(inputs))
    except Exception as error:  # whatever vmap can't take is a reason, and lone training still works
        return _in_words(error)
    finally:
        module.train(was_training)
    pairs = [(grads, lone_grads), (losses, lone_losses), (outputs, lone)]
    pairs += [(pair.buffers[name], alone.buffers[name]) for name in pair.buffers]
    return (
        None if all(_equal(a.double(), b.double()) for a, b in pairs) else "packed and lone training differ"
    )


def doubled(tensor: Tensor) -> Tensor:
    """A tensor in double precision, if it has any."""
    return tensor.double() if tensor.is_floating_point() else tensor


def _equal(one: Tensor, other: Tensor) -> bool:
    """Equal to rounding, which the largest value sets: it is what cancels in the small ones."""
    scale = max(1.0, float(other.abs().max())) if other.numel() else 1.0
    return torch.allclose(one, other, rtol=1e-9, atol=1e-9 * scale)


_REASONS = (
    (r"called random operation", "it uses a random operation, as dropout is"),
    (
        r"calling \.item\(\)",
        "it has data-dependent control flow, as an if on a tensor, a loop over one or calling .item() are",
    ),
    (r"(?:Batching rule not implemented for|do not yet support) (aten::\w+)", r"vmap has no rule for \1"),
    (r"inplace arithmetic", "it writes in place into a tensor that the copies share"),
    (r"dynamic shape", "the shape of a tensor depends on values, as with a boolean mask"),
)
"""Messages of vmap about modules that it doesn't take, and the same in words for who wrote the module."""

_LONGEST_REASON = 160


def _in_words(error: Exception) -> str:
    """An error as one line."""
    for pattern, words in _REASONS:
        if found := re.search(pattern, str(error)):
            return found.expand(words)
    lines = [type(error).__name__, *str(error).splitlines()[:1]]
    return textwrap.shorten(": ".join(lines), _LONGEST_REASON, placeholder=" …")
