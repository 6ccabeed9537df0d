import json
import logging
from types import SimpleNamespace

import pytest
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._note import get_note_from_system_attrs

from dashboards.figures.rates import DISPENSABLE, comparison_figure
from dashboards.optuna import summary_study
from dashboards.optuna.summary_study import SummaryStudy
from dashboards.tables.comparison import markdown
from oracle.ledger import Ledger
from oracle.results import Results
from trials.tasks import Execution

FIGURES = {"oracle-and-silo", "validation-accuracy"}


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True)
    yield opened
    opened.close()


@pytest.fixture
def session_of(make_search, ledger):
    def make(identity=None, **fields):
        spec, search = make_search(**fields)
        record = SimpleNamespace(identity=identity or {}, execution=Execution())
        return SimpleNamespace(spec=spec, search=search, ledger=ledger, record=record)

    return make


def of(session):
    return Results.of(session.spec, session.search, draws=0)


def note_of(ledger, study):
    attributes = ledger.storage.get_study_system_attrs(study._study_id)
    return get_note_from_system_attrs(attributes, None)["body"]


def shown(ledger):
    """Note and figures, as Optuna's dashboard reads them."""
    study = ledger.summary_study("parabola")
    attributes = ledger.storage.get_study_system_attrs(study._study_id)
    figures = get_plotly_graph_objects(attributes)
    return get_note_from_system_attrs(attributes, None)["body"], {
        k: json.loads(v) for k, v in figures.items()
    }


def test_a_search_is_shown_from_its_start_to_its_end(session_of, ledger, monkeypatch):
    monkeypatch.setattr(summary_study, "_REST", 0.0)
    observer = SummaryStudy()
    observer.started(session_of(decided=0))
    note, figures = shown(ledger)
    assert note.startswith("State: **running**") and "No cycle is decided yet." in note
    assert set(figures) == {"oracle-and-silo"}

    session = session_of(decided=3)
    observer.decided(session, session.search.decisions[-1])
    note, figures = shown(ledger)
    assert "3 of 5 cycles decided" in note
    assert set(figures) == FIGURES

    session = session_of()
    observer.ended(session, "done")
    note, figures = shown(ledger)
    place = f"/dashboard/studies/{ledger.summary_study('parabola')._study_id}"
    assert note.startswith(f"State: **done**. [Figures]({place})\n\n{markdown(of(session))}")
    assert "`parabola/cycle-00`" in note
    drawn = comparison_figure(of(session), without=DISPENSABLE[:2])
    assert figures["oracle-and-silo"] == as_stored(drawn)


def test_the_note_names_cycles_that_are_no_better_than_chance(session_of, ledger):
    SummaryStudy().started(session_of(identity={"classes": 2, "validation": 10}, decided=1))
    assert "At cycle 0 no rate trained the network better than chance (50 %)" in shown(ledger)[0]


def test_a_smaller_figure_replaces_a_larger_one(session_of, ledger):
    observer = SummaryStudy()
    observer.ended(session_of(cycles=9), "failed")
    observer.ended(session_of(decided=1), "interrupted")
    note, figures = shown(ledger)
    assert "1 of 5 cycles decided" in note and "9 cycles" not in note
    assert set(figures) == FIGURES
    assert len(figures["validation-accuracy"]["data"][0]["x"]) == 1


def test_the_summary_study_has_a_trial_per_decided_cycle_and_each_cycle_is_told(session_of, ledger):
    first, second = SummaryStudy(), SummaryStudy()
    first.started(session_of(decided=2))
    second.started(session_of(decided=3))  # as a search that goes on
    summary = ledger.summary_study("parabola")
    assert [(trial.number, trial.user_attrs["cycle"]) for trial in summary.trials] == [(0, 0), (1, 1), (2, 2)]
    results = of(session_of())
    for trial, row in zip(summary.trials, results.decided, strict=False):
        assert trial.params == {"max_lr": row.interval.optimum}
        assert trial.value == row.selected.score
        told = ledger.cycle_study("parabola", row.cycle).user_attrs
        assert told["interval"] == pytest.approx([row.interval.low, row.interval.high])
        assert told["optimum"] == pytest.approx(row.interval.optimum)
        assert told["decided max_lr"] == pytest.approx(row.chosen)
        assert f"**max_lr {row.chosen:g}**" in note_of(ledger, ledger.cycle_study("parabola", row.cycle))
        core, reach = told.pop("surely inside"), told.pop("maybe inside")
        assert reach[0] <= core[0] <= core[1] <= reach[1]
        assert told.items() <= trial.user_attrs.items()
    assert summary.user_attrs["cycles decided"] == "3 of 5"
    assert summary.user_attrs["state"] == "running"


