"""How fast a GPU is: at most, a step, a search."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from oracle.cycles import Grid, log_values
from oracle.policies import OraclePolicy
from oracle.search import Rules
from tests.benchmarks import search as whole_search
from tests.benchmarks.gpu.scale import ALONE, Part, Scale, Value, built, recipe_of, synchronised, tried
from tests.benchmarks.steps import stepping, stock, timed
from trials.engine.choose import Wishes, Workload, choose_execution
from trials.process import name_of
from trials.runner import Runner
from trials.tasks import Execution, Precision

STOCK = "stock loop, torch's defaults"


def ceilings(scale: Scale, device: torch.device) -> Part:
    """What the device can do at most: bytes moved, operations of a product."""
    if device.type == "cuda":
        yield "GPU", name_of(device)
    source = torch.zeros(scale.matrix**2 * 4, device=device)
    copied = 2 * source.nbytes / timed(partial(torch.empty_like(source).copy_, source), device) / 1e9
    yield "copy, GB/s", copied
    said = [f"copy {copied:,.0f} GB/s"]
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, False),
    ):
        one, other = (torch.randn(scale.matrix, scale.matrix, device=device).to(dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = tf32
        product = 2 * scale.matrix**3 / timed(partial(torch.mm, one, other), device) / 1e12
        yield f"product in {name}, TFLOP/s", product
        said.append(f"{name} {product:,.3g} TFLOP/s")
    return ", ".join(said)


def kernels(scale: Scale, device: torch.device) -> Part:
    """Kernels of a step, on a CPU operations, and how long the GPU has none."""
    said, plain = [], replace(scale, compiles=False)
    for name, (_, make) in steps_of(plain, device, "fp32").items():
        found: list[float | None] = []
        yield from tried(f"{name}: a step", partial(counted, make, device, found))
        if found:
            yield f"{name}: idle", found[1]
            said.append(f"{name} {found[0]:g}" + ("" if found[1] is None else f", idle {found[1]:.0%}"))
    return "a step: " + "; ".join(said)


def counted(make: Callable[[], Callable[[], None]], device: torch.device, found: list[float | None]) -> Value:
    """Kernels of a step; these and the idle share are added to ``found``."""
    found += profiled(make(), device)
    return found[0]


def profiled(step: Callable[[], None], device: torch.device) -> tuple[float, float | None]:
    """Kernels of a step, and the share of the time between the first and the last in which none runs."""
    cuda, count = device.type == "cuda", 5
    for _ in range(3):
        step()
    synchronised(device)
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * cuda]) as seen:
        for _ in range(count):
            step()
        synchronised(device)
    if not cuda:
        return sum(each.name.startswith("aten::") for each in seen.events()) / count, None
    spans = sorted(
        (each.time_range.start, each.time_range.end)
        for each in seen.events()
        if each.device_type == DeviceType.CUDA
    )
    busy, until = 0.0, spans[0][0]
    for begun, ended in spans:
        busy += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return len(spans) / count, 1 - busy / (until - spans[0][0])


def speed_fp32(scale: Scale, device: torch.device) -> Part:
    """See :func:`speed`."""
    return speed("fp32", scale, device)


def speed_tf32(scale: Scale, device: torch.device) -> Part:
    """See :func:`speed`."""
    return speed("tf32", scale, device)


def speed_bf16(scale: Scale, device: torch.device) -> Part:
    """See :func:`speed`."""
    return speed("bf16", scale, device)


def speed(precision: Precision, scale: Scale, device: torch.device) -> Part:
    """Images · copies a second of ways to take a step, beside a stock loop with torch's defaults, the most
    important first."""
    rates: dict[str, float] = {}
    for name, (copies, make) in steps_of(scale, device, precision).items():
        for what, value in tried(name, partial(rate, scale.batch * copies, make, device)):
            if isinstance(value, float):
                rates[what] = value
            yield what, value
    if not rates:
        return "no way took a step"
    best, base = max(rates, key=lambda name: rates[name]), rates.get(STOCK)
    if base is None:
        return f"{rates[best]:,.0f} images·copies/s ({best}), and a stock loop took no step"
    return (
        f"{rates[best]:,.0f} images·copies/s ({best}), {rates[best] / base:.1f}× a stock loop's {base:,.0f}"
    )


def rate(images: int, make: Callable[[], Callable[[], None]], device: torch.device) -> float:
    """Images a second of a step that takes so many."""
    step = make()
    for _ in range(2):  # which records and compiles
        step()
    synchronised(device)
    return images / timed(step, device)


def steps_of(
    scale: Scale, device: torch.device, precision: Precision
) -> dict[str, tuple[int, Callable[[], Callable[[], None]]]]:
    """Ways to take a step by their names: how many copies each has, and what makes it."""
    module = built(scale, device).train()
    inputs = torch.randn(scale.batch, *scale.shape, device=device)
    labels = torch.randint(0, 10, (scale.batch,), device=device)
    alone = replace(ALONE, captured=True)
    branches = replace(alone, pack_size=scale.copies, streams=True)
    found = [alone, branches, replace(alone, channels_last=True)]
    if scale.compiles and (device.type == "cuda" or precision == "fp32"):  # a minute each on a CPU
        found += [replace(alone, compiled=True), replace(branches, compiled=True)]
    found += [replace(branches, channels_last=True), replace(branches, streams=False), ALONE]
    stocks = {STOCK: None, f"stock loop, {precision} as here": precision}
    return {
        **{name: (1, partial(stock, module, inputs, labels, how)) for name, how in stocks.items()},
        **{
            str(way): (way.pack_size, partial(stepping, module, inputs, labels, precision, way))
            for way in found
        },
    }


def search(scale: Scale, device: torch.device) -> Part:
    """A whole search of 2 cycles × 12 rates."""
    way = Execution(pack_size=12, captured=True, streams=True) if device.type == "cuda" else ALONE
    length = scale.training
    recipe = recipe_of(
        scale, device, way, length=length, evaluate_every=length // 4, retraining="lr_rewinding"
    )
    rules = Rules(
        policy=OraclePolicy(grid=Grid(values=log_values(0.003, 1.0, 12), scale="log", limit=0)),
        cycles=2,
        replicates=1,
        tolerance=0.005,
        pack_size=way.pack_size,
        attempts=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        found = whole_search.summary(
            *whole_search.run(rules, Runner(recipe, storage=folder)), whole_search.images_of(recipe, 0)
        )
    for name in ("trainings", "diverged", "trainings_per_second", "images_copies_per_second"):
        yield name, found[name]
    for each in found["cycles"]:
        yield f"cycle {each['cycle']}: optimum", each["optimum"]
        yield f"cycle {each['cycle']}: accuracy", each["validation_accuracy"]
    return (
        f"{found['trainings']} trainings of {length} steps, {found['trainings_per_second']:.2f} a second, "
        f"best {found['cycles'][-1]['validation_accuracy']:.0%} at the last cycle"
    )


def choice(scale: Scale, device: torch.device) -> Part:
    """What a long search of it would be trained by, and why."""
    recipe = recipe_of(scale, device, length=20_000)
    with tempfile.TemporaryDirectory() as folder:
        chosen = choose_execution(
            recipe,
            Runner(recipe, storage=folder),
            Wishes(compile=None if scale.compiles else False),
            Workload(cycles=2, candidates=12, replicates=1, workers=1, device=device.type),
        )
    yield "way", str(chosen.execution)
    yield "reason", chosen.reason
    return f"{chosen.execution}: {chosen.reason}"
