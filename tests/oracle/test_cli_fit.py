"""``oracle fit``: what it prints for the paper's tables, a CSV file and a search, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from oracle import load
from silo import fit_curve, load_table


def test_table_11_says_what_is_true(call):
    code, out, err = call("fit", "--table", 11)
    assert (code, err) == (0, "")
    assert "SILO as published misses 2 of 5 intervals: cycles 3 and 7." in out
    assert "A SILO curve that lies in all 5 exists." in out
    assert "q=1, beta=3.233, epsilon=0.03396, delta=0.02865" in out
    assert "An S-shape is supported" in out
    rows = [line.split() for line in out.splitlines() if "├" in line and "[" in line]
    assert [row[0] for row in rows] == ["0", "3", "4", "5", "7"]
    assert ["3.2", "✗"] in [row[5:7] for row in rows] and ["6.9", "✗"] in [row[5:7] for row in rows]


def test_table_10_says_what_is_true(call):
    code, out, _ = call("fit", "--table", 10)
    assert code == 0
    assert "SILO as published lies in all 5 intervals. A SILO curve that lies in all 5 exists." in out
    assert "An S-shape cannot be told from a simpler curve" in out
    assert "beta is unidentified by the intervals: curves in all of them have any from 1.75 to 9.03." in out


def test_json_is_the_fit(call):
    code, out, _ = call("fit", "--table", 11, "--json", "--q-max", 2, "--weighting", "uniform")
    found = json.loads(out)
    expected = fit_curve(
        load_table(11).intervals, pruning_rate=0.2, q_values=range(3), weighting="uniform"
    ).to_dict()
    assert (code, found["fit"]) == (0, expected)
    assert [rival["name"] for rival in found["rivals"]][-1] == "SILO"
    assert found["stated"]["rates"] == list(load_table(11).printed_silo)


def write_accuracies(path: Path, *, replicates: int = 3) -> None:
    random = np.random.default_rng(0)
    lines = ["cycle,max_lr,replicate,accuracy"]
    for cycle in range(8):
        for rate in np.geomspace(0.01, 0.2, 12):
            good = 0.9 - 0.02 * np.log(rate / (0.03 + 0.005 * cycle)) ** 2
            lines += [
                f"{cycle},{rate:.6f},{name},{good + 0.002 * random.normal():.6f}"
                for name in range(replicates)
            ]
    path.write_text("\n".join(lines))


def test_accuracies_bring_confidence(call, tmp_path):
    write_accuracies(tmp_path / "mine.csv")
    code, out, err = call("fit", "--csv", "mine.csv", "--draws", 50, "--pruning-rate", 0.3)
    assert (code, err) == (0, "")
    assert "Of 50 least-squares curves of draws" in out and "pruning rate 0.3" in out
    assert "The fitted curve is within 0.5 % of the best in " in out and "The best constant rate" in out
    assert call("fit", "--csv", "mine.csv", "--draws", 50, "--pruning-rate", 0.3)[1] == out
    assert "of draws" not in call("fit", "--csv", "mine.csv", "--draws", 0)[1]
    assert call("fit", "mine.csv", "--draws", 0) == call("fit", "--csv", "mine.csv", "--draws", 0)


def hump(rate, center, height=0.02):
    return height * np.exp(-0.5 * (np.log(rate / center) / 0.3) ** 2)


@pytest.mark.parametrize(
    ("accuracy", "points", "replicates", "doubt"),
    [
        (
            lambda m, x: 0.88 + hump(x, 0.02) + hump(x, 0.15, 0.018),
            12,
            3,
            "Two separate ranges of rates are good",
        ),
        (
            lambda m, x: 0.9 - 0.01 * np.log(x / (0.02 if m < 3 else 0.15)) ** 2,
            12,
            3,
            "At cycle 3 other rates are",
        ),
        (lambda m, x: 0.5 + 0 * x, 5, 2, "At cycles 0–5 all trainings reached the same"),
        (lambda m, x: 0.9 - 0.01 * np.log(x / 0.05) ** 2, 6, 1, "With one replicate, the noise"),
        (lambda m, x: 0.9 + 0 * x, 1, 3, "There is one rate per cycle"),
    ],
    ids=["two humps", "a jump", "all equal", "one replicate", "one rate"],
)
def test_what_to_doubt_is_said(call, tmp_path, accuracy, points, replicates, doubt):
    random, rates = np.random.default_rng(0), np.geomspace(0.01, 0.3, points)
    noise = 0.0 if "the same" in doubt else 0.002
    lines = ["cycle,max_lr,replicate,accuracy"]
    for m in range(6):
        for name in range(replicates):
            scores = accuracy(m, rates) + noise * random.normal(size=points)
            lines += [
                f"{m},{rate!r},{name},{score!r}"
                for rate, score in zip(rates.tolist(), scores.tolist(), strict=False)
            ]
    (tmp_path / "odd.csv").write_text("\n".join(lines))
    code, out, err = call("fit", "--csv", "odd.csv", "--draws", 0)
    assert (code, err) == (0, "") and doubt in out


def test_a_tolerance_widens_the_intervals(call, tmp_path):
    write_accuracies(tmp_path / "mine.csv", replicates=1)
    widths = []
    for tolerance in (0.001, 0.02):
        code, out, _ = call("fit", "--csv", "mine.csv", "--tolerance", tolerance, "--json")
        assert code == 0
        widths.append([i["high"] - i["low"] for i in json.loads(out)["intervals"]])
    assert all(narrow <= wide for narrow, wide in zip(*widths, strict=True)) and widths[0] != widths[1]


def test_a_metric_of_ones_own_is_read_by_its_name(call, tmp_path):
    """Errors of which less is better are fitted as accuracies of which more is."""
    write_accuracies(tmp_path / "mine.csv")
    lines = (tmp_path / "mine.csv").read_text().splitlines()
    header, rows = "cycle,max_lr,replicate,validation_my_loss", [line.rsplit(",", 1) for line in lines[1:]]
    errors = [f"{place},{100 * (1 - float(accuracy))!r}" for place, accuracy in rows]
    (tmp_path / "loss.csv").write_text("\n".join([header, *errors]))
    both = []
    for options in (("mine.csv",), ("loss.csv", "--metric", "My loss", "--goal", "min", "--tolerance", 0.5)):
        code, out, err = call("fit", "--csv", *options, "--draws", 0, "--json")
        assert code == 0, err
        both.append(json.loads(out))
    assert both[0]["intervals"] == both[1]["intervals"] and both[0]["fit"] == both[1]["fit"]
    options = ("loss.csv", "--metric", "my_loss", "--goal", "min", "--draws", 0)
    code, out, _ = call("fit", "--csv", *options, "--tolerance", 3.5)
    assert code == 0 and "The fitted curve is within 3.5 of the best in " in out
    assert "within 2 % of the best" in call("fit", "--csv", *options, "--tolerance", "2 %")[1]


def test_a_search_is_fitted_from_its_ledger(finished, call):
    code, out, err = call("fit", "spec.yaml", "--draws", 20, "--json")
    assert code == 0, err
    found, results = json.loads(out), load("small", f"sqlite:///{finished}/ledger.db")
    assert [i["optimum"] for i in found["intervals"]] == [i.optimum for i in results.intervals_found]
    rate = results.search_spec.pruning.rate
    expected = fit_curve(results.intervals_found, pruning_rate=rate).to_dict()
    assert found["fit"] | {"drawn": None} == expected
    assert found["fit"]["drawn"]["draws"] == 20
    assert call("fit", "small", "--ledger", f"sqlite:///{finished}/ledger.db")[0] == 0


def test_the_figure_is_written_and_named(call, tmp_path):
    code, out, _ = call("fit", "--table", 11, "--figure", "eleven.html")
    assert code == 0 and "Figure: eleven.html" in out
    page = (tmp_path / "eleven.html").read_text()
    assert "SILO as published: outside" in page and "Theorem 2 bound" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "fit: give one of SPEC|NAME, --table and --csv"),
        (("name", "--table", 10), "fit: give one of SPEC|NAME, --table and --csv"),
        (("--table", 1), "there is no table 1"),
        (("--table", 2), "fit: table 2 has accuracies, no intervals"),
        (("--table", 10, "--pruning-rate", 0.3), "go with --csv"),
        (("--table", 10, "--q-max", -1), "--q-max must be at least 0, not -1"),
        (("--table", 10, "--figure", "x.doc"), "figure: x.doc must end in one of .html, .png, .svg, .pdf"),
        (("--table", 10, "--figure", "no/x.html"), "figure: no/x.html can't be written"),
        (("--csv", "none.csv"), "none.csv: can't be read"),
        (("none.csv",), "none.csv: can't be read"),
        (("none.csv", "--table", 10), "fit: give one of SPEC|NAME, --table and --csv"),
        (("mine.csv", "--csv", "mine.csv"), "fit: give one of SPEC|NAME, --table and --csv"),
        (("--csv", "mine.csv", "--pruning-rate", 20), "pruning_rate must be a share between 0 and 1"),
        (("--csv", "mine.csv", "--tolerance", 2), "tolerance must be a share of at most 1"),
        (
            ("--csv", "mine.csv", "--tolerance", "much"),
            "--tolerance must be a share such as 0.005, not 'much'",
        ),
        (("--csv", "mine.csv", "--goal", "min"), "--goal goes with a --metric: more accuracy is better"),
        (("--csv", "mine.csv", "--metric", "rmse"), "--metric needs --tolerance"),
        (
            ("--csv", "mine.csv", "--metric", "rmse", "--tolerance", 1),
            "has no column rmse, but cycle, max_lr, replicate, accuracy: give cycle, max_lr, replicate, rmse",
        ),
        (("--csv", "mine.csv", "--metric", "rmse", "--tolerance", "200 %"), "below 100 %, got '200 %'"),
        (("--table", 10, "--metric", "rmse"), "--metric and --goal go with --csv"),
        (("--csv", "mine.csv", "--draws", -1), "draws must be an integer of at least 0, not -1"),
    ],
)
def test_what_is_wrong_gets_one_line(call, tmp_path, arguments, message):
    write_accuracies(tmp_path / "mine.csv")
    code, out, err = call("fit", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
