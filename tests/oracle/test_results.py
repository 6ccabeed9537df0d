"""``oracle.load``: frames with the columns and types that are documented, whatever state a search is in."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

import oracle
from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.results import Results
from oracle.results.frames import COLUMNS, FRAMES
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from silo.fit import fit_curve
from silo.fit.rivals import compare_rivals
from silo.measured import CycleAccuracies
from tests.oracle.invented import invent, noted, took, write_ledger


def diverged(trial):
    return replace(trial, score=0.1, test_score=0.1, diverged=True, train_loss=math.nan)


ODD = {
    "nothing decided": {"decided": 0},
    "one cycle decided": {"decided": 1},
    "one cycle in all": {"cycles": 1},
    "one replicate": {"replicates": 1},
    "two replicates": {"replicates": 2},
    "all diverged": {"change": diverged, "accuracy": lambda *_: 0.1},
    "no prediction": {"silo": None},
    "statistics without files": {"change": noted, "decided": 2},
    "two candidates": {"grid": {"values": [0.01, 0.02], "extend": False}},
    "followed a curve": {"policy": "silo", "grid": None},
    "one rate": {"policy": {"name": "fixed", "arguments": {"max_lr": 0.1}}, "grid": None, "decided": 1},
}


def results(runs=(), draws=20, **fields):
    return Results.of(*invent(**fields), runs=runs, draws=draws)


def test_results_are_read_from_the_ledger(tmp_path):
    spec, search = invent(change=noted)
    ledger = Ledger(write_ledger(tmp_path, spec, search))
    found = Results.read(ledger, ledger.search(spec.name), draws=50)
    ledger.close()
    expected = results(change=noted, draws=50)
    assert found.fit.to_dict() == expected.fit.to_dict()
    assert found.rival_curves == expected.rival_curves and found.policy_costs == expected.policy_costs
    assert found.diagnosed == expected.diagnosed and len(found.diagnosed) == 4
    assert [run.state for run in found.recorded_runs] == ["failed"]
    assert found.execution.pack_size == 3


@pytest.mark.parametrize("tolerance", [0.005, 0.05])
def test_the_fit_is_that_of_the_accuracies_and_the_rivals_that_of_the_intervals(tolerance):
    found = results(tolerance=tolerance, draws=50)
    accuracies = [
        CycleAccuracies(
            cycle=each.cycle,
            rates=np.array(each.grid),
            accuracies=np.array([[trial.score for trial in c.trials] for c in each.candidates]),
        )
        for each in found.decided
    ]
    expected = fit_curve(accuracies, pruning_rate=0.2, tolerance=tolerance, draws=50)
    assert found.fit.to_dict() == expected.to_dict()
    assert found.fit.drawn.draws == 50
    assert found.rival_curves == compare_rivals(found.intervals_found, pruning_rate=0.2)
    assert found.point_fit.to_dict() == results(tolerance=tolerance, draws=0).fit.to_dict()


@pytest.fixture(scope="module", params=ODD.values(), ids=ODD)
def odd(request):
    return results(**request.param)


def test_every_search_has_results(odd):
    found = odd
    decided, searched = len(found.decided), found.searched
    assert (found.fit is None) == (found.rival_curves is None) == (not (searched and decided))
    assert bool(found.policy_costs) == bool(decided)
    assert all(len(cost.test_accuracies) == decided for cost in found.policy_costs)
    assert len(found.distributions) == len(found.diagnosed) in (0, decided)
    told = any(not belief.silent for belief in found.beliefs)
    assert bool(found.fit and found.fit.drawn) == told
    assert len(found.beliefs) == (decided if searched else 0)


def test_what_needs_no_fit_computes_none():
    found = results()
    assert "By point estimates alone" in found.point_verdict()
    assert not {"fit", "rival_curves", "policy_costs", "beliefs"} & set(vars(found))
    assert found.fit is found.fit


def test_to_look_at_searches_fits_nothing(call, tmp_path, monkeypatch):
    url = write_ledger(tmp_path, *invent())
    monkeypatch.setattr("oracle.results.results.fit_curve", None)
    monkeypatch.setattr("oracle.results.results.learn", None)
    assert call("status", "invented", "--ledger", url)[0] == call("list", "--ledger", url)[0] == 0


def test_where_a_curve_lies():
    found = results()
    curve = SiloCurve(q=9, beta=5, epsilon=0.02, delta=0.0, pruning_rate=0.2)
    assert [passed.rate for passed in found.along(curve)] == [0.02] * 4
    inside = [each.interval.low <= 0.02 <= each.interval.high for each in found.decided]
    assert [passed.inside for passed in found.along(curve)] == inside == [True, True, False, False]
    assert found.missed(curve) == (2, 3)
    assert set(found.along(None)) == {(None, None, None)}
    assert [passed.loss for passed in found.along(curve)] == [each.loss(0.02) for each in found.beliefs]


def test_every_frame_has_its_documented_columns_and_types(odd):
    found = odd.frames()
    assert list(found) == list(FRAMES) == list(COLUMNS)
    for name, frame in found.items():
        kinds = {column: each.kind for column, each in FRAMES[name][1].items()}
        assert frame.dtypes.astype(str).to_dict() == kinds
        assert list(frame) == list(COLUMNS[name]) and all(COLUMNS[name].values())


def test_a_trial_is_a_row_also_before_its_cycle_is_decided():
    spec, search = invent(change=took(lambda cycle: 2.5), decided=3)
    _, whole = invent()
    search.restore([trial for trial in whole.outcomes() if trial.cycle == 3][:4], [])
    found = Results.of(spec, search).trials
    assert len(found) == 3 * 6 * 3 + 4
    assert found.selected.groupby(found.cycle).sum().to_dict() == {0: 3, 1: 3, 2: 3, 3: 0}
    chosen = found[found.selected & (found.replicate == 0)]
    assert chosen.max_lr.tolist() == [decision.interval.optimum for decision in search.decisions]
    assert found.density[found.cycle == 2].unique() == pytest.approx([0.64])
    assert found.started[0] == pd.Timestamp(datetime.fromtimestamp(1e9 + 1e8, UTC))
    assert ((found.ended - found.started)[found.cycle < 3] == pd.Timedelta(seconds=2.5)).all()
    assert found.gradient_std.isna().all()


def test_candidates_and_intervals_say_the_same():
    found = results(accuracy=lambda cycle, _, rate: 0.8 if rate in (0.01, 0.02, 0.32) else 0.7)
    inside = found.candidates[found.candidates.inside]
    ends = inside.groupby("cycle").max_lr.agg(["min", "max"])
    assert ends["min"].tolist() == found.intervals.low.tolist()
    assert ends["max"].tolist() == found.intervals.high.tolist()
    assert found.candidates[found.candidates.optimum].max_lr.tolist() == found.intervals.optimum.tolist()
    assert found.candidates[found.candidates.detached].max_lr.tolist() == [0.32] * 4
    assert found.intervals.detached.tolist() == ["0.32"] * 4


def test_the_curves_of_the_fits():
    found = results()
    rows = found.fits.set_index("curve")
    fit = found.fit
    assert rows.index.tolist() == [
        "predicted",
        "least squares",
        "inside all" if fit.hitting else "fewest misses",
    ]
    assert rows.loc["predicted", ["q", "beta", "epsilon", "delta"]].tolist() == [1, 5.0, 0.02, 0.06]
    assert rows.loc["least squares", "inside"] == sum(fit.inside.values())
    assert rows.loc["least squares", "weighted_rmse"] == fit.weighted_rmse
    assert tuple(rows.loc["least squares", ["beta_low", "beta_high"]]) == fit.drawn.interval("beta")
    assert rows.loc[["predicted"], "beta_low":"delta_high"].isna().all(axis=None)
    away = [found.predicted.max_lr(each.cycle) - each.interval.optimum for each in found.decided]
    assert rows.loc["predicted", "rmse"] == pytest.approx(math.sqrt(sum(d * d for d in away) / 4))
    missed = found.missed(found.predicted)
    assert rows.loc["predicted", "missed_cycles"] == ";".join(map(str, missed))
    assert rows.loc["predicted", "inside"] == 4 - len(missed)


def test_rivals_costs_and_diagnostics_are_those_of_the_analysis():
    found = results(change=noted)
    assert found.rivals.rival.tolist() == [rival.name for rival in found.rival_curves.rivals]
    assert json.loads(found.rivals["values"].iloc[-1]) == found.rival_curves.rivals[-1].values
    assert found.costs.trainings.tolist() == [cost.trainings for cost in found.policy_costs]
    reached = [float(text) for text in found.costs.test_accuracies[0].split(";")]
    assert tuple(reached) == found.policy_costs[0].test_accuracies
    assert found.costs.last_test_accuracy[0] == reached[-1]
    assert found.diagnostics.predicted.tolist() == list(found.diagnosed)
    assert found.trials.gradient_std.notna().all() and (found.trials.flipped_signs == 0.25).all()


def test_accuracies_that_are_not_known_are_empty():
    found = results(silo={"q": 1, "beta": 5, "epsilon": 0.02, "delta": 90.0})
    texts = found.costs.set_index("policy").test_accuracies["SILO, parameters known"].split(";")
    assert texts[-1] == "" and texts[0]
    assert math.isnan(found.costs.last_test_accuracy[1])


def test_a_search_is_loaded_by_its_name(tmp_path, monkeypatch):
    url = write_ledger(tmp_path, *invent())
    monkeypatch.delenv("ORACLE_LEDGER", raising=False)
    found = oracle.load("invented", url)
    assert repr(found) == "Results('invented': 4/4 cycles, 72 trials)"
    assert found.name == "invented" and found.spec["cycles"] == 4
    assert found.trials is found.trials
    (run,) = found.runs.itertuples()
    assert (run.state, run.host, json.loads(run.versions)) == ("failed", "here", {"torch": "2"})
    assert run.error == "no postgresql+psycopg://me:***@host/db"
    assert run.ended >= run.started > pd.Timestamp("2020-01-01", tz="UTC")
    monkeypatch.setenv("ORACLE_LEDGER", url)
    assert len(oracle.load("invented").trials) == 72
    monkeypatch.delenv("ORACLE_LEDGER")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match="oracle-results"):
        oracle.load("invented")


def test_what_is_not_there_is_refused(tmp_path):
    url = write_ledger(tmp_path, *invent())
    with pytest.raises(Refused, match="no search 'invente' in this ledger; there are: invented"):
        oracle.load("invente", url)
    with pytest.raises(Refused):
        oracle.load("invented", f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(InvalidInput):
        oracle.load("invented", "no url")
    assert not (tmp_path / "none.db").exists()


def test_a_run_without_an_end_has_none(tmp_path):
    spec, search = invent(decided=0)
    url = write_ledger(tmp_path, spec, search)
    (run,) = oracle.load("invented", url).recorded_runs
    frame = results(runs=(replace(run, ended=None, error=None),)).runs
    assert frame.ended.isna().all() and frame.error.isna().all()


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, oracle\n"
        "heavy = {'torch', 'pandas', 'optuna', 'sqlalchemy', 'ray', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "oracle.load\n"
        "heavy = {'torch', 'pandas', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "try: oracle.lod\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'oracle' has no attribute 'lod'\n"
