"""Which weights go: pruners by name, what they are given, and the step that removes a share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from silo.checks import did_you_mean
from silo.errors import InvalidInput
from trials.datasets.base import Dataset
from trials.engine import PlainModule, named_tensors
from trials.objectives import CrossEntropy, Loss
from trials.process import generator, global_draws_kept, seed_global
from trials.pruning.masks import prunable_names, remove_lowest, remove_lowest_of_each
from trials.registry import call, resolve

Scope = Literal["global", "layer"]
SCOPES: tuple[Scope, ...] = ("global", "layer")

CROSS_ENTROPY: Loss = CrossEntropy()


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork:
    """A trained network that is about to be pruned. A pruner reads it and changes nothing.

    Attributes:
        module: The network in evaluation mode, with its trained weights, 0 where they are pruned, and its
            trained buffers (BatchNorm's statistics).
        masks: The prunable weights by name, in the order of the network: boolean, True where a weight is
            left.
        extra_masks: Masks of other parameters, which an earlier structured pruning made: biases, scales and
            shifts of BatchNorm.
        rate: Share of what is left that is to go, in [0, 1). Scores don't depend on it; a pruner that gives
            :class:`Masks` needs it.
        generator: A seeded generator on the CPU, for pruners that draw.
        data: The data set, of which pruners may see the training split.
        batch_size: Examples per batch, unless a pruner asks for another number.
        seed: Decides which training examples :meth:`batches` takes.
        loss: The training's loss, of (outputs, targets).
    """

    module: nn.Module
    masks: Mapping[str, Tensor]
    extra_masks: Mapping[str, Tensor]
    rate: float
    generator: torch.Generator
    data: Dataset
    batch_size: int
    seed: int
    loss: Loss = CROSS_ENTROPY

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The prunable weights by name, 0 where they are pruned, in the order of the masks."""
        parameters = dict(self.module.named_parameters())
        return {name: parameters[name].detach() for name in self.masks}

    def batches(self, count: int, size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the training split, drawn without replacement, the same at every call.

        Not augmented. At most one pass over the split, so fewer than ``count`` if it has fewer full batches.

        Args:
            count: Number of batches, at least 1.
            size: Examples per batch; None takes ``batch_size``.

        Yields:
            Normalised inputs [size, …] and labels [size], on the data set's device.

        Raises:
            InvalidInput: A count or a size below 1, or not even one batch in the split.
        """
        if not len(self.data.train):
            raise InvalidInput(
                "this pruner needs examples, and the spec names no dataset: name one beside "
                "training.loop, or "
                "take a pruner that looks at the weights alone, such as global_magnitude"
            )
        split, size = self.data.train, self.batch_size if size is None else size
        for what, number in (("batches", count), ("examples per batch", size)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise InvalidInput(f"the number of {what} must be whole and at least 1, not {number!r}")
        if size > len(split):
            raise InvalidInput(
                f"a batch of {size} is larger than the training split ({len(split)} examples): "
                "take a smaller one"
            )
        order = torch.randperm(len(split), generator=generator(self.seed, "pruning batches"))
        for inputs, labels in split.batches([order[: min(count, len(split) // size) * size]], size):
            yield self.data.normalise(inputs), labels


@dataclass(frozen=True, eq=False)
class Scores:
    """A pruner's answer: how much each weight is worth. The lowest go.

    Attributes:
        values: By name of the masks, each shaped like its mask. Only those of weights left are looked at.
        scope: Among which the lowest are looked for. ``"global"``: all weights left, of which exactly
            round(rate × left) go. ``"layer"``: those of one tensor, of each of which exactly
            round(rate × left) go, but never the last one.
    """

    values: Mapping[str, Tensor]
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_scope(self.scope)


@dataclass(frozen=True, eq=False)
class Masks:
    """A pruner's answer: the new masks themselves, for pruning by a structure.

    Attributes:
        values: By name, boolean, True where a weight is left: one for each of the old masks and nested in
            it, and any of other parameters (biases, BatchNorm), which are held at 0 where False, too.
    """

    values: Mapping[str, Tensor]


def check_scope(scope: object) -> None:
    """Raises InvalidInput for what is no scope."""
    if scope not in SCOPES:
        raise InvalidInput(f"a pruner's scope is 'global' or 'layer', not {scope!r}")


__all__ = ["PRUNERS", "Masks", "Pruner", "Scope", "Scores", "TrainedNetwork", "prune"]

# (trained: TrainedNetwork, **arguments) -> Scores or Masks
Pruner = Callable[..., Scores | Masks]


def global_magnitude(trained: TrainedNetwork) -> Scores:
    """Scores |w|, compared over the whole network (Frankle and Carbin 2018, arXiv 1803.03635)."""
    return Scores({name: weight.abs() for name, weight in trained.weights.items()}, scope="global")


def layer_magnitude(trained: TrainedNetwork) -> Scores:
    """Scores |w|, compared within each tensor, all of which lose the same share.

    Han et al. 2015 (arXiv 1506.02626); LayerMagWeight of Blalock et al. 2020 (arXiv 2003.03033).
    """
    return Scores({name: weight.abs() for name, weight in trained.weights.items()}, scope="layer")


def random(trained: TrainedNetwork) -> Scores:
    """Scores drawn from the generator: of the weights left, each is as likely to go.

    In float64: float32 has so few values in [0, 1) that ties, which position breaks, would favour the last
    layers.
    """
    values = {
        name: torch.rand(mask.shape, generator=trained.generator, dtype=torch.float64).to(mask.device)
        for name, mask in trained.masks.items()
    }
    return Scores(values, scope="global")


def lamp(trained: TrainedNetwork) -> Scores:
    """LAMP scores, compared over the whole network.

    Lee et al. 2020 (arXiv 2010.07611, equation 4): with a tensor's weights left in ascending order of |w|,
    score(u) = w_u² / Σ_{v ≥ u} w_v². Among equal ones the first by position comes first, so that the largest
    weight of each tensor scores 1 and no other does.

    A weight of exactly 0 scores 0: nothing changes when it goes. In a tensor of zeros all score 0 but the
    last, which counts as its largest. The sums begin at the largest weight and run in float64: in float32
    those of a large tensor drift.
    """
    values = {name: _scores(weight, trained.masks[name]) for name, weight in trained.weights.items()}
    return Scores(values, scope="global")


def _scores(weight: Tensor, mask: Tensor) -> Tensor:
    ascending, order = weight[mask].abs().sort(stable=True)
    squares = ascending.double().square()
    not_smaller = squares.flip(0).cumsum(0).flip(0)
    ranked = torch.where(not_smaller == 0, 0.0, squares / not_smaller)
    ranked[-1:] = torch.where(ascending[-1:].isfinite(), 1.0, torch.nan)
    scores = torch.zeros_like(weight, dtype=torch.float64)
    return scores.masked_scatter(mask, torch.empty_like(ranked).scatter(0, order, ranked))


def global_gradient(trained: TrainedNetwork, *, batches: int = 10, batch_size: int | None = None) -> Scores:
    """Scores |w · ∂L/∂w|, compared over the whole network.

    GlobalMagGrad of Blalock et al. 2020 (arXiv 2003.03033, section 7.2; ShrinkBench). To first order it is
    what the loss changes by when the weight goes. L is the training's loss on examples without
    augmentation, its gradient averaged over some batches, for that of a single one is mostly noise. In
    evaluation mode: BatchNorm takes its running statistics and doesn't move them, dropout is off. In float64,
    for the product of two small numbers may be 0 in float32.

    Args:
        trained: The network; its forward and backward passes run on the data set's device.
        batches: Batches that the gradient is averaged over, at least 1; at most one pass over the training
            split.
        batch_size: Examples per batch; None takes the training's.

    Raises:
        InvalidInput: See :meth:`TrainedNetwork.batches`.
    """
    device = trained.data.train.labels.device
    tensors = {name: tensor.to(device) for name, tensor in named_tensors(trained.module).items()}
    plain, names = PlainModule(trained.module), list(trained.masks)
    sums = {name: torch.zeros_like(tensors[name], dtype=torch.float64) for name in names}
    seen = 0
    for inputs, labels in trained.batches(batches, batch_size):
        gradients, _ = plain.gradients(tensors, names, inputs, labels, trained.loss)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += gradient
        seen += 1
    values = {
        name: (weight.double() * (sums[name] / seen).to(weight.device)).abs()
        for name, weight in trained.weights.items()
    }
    return Scores(values, scope="global")


PRUNERS: dict[str, Pruner | str] = {
    "global_gradient": global_gradient,
    "global_magnitude": global_magnitude,
    "l1_filter": "trials.pruning.filters:l1_filter",
    "lamp": lamp,
    "lap": "trials.pruning.lap:lap",
    "layer_magnitude": layer_magnitude,
    "random": random,
}


def prune(
    pruner_name: str,
    arguments: Mapping[str, Any],
    *,
    module: nn.Module,
    masks: Mapping[str, Tensor],
    data: Dataset,
    batch_size: int,
    rate: float,
    seed: int,
    also: Sequence[str] = (),
    loss: Loss = CROSS_ENTROPY,
) -> dict[str, Tensor]:
    """Prunes once: asks the pruner, and removes what it says.

    Args:
        pruner_name: A key of PRUNERS, or ``"package.module:name"``: a function
            ``(trained: TrainedNetwork, **arguments) -> Scores | Masks``.
        arguments: The pruner's own arguments.
        module: The network with its trained parameters and buffers. Its pruned weights are set to 0, and it
            is put into evaluation mode; nothing else is changed.
        masks: Boolean, True where a weight is left: of the prunable parameters, and any that an earlier
            pruning gave beside them.
        data: The data set, for pruners that look at gradients or follow the data through the network.
        batch_size: Examples per batch for pruners that take some.
        rate: Share of the weights left that go, in [0, 1). See :func:`trials.pruning.masks.remove_lowest`.
        seed: Seed of the pruner's generator (on the CPU) and of the batches.
        also: What is prunable beside the layers that pruning knows: as
            :func:`trials.pruning.masks.prunable_names` takes it.
        loss: The training's loss, of (outputs, targets).

    Returns:
        New masks, nested in the old ones: those of the prunable parameters in the order of
        ``module.named_parameters()``, then those of other parameters, in the same order.

    Raises:
        InvalidInput: No such pruner, arguments that it doesn't take, masks that don't fit the network,
            scores that can't be ranked, an answer that is no Scores or Masks or whose masks don't fit, or a
            rate that leaves nothing.
    """
    pruner: Callable[..., Any] = resolve("pruner", pruner_name, PRUNERS)
    _check_fit(module, masks)
    _set_pruned_to_zero(module.eval(), masks)
    # In the order of the network, which breaks ties: a file may have given the masks back in another.
    ordered = {name: masks[name] for name, _ in module.named_parameters() if name in masks}
    prunable = set(prunable_names(module, also=also))
    trained = TrainedNetwork(
        module=module,
        masks={name: mask for name, mask in ordered.items() if name in prunable},
        extra_masks={name: mask for name, mask in ordered.items() if name not in prunable},
        rate=rate,
        generator=torch.Generator().manual_seed(seed),
        data=data,
        batch_size=batch_size,
        seed=seed,
        loss=loss,
    )
    with global_draws_kept():
        seed_global(seed)  # for pruners that draw, and don't by their generator
        answer = call("pruner", pruner_name, pruner, arguments, trained=trained)
    if isinstance(answer, Scores):
        remove = remove_lowest if answer.scope == "global" else remove_lowest_of_each
        return remove(answer.values, trained.masks, rate) | dict(trained.extra_masks)
    if isinstance(answer, Masks):
        return _accepted(pruner_name, answer.values, trained)
    raise InvalidInput(
        f"pruner {pruner_name!r} must give trials.pruning.Scores or Masks, it gave {type(answer).__name__}"
    )


def _accepted(pruner_name: str, given: Mapping[str, Tensor], trained: TrainedNetwork) -> dict[str, Tensor]:
    """A pruner's own masks, checked and in order."""
    old = {**trained.masks, **trained.extra_masks}
    for name in old:
        if name not in given:
            raise InvalidInput(f"pruner {pruner_name!r} gave no mask for {name!r}: every old mask needs one")
    _check_fit(trained.module, given)
    for name in old:
        if (given[name] & ~old[name]).any():
            raise InvalidInput(
                f"pruner {pruner_name!r} gives weights of {name!r} back that are pruned: masks must be nested"
            )
    if not any(given[name].any() for name in trained.masks):
        raise InvalidInput(f"pruner {pruner_name!r} leaves no weight: prune fewer times or at a lower rate")
    order = [*trained.masks, *[name for name, _ in trained.module.named_parameters()]]
    return {name: given[name] for name in order if name in given}


def _set_pruned_to_zero(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in masks:
                parameter.masked_fill_(~masks[name].to(parameter.device), 0)


def _check_fit(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise InvalidInput(
                f"mask {name!r} is of no parameter of the network{did_you_mean(name, parameters)}"
            )
        if mask.shape != parameters[name].shape or mask.dtype != torch.bool:
            raise InvalidInput(
                f"mask {name!r} must be boolean and of the parameter's shape: mask {mask.dtype} "
                f"{tuple(mask.shape)}, parameter {tuple(parameters[name].shape)}"
            )
