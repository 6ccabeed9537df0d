"""Schedules step by step against torch's own schedulers."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LinearLR, OneCycleLR, SequentialLR

from trials.schedules import multipliers
from trials.tasks import Component

EXACT = {"rel": 1e-12, "abs": 1e-12}


def ours(name, steps, /, *, unit=1, **arguments):
    return multipliers(Component(name=name, arguments=arguments), steps=steps, steps_per_unit=unit)


def theirs(make, steps):
    """The rate of each step under a torch scheduler whose peak is 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_linear_decay():
    for over, final in itertools.product([1, 7, 29, 30], [0.0, 0.05, 1.0]):
        make = partial(LinearLR, start_factor=1.0, end_factor=final, total_iters=over)
        assert ours("linear_decay", 30, over=over, final=final) == pytest.approx(theirs(make, 30), **EXACT)


def test_cyclical():
    for half, low in itertools.product([1, 4, 7, 29], [0.0, 0.25]):
        make = partial(CyclicLR, base_lr=low, max_lr=1.0, step_size_up=half, cycle_momentum=False)
        assert ours("cyclical", 30, low=low, step=half) == pytest.approx(theirs(make, 30), **EXACT)


def test_cosine():
    def make(sgd, warmup, final):
        decay = CosineAnnealingLR(sgd, T_max=30 - warmup, eta_min=final)
        if not warmup:
            return decay
        ramp = LinearLR(sgd, start_factor=1 / warmup, total_iters=warmup - 1)
        return SequentialLR(sgd, [ramp, decay], milestones=[warmup])

    for warmup, final in itertools.product([0, 2, 9, 29], [0.0, 0.1]):
        expected = theirs(partial(make, warmup=warmup, final=final), 30)
        assert ours("cosine", 30, warmup=warmup, final=final) == pytest.approx(expected, **EXACT)


def test_one_cycle():
    shapes = [
        {},
        {"pct_start": 0.0},
        {"pct_start": 0.45, "div_factor": 10, "final_div_factor": 30},
        {"pct_start": 0.99, "div_factor": 1, "final_div_factor": 2},
    ]
    for shape, steps, anneal in itertools.product(shapes, [1, 2, 3, 30, 67], ["cos", "linear"]):
        arguments = {"anneal_strategy": anneal, **shape}
        make = partial(OneCycleLR, max_lr=1.0, total_steps=steps, cycle_momentum=False, **arguments)
        assert ours("one_cycle", steps, **arguments) == pytest.approx(theirs(make, steps), **EXACT)


@settings(deadline=None, max_examples=30)
@given(
    steps=st.integers(1, 40),
    arguments=st.fixed_dictionaries(
        {
            "pct_start": st.floats(0.0, 1.0),
            "div_factor": st.floats(1.0, 100.0),
            "final_div_factor": st.floats(1.0, 1e5),
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
        }
    ),
)
def test_one_cycle_wherever_torch_divides_by_no_zero(steps, arguments):
    try:
        expected = theirs(
            lambda sgd: OneCycleLR(sgd, 1.0, total_steps=steps, cycle_momentum=False, **arguments), steps
        )
    except ZeroDivisionError:  # a phase without length: test_schedules_values.py says what we do
        return
    assert ours("one_cycle", steps, **arguments) == pytest.approx(expected, rel=1e-9, abs=1e-9)
