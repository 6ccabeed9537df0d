from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo.cost import (
    Cost,
    joint_search_cost,
    oracle_cost,
    silo_cost,
    silo_tuning_cost,
)
from silo.curve import SiloCurve
from silo.errors import InvalidInput

Rates = tuple[float, ...]

sizes = {"n": st.integers(1, 4), "k": st.integers(1, 5), "r": st.integers(1, 3)}
grids = st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True)


def trainings(sequences: Iterable[Rates]) -> int:
    """A training is what the rates of its cycle and all before it make of a network: a prefix."""
    return len({rates[: m + 1] for rates in sequences for m in range(len(rates))})


def candidates(n: int) -> tuple[list[float], list[float]]:
    return [0.03 + 0.01 * i for i in range(n)], [0.02 + 0.013 * i for i in range(n)]


def curves(
    epsilons: Iterable[float], n: int, k: int, qs: Iterable[int], b: int, pruning_rate: float = 0.2
) -> list[Rates]:
    return [
        tuple(
            SiloCurve(
                q=q, beta=3.1 + 0.7 * i, epsilon=epsilon, delta=delta, pruning_rate=pruning_rate
            ).max_lr(range(k))
        )
        for epsilon, delta, q, i in product(epsilons, candidates(n)[1], qs, range(b))
    ]


