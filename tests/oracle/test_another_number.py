"""A search for another number of the training than the peak learning rate, run and shown."""

import re

import optuna
import pytest

from dashboards import comparison_figure, comparison_table
from dashboards.report import report_html
from oracle.results import Results
from tests.support import run_in_process, small_spec

SEARCH = {
    "grid": {
        "over": "training.optimizer.arguments.weight_decay",
        "values": [1e-4, 1e-2, 0.3],
        "extend": False,
    },
    "training": {"epochs": 1, "batch_size": 64, "max_lr": 0.1},
    "cycles": 2,
    "replicates": 2,
    "silo": None,
}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return run_in_process(small_spec(tmp_path_factory.mktemp("over"), **SEARCH))


@pytest.fixture(scope="module")
def results(session):
    return Results.of(session.spec, session.search, record=session.record)


def test_its_frames_are_named_for_what_was_searched(results):
    assert len(results.trials) == 2 * 3 * 2 and set(results.trials["weight_decay"]) == {1e-4, 1e-2, 0.3}
    for name in ("trials", "candidates", "intervals"):
        columns = getattr(results, name).columns
        assert not [each for each in columns if "max_lr" in each or each.startswith(("silo", "fitted"))], name
    assert set(results.candidates["weight_decay"]) == {1e-4, 1e-2, 0.3}
    assert results.fits.empty and results.rivals.empty


def test_optuna_s_studies_call_it_by_its_name(session):
    storage = session.spec.ledger
    for name in (f"small/cycle-{cycle:02d}" for cycle in range(2)):
        trials = optuna.load_study(study_name=name, storage=storage).trials
        assert {name for trial in trials for name in trial.params} == {"weight_decay"}


def test_what_is_shown_says_what_was_searched_and_nothing_of_silo(results):
    table = comparison_table(results)
    shown = [table.title, *table.headers, comparison_figure(results).to_json(), results.verdict()]
    shown.append(report_html(results).replace("max_lr: 0.1", ""))  # in the spec
    for text in shown:
        assert not re.search(r"max_lr|\bSILO\b", text)
    assert results.predicted is results.fit is results.rival_curves is None
    assert "weight_decay" in shown[-1]
