import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo.warmup import multiplier
from trials.schedules import warmup_drops


def values(steps: int, *, warmup: int = 0, milestones: list[int], factor: float = 0.1) -> list[float]:
    return [multiplier(step, warmup=warmup, milestones=milestones, factor=factor) for step in range(steps)]


def test_rises_to_one_then_drops_tenfold() -> None:
    expected = [0.25, 0.5, 0.75, 1, 1, 0.1, 0.1, 0.01]
    assert values(8, warmup=4, milestones=[5, 7]) == pytest.approx(expected, rel=1e-15)


def test_no_step_is_lost_on_a_rate_of_zero() -> None:
    assert multiplier(0, warmup=10_000, milestones=()) == 1e-4
    assert values(3, milestones=[]) == [1.0, 1.0, 1.0]
    assert multiplier(10**9, warmup=1, milestones=(2,)) == 0.1


def test_a_milestone_inside_the_warmup_divides_the_ramp() -> None:
    assert values(4, warmup=4, milestones=[2], factor=0.5) == [0.25, 0.5, 0.375, 0.5]


@settings(deadline=None)
@given(
    steps=st.integers(1, 60),
    warmup=st.integers(0, 60),
    milestones=st.sets(st.integers(1, 59), max_size=4),
    factor=st.floats(0.001, 1),
)
def test_is_the_schedule_of_a_trial_to_the_bit(
    steps: int, warmup: int, milestones: set[int], factor: float
) -> None:
    warmup, drops = min(warmup, steps), sorted(drop for drop in milestones if drop < steps)
    schedule = warmup_drops(steps=steps, steps_per_unit=1, warmup=warmup, drops=drops, factor=factor)
    ours = values(steps, warmup=warmup, milestones=drops, factor=factor)
    assert ours == [schedule(step) for step in range(steps)]
    assert all(0 < value <= 1 for value in ours)
    for step, (before, after) in enumerate(itertools.pairwise(ours), start=1):
        if step not in drops:
            assert after > before if step < warmup else after == before
