"""A cycle costs as much in a long search as in a short one: nothing is done for each that was before."""

import sys
from dataclasses import replace

import pytest

from dashboards.optuna import summary_study
from oracle.search import Signal
from oracle.testing.replay import replayed
from tests.benchmarks.sleeping import invented
from tests.support import open_session, small_spec
from trials.tasks import PrunedNetwork

SHORT, LONG = 51, 97
"""Cycles beyond those at each of which the summary study is drawn anew, and between two of them."""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Runs a search; gives how many calls in Python two of its cycles take, and when it was drawn."""
    drawn, calls = [], {SHORT: 0, LONG: 0}

    def draw(_ledger, results, **_options):
        drawn.append(len(results.decided))

    monkeypatch.setattr(summary_study, "write_all", draw)
    monkeypatch.setattr(summary_study, "_REST", 0.0)
    spec = small_spec(
        tmp_path,
        cycles=LONG + 1,
        replicates=1,
        pruning={"rate": 0.01},
        grid={"low": 0.01, "high": 0.4, "points": 3, "extend": False},
        training={"epochs": 1, "batch_size": 64, "pack": 3, "compile": False},
    )
    with open_session(spec, observers=[summary_study.SummaryStudy()]) as session:
        while not isinstance(task := session.ask(), Signal):
            cycle = session.search.cycle
            result = replayed(task, lambda cycle, *rest: invented(cycle % 5, *rest))
            if isinstance(result, PrunedNetwork):
                result = replace(result, alive=1000 - cycle, prunable=1000, parameters=1000)

            def count(_frame, event, _argument, cycle=cycle):
                calls[cycle] += event == "call"

            sys.setprofile(count if cycle in calls else None)
            try:
                session.tell(task, result)
            finally:
                sys.setprofile(None)
        state = session.ledger.storage.get_study_user_attrs(session.ledger.summary_number("small"))
        described = session.ledger.cycle_study("small", LONG).user_attrs
        return calls, drawn, (state["cycles decided"], described["cycle"])


def test_a_cycle_makes_no_call_for_each_before_it(work):
    calls, drawn, shown = work
    assert calls[LONG] - calls[SHORT] < LONG - SHORT
    assert drawn[:50] == list(range(50)) and drawn[50:53] == [51, 53, 55]
    # What was decided between two drawings is shown all the same.
    assert not {SHORT + 1, LONG + 1} & set(drawn)
    assert shown == (f"{LONG + 1} of {LONG + 1}", LONG)