def test_where_nothing_is_searched_no_interval_is_listed(session_of, ledger):
    SummaryStudy().ended(session_of(policy="silo"), "done")
    assert set(ledger.cycle_study("parabola", 0).user_attrs) == {
        "decided max_lr",
        "density",
        "validation accuracy",
        "test accuracy",
        "cycle",
    }
    listed = ledger.summary_study("parabola").user_attrs
    assert set(listed) == {"state", "cycles decided", "trials finished", "as of"}


def test_nothing_is_written_twice_for_one_state(session_of, monkeypatch):
    written = []
    monkeypatch.setattr(summary_study, "write_summary", lambda *_, state: written.append(state))
    observer, session = SummaryStudy(), session_of()
    observer.started(session)
    for decision in session.search.decisions:
        observer.decided(session, decision)
    observer.ended(session, "done")
    assert written == ["running", "done"]


def test_cycles_of_moments_are_drawn_together_after_a_rest(session_of, monkeypatch):
    drawn, now = [], [0.0]

    def draw(_ledger, results, **_):
        now[0] += 1.0
        drawn.append(len(results.decided))

    def decide(count, at):
        now[0] = max(at, now[0])
        session = session_of(decided=count)
        observer.decided(session, session.search.decisions[-1])

    monkeypatch.setattr(summary_study, "write_all", draw)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    observer = SummaryStudy()
    observer.started(session_of(decided=0))
    decide(1, at=2.0)
    assert drawn == [0, 1]  # the first is shown at once
    decide(2, at=32.5)
    observer.trained(session_of(decided=2), ())
    assert drawn == [0, 1]
    now[0] = 33.0
    observer.trained(session_of(decided=2), ())
    observer.trained(session_of(decided=2), ())
    assert drawn == [0, 1, 2]
    decide(3, at=64.0)
    observer.ended(session_of(decided=3), "interrupted")
    assert drawn == [0, 1, 2, 3, 3]


def test_a_failure_is_one_warning_and_never_ends_the_search(session_of, monkeypatch, caplog):
    def away(*_, **__):
        raise OSError("database\nis away")

    observer, session = SummaryStudy(), session_of()
    monkeypatch.setattr(session.ledger, "summary_study", away)
    with caplog.at_level(logging.WARNING, logger="oracle"):
        observer.started(session)
        observer.ended(session, "done")
    assert [record.getMessage() for record in caplog.records] == [
        "the summary study can't be written: database is away"
    ]


def test_after_a_failure_the_next_event_writes_again(session_of, ledger, monkeypatch):
    observer, session = SummaryStudy(), session_of()
    with monkeypatch.context() as patched:
        patched.setattr(summary_study, "write_summary", lambda *_, **__: 1 / 0)
        observer.started(session)
    observer.started(session)
    assert shown(ledger)[0].startswith("State: **running**")


def as_stored(figure):
    """A figure as Optuna's dashboard has room for it."""
    return json.loads(figure.update_layout(height=460).to_json())


def test_a_figure_too_large_for_the_database_goes_without_parts(session_of, ledger, monkeypatch):
    session = session_of(cycles=25)
    whole, bare = (comparison_figure(of(session), without=DISPENSABLE[:count]) for count in (2, None))
    assert len(bare.to_json()) < len(whole.to_json()) < summary_study.LARGEST_FIGURE_BYTES
    monkeypatch.setattr(summary_study, "LARGEST_FIGURE_BYTES", len(bare.to_json().encode()))
    SummaryStudy().started(session)
    assert shown(ledger)[1]["oracle-and-silo"] == as_stored(bare)


def test_a_figure_too_large_without_them_is_left_out(session_of, ledger, monkeypatch):
    monkeypatch.setattr(summary_study, "LARGEST_FIGURE_BYTES", 1000)
    SummaryStudy().started(session_of())
    assert shown(ledger)[1] == {}
