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


INTERVALS = (
    CycleInterval(cycle=0, optimum=0.04, low=0.036, high=0.3),
    CycleInterval(cycle=3, optimum=0.3, low=0.042, high=0.3, low_cut=True),
)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("cycle;optimum;low;high;low_cut\n0;0,04;0,036;0,3;\n3;0,3;0,042;0,3;yes\n", "utf-8"),
        ("cycle;optimum;low;high;low_cut\n0;.04;.036;.3;\n3;.3;.042;.3;yes\n", "utf-8"),
        ("Cycle\tOptimum\tLow\tHigh\tLow cut\n0\t.04\t.036\t.3\n3\t,3\t4,2e-2\t,3\tTRUE\n", "utf-16"),
        ("sep=;\ncycle;optimum;low;high;low_cut\n0;.04;.036;.3;\n3;.3;.042;.3;yes\n", "utf-8"),
        ("# mine, of May\n#cycle,optimum,low,high,low_cut\n0,.04,.036,.3,\n# end\n3,.3,.042,.3,1\n", "utf-8"),
        ("# mine\r\n\r\ncycle;optimum;low;high;low_cut\r\n0;,04;,036;,3;\r\n3;,3;,042;,3;1\r\n", "utf-8"),
        ('CYCLE,"OPTIMUM",low,High,low-cut\n0.0,"0,04",.036,.3,\n3.0,.3,.042,.3,1\n', "utf-8"),
        ("\n\ncycle,optimum,low,high,low_cut,\n\n,,,,\n0,.04,.036,.3,,\n  \n3,.3,.042,.3,1,\n\n", "utf-8"),
        ("cycle,optimum,low,high,low_cut\r0,.04,.036,.3,\r3,.30000000000000004,.042,.3,1\r", "utf-8"),
        ("cycle,optimum,low,high,low_cut\n0,.04,.036,.30000000000000004,\n3,.3,.042,.3,1\n", "utf-8"),
    ],
)
def test_files_as_people_have_them(given, text: str, encoding: str) -> None:  # type: ignore[no-untyped-def]
    assert load_csv(given(text, encoding)) == INTERVALS


@pytest.mark.parametrize("row", ["0,.1,a,.9\n0,.1,a,.8\n", "0,.1,a,90%\n"])
def test_a_complaint_names_its_file_once(given, row: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidInput, match="line") as refused:
        load_csv(given(RAW + row))
    assert str(refused.value).count(".csv") == 1


def test_rates_a_rounding_apart_are_one_within_and_between_cycles(given) -> None:  # type: ignore[no-untyped-def]
    rows = "0,.1,a,.9\n0,.30000000000000004,a,.8\n0,.3,b,.7\n0,.1,b,.6\n1,0.3,a,.5\n1,.3,b,.4\n"
    first, second = load_csv(given(RAW + rows))
    assert isinstance(first, CycleAccuracies) and isinstance(second, CycleAccuracies)
    assert (first.rates.tolist(), second.rates.tolist()) == ([0.1, 0.3], [0.3])
    assert first.accuracies.tolist() == [[0.9, 0.6], [0.8, 0.7]]


def test_replicates_are_paired_by_name_where_a_cycle_has_fewer(given) -> None:  # type: ignore[no-untyped-def]
    """A cycle with 10 alone, one with 2 and 10: 10 comes first in both."""
    rows = "0,.1,2,.2\n0,.1,10,.9\n0,.1,1,.1\n1,.1,10,.8\n2,.1,10,.7\n2,.1,2,.3\n"
    found = load_csv(given(RAW + rows))
    assert [each.accuracies.tolist() for each in found if isinstance(each, CycleAccuracies)] == [
        [[0.9, 0.2, 0.1]],
        [[0.8]],
        [[0.7, 0.3]],
    ]


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
        (HEADER + "0.5,0.1,0.1,0.1\n", "line 2: cycle must be a whole number of at least 0, not '0.5'"),
        (HEADER + "0,0.1,0.2,0.1\n", "line 2: cycle 0 needs low <= optimum <= high, not low=0.2"),
        (HEADER + "0,0.1,0.1,0.1\n0,0.2,0.2,0.2\n", "lines 2 and 3: cycle 0 is given twice: give it once"),
        (
            "cycle,optimum,low,high,low_cut\n0,1,1,1,maybe\n",
            "line 2: low_cut must be true or false, not 'maybe'",
        ),
        (RAW + "0,.1,a,.9\n0,.1,a,.8\n", "lines 2 and 3: cycle 0, max_lr 0.1, replicate a is given twice"),
        (RAW + "0,.1,a,.9\n0,.1,b,.9\n0,.2,b,.8\n", "cycle 0 has no score of max_lr 0.2 in replicate a"),
        (RAW + "0,.1,a,95.3\n", "must lie in [0, 1], not 95.3: 95.3 % is 0.953"),
        (RAW + "0,.1,a,.9\n\n0,.10000000000000002,a,.8\n", "lines 2 and 4: cycle 0, max_lr 0.1, replicate a"),
        (
            "cycle,max_lr,replicate,accuracy,validation_accuracy\n0,.1,a,.9,.8\n",
            "the accuracy could be column 'accuracy' or 'validation_accuracy': leave only that of",
        ),
        (
            "cycle,max_lr,replicate,val_acc,Acc\n0,.1,a,.9,.8\n",
            "the accuracy could be column 'val_acc' or 'acc': leave only that of",
        ),
        (
            RAW + "0,.1,a,.9\n0,.1,b,.9\n1,.1,a,.9\n1,.1,c,.9\n",
            "cycle 0 has replicate b, cycle 1 has not, but a, c: a replicate is one chain of networks",
        ),
        (RAW + "0,.1,1,.9\n3,.1,1.0,.9\n", "cycle 0 has replicate 1, cycle 3 has not, but 1.0: a"),
        (HEADER + "0,0,1,0,1,0,1\n", "than the header's 4: where a comma is the decimal sign, put ; between"),
        (HEADER + "0,10%,.1,.1\n", "line 2: optimum must be a number, not '10%': write 90 % as 0.9"),
        (HEADER + "0,nan,.1,.1\n", "line 2: optimum must be a number, not 'nan'"),
        (HEADER + "0,1_0,.1,.1\n", "line 2: optimum must be a number, not '1_0'"),
        (HEADER + "-1,.1,.1,.1\n", "line 2: cycle must be a whole number of at least 0, not '-1'"),
        (HEADER + "1e30,.1,.1,.1\n", "line 2: cycle must be a whole number of at least 0, not '1e30'"),
        ("cycle,max_lr,seed\n0,.1,1\n", "has no column replicate, accuracy, but cycle, max_lr, seed: give"),
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
