"""What runs of one search state of SILO's curve: where the point rule and the chances contradict themselves.

    python -m tests.benchmarks.agreement FOLDER [--keep]

Runs the demo under five seeds (other data splits, weights and batches), and under four other arithmetics with
the first seed (other last digits, which a chaotic training makes other results). Each is a process with a
ledger of its own in FOLDER; what is there already is not run again. Then it prints, per cycle, what each run
states of SILO's curve with the spec's numbers and of a constant rate. Two runs contradict each other at a
cycle that one of them calls inside and the other outside; runs that are equal to the last bit count once.

The point rule knows ✓ (in the interval of the means) and ✗; the model ✓, ✗ and ? (can't be told).
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

import oracle
from oracle.results.results import Results
from silo.landscape import CycleBelief
from tests.benchmarks.machine import header, keep

_DEMO = Path(oracle.__file__).parent / "examples" / "digits.yaml"
_CONSTANT = 0.055
_SIGNS = {"inside": "✓", "outside": "✗", "unknown": "?"}


@dataclass(frozen=True)
class Setting:
    """One run: name, seed, what its process finds in the environment, threads per training, and policy."""

    name: str
    seed: int = 0
    environment: tuple[tuple[str, str], ...] = ()
    threads: int = 1
    policy: str = "oracle"


SEEDS = tuple(Setting(f"seed-{seed}", seed) for seed in range(5))
ARITHMETICS = (
    SEEDS[0],
    Setting("aten-default", environment=(("ATEN_CPU_CAPABILITY", "default"),)),
    Setting("aten-avx2", environment=(("ATEN_CPU_CAPABILITY", "avx2"),)),
    Setting("onednn-avx2", environment=(("ONEDNN_MAX_CPU_ISA", "AVX2"),)),
    Setting("two-threads", environment=(("OMP_NUM_THREADS", "2"),), threads=2),
)
#: Per rule, a sign for each cycle.
Stated = dict[str, str]


def results(setting: Setting, folder: Path) -> Results:
    """The finished search, run where it isn't finished yet."""
    place = folder / setting.name
    place.mkdir(parents=True, exist_ok=True)
    path, ledger = place / "digits.yaml", f"sqlite:///{place}/ledger.db"
    spec = YAML(typ="safe").load(_DEMO.read_text())
    spec["policy"] = {"name": setting.policy}
    spec |= {"seed": setting.seed, "storage": str(place / "files"), "ledger": ledger}
    spec["resources"] |= {"cpus": setting.threads}
    YAML(typ="safe").dump(spec, path)
    if not ((place / "ledger.db").exists() and oracle.load("digits", ledger).done):
        command = [sys.executable, "-m", "oracle", "run", str(path), "--driver", "in-process"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | dict(setting.environment)
        print(f"running {setting.name}", file=sys.stderr, flush=True)
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return oracle.load("digits", ledger)


def stated(found: Results, beliefs: Sequence[CycleBelief], rate: Callable[[int], float]) -> Stated:
    """What each rule states of a curve of rates: a sign per cycle."""
    point = ("✓" if each.interval.contains(rate(each.cycle)) else "✗" for each in found.decided)
    model = (_SIGNS[each.loss(rate(each.cycle)).verdict] for each in beliefs)
    return {"point rule": "".join(point), "model": "".join(model)}


def contradictions(signs: Sequence[str]) -> tuple[int, int]:
    """How many pairs of runs contradict each other at a cycle, of how many."""
    pairs = [pair for one, two in itertools.combinations(signs, 2) for pair in zip(one, two, strict=True)]
    return sum({"✓", "✗"} == set(pair) for pair in pairs), len(pairs)


def main() -> None:
    """Runs what is missing and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="write results/DATE-agreement.json")
    options = parser.parse_args()
    folder = options.folder.resolve()
    curves: dict[str, dict[str, Stated]] = {"SILO's curve": {}, f"constant {_CONSTANT}": {}}
    same_as: dict[str, str] = {}
    seen: dict[frozenset[tuple[int, int, float, float]], str] = {}
    for setting in dict.fromkeys(SEEDS + ARITHMETICS):
        found = results(setting, folder)
        outcomes = frozenset((t.cycle, t.replicate, t.max_lr, t.score) for t in found.outcomes)
        same_as[setting.name] = seen.setdefault(outcomes, setting.name)
        print(f"{setting.name}: {found.execution}", file=sys.stderr)
        assert found.predicted is not None, "the demo's spec has SILO's numbers"
        beliefs = found.beliefs
        for name, rate in zip(curves, (found.predicted.max_lr, lambda _: _CONSTANT), strict=True):
            curves[name][setting.name] = stated(found, beliefs, lambda cycle, rate=rate: float(rate(cycle)))
    counts = {}
    for curve, rows in curves.items():
        table = Table("run", "point rule", "model", title=f"{curve}, per cycle")
        for name, signs in rows.items():
            again = "" if same_as[name] == name else f" = {same_as[name]}"
            table.add_row(name + again, signs["point rule"], signs["model"])
        Console(width=110).print(table)
        for group, settings in {"seeds": SEEDS, "arithmetics": ARITHMETICS}.items():
            for rule in ("point rule", "model"):
                stood = [rows[name][rule] for name in dict.fromkeys(same_as[s.name] for s in settings)]
                wrong, of = contradictions(stood)
                told = "".join(stood)
                counts[f"{curve}, {group}, {rule}"] = {
                    "contradictions": wrong, "pairs": of, **{sign: told.count(sign) for sign in "✓✗?"}
                }  # fmt: skip
                print(f"{curve}, {group}, {rule}: {wrong} of {of} pairs contradict each other")
    print(", ".join(f"{key} {value}" for key, value in header().items()))
    if options.keep:
        print(f"kept as {keep('agreement', {'stated': curves, 'counts': counts})}")


if __name__ == "__main__":
    main()
