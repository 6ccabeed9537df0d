from pathlib import Path

import numpy as np
import pytest

from silo import CycleAccuracies, CycleInterval, InvalidInput
from silo.csv_file import load_csv


@pytest.fixture
def given(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "mine.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_intervals_in_any_order_with_spaces_and_other_columns(given) -> None:  # type: ignore[no-untyped-def]
    path = given(
        "network, cycle, low, high, optimum, high_cut\r\nvgg, 3, 4.2e-2, .054, 0.046, True\r\n"
        "vgg,0,0.036,0.042,0.04,\r\n"
    )
    assert load_csv(path) == (
        CycleInterval(cycle=0, optimum=0.04, low=0.036, high=0.042),
        CycleInterval(cycle=3, optimum=0.046, low=0.042, high=0.054, high_cut=True),
    )


def test_accuracies_of_any_replicate_names(given) -> None:  # type: ignore[no-untyped-def]
    path = given(
        "\ufeffcycle,max_lr,replicate,accuracy\n1,.2,b,.9\n1,.1,b,.8\n1,.1,a,.7\n1,.2,a,.6\n0,.3,a,1\n"
    )
    first, second = load_csv(path)
    assert isinstance(first, CycleAccuracies) and isinstance(second, CycleAccuracies)
    assert (first.cycle, first.rates.tolist(), first.accuracies.tolist()) == (0, [0.3], [[1.0]])
    assert np.array_equal(second.rates, [0.1, 0.2])
    assert np.array_equal(second.accuracies, [[0.7, 0.8], [0.6, 0.9]])


def test_the_trials_that_a_search_exports(given) -> None:  # type: ignore[no-untyped-def]
    (only,) = load_csv(
        given("cycle,replicate,max_lr,density,validation_accuracy,test_accuracy\n0,0,.1,1.0,.8,.7\n")
    )
    assert isinstance(only, CycleAccuracies) and only.accuracies.tolist() == [[0.8]]


HEADER = "cycle,optimum,low,high\n"
RAW = "cycle,max_lr,replicate,accuracy\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "mine.csv: has no column cycle, optimum, low, high, but none: give cycle, optimum, low, high per",
        ),
        ("cycle,optimum,low\n0,1,1\n", "has no column high, but cycle, optimum, low"),
        (HEADER, "has a header, but no rows: give one per cycle"),
        (RAW, "has a header, but no rows: give one per training"),
        (
            "cycle,optimum,low,high,lowcut\n0,1,1,1,true\n",
            "has a column 'lowcut': did you mean 'low_cut'?",
        ),
        ("cycle,optimum,low,high,low\n0,1,1,1,1\n", "has two columns 'low': give each once"),
        (HEADER + "0,0.1,0.1,0.1\n1,0,1,0,2,0\n", "line 3: has more cells than the header's 4"),
        (HEADER + "0,0.1,0.1\n", "line 2: high must be a number, not ''"),
        (HEADER + "0.5,0.1,0.1,0.1\n", "line 2: cycle must be a whole number, not '0.5'"),
        (HEADER + "0,0.1,0.2,0.1\n", "line 2: cycle 0 needs low <= optimum <= high, not low=0.2"),
        (HEADER + "0,0.1,0.1,0.1\n0,0.2,0.2,0.2\n", "cycle 0 was given twice"),
        (
            "cycle,optimum,low,high,low_cut\n0,1,1,1,maybe\n",
            "line 2: low_cut must be true or false, not 'maybe'",
        ),
        (RAW + "0,.1,a,.9\n0,.1,a,.8\n", "line 3: cycle 0, max_lr 0.1, replicate a is given twice"),
        (RAW + "0,.1,a,.9\n0,.1,b,.9\n0,.2,b,.8\n", "cycle 0 has no accuracy of max_lr 0.2 in replicate a"),
        (RAW + "0,.1,a,95.3\n", "must lie in [0, 1], not 95.3: 95.3 % is 0.953"),
        (RAW + "0,-.1,a,.9\n", "the rates of cycle 0 must be positive and ascend, not [-0.1]"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(given, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidInput) as raised:
        load_csv(given(text))
    assert message in str(raised.value) and "mine.csv" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_csv_and_no_file(given, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidInput, match="is no CSV file in UTF-8"):
        load_csv(given(HEADER + "0,1,1,1é\n", encoding="latin-1"))
    with pytest.raises(InvalidInput, match=r"none\.csv: can't be read \(No such file"):
        load_csv(tmp_path / "none.csv")
    with pytest.raises(InvalidInput, match="can't be read"):
        load_csv(tmp_path)
