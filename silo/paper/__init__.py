"""The paper's Tables 2 to 14 as data: what SILO and other schedules reach, and what an Oracle found.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144, Sections 5 and 6. The numbers are those printed there; they and the
facts about each table lie in ``silo/paper/tables`` as CSV.
"""

import csv
from dataclasses import dataclass
from importlib import resources
from numbers import Integral
from typing import Literal, overload

from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.measured import CycleInterval

_CURVES = {
    10: SiloCurve(q=1, beta=5.0, epsilon=0.04, delta=0.06, pruning_rate=0.2),
    11: SiloCurve(q=1, beta=5.0, epsilon=0.03, delta=0.04, pruning_rate=0.2),
}


@dataclass(frozen=True, kw_only=True)
class OracleTable:
    """Table 10 or 11; its tuples have one entry per column of the printed table.

    Attributes:
        number: 10 or 11.
        caption: what was measured.
        network: what was pruned, as are the next three: names as in ``AccuracyTable``.
        dataset: the data set.
        pruner: the pruning method.
        optimizer: the optimizer.
        intervals: the Oracle's optima and intervals as learning rates. Their cycles are those whose density
            0.8^m is nearest to the printed one, since the table names densities, not cycles.
        densities: λ, the printed percent of weights that remain, in (0, 100].
        printed_silo: the rates that the paper prints for SILO; rounded or cut off, so within 1e-3 of
            ``curve``.
        curve: SILO with the parameters that the paper states for this network.
    """

    number: int
    caption: str
    network: str
    dataset: str
    pruner: str
    optimizer: str
    intervals: tuple[CycleInterval, ...]
    densities: tuple[float, ...]
    printed_silo: tuple[float, ...]
    curve: SiloCurve

    @property
    def missed_cycles(self) -> tuple[int, ...]:
        """The cycles whose printed SILO rate lies outside the Oracle's interval: none in Table 10."""
        pairs = zip(self.intervals, self.printed_silo, strict=True)
        return tuple(interval.cycle for interval, rate in pairs if not interval.contains(rate))


@dataclass(frozen=True, kw_only=True)
class AccuracyRow:
    """One schedule's accuracy at one density: mean and spread over the paper's runs (5 where it says).

    Attributes:
        network: such as "ResNet-20".
        method: the learning-rate schedule: "constant LR", "LR decay", "cosine decay", "cyclical LR",
            "LR-warmup" or "SILO".
        q: SILO's delay in cycles; None for other schedules, and where the paper states none (Tables 12, 13).
        beta: SILO's steepness β; None as for ``q``.
        density_percent: λ, the printed percent of weights that remain, in (0, 100].
        cycle: m, the number of completed pruning cycles at a pruning rate of 0.2, which the paper does not
            print: that whose f + (1 − f)·0.8^m is nearest to the density, with f = 0.24 % of the weights
            never pruned. None in Table 14, where whole filters go and the densities follow no such m.
        accuracy_percent: mean top-1 test accuracy, in [0, 100].
        std_percent: standard deviation over the runs, in percentage points.
    """

    network: str
    method: str
    q: int | None
    beta: float | None
    density_percent: float
    cycle: int | None
    accuracy_percent: float
    std_percent: float


@dataclass(frozen=True, kw_only=True)
class AccuracyTable:
    """One of Tables 2 to 9 and 12 to 14: test accuracies of schedules over densities.

    Attributes:
        number: of the table in the paper.
        caption: what was measured.
        network: such as "ResNet-20"; None in Table 14, which has two: its rows name theirs.
        dataset: "CIFAR-10", "CIFAR-100" or "ImageNet".
        pruner: "global magnitude", "global gradient", "LAMP", "LAP", "IMP" or "L1 norm filter".
        optimizer: "SGD", "Adam" or "RMSProp".
        dense_accuracy_percent: top-1 test accuracy before pruning, in [0, 100], as Tables 2 to 7 state it;
            None elsewhere (Tables 12 and 13 have rows at density 100 instead).
        parameters: the network's size as Tables 12 and 13 state it, else None. Their 227,000 is not what a
            ResNet-20 for CIFAR-10 has: about 270,000.
        iterations: of training in each cycle, as Tables 12 and 13 state them, else None.
        batch_size: in images, as Tables 12 and 13 state it, else None.
        rows: one for each row and column printed, in the order of the paper: row by row.
    """

    number: int
    caption: str
    network: str | None
    dataset: str
    pruner: str
    optimizer: str
    dense_accuracy_percent: float | None
    parameters: int | None
    iterations: int | None
    batch_size: int | None
    rows: tuple[AccuracyRow, ...]


