"""The cost of the Oracle and of SILO: the number of trainings of a whole search, exactly.

A training is one network of one cycle. It is fixed by its replicate and by the rates of its own cycle and all
cycles before, so two rate sequences share the trainings of their common prefix. Cycles are m = 0 … k − 1, the
first trains the dense network; n is the number of rates tried, r that of replicates.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144, Sections 4.3 and 5.4.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from silo import checks
from silo.errors import InvalidInput

# Text extracted from the paper's PDF has "O(n2)" for O(n²): exponents lose their place in it.
_PAPER = (
    "The paper's O(nk) for the Oracle must be O(n^k), its exponent lost, as it calls SILO's O(n²) "
    "exponentially less. That counts sequences of rates, each of k trainings, and fits this search only: the "
    "Oracle of Section 5.4 goes cycle by cycle, n·k trainings, and tuning SILO's ε and δ takes about as many."
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The trainings that one way to set the rates takes.

    Attributes:
        policy: what sets the rates, in a few words.
        trainings: how many networks are trained in all cycles and replicates, at least 1.
        formula: the same in symbols: n rates, k cycles, r replicates, q.
        explanation: where the count comes from, in sentences.

    Raises:
        InvalidInput: ``trainings`` is no whole number of at least 1.
    """

    policy: str
    trainings: int
    formula: str
    explanation: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "trainings", _at_least_one("trainings", self.trainings))


def oracle_cost(values: int, cycles: int, replicates: int) -> Cost:
    """The Oracle of Section 5.4, which goes on from each cycle's best rate: n·k·r.

    Args:
        values: n, the rates of the grid (without its extensions), at least 1.
        cycles: k, the dense one included, at least 1.
        replicates: r, at least 1.

    Raises:
        InvalidInput: a number is no whole number of at least 1.
    """
    n, k, r = _sizes(values, cycles, replicates)
    return Cost(
        policy="Oracle, cycle by cycle",
        trainings=n * k * r,
        formula="n·k·r",
        explanation="Each of k cycles trains n rates in r replicates; the next cycle prunes the best rate's "
        "networks.",
    )


