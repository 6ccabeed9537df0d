"""Images · copies per second of each way to take a training step, beside a stock PyTorch loop.

    python -m tests.benchmarks.steps [--device cuda] [--precision bf16] [--networks fc64 …] [--keep]

It needs torch and torchvision only. Every way steps the same copies on the same batch, medians of
``--repeats``: on a CPU in turns and in both orders, as its speed drifts; on CUDA one after another, and what
one had is free before the next. The stock loop trains one network with torch.optim.SGD. The share of the peak
sets the multiplications and additions of forward and backward pass against those of a large float32 matrix
product in the same run. Ratios are to the fastest of the stock loops, of which there is one in torch's own
settings and one in the precision as it is here. Convolutions are compiled only with ``--compile-all``: that
takes minutes. No way is begun after ``--minutes``; by default all of them end within ten on a large GPU.
"""

from __future__ import annotations

import argparse
import copy
import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.machine import header, keep
from trials.datasets import Dataset, Split
from trials.engine import Engine, StackedNetwork, Step, named_tensors
from trials.engine.engine import computing
from trials.networks import build_network
from trials.tasks import Component, Execution, Recipe

SGD = Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 1e-4})
STOCK = "stock loop"
COPIES = {"cpu": [1, 2, 4, 8, 16, 32], "cuda": [1, 4, 16]}
Make = Callable[[], Callable[[], None]]
"""Makes what takes a step."""

# Network, its arguments, the shape of its inputs, the batch.
NETWORKS = {
    "fc64": ("fc", {"hidden": [64, 64, 64]}, (64,), 32),
    "fc256": ("fc", {"hidden": [256, 256, 256]}, (3072,), 128),
    "resnet20": ("resnet20", {}, (3, 32, 32), 128),
    "vgg19": ("vgg19", {}, (3, 32, 32), 128),
}


def main() -> None:
    """Prints a table per network, and keeps them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--copies", nargs="*", type=int, help="1 2 4 8 16 32, on CUDA 1 4 16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no way is begun, on CUDA")
    parser.add_argument("--compile-all", action="store_true")
    parser.add_argument(
        "--keep", action="store_true", help="write results/DATE-steps-DEVICE-PRECISION-NETWORK.json"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one core"
    print(", ".join(f"{key} {value}" for key, value in header().items()))
    print(f"on {name}, {options.precision}")
    copies = options.copies or COPIES[device.type]
    until = time.monotonic() + 60 * options.minutes if device.type == "cuda" else math.inf
    for network in options.networks:
        compiles = options.compile_all
        rows = benchmark(network, device, options.precision, copies, options.repeats, compiles, until)
        if options.keep:
            found = {"device": name, "precision": options.precision, "network": network, "ways": rows}
            print(f"kept as {keep(f'steps-{device.type}-{options.precision}-{network}', found)}")


def benchmark(
    network: str,
    device: torch.device,
    precision: str,
    copies: list[int],
    repeats: int,
    compile_all: bool,
    until: float = math.inf,
) -> list[dict[str, float | str]]:
    """Times and prints every way for one network.

    Args:
        network: Its name in :data:`NETWORKS`.
        device: Where.
        precision: How exactly it computes.
        copies: Sizes of packs.
        repeats: Times that each way is timed.
        compile_all: Whether convolutions are compiled, too.
        until: The time of ``time.monotonic`` after which no way is begun.
    """
    name, arguments, shape, batch = NETWORKS[network]
    images = len(shape) == 3
    module = build_network(name, arguments, input_shape=shape, num_classes=10, seed=0).to(device).train()
    inputs = torch.randn(batch, *shape, device=device)
    labels = torch.randint(0, 10, (batch,), device=device)
    flops = step_flops(module, inputs, labels)

    def beside(precision: str | None, **layout: torch.memory_format) -> Make:
        return lambda: stock(copy.deepcopy(module).to(**layout), inputs.to(**layout), labels, precision)

    made: dict[str, tuple[int, Make]] = {STOCK: (1, beside(None))}
    if precision != "fp32" or device.type == "cuda":
        made[f"{STOCK}, {precision} as here"] = 1, beside(precision)
    if images and device.type == "cuda":
        made[f"{STOCK}, channels last"] = (1, beside(None, memory_format=torch.channels_last))
    for execution in ways(device, copies, images=images, compiles=compile_all or not images):
        make = partial(stepping, module, inputs, labels, precision, execution)
        made[str(execution)] = execution.pack_size, make
    timing = one_by_one if device.type == "cuda" else in_turns
    seconds = timing(network, {key: make for key, (_, make) in made.items()}, device, repeats, until)
    peak = sgemm_peak(device)
    base = min(found for key, found in seconds.items() if key.startswith(STOCK))
    print(
        f"\n{network}, batch {batch}: {flops / 1e6:,.1f} MFLOP a step; sgemm peak {peak / 1e9:,.0f} GFLOP/s"
    )
    print(f"{'way':62} {'images·copies/s':>16} {'ratio':>7} {'of peak':>8}")
    rows = []
    for key, step in seconds.items():
        count = made[key][0]
        speed, ratio, share = batch * count / step, count * base / step, flops * count / step / peak
        rows.append(
            {"execution": key, "images_copies_per_second": speed, "ratio": ratio, "share_of_peak": share}
        )
        print(f"{key:62} {speed:16,.0f} {ratio:6.2f}× {share:8.0%}")
    return rows


def one_by_one(
    network: str, made: Mapping[str, Make], device: torch.device, repeats: int, until: float
) -> dict[str, float]:
    """Median seconds of a step of each way, which has the device's memory to itself."""
    seconds = {}
    for key, make in made.items():
        if time.monotonic() > until:
            print(f"{network}, {key}: left out (no time is left)")
            continue
        try:
            seconds[key] = median(make, device, repeats)
        except Exception as error:
            print(left_out(network, key, error))
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return seconds


