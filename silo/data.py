"""The paper's Tables 10 and 11 as data: what an Oracle found, and what SILO printed beside it."""

import csv
from dataclasses import dataclass
from importlib import resources

from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.intervals import CycleInterval

_CAPTIONS = {
    10: "VGG-19 on CIFAR-10, global magnitude: the Oracle's rates and intervals beside SILO's estimates",
    11: "ResNet-20 on CIFAR-10: the Oracle's rates and intervals beside SILO's estimates",
}
_CURVES = {
    10: SiloCurve(q=1, beta=5.0, epsilon=0.04, delta=0.06, pruning_rate=0.2),
    11: SiloCurve(q=1, beta=5.0, epsilon=0.03, delta=0.04, pruning_rate=0.2),
}


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One of the two tables; its tuples have one entry per column of the printed table.

    Attributes:
        number: 10 or 11.
        caption: what was measured.
        intervals: the Oracle's optima and intervals as learning rates. Their cycles are those whose density
            0.8^m is nearest to the printed one, since the table names densities, not cycles.
        densities: λ, the printed percent of weights that remain, in (0, 100].
        printed_silo: the rates that the paper prints for SILO; rounded or cut off, so within 1e-3 of
            ``curve``.
        curve: SILO with the parameters that the paper states for this network.
    """

    number: int
    caption: str
    intervals: tuple[CycleInterval, ...]
    densities: tuple[float, ...]
    printed_silo: tuple[float, ...]
    curve: SiloCurve


def load_table(number: int) -> PaperTable:
    """Table 10 (VGG-19) or 11 (ResNet-20) of Liu et al., TMLR 08/2023, arXiv 2212.06144, Section 5.4.

    The paper's own curve lies in all of Table 10's intervals, but in three of the five of Table 11: it
    misses those of cycles 3 and 7.

    Raises:
        InvalidInput: ``number`` is neither 10 nor 11.
    """
    if number not in (10, 11):
        raise InvalidInput(f"there is no table {number!r}: give 10 (VGG-19) or 11 (ResNet-20)")
    source = resources.files("silo").joinpath("tables", f"table{int(number)}.csv")
    with source.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return PaperTable(
        number=number,
        caption=_CAPTIONS[number],
        intervals=tuple(_interval(row) for row in rows),
        densities=tuple(float(row["density_percent"]) for row in rows),
        printed_silo=tuple(float(row["silo"]) for row in rows),
        curve=_CURVES[number],
    )


def _interval(row: dict[str, str]) -> CycleInterval:
    return CycleInterval(
        cycle=int(row["cycle"]), optimum=float(row["optimum"]), low=float(row["low"]), high=float(row["high"])
    )