@overload
def load_table(number: Literal[10, 11]) -> OracleTable: ...
@overload
def load_table(number: Literal[2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14]) -> AccuracyTable: ...
@overload
def load_table(number: int) -> OracleTable | AccuracyTable: ...
def load_table(number: int) -> OracleTable | AccuracyTable:
    """A table of the paper by its number: 10 and 11 are the Oracle's, the others accuracies.

    What to know before quoting them:

    - The paper's own curve lies in all of Table 10's intervals, but in three of the five of Table 11: it
      misses those of cycles 3 and 7.
    - The gains that Section 5.2 states, and Section 6 for Table 14, are relative to LR-warmup, not points:
      Table 2's "1.8 %" is 82.7 over 81.2, which is 1.5 points. Those for Table 7 are over LR-warmup too
      (1.3 % and 1.6 %), though it names cosine decay, over which they would be 1.7 % and 2.2 %.
    - SILO has the best mean in every column of Tables 2 to 7, 12 and 14. Table 13 has one where it has not:
      at density 100, LR-warmup has 88.9 and SILO 88.7.
    - Table 8 repeats two rows of Table 2, but prints the last standard deviation of LR-warmup as 1.2, not
      1.1.

    Args:
        number: 2 to 14.

    Raises:
        InvalidInput: there is no such table here.
    """
    facts = _facts(number)
    return _oracle_table(facts) if int(facts["number"]) in _CURVES else _accuracy_table(facts)


def _facts(number: object) -> dict[str, str]:
    known = {int(row["number"]): row for row in _records("tables")}
    if not isinstance(number, Integral) or int(number) not in known:
        raise InvalidInput(
            f"there is no table {number!r}: give 2 to 14 (1 only describes the schedules; "
            "15 and later are in the paper's appendix and not packaged)"
        )
    return known[int(number)]


def _records(name: str) -> list[dict[str, str]]:
    source = resources.files("silo.paper").joinpath("tables", f"{name}.csv")
    with source.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _oracle_table(facts: dict[str, str]) -> OracleTable:
    number = int(facts["number"])
    rows = _records(f"table{number}")
    return OracleTable(
        number=number,
        caption=facts["caption"],
        network=facts["network"],
        dataset=facts["dataset"],
        pruner=facts["pruner"],
        optimizer=facts["optimizer"],
        intervals=tuple(_interval(row) for row in rows),
        densities=tuple(float(row["density_percent"]) for row in rows),
        printed_silo=tuple(float(row["silo"]) for row in rows),
        curve=_CURVES[number],
    )


def _accuracy_table(facts: dict[str, str]) -> AccuracyTable:
    return AccuracyTable(
        number=int(facts["number"]),
        caption=facts["caption"],
        network=facts["network"] or None,
        dataset=facts["dataset"],
        pruner=facts["pruner"],
        optimizer=facts["optimizer"],
        dense_accuracy_percent=_float(facts["dense_accuracy_percent"]),
        parameters=_int(facts["parameters"]),
        iterations=_int(facts["iterations"]),
        batch_size=_int(facts["batch_size"]),
        rows=tuple(_row(row) for row in _records(f"table{facts['number']}")),
    )


def _interval(row: dict[str, str]) -> CycleInterval:
    return CycleInterval(
        cycle=int(row["cycle"]), optimum=float(row["optimum"]), low=float(row["low"]), high=float(row["high"])
    )


def _row(row: dict[str, str]) -> AccuracyRow:
    return AccuracyRow(
        network=row["network"],
        method=row["method"],
        q=_int(row["q"]),
        beta=_float(row["beta"]),
        density_percent=float(row["density_percent"]),
        cycle=_int(row["cycle"]),
        accuracy_percent=float(row["accuracy_percent"]),
        std_percent=float(row["std_percent"]),
    )


def _int(text: str) -> int | None:
    return int(text) if text else None


def _float(text: str) -> float | None:
    return float(text) if text else None
