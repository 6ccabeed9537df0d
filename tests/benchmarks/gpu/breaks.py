"""What is left when a GPU fails: one that is full, and one that is lost to its process."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tests.benchmarks.gpu.scale import Part, Scale, freed, recipe_of
from trials.networks import build_network
from trials.process import DeviceLost
from trials.runner import Runner
from trials.tasks import Component, Execution, Failed, Result, TrainPack

HERE = "tests.benchmarks.gpu.breaks"
_HARM = "CUDA error: device-side assert triggered"


class Hungry(nn.Module):
    """On a CPU its first training runs out of memory, in words; on a GPU whoever uses it sees to that."""

    fails = 1

    def __init__(
        self, *, input_shape: Sequence[int], num_classes: int, network: str, arguments: dict[str, object]
    ) -> None:
        super().__init__()
        self.network = build_network(
            network, arguments, input_shape=input_shape, num_classes=num_classes, seed=0
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, or none."""
        if self.training and inputs.device.type == "cpu" and Hungry.fails:
            Hungry.fails -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is")
        found: Tensor = self.network(inputs)
        return found


def out_of_memory(scale: Scale, device: torch.device) -> Part:
    """A pack that doesn't fit: what the runner answers, and whether its process goes on."""
    arguments = {"network": scale.network.name, "arguments": dict(scale.network.arguments)}
    network = Component(name=f"{HERE}:Hungry", arguments=arguments)
    rates = tuple(1e-3 * (index + 1) for index in range(scale.copies))
    recipe = recipe_of(scale, device, Execution(pack_size=scale.copies), network=network)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(recipe, storage=folder)
        few, all_of_them = (
            TrainPack(cycle=0, replicate=0, max_lrs=rates[:count], start=None) for count in (2, scale.copies)
        )
        if device.type == "cuda":
            runner.run(few)
            freed()
            room = 2 * torch.cuda.max_memory_allocated(device) / torch.cuda.mem_get_info(device)[1]
            torch.cuda.set_per_process_memory_fraction(room, device)
        answers = []
        for what, task in (("all copies", all_of_them), ("two copies after that", few)):
            answers.append(answer(runner.run(task)))
            yield what, answers[-1]
    return f"{scale.copies} copies: {answers[0]}; then two: {answers[1]}"


def answer(result: Result) -> str:
    """A runner's answer in a few words."""
    if isinstance(result, Failed):
        return f"failed: {result.error.strip().splitlines()[-1]}"
    assert isinstance(result, tuple)
    sizes = sorted({trial.pack for trial in result}, reverse=True)
    return f"{len(result)} trained, {' and '.join(map(str, sizes))} together"


class Asserting(nn.Module):
    """Its training ends in an assertion on the device; a CPU, which has none, says so."""

    def __init__(self, *, input_shape: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(torch.Size(input_shape).numel(), num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, or none."""
        if self.training and not inputs.is_cuda:
            raise torch.AcceleratorError(_HARM)
        if self.training:
            inputs = inputs[torch.full((len(inputs),), 2**20, device=inputs.device)]
        found: Tensor = self.head(inputs.flatten(1))
        return found


def device_assert(scale: Scale, device: torch.device) -> Part:
    """An assertion on the device: what the runner says, and how the process ends."""
    recipe = recipe_of(scale, device, network=Component(name=f"{HERE}:Asserting"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = answer(
                Runner(recipe, storage=folder).run(
                    TrainPack(cycle=0, replicate=0, max_lrs=(0.1,), start=None)
                )
            )
        except DeviceLost as lost:
            found = f"{type(lost).__name__}: {lost}"
    yield "the runner", found
    return found
