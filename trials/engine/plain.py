"""One copy of a network at a time, computed by the module itself, as a plain PyTorch loop does.

The copy's tensors are put into the module's own, and not in their place as ``torch.func.functional_call``
does it: what the module keeps of its parameters and buffers (in a list, a partial, a closure, a hook) sees
them, too. All other ways to compute a copy are tried against this one before they are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trials.objectives import Loss, scalar


class PlainModule:
    """A module that is lent to copies of itself.

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