def joint_search_cost(values: int, cycles: int, replicates: int, *, share_prefixes: bool = True) -> Cost:
    """The search of all n^k rate sequences: r·(n + n² + … + n^k), or k·n^k·r if nothing is shared.

    This is the only search that the paper's O(n^k) fits: see the explanation in what is returned.

    Args:
        values: n, the rates of the grid, at least 1.
        cycles: k, the dense one included, at least 1.
        replicates: r, at least 1.
        share_prefixes: a network is trained once for all sequences that begin alike; else once for each.

    Raises:
        InvalidInput: a number is no whole number of at least 1.
    """
    n, k, r = _sizes(values, cycles, replicates)
    if not share_prefixes:
        return Cost(
            policy="all sequences, each from scratch",
            trainings=k * n**k * r,
            formula="k·n^k·r",
            explanation=f"Each of n^k sequences of rates trains k networks in r replicates. {_PAPER}",
        )
    return Cost(
        policy="all sequences",
        trainings=r * (k if n == 1 else n * (n**k - 1) // (n - 1)),
        formula="r·(n + n² + … + n^k)",
        explanation="The n^(m + 1) sequences up to cycle m each train one network there in r replicates. "
        + _PAPER,
    )


def silo_cost(cycles: int, replicates: int) -> Cost:
    """SILO with q, β, ε and δ known: k·r.

    Args:
        cycles: k, the dense one included, at least 1.
        replicates: r, at least 1.

    Raises:
        InvalidInput: a number is no whole number of at least 1.
    """
    _, k, r = _sizes(1, cycles, replicates)
    return Cost(
        policy="SILO, parameters known",
        trainings=k * r,
        formula="k·r",
        explanation="Each of k cycles trains once in r replicates, with the curve's rate: 1/n of the "
        "Oracle's n·k·r.",
    )


def silo_tuning_cost(
    values: int,
    cycles: int,
    replicates: int,
    *,
    q_values: Iterable[int] = (1,),
    beta_values: int = 1,
    together: bool = False,
) -> Cost:
    """SILO with ε and δ tuned from n values each; the tuned curve's own networks are among the trainings.

    As Section 4.3 suggests it: ε by the dense network, n trainings; then δ by the network of the last cycle.
    A δ changes every rate after cycle q, so each takes a chain of k − 1 − q trainings, behind the q cycles
    that all share. In all r·(n + q + n·(k − 1 − q)) = r·(n·k − (n − 1)·q): (n − 1)·q·r below the Oracle. With
    ``together`` all n² pairs are tried: r·n·(1 + q + n·(k − 1 − q)), never below the Oracle. A q beyond k − 1
    counts as k − 1, as the curve never rises.

    Grids over q and b values of β multiply the chains: with Q the largest q, n·(k − 1 − q) becomes
    b·n·Σ_q (k − 1 − q), and q becomes Q. This takes different curves to differ from cycle q + 1 on. They do
    unless a δ is 0, two happen to meet there, or p = 1/2, where β has no effect on that cycle: then fewer.

    Args:
        values: n, the values of ε, and those of δ, at least 1.
        cycles: k, the dense one included, at least 1.
        replicates: r, at least 1.
        q_values: the q to try; distinct ints of at least 0, at least one. The paper suggests 0 to 3.
        beta_values: b, how many β to try, at least 1.
        together: ε is chosen together with the rest, and not before it.

    Raises:
        InvalidInput: a number is no whole number in its range, or ``q_values`` are empty or not distinct.
    """
    n, k, r = _sizes(values, cycles, replicates)
    b, qs = _at_least_one("beta_values", beta_values), _distinct(q_values)
    shared = min(max(qs), k - 1)
    chains = b * n * sum(max(k - 1 - q, 0) for q in qs)
    one_shape = b == 1 and len(qs) == 1
    level, rest = ("q", "n·(k − 1 − q)") if one_shape else ("Q", "b·n·Σ_q (k − 1 − q)")
    candidates = "δ" if one_shape else "q, β and δ"
    if together:
        return Cost(
            policy="SILO, all parameters tuned together",
            trainings=r * n * (1 + shared + chains),
            formula=f"r·n·(1 + {level} + {rest})",
            explanation=f"Each ε trains cycles 0 to {level} once for all its curves; each {candidates} then "
            "trains every cycle after q. Never below the Oracle's n·k·r.",
        )
    saved = " That is (n − 1)·q·r below the Oracle's n·k·r." if one_shape else ""
    return Cost(
        policy="SILO, ε tuned before the rest",
        trainings=r * (n + shared + chains),
        formula=f"r·(n + {level} + {rest})",
        explanation=f"Each ε trains the dense network; the best one trains cycles 1 to {level} once for all "
        f"its curves; each {candidates} then trains every cycle after q.{saved}",
    )


def _sizes(values: object, cycles: object, replicates: object) -> tuple[int, int, int]:
    return (
        _at_least_one("values", values),
        _at_least_one("cycles", cycles),
        _at_least_one("replicates", replicates),
    )


def _at_least_one(name: str, value: object) -> int:
    number = checks.whole(name, value)
    if number < 1:
        raise InvalidInput(f"{name} must be at least 1, not {value!r}: give an int such as 3")
    return number


def _distinct(q_values: Iterable[int]) -> tuple[int, ...]:
    if not isinstance(q_values, Iterable) or isinstance(q_values, str):
        raise InvalidInput(f"q_values must be a list of ints, not {q_values!r}: give (0, 1, 2, 3)")
    qs = tuple(checks.whole("a value of q_values", q) for q in q_values)
    if not qs or len(set(qs)) < len(qs):
        raise InvalidInput(f"q_values must be distinct and at least one, not {qs!r}: give (0, 1, 2, 3)")
    return qs
