"""A search that is read back from its export says what it said."""

import json
from dataclasses import replace

import pandas as pd
import pytest

import oracle
from oracle.cli.export import BRIEF, write_export
from oracle.measure import Chance
from oracle.results import Results
from silo.errors import InvalidInput
from tests.oracle.invented import invent, noted, peak


def lucky(cycle, replicate, max_lr):
    """At a rate that is too high one replicate is lucky, so that the best mean isn't what is chosen."""
    return peak(cycle, replicate, max_lr) + (
        0.065 if replicate == 1 and 0.05 < max_lr / (1 + cycle // 2) < 0.1 else 0
    )


RMSE = {"name": "rmse", "function": "torch.nn.functional:mse_loss", "goal": "min"}
SEARCHES = {
    "whole": {"change": noted},
    "posterior": {"decide": "posterior", "accuracy": lucky},
    "undecided": {"decided": 2, "replicates": 1},
    "adaptive": {
        "policy": "adaptive",
        "decide": "posterior",
        "grid": {"low": 0.01, "high": 0.32, "points": 11},
    },
    "loss": {"metric": RMSE, "tolerance": "1 %", "accuracy": lambda *place: 2 - peak(*place)},
    "another": {
        "grid": {"over": "training.optimizer.arguments.weight_decay", "values": [0.001, 0.01, 0.1]},
        "training": {"epochs": 1, "max_lr": 0.1},
        "silo": None,
    },
}


@pytest.fixture(scope="module", params=SEARCHES)
def results(request):
    spec, search = invent(**SEARCHES[request.param])
    found = Results.of(spec, search, draws=20)
    if not found.measure.percent:
        return found
    return replace(
        found, chance=Chance(classes=10, validation=500), identity={"classes": 10, "validation": 500}
    )


@pytest.mark.parametrize("kind", ["csv", BRIEF])
def test_it_says_what_it_said(results, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_export(results, tmp_path / "export", kind)
    found = oracle.read_export(tmp_path / "export", draws=20)
    assert (found.verdict(), found.chance, found.rates) == (results.verdict(), results.chance, results.rates)
    for name in ("candidates", "intervals", "fits", "rivals", "rules", "diagnostics"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(results, name), check_exact=True)
    shown = [
        "validation_rmse" if "rmse" in results.measure.key else "validation_accuracy",
        "selected",
        "pack",
    ]
    pd.testing.assert_frame_equal(found.trials[shown], results.trials[shown], check_exact=True)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_brief_export_is_small_and_the_same_each_time(tmp_path):
    results = Results.of(*invent(), draws=0)
    files = write_export(results, tmp_path / "one", BRIEF)
    assert sorted(path.name for path in files) == ["intervals.csv", "search.json", "trials.csv.gz"]
    again = write_export(results, tmp_path / "two", BRIEF)
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    assert not {"checkpoint", "worker", "gradient_std"} & {*pd.read_csv(files[0])}


def edited(folder, change):
    facts = json.loads((folder / "search.json").read_text())
    change(facts)
    (folder / "search.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "search.json").unlink(), r"search\.json can't be read"),
        (lambda folder: (folder / "trials.csv.gz").unlink(), r"trials\.csv can't be read"),
        (lambda folder: (folder / "search.json").write_text("no"), "holds no search"),
        (lambda folder: edited(folder, lambda facts: facts.pop("chance")), "'chance' is missing"),
        (lambda folder: edited(folder, lambda facts: facts["spec"].pop("cycles")), "holds no search"),
        (lambda folder: (folder / "intervals.csv").write_text("cycle\n0\n"), "'chosen' is missing"),
    ],
)
def test_what_is_no_export_is_refused(damage, message, tmp_path):
    write_export(Results.of(*invent(), draws=0), tmp_path, BRIEF)
    damage(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        oracle.read_export(tmp_path)


def test_what_was_chosen_is_not_the_optimum_again(tmp_path):
    results = Results.of(*invent(**SEARCHES["posterior"]), draws=0)
    write_export(results, tmp_path, BRIEF)
    found = oracle.read_export(tmp_path, draws=0)
    assert found.rates == results.rates
    assert any(each.chosen != each.interval.optimum for each in found.decided)


def test_some_replicates_stand_for_a_search_of_their_own(tmp_path):
    whole = Results.of(*invent(decide="posterior"), draws=0)
    write_export(whole, tmp_path, BRIEF)
    some = oracle.read_export(tmp_path, replicates=[0, 2], draws=0)
    assert some.search_spec.replicates == 2 and some.rates == whole.rates
    assert {trial.replicate for trial in some.outcomes} == {0, 2}
    of_two = [c.trials[0].score + c.trials[2].score for c in whole.decided[1].candidates]
    assert [2 * c.score for c in some.decided[1].candidates] == pytest.approx(of_two)
    with pytest.raises(InvalidInput, match=r"not all of replicates \[0, 3\] are in it"):
        oracle.read_export(tmp_path, replicates=[0, 3])