@settings(deadline=None)
@given(**sizes, picks=st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_the_oracle_goes_on_from_each_winner(n: int, k: int, r: int, picks: list[int]) -> None:
    grid, best, tried = candidates(n)[0], (), []
    for m in range(k):
        tried += [(*best, rate) for rate in grid]
        best = (*best, grid[picks[m] % n])
    assert oracle_cost(n, k, r).trainings == r * trainings(tried) == n * k * r


@settings(deadline=None)
@given(**sizes)
def test_the_joint_search_tries_every_sequence(n: int, k: int, r: int) -> None:
    sequences = list(product(candidates(n)[0], repeat=k))
    assert joint_search_cost(n, k, r).trainings == r * trainings(sequences)
    assert joint_search_cost(n, k, r, share_prefixes=False).trainings == r * k * len(sequences)


@settings(deadline=None)
@given(k=sizes["k"], r=sizes["r"], q=st.integers(0, 6))
def test_a_known_curve_trains_once_a_cycle(k: int, r: int, q: int) -> None:
    assert silo_cost(k, r).trainings == r * trainings(curves([0.04], 1, k, [q], 1))
    assert silo_tuning_cost(1, k, r, q_values=[q]).trainings == silo_cost(k, r).trainings


@settings(deadline=None)
@given(**sizes, qs=grids, b=st.integers(1, 3), pick=st.integers(0, 3))
def test_tuning_one_after_the_other(n: int, k: int, r: int, qs: list[int], b: int, pick: int) -> None:
    epsilons = candidates(n)[0]
    sequences = [(epsilon,) for epsilon in epsilons] + curves([epsilons[pick % n]], n, k, qs, b)
    cost = silo_tuning_cost(n, k, r, q_values=qs, beta_values=b)
    assert cost.trainings == r * trainings(sequences)


@settings(deadline=None)
@given(**sizes, qs=grids, b=st.integers(1, 3))
def test_tuning_together(n: int, k: int, r: int, qs: list[int], b: int) -> None:
    sequences = curves(candidates(n)[0], n, k, qs, b)
    cost = silo_tuning_cost(n, k, r, q_values=qs, beta_values=b, together=True)
    assert cost.trainings == r * trainings(sequences)


def test_beta_has_no_effect_one_cycle_after_q_when_half_is_pruned() -> None:
    sequences = curves([0.04], 2, 5, [1], 3, pruning_rate=0.5)
    assert trainings(sequences) == 2 + 2 * (1 + 3 * 2) < 2 + 2 * 3 * 3


def compared(n: int, k: int, r: int, *, q: int = 1) -> tuple[Cost, ...]:
    return (
        silo_cost(k, r),
        silo_tuning_cost(n, k, r, q_values=(q,)),
        oracle_cost(n, k, r),
        silo_tuning_cost(n, k, r, q_values=(q,), together=True),
        joint_search_cost(n, k, r),
    )


@settings(deadline=None)
@given(n=st.integers(1, 50), k=st.integers(1, 40), r=st.integers(1, 5), q=st.integers(0, 39))
def test_how_they_compare(n: int, k: int, r: int, q: int) -> None:
    known, tuned, oracle, together, joint = (cost.trainings for cost in compared(n, k, r, q=q))
    assert known * n == oracle
    assert oracle - tuned == (n - 1) * min(q, k - 1) * r
    assert known <= tuned <= oracle <= together <= joint


def test_golden_numbers() -> None:
    """19 rates, 25 cycles, 5 replicates."""
    assert [cost.trainings for cost in compared(19, 25, 1)] == [
        25,
        457,
        475,
        19 * 439,
        sum(19**j for j in range(1, 26)),
    ]
    assert silo_tuning_cost(19, 25, 5, q_values=range(4), beta_values=4).trainings == 5 * (19 + 3 + 76 * 90)


def test_the_formulas_are_what_was_counted() -> None:
    """Each formula as Python, for one size."""
    n, k, r, q, b = 4, 6, 3, 2, 2
    rises = sum(k - 1 - each for each in (0, 1, 3))
    as_python = {
        "n·k·r": n * k * r,
        "k·r": k * r,
        "r·(n + n² + … + n^k)": r * sum(n**j for j in range(1, k + 1)),
        "k·n^k·r": k * n**k * r,
        "r·(n + q + n·(k − 1 − q))": r * (n + q + n * (k - 1 - q)),
        "r·n·(1 + q + n·(k − 1 − q))": r * n * (1 + q + n * (k - 1 - q)),
        "r·(n + Q + b·n·Σ_q (k − 1 − q))": r * (n + 3 + b * n * rises),
        "r·n·(1 + Q + b·n·Σ_q (k − 1 − q))": r * n * (1 + 3 + b * n * rises),
    }
    costs = [
        *compared(n, k, r, q=q),
        joint_search_cost(n, k, r, share_prefixes=False),
        silo_tuning_cost(n, k, r, q_values=(0, 1, 3), beta_values=b),
        silo_tuning_cost(n, k, r, q_values=(3, 1, 0), beta_values=b, together=True),
    ]
    assert {cost.formula: cost.trainings for cost in costs} == as_python
    assert len({cost.policy for cost in costs[:6]}) == 6
    assert all(cost.explanation.endswith(".") for cost in costs)


@pytest.mark.parametrize("value", [0, 2.0, "3"])
@pytest.mark.parametrize("name", ["values", "cycles", "replicates", "beta_values"])
def test_bad_sizes_are_named(name: str, value: Any) -> None:
    good: dict[str, Any] = {"values": 3, "cycles": 4, "replicates": 2, "beta_values": 1}
    with pytest.raises(InvalidInput) as raised:
        silo_tuning_cost(**(good | {name: value}))
    message = str(raised.value)
    assert message.startswith(name) and repr(value) in message and "give" in message and "\n" not in message
    if name != "beta_values":
        sizes_only = {key: good[key] for key in ("values", "cycles", "replicates")} | {name: value}
        for count in (oracle_cost, joint_search_cost):
            with pytest.raises(InvalidInput, match=f"^{name} must"):
                count(**sizes_only)
    if name in ("cycles", "replicates"):
        with pytest.raises(InvalidInput, match=f"^{name} must"):
            silo_cost(**({"cycles": 4, "replicates": 2} | {name: value}))


def test_a_measured_cost_can_stand_beside_them() -> None:
    cost = {"policy": "adaptive search", "formula": "measured", "explanation": "Counted."}
    assert Cost(trainings=123, **cost).trainings == 123
    with pytest.raises(InvalidInput, match="trainings must be at least 1"):
        Cost(trainings=0, **cost)


@pytest.mark.parametrize("q_values", [(), (1, 1), (-1,), "01", 1])
def test_bad_q_values_are_named(q_values: Any) -> None:
    with pytest.raises(InvalidInput, match=r"q_values .*not .*give "):
        silo_tuning_cost(3, 4, 2, q_values=q_values)
