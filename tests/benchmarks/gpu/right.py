"""Whether a GPU computes what it should: the same numbers, without waiting, in the same memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from tests.benchmarks.gpu.scale import (
    ALONE,
    Part,
    Scale,
    Value,
    built,
    images,
    recipe_of,
    synchronised,
    tried,
    ways,
)
from tests.benchmarks.machine import forget_peak
from tests.benchmarks.steps import SGD
from tests.trials.toys import double
from trials.datasets import Dataset
from trials.engine import Engine, StackedNetwork, Step, named_tensors
from trials.process import generator
from trials.tasks import Component, Execution
from trials.training import TrainedCopy, batches, train_pack

OPTIMIZERS = {
    "sgd": SGD,
    "adam": Component(name="adam"),
    "rmsprop": Component(name="rmsprop", arguments={"momentum": 0.9}),
}

_AGREES = 1e-9

Train = Callable[[Execution], list[TrainedCopy]]


def trained(
    scale: Scale,
    data: Dataset,
    execution: Execution,
    *,
    exact: bool = False,
    copies: int = 1,
    optimizer: Component = SGD,
) -> list[TrainedCopy]:
    """Ten steps of some copies under a mask, from the same weights every time."""
    device = data.train.labels.device
    module = built(scale, device)
    start = named_tensors(module)
    weights = {name for name, tensor in module.named_parameters() if tensor.dim() > 1}
    draw = generator(0, "mask")
    masks = {name: torch.rand(start[name].shape, generator=draw) < 0.5 for name in sorted(weights)}
    return train_pack(
        module=module,
        start=double(start) if exact else start,
        masks={name: mask.to(device) for name, mask in masks.items()},
        data=data,
        recipe=recipe_of(scale, device, execution, optimizer=optimizer),
        cycle=0,
        replicate=0,
        max_lrs=[1e-3 * (index + 1) for index in range(copies)],
    )


def distance(ones: list[TrainedCopy], others: list[TrainedCopy]) -> float:
    """How far the weights and buffers of copies are apart at most, against the largest of each tensor."""
    return max(
        float(
            (tensor.double() - other.state[name].double()).abs().max()
            / other.state[name].abs().max().clamp(min=1)
        )
        for one, other in zip(ones, others, strict=True)
        for name, tensor in one.state.items()
    )


def apart(train: Train, way: Execution, lone: list[TrainedCopy]) -> float:
    """:func:`distance` of what a way trains from lone trainings."""
    return distance(train(way), lone)


class Exact(Dataset):
    """Images in double precision: two ways of computing the same differ by their order of additions alone."""

    def normalise(self, inputs: Tensor) -> Tensor:
        return super().normalise(inputs).double()


def equality(scale: Scale, device: torch.device) -> Part:
    """Every way against lone eager trainings, in float64: with three optimizers and batch normalisation."""
    scale = replace(scale, network=scale.exact, batch=min(scale.batch, 32), copies=min(scale.copies, 4))
    data = Exact(**vars(images(seed=0, shape=scale.shape, count=8 * scale.batch))).to(device)
    found: dict[str, Value] = {}
    rounds = [(name, ways(scale.copies, compiles=False)) for name in OPTIMIZERS]
    rounds += [("sgd", ways(scale.copies, compiles=True)[4:])] * scale.compiles  # last, as it takes longest
    for name, each in rounds:
        train = partial(trained, scale, data, exact=True, copies=scale.copies, optimizer=OPTIMIZERS[name])
        lone = train(ALONE)
        for way in each:
            for what, value in tried(f"{name}, {way}", partial(apart, train, way, lone)):
                found[what] = value
                yield what, value
    agreeing = [what for what, value in found.items() if isinstance(value, float) and value <= _AGREES]
    others = [f"{what}: {value}" for what, value in found.items() if what not in agreeing]
    return "; ".join([f"{len(agreeing)} of {len(found)} ways agree to {_AGREES:g}", *others])


def repeat(scale: Scale, device: torch.device) -> Part:
    """Each way twice, bit for bit, and its copies against lone trainings with their rates, in float32."""
    data = images(seed=0, shape=scale.shape, count=8 * scale.batch).to(device)
    train = partial(trained, scale, data, copies=scale.copies)
    lone, same, distances = train(ALONE), [], []
    every = [ALONE, *ways(scale.copies, compiles=False)]
    for way in every:
        for what, value in tried(f"{way}: the same bits twice", partial(same_bits, train, way)):
            same.append(value is True)
            yield what, value
        for what, value in tried(f"{way}: from lone trainings", partial(apart, train, way, lone)):
            distances.append(value == 0)
            yield what, value
    return f"of {len(every)} ways {sum(same)} repeat bit for bit, {sum(distances)} give lone trainings' bits"


def same_bits(train: Train, way: Execution) -> bool:
    """Whether weights, buffers and losses are the same a second time."""
    return all(
        torch.equal(tensor, other.state[name]) and one.train_loss == other.train_loss
        for one, other in zip(train(way), train(way), strict=True)
        for name, tensor in one.state.items()
    )


@dataclass
class Steps:
    """A training's steps, one at a time, as a training computes them: inside of ``engine.computing``."""

    engine: Engine
    step: Step
    batches: Iterator[tuple[Tensor, Tensor]]
    rates: Tensor

    @classmethod
    def of(
        cls, scale: Scale, device: torch.device, execution: Execution, count: int, **changes: object
    ) -> Steps:
        """So many steps, on augmented images."""
        data = images(seed=0, shape=scale.shape, count=8 * scale.batch, augment=True).to(device)
        recipe, module = recipe_of(scale, device, execution, **changes), built(scale, device).train()
        copies = StackedNetwork.of(module, named_tensors(module), execution.pack_size, device)
        engine = Engine(module, recipe)
        with engine.computing(device):
            step = engine.begin(copies, torch.ones_like(copies.flat[0]), data)
        rates = torch.full((execution.pack_size,), 1e-3, device=device)
        return cls(engine, step, batches(data, recipe, cycle=0, replicate=0, steps=count), rates)

    def take(self, count: int) -> None:
        """Takes some of them."""
        for _ in range(count):
            self.step(*next(self.batches), self.rates)


