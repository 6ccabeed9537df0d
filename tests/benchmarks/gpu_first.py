"""What a GPU shows in ten minutes: what is right, what is fast, what breaks.

    python -m tests.benchmarks.gpu_first [--device cpu] [--scale small] [--parts equality …] [--out FOLDER]

It needs torch, torchvision, numpy, scipy, safetensors and scikit-learn. Each part runs in a process of its
own, for no longer than its time: what fails, hangs or breaks the GPU stops nothing else, and what it had
found by then is kept. A line is printed for each, and all of it is written after each, to
FOLDER/DATE-gpu-first-DEVICE.json, below tests/benchmarks/results unless told otherwise. On a CPU every part
runs as far as it goes, with a smaller network.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import RESULTS, header, keep

ROOT = Path(__file__).parents[2]

PARTS = {
    "ceilings": ("fast", 30),
    "equality": ("right", 120),
    "repeat": ("right", 45),
    "synchronisations": ("right", 30),
    "memory": ("right", 40),
    "kernels": ("fast", 60),
    "out_of_memory": ("breaks", 40),
    "device_assert": ("breaks", 30),
    "speed_fp32": ("fast", 75),
    "speed_bf16": ("fast", 75),
    "search": ("fast", 60),
    "speed_tf32": ("fast", 75),
    "choice": ("fast", 150),
}
"""The parts in their order: the module of :mod:`tests.benchmarks.gpu`, and the seconds that each may take;
the last ones get what is left."""

_SHORTEST = 5.0
"""Seconds below which no part is begun: torch's import takes as long."""


def main() -> None:
    """Runs the parts, or in a process of its own one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--scale", choices=["full", "small", "tiny"], help="full on CUDA, small on a CPU")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seconds", type=float, help="for all parts together: 570, on a CPU 1800")
    parser.add_argument("--patience", type=float, help="factor of each part's seconds: 1, on a CPU 4")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    cuda = options.device == "cuda"
    scale = options.scale or ("full" if cuda else "small")
    patience = options.patience or (1.0 if cuda else 4.0)
    if options.only:
        run_here(options.only, options.device, scale)
        return
    print(", ".join(f"{key} {value}" for key, value in header().items()), flush=True)
    end, found = time.monotonic() + (options.seconds or (570.0 if cuda else 1800.0)), {}
    for name in options.parts:
        limit = min(PARTS[name][1] * patience, end - time.monotonic())
        found[name] = run_apart(name, options.device, scale, limit)
        print(line(name, found[name]), flush=True)
        result = {"device": options.device, "scale": scale, "parts": found}
        kept = keep(f"gpu-first-{options.device}", result, options.out)
    print(f"kept as {kept}")


def run_here(name: str, device: str, scale: str) -> None:
    """Prints what a part finds, a JSON object a line, and last what it comes to."""
    from tests.benchmarks.gpu.scale import SCALES, begin

    module = importlib.import_module(f"tests.benchmarks.gpu.{PARTS[name][0]}")
    part = getattr(module, name)(SCALES[scale], begin(device))
    while True:
        try:
            what, value = next(part)
        except StopIteration as ended:
            print(json.dumps({"said": ended.value}), flush=True)
            return
        told = str(value) if isinstance(value, float) and not math.isfinite(value) else value
        print(json.dumps({"what": what, "value": told}), flush=True)


def run_apart(name: str, device: str, scale: str, limit: float) -> dict[str, Any]:
    """Runs a part in a process of its own; gives how it ended, and what it had found by then.

    The state is ``done``, ``failed``, ``late``, or ``left out`` where no time was left.
    """
    if limit < _SHORTEST:
        return {"state": "left out", "seconds": 0.0, "said": "", "found": {}, "error": ""}
    command = [sys.executable, "-m", __spec__.name, "--only", name, "--device", device, "--scale", scale]
    begin, late = time.monotonic(), False
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a compiler that it has started ends with it
    ) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
    whole = out.split("\n")[:-1]
    told = [json.loads(each) for each in whole if each.startswith('{"')]
    said = next((each["said"] for each in told if "said" in each), None)
    state = "done" if said is not None else "late" if late else "failed"
    return {
        "state": state,
        "seconds": round(time.monotonic() - begin, 1),
        "said": said or "",
        "found": {each["what"]: each["value"] for each in told if "what" in each},
        "exit": process.returncode,
        "error": "" if state == "done" else err[-3000:],
    }


def line(name: str, result: dict[str, Any]) -> str:
    """How a part ended, and what it comes to or else the last that is known of it."""
    last = [f"{what} {value}" for what, value in result["found"].items()][-1:]
    error = result["error"].strip().splitlines()[-1:] if result["state"] == "failed" else []
    said = result["said"] or "; ".join([*error, *(f"by then: {each}" for each in last)])
    return f"{name:17} {result['state']:8} {result['seconds']:4.0f} s  {said}"


if __name__ == "__main__":
    main()