def median(make: Make, device: torch.device, repeats: int) -> float:
    """Median seconds of a step that nothing is left of afterwards."""
    step = make()
    step()
    return statistics.median(timed(step, device) for _ in range(repeats))


def in_turns(
    network: str, made: Mapping[str, Make], device: torch.device, repeats: int, until: float
) -> dict[str, float]:
    """The same with all ways side by side."""
    steps = {}
    for key, make in made.items():
        try:
            step = make()
            step()
            steps[key] = step
        except Exception as error:
            print(left_out(network, key, error))
    seconds: dict[str, list[float]] = {key: [] for key in steps}
    for repeat in range(repeats):
        for key in list(steps)[:: 1 if repeat % 2 == 0 else -1]:
            seconds[key].append(timed(steps[key], device))
    return {key: statistics.median(found) for key, found in seconds.items()}


def left_out(network: str, key: str, error: Exception) -> str:
    """The line of a way that can't run, for lack of memory or of an operator."""
    return f"{network}, {key}: left out ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"


def ways(device: torch.device, copies: list[int], *, images: bool, compiles: bool) -> Iterator[Execution]:
    """The ways to measure. A CPU steps through many copies of a large network for minutes; on CUDA a
    recording takes most of a second, so only the largest pack has one for each of its copies."""
    cuda = device.type == "cuda"
    for count in copies:
        lasts = (False, True) if images and (count == 1 or cuda) else (False,)
        for last, compiled in itertools.product(lasts, (False, True) if compiles else (False,)):
            execution = Execution(pack_size=count, compiled=compiled, channels_last=last)
            if not (cuda and compiled):
                yield execution
            if cuda:
                yield replace(execution, captured=True)
            if cuda and count == max(copies) > 1:
                yield replace(execution, captured=True, streams=True)


def stock(
    module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, precision: str | None
) -> Callable[[], None]:
    """A step as every tutorial takes it; without a precision in torch's own settings."""
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, **SGD.arguments)

    def step() -> None:
        with computing(precision, inputs.device) if precision else nullcontext():
            optimizer.zero_grad()
            cross_entropy(module(inputs), labels).backward()
            optimizer.step()

    return step


@dataclass(frozen=True)
class InOneTraining:
    """Steps as a training takes them: in one context, so that what a step leaves in it adds up.

    Attributes:
        several: Takes so many steps.
    """

    several: Callable[[int], None]

    def __call__(self) -> None:
        """Takes one."""
        self.several(1)


def stepping(
    module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, precision: str, execution: Execution
) -> Callable[[], None]:
    """A step of this package, under a mask."""
    recipe = Recipe(
        network=Component(name="-"),
        dataset=Component(name="-"),
        pruner=Component(name="-"),
        pruning_rate=0.2,
        length=1,
        batch_size=len(labels),
        optimizer=SGD,
        schedule=Component(name="constant"),
        execution=execution,
    )
    device = inputs.device
    split = Split(inputs=inputs, labels=labels)
    data = Dataset(
        train=split,
        validation=split,
        test=split,
        num_classes=10,
        mean=(0.0,),
        std=(1.0,),
        channels_last=execution.channels_last,
    )
    copies = StackedNetwork.of(module, named_tensors(module), execution.pack_size, device)
    mask = (torch.rand(copies.flat.shape[1], device=device) < 0.5).to(copies.flat.dtype)
    engine = Engine(module, recipe)
    rates = torch.full((execution.pack_size,), 1e-3, device=device)
    given = data.normalise(inputs)
    step: Step | None = None

    def several(times: int) -> None:
        nonlocal step
        with computing(precision, device):
            step = step or engine.begin(copies, mask, data)
            for _ in range(times):
                step(given, labels, rates)

    return InOneTraining(several)


def step_flops(module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> int:
    """Multiplications and additions of one step of one copy, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        cross_entropy(module(inputs), labels).backward()
    return int(counter.get_total_flops())


def sgemm_peak(device: torch.device) -> float:
    """Operations per second of a large float32 matrix product."""
    size = 1024 if device.type == "cpu" else 8192
    one, other = (torch.randn(size, size, device=device) for _ in range(2))
    return 2 * size**3 / statistics.median(timed(lambda: torch.mm(one, other), device) for _ in range(5))


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, from as many as fit into a third of a second, or from one that takes longer."""

    def run(times: int) -> float:
        begin = time.perf_counter()
        if isinstance(work, InOneTraining):
            work.several(times)
        else:
            for _ in range(times):
                work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    once = run(1)
    times = min(200, int(0.3 / max(once, 1e-6)))
    return run(times) / times if times else once


if __name__ == "__main__":
    main()
