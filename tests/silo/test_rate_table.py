"""What a scheduler of a table does otherwise than its sister, and the tables that it takes."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from silo import InvalidInput
from silo.scheduler import RateTableLR, SiloLR
from tests.silo.scheduler_toys import CURVE, KINDS, Toy

TABLE = [0.03, 0.1, 0.05]


@pytest.mark.parametrize("given", [TABLE, tuple(TABLE), np.array(TABLE), pd.Series(TABLE), iter(TABLE)])
def test_each_cycle_has_its_rate_and_the_last_holds_for_all_later_ones(given: Any) -> None:
    toy = Toy(rates=(0.2, 0.1))
    scheduler = RateTableLR(toy.optimizer, given, warmup=2)
    found = []
    for _ in range(5):
        found.append(scheduler.max_lr)
        assert toy.train(scheduler, 3)[1] == [scheduler.max_lr, scheduler.max_lr / 2]
        scheduler.next_cycle()
    assert found == [0.03, 0.1, 0.05, 0.05, 0.05]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (
            0.1,
            r"rates must be a list of numbers, those of cycles 0, 1, …, not 0\.1: give \[0\.05, 0\.1\], or",
        ),
        ("0.1", "rates must be a list of numbers, .* not '0.1'"),
        ({0: 0.1}, "rates must be a list of numbers, .* not {0: 0.1}"),
        ({0.1, 0.2}, "rates must be a list of numbers, .* not {0"),
        (CURVE, "rates must be a list of numbers, .* not SiloCurve"),
        ([], "rates must have a number for cycle 0 at least, not none"),
        ([0.1, 0], r"rates\[1\] must be above 0, not 0: give"),
        ([0.1, -0.1], r"rates\[1\] must be above 0, not -0.1"),
        ([0.1, None], r"rates\[1\] must be a number, not None"),
        ([float("nan")], r"rates\[0\] must be finite, not nan"),
        ([True], r"rates\[0\] must be a number, not True"),
    ],
)
def test_what_is_no_table_is_named_and_leaves_the_optimizer_alone(rates: Any, message: str) -> None:
    toy = Toy(rates=(0.2, 0.1))
    with pytest.raises(InvalidInput, match=message) as raised:
        RateTableLR(toy.optimizer, rates)
    assert "\n" not in str(raised.value)
    assert toy.rates() == [0.2, 0.1] and "initial_lr" not in toy.optimizer.param_groups[0]


def test_the_sisters_do_not_take_each_others_states() -> None:
    one, other = (make(Toy().optimizer, warmup=3) for make in KINDS.values())
    assert isinstance(one, SiloLR) and isinstance(other, RateTableLR)
    with pytest.raises(
        InvalidInput, match="not a state of this RateTableLR: it has 'curve': known are rates"
    ):
        other.load_state_dict(one.state_dict())
    with pytest.raises(InvalidInput, match="not a state of this SiloLR: it has 'rates': known are curve"):
        one.load_state_dict(other.state_dict())
    with pytest.raises(InvalidInput, match=r"this RateTableLR: rates\[0\] must be above 0, not -1"):
        other.load_state_dict(other.state_dict() | {"rates": [-1]})
