"""``oracle dashboard`` beside a search that runs: what it shows grows with the ledger."""

import threading
from queue import Queue

import pytest

from dashboards.optuna import summary_study
from dashboards.optuna.summary_study import SummaryStudy
from dashboards.report import write_report
from oracle.drivers import in_process
from oracle.ledger import Ledger
from oracle.observers import Observer
from oracle.results import Results
from tests.browser.conftest import dashboard
from tests.postgresql import PASSWORD
from tests.support import open_session, small_spec

CYCLES = 3
SECONDS = 60


class Gate(Observer):
    """Holds the search after each decided cycle, until it is let on."""

    def __init__(self):
        self.decided_cycles, self.let_on = Queue(), Queue()

    def decided(self, session, decision):
        self.decided_cycles.put(decision.interval.cycle)
        self.let_on.get(timeout=SECONDS)


@pytest.fixture
def held(tmp_path, postgresql, monkeypatch):
    """A search in a thread of its own, which stands still after each cycle; its gate, thread and ledger."""
    monkeypatch.setattr(summary_study, "_REST", 0.0)  # its cycles take moments, and nothing comes after one
    url = postgresql.database()
    spec, gate = small_spec(tmp_path, cycles=CYCLES, ledger=url), Gate()

    def run():
        with open_session(spec, observers=[SummaryStudy(), gate]) as session:
            in_process.run(session)
            session.end("done")

    thread = threading.Thread(target=run)
    thread.start()
    yield gate, thread, url
    for _ in range(CYCLES):
        gate.let_on.put(None)
    thread.join(SECONDS)


def shown(page, address):
    """The note of the summary study, loaded anew."""
    page.goto(address)
    page.wait_for_selector("text=/State:/")
    return page.locator("body").inner_text()


def reported(url, folder):
    """The report of the search as it stands."""
    ledger = Ledger(url)
    try:
        return write_report(Results.read(ledger, ledger.search("small")), folder)
    finally:
        ledger.close()


def test_the_page_follows_the_search(held, page, watched, tmp_path):
    gate, thread, url = held
    assert gate.decided_cycles.get(timeout=SECONDS) == 0
    with dashboard(url) as address:
        assert PASSWORD not in address
        note = shown(page, address)
        assert "State: running" in note and f"1 of {CYCLES} cycles decided" in note
        gate.let_on.put(None)
        assert gate.decided_cycles.get(timeout=SECONDS) == 1
        note = shown(page, address)
        assert "State: running" in note and f"2 of {CYCLES} cycles decided" in note
        page.goto(address.removesuffix("/note"))
        page.wait_for_selector("[id='user-defined-plot:oracle-and-silo'] .main-svg")
        watched.look("running")
        page.goto(reported(url, tmp_path).as_uri())
        page.wait_for_selector(".js-plotly-plot .legend")
        assert f"2 of {CYCLES} cycles decided" in page.locator("body").inner_text()
        watched.look("report-running")
        for _ in range(CYCLES - 1):
            gate.let_on.put(None)
        thread.join(SECONDS)
        note = shown(page, address)
        assert "State: done" in note and f"{CYCLES} of {CYCLES} cycles decided" in note
        page.goto(address.removesuffix("/note"))
        page.wait_for_selector("text=cycles decided")
        assert f"cycles decided\t{CYCLES} of {CYCLES}" in page.locator("body").inner_text()
