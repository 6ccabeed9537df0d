from typing import Any

import pytest

from silo import InvalidInput
from silo.scheduler import SiloLR
from tests.silo.scheduler_toys import CURVE, Toy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"curve": 0.1}, "curve must be a SiloCurve, not a float: give"),
        ({"warmup": -1}, "warmup must be a number of iterations, finite and at least 0, not -1: give 10000"),
        ({"warmup": float("nan")}, "warmup must be .* not nan"),
        ({"warmup": 0.5}, "warmup must be a whole number of iterations, not 0.5: .* unit='epochs'"),
        (
            {"warmup": 1e308, "unit": "epochs", "steps_per_epoch": 100},
            "number of epochs, finite.* not 1e[+]308",
        ),
        ({"milestones": "567"}, "milestones must be a list of numbers, not '567'"),
        ({"milestones": [5, "6"]}, r"milestones\[1\] must be a number of iterations.* not '6'"),
        ({"milestones": [5, 3]}, r"milestones must ascend and be above 0, not \[5, 3\]"),
        ({"milestones": [0, 5]}, r"milestones must ascend .* not \[0, 5\]"),
        ({"milestones": [-5, 5]}, r"milestones\[0\] must be .* at least 0, not -5"),
        (
            {"milestones": [1, 1.01], "unit": "epochs", "steps_per_epoch": 10},
            r"not \[1, 1.01\] \(iterations \[10, 10\]\)",
        ),
        ({"factor": 0}, "factor must be above 0 and at most 1, not 0"),
        ({"factor": 10}, "factor must be above 0 and at most 1, not 10"),
        ({"unit": "epoch"}, r"no unit 'epoch': known are iterations, epochs; did you mean 'epochs'\?"),
        ({"unit": "epochs"}, r"unit='epochs' needs steps_per_epoch: give len\(loader\)"),
        ({"unit": "epochs", "steps_per_epoch": 0}, "steps_per_epoch must be an integer of at least 1, not 0"),
        ({"unit": "epochs", "steps_per_epoch": 2.5}, "steps_per_epoch must be .* not 2.5"),
        ({"unit": "iterations", "steps_per_epoch": True}, "steps_per_epoch must be .* not True"),
        (
            {"ratios": [1.0]},
            r"ratios must be 2, one for each parameter group, not \[1.0\]: give \[1.0, 1.0\]",
        ),
        ({"ratios": "12"}, "ratios must be a list of numbers, not '12'"),
        ({"ratios": [1, -1]}, r"ratios\[1\] must be at least 0, not -1"),
        ({"cycle": 1.0}, "cycle must be an integer of at least 0, not 1.0"),
    ],
)
def test_bad_arguments_are_named_and_leave_the_optimizer_alone(
    arguments: dict[str, Any], message: str
) -> None:
    toy = Toy(rates=(0.2, 0.1))
    with pytest.raises(InvalidInput, match=message) as raised:
        SiloLR(toy.optimizer, **({"curve": CURVE} | arguments))
    assert "\n" not in str(raised.value)
    assert toy.rates() == [0.2, 0.1]
    assert "initial_lr" not in toy.optimizer.param_groups[0]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (
            (0.0, 0.1),
            r"first parameter group has an lr of 0, to which \[0.1\] have no ratio: give ratios, such",
        ),
        ((float("inf"), 0.1), "lr of parameter group 0 must be finite, not inf"),
        ((5e-324, 0.1), r"ratios\[1\] must be finite, not inf"),
    ],
)
def test_rates_without_a_proportion_are_refused(rates: tuple[float, ...], message: str) -> None:
    optimizer = Toy(rates=rates).optimizer
    with pytest.raises(InvalidInput, match=message):
        SiloLR(optimizer, CURVE)
    SiloLR(optimizer, CURVE, ratios=[1, 1])


def test_the_optimizer_and_the_curve_are_not_mixed_up() -> None:
    with pytest.raises(InvalidInput, match="optimizer must be a torch optimizer, not a SiloCurve: give"):
        SiloLR(CURVE, Toy().optimizer)  # type: ignore[arg-type]
