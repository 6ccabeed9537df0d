"""What the parts of :mod:`tests.benchmarks.gpu_first` share: how large their work is, and on what they do it.

A part is a generator: it yields what it finds, as a name and a value, when it finds it, and returns what that
comes to, in a line.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from tests.benchmarks.steps import SGD
from trials.datasets import Dataset, Split
from trials.networks import build_network
from trials.process import generator
from trials.tasks import Component, Execution, Recipe

Value = float | int | bool | str | None
Part = Generator[tuple[str, Value], None, str]

HERE = "tests.benchmarks.gpu.scale"
TINY = Component(name=f"{HERE}:Tiny")
SMALL = Component(name="tests.benchmarks.small_resnet:ResNet8")

ALONE = Execution()


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large a part's work is.

    Attributes:
        network: The network that is trained; it has batch normalisation.
        exact: The network that ways are compared with, in float64.
        shape: Of an image, [C, H, W].
        batch: Images of a batch.
        copies: Candidates that are trained together.
        steps: Steps of a training whose memory is watched.
        training: Steps of a training of a search.
        matrix: Rows and columns of a large product.
        compiles: Whether steps are compiled, too.
    """

    network: Component
    exact: Component
    shape: tuple[int, int, int]
    batch: int
    copies: int
    steps: int
    training: int
    matrix: int
    compiles: bool


SCALES = {
    "full": Scale(
        network=Component(name="resnet20"),
        exact=SMALL,
        shape=(3, 32, 32),
        batch=128,
        copies=16,
        steps=150,
        training=400,
        matrix=8192,
        compiles=True,
    ),
    "small": Scale(
        network=SMALL,
        exact=TINY,
        shape=(3, 16, 16),
        batch=16,
        copies=4,
        steps=60,
        training=40,
        matrix=1024,
        compiles=True,
    ),
    "tiny": Scale(
        network=TINY,
        exact=TINY,
        shape=(3, 8, 8),
        batch=8,
        copies=2,
        steps=30,
        training=8,
        matrix=256,
        compiles=False,
    ),
}


def begin(name: str) -> torch.device:
    """The device, in a process that has nothing else to do."""
    if name == "cpu":
        torch.set_num_threads(1)
    return torch.device(name)


def images(*, seed: int, shape: Sequence[int], count: int, augment: bool = False) -> Dataset:
    """Noisy images in ten classes: ``count`` to train on, a quarter as many to validate and to test on."""
    draw = generator(seed, "images")
    templates = torch.randint(80, 176, (10, *shape), generator=draw)

    def split(size: int) -> Split:
        labels = torch.arange(size) % 10
        noise = torch.randint(-90, 91, (size, *shape), generator=draw)
        return Split(inputs=(templates[labels] + noise).clamp(0, 255).to(torch.uint8), labels=labels)

    return Dataset(
        train=split(count),
        validation=split(count // 4),
        test=split(count // 4),
        num_classes=10,
        mean=(0.5,) * shape[0],
        std=(0.25,) * shape[0],
        augment=augment,
    )


def recipe_of(scale: Scale, device: torch.device, execution: Execution = ALONE, **changes: object) -> Recipe:
    """A training of ten steps."""
    arguments = {"shape": list(scale.shape), "count": 8 * scale.batch}
    fields = {
        "network": scale.network,
        "dataset": Component(name=f"{HERE}:images", arguments=arguments),
        "pruner": Component(name="global_magnitude"),
        "pruning_rate": 0.2,
        "length": 10,
        "unit": "iterations",
        "batch_size": scale.batch,
        "optimizer": SGD,
        "schedule": Component(name="constant"),
        "execution": execution,
        "device": device.type,
    }
    return Recipe(**{**fields, **changes})


def built(scale: Scale, device: torch.device) -> nn.Module:
    """The network."""
    network = scale.network
    return build_network(network.name, network.arguments, input_shape=scale.shape, num_classes=10, seed=0).to(
        device
    )


class Tiny(nn.Sequential):
    """A convolution, batch normalisation and a linear layer."""

    def __init__(self, *, input_shape: Sequence[int], num_classes: int) -> None:
        channels, height, width = input_shape
        inner = nn.Conv2d(channels, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        super().__init__(*inner, nn.Flatten(), nn.Linear(4 * height * width, num_classes))


def ways(count: int, *, compiles: bool) -> list[Execution]:
    """Ways to train that are not one operation after another for one candidate."""
    alone, pack = Execution(captured=True), Execution(pack_size=count, captured=True)
    captured = [alone, pack, replace(pack, streams=True)]
    compiled = [replace(each, compiled=True) for each in captured] if compiles else []
    return [replace(pack, captured=False), *captured, *compiled]


def tried(what: str, work: Callable[[], Value]) -> Iterator[tuple[str, Value]]:
    """What some work gives, or why it fails; its memory is free before the next."""
    try:
        found = work()
    except Exception as error:
        found = f"failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    yield what, found
    freed()


def freed() -> None:
    """Gives back what nothing refers to."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronised(device: torch.device) -> None:
    """Waits until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
