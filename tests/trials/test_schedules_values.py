"""Schedules by hand: which step has which value, what holds for all, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silo.errors import InvalidInput
from trials.schedules import SCHEDULES, multipliers
from trials.tasks import Component

NAN, INF = float("nan"), float("inf")


def values(name, length, /, *, unit=1, fine_tuning=False, **arguments):
    component = Component(name=name, arguments=arguments)
    return multipliers(component, steps=length, steps_per_unit=unit, fine_tuning=fine_tuning)


def about(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_one_cycle_where_torch_divides_by_zero():
    linear = {"anneal_strategy": "linear", "div_factor": 4, "final_div_factor": 2}
    assert values("one_cycle", 4, pct_start=0.25, **linear) == about([1, 1 - 0.875 / 3, 1 - 1.75 / 3, 0.125])
    assert values("one_cycle", 4, pct_start=1, **linear) == about([0.25, 0.5, 0.75, 1])
    assert values("one_cycle", 1, pct_start=1, **linear) == [1.0]


def test_a_training_of_a_single_step():
    assert values("linear_decay", 1) == values("cosine", 1) == values("cosine", 1, warmup=1) == [1.0]


@pytest.mark.parametrize(
    ("name", "in_units", "in_steps"),
    [
        ("linear_decay", {"over": 2.5, "final": 0.1}, {"over": 10, "final": 0.1}),
        ("cyclical", {"low": 0.1, "step": 1.5}, {"low": 0.1, "step": 6}),
        ("cosine", {"warmup": 0.5}, {"warmup": 2}),
        ("one_cycle", {}, {}),
    ],
)
def test_lengths_are_in_the_recipes_unit(name, in_units, in_steps):
    assert values(name, 20, unit=4, **in_units) == values(name, 20, **in_steps)


@st.composite
def any_schedule(draw):
    steps = draw(st.integers(1, 50))
    ratio, factor, inside = st.floats(0.0, 1.0), st.floats(1.0, 1e15), st.integers(1, steps)
    choices = {
        "constant": {},
        "warmup_drops": {"warmup": inside},
        "linear_decay": {"over": st.none() | inside, "final": ratio},
        "cyclical": {"low": ratio, "step": st.integers(1, max(1, steps - 1))},
        "cosine": {"warmup": inside, "final": ratio},
        "one_cycle": {
            "pct_start": ratio,
            "div_factor": factor,
            "final_div_factor": factor,
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
        },
    }
    assert choices.keys() == SCHEDULES.keys()
    name = draw(st.sampled_from([name for name in choices if name != "cyclical" or steps > 1]))
    return name, steps, draw(st.fixed_dictionaries(choices[name]))


@settings(deadline=None, max_examples=300)
@given(any_schedule())
def test_every_multiplier_lies_between_0_and_1_and_the_peak_is_reached(drawn):
    name, steps, arguments = drawn
    got = values(name, steps, **arguments)  # raises where one doesn't
    assert len(got) == steps
    assert name == "one_cycle" or max(got) == 1.0
    if "final" in arguments:
        assert min(got[arguments.get("warmup", 0) :], default=1.0) >= arguments["final"]


REFUSED = [
    ("linear_decay", {"over": 0}, r"over must lie between one step and the training's length, got 0"),
    ("linear_decay", {"over": 11}, r"got 11 \(22 of 20 steps\)"),
    ("linear_decay", {"over": 0.2}, r"got 0.2 \(0 of 20 steps\)"),
    ("linear_decay", {"over": -1}, "got -1"),
    ("linear_decay", {"over": "2"}, "over must be a number, got '2'"),
    ("linear_decay", {"over": INF}, "over must be a number, got inf"),
    ("linear_decay", {"over": 10**400}, "over must be a number"),
    ("linear_decay", {"final": 1.1}, r"final must lie in \[0, 1\], got 1.1"),
    ("linear_decay", {"final": -0.1}, "got -0.1"),
    ("linear_decay", {"final": NAN}, "got nan"),
    ("linear_decay", {"final": True}, "got True"),
    ("linear_decay", {"fianl": 0.1}, "takes no argument 'fianl' .did you mean 'final'"),
    ("cyclical", {"step": 2}, "needs the argument 'low'"),
    ("cyclical", {"low": 0.1}, "needs the argument 'step'"),
    ("cyclical", {"low": 0.1, "step": 0}, "step must lie between one step and"),
    ("cyclical", {"low": 0.1, "step": None}, "step must be a number, got None"),
    ("cyclical", {"low": 0.1, "step": 10}, r"so that max_lr is reached, got 10 \(20 of 20 steps\)"),
    ("cyclical", {"low": 2, "step": 1}, r"low must lie in \[0, 1\], got 2"),
    ("cosine", {"warmup": 11}, r"warmup must lie between 0 .* got 11 \(22 of 20 steps\)"),
    ("cosine", {"warmup": NAN}, "warmup must be a number, got nan"),
    ("cosine", {"final": "0"}, r"final must lie in \[0, 1\], got '0'"),
    ("one_cycle", {"pct_start": 1.2}, r"pct_start must lie in \[0, 1\], got 1.2"),
    ("one_cycle", {"div_factor": 0.5}, "div_factor must be a number of at least 1, got 0.5"),
    ("one_cycle", {"final_div_factor": 0}, "final_div_factor must be a number of at least 1, got 0"),
    ("one_cycle", {"final_div_factor": "1e4"}, "got '1e4'"),
    ("one_cycle", {"anneal_strategy": "cosine"}, "must be 'cos' or 'linear', got 'cosine'"),
]


def test_arguments_that_are_refused():
    for name, arguments, message in REFUSED:
        with pytest.raises(InvalidInput, match=message) as caught:
            values(name, 20, unit=2, **arguments)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("linear_decay", {"over": 10}),
        ("linear_decay", {}),
        ("cosine", {}),
        ("one_cycle", {}),
        ("cyclical", {"low": 0.0, "step": 1}),
        ("warmup_drops", {"drops": [5, 6, 7, 8]}),
    ],
)
def test_an_end_that_is_too_small_to_be_held_is_refused_for_fine_tuning_alone(name, arguments):
    assert len(values(name, 2001, **arguments)) == 2001
    with pytest.raises(
        InvalidInput, match=rf"schedule '{name}' ends at .* which fine_tuning would hold.*final"
    ):
        values(name, 2001, fine_tuning=True, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "end"),
    [
        ("constant", {}, 1.0),
        ("warmup_drops", {"drops": [5, 6, 7]}, 0.001),
        ("linear_decay", {"over": 10, "final": 0.001}, 0.001),
        ("cosine", {"final": 0.01}, 0.01),
        ("one_cycle", {"final_div_factor": 4}, 0.01),
    ],
)
def test_an_end_that_can_be_held(name, arguments, end):
    assert values(name, 2001, fine_tuning=True, **arguments)[-1] == pytest.approx(end, rel=1e-3)