def synchronisations(scale: Scale, device: torch.device) -> Part:
    """How often 20 augmented steps wait for the GPU."""
    said = []
    for way in (ALONE, *ways(scale.copies, compiles=False)[1:]):
        for what, value in tried(f"{way}: waits in 20 steps", partial(waits, scale, device, way)):
            said.append(f"{way}: {value}")
            yield what, value
    return "waits in 20 steps: " + "; ".join(said)


def waits(scale: Scale, device: torch.device, way: Execution) -> Value:
    """Calls in 20 steps that waited for the GPU; on a CPU nothing can be told but that the steps go."""
    steps, warm = Steps.of(scale, device, way, 24), 4
    with steps.engine.computing(device):
        steps.take(warm)
        synchronised(device)
        if device.type == "cpu":
            steps.take(20)
            return "none to wait for"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                steps.take(20)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(each.message) for each in caught)


def memory(scale: Scale, device: torch.device) -> Part:
    """What a step in bfloat16 leaves behind."""
    said = []
    few = min(scale.copies, 4)
    # Batch normalisation of several copies takes no bfloat16 on a CPU.
    packed = replace(scale, network=Component(name="fc")) if device.type == "cpu" else scale
    for way in (ALONE, Execution(pack_size=few), Execution(pack_size=few, captured=True)):
        own = scale if way is ALONE else packed
        for what, value in tried(f"{way}: bytes a step", partial(growth, own, device, way)):
            said.append(f"{way}: {value:,.0f}" if isinstance(value, float) else f"{way}: {value}")
            yield what, value
    return f"bytes that each of {scale.steps} steps leaves: " + "; ".join(said)


def growth(scale: Scale, device: torch.device, way: Execution) -> float:
    """Bytes a step between the first third of a training and its end, on a CPU of the whole process."""
    steps, first = Steps.of(scale, device, way, scale.steps, precision="bf16"), scale.steps // 3
    with steps.engine.computing(device):
        steps.take(first)
        before = held(device)
        steps.take(scale.steps - first)
        return (held(device) - before) / (scale.steps - first)


def held(device: torch.device) -> int:
    """Bytes in tensors of a GPU, or of this process on a CPU."""
    synchronised(device)
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else forget_peak()
