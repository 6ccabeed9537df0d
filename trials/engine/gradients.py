"""Loss gradients of K copies of a network on one batch: one copy after another, or all at once."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.overrides import TorchFunctionMode

from trials.engine.plain import PlainModule
from trials.engine.stacked import StackedNetwork, as_real, named_tensors
from trials.objectives import Loss, scalar

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
