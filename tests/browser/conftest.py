"""A browser, searches to look at, and the dashboard as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from dashboards.optuna.summary_study import SummaryStudy
from oracle.drivers import in_process
from tests.browser.chromium import SCREENSHOTS, Watched, running_browser
from tests.support import open_session, small_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def browser():
    with running_browser() as started:
        yield started


@pytest.fixture
def watched(browser):
    """A page that must not complain."""
    folder = Path(os.environ[SCREENSHOTS]) if os.environ.get(SCREENSHOTS) else None
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    found = Watched(context.new_page(), folder)
    yield found
    context.close()
    assert found.complaints == []


@pytest.fixture
def page(watched):
    return watched.page


@pytest.fixture(scope="package")
def finished(tmp_path_factory):
    """The spec of a search that is done, its rates so few that some intervals are cut off."""
    spec = small_spec(tmp_path_factory.mktemp("finished"), cycles=4)
    with open_session(spec, observers=[SummaryStudy()]) as session:
        in_process.run(session)
        session.end("done")
    return spec


@contextmanager
def dashboard(ledger: str, *options: str, says: str = ""):
    """``oracle dashboard`` on a ledger; gives the address that it prints, and checks how it ends.

    Args:
        ledger: The URL; it goes by the environment, as one with a password must.
        options: Of the command.
        says: All that it may say on its standard error.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ORACLE_LEDGER": ledger}
    with subprocess.Popen(
        [sys.executable, "-m", "oracle", "dashboard", "--port", "0", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            address = process.stdout.readline().strip()
            if not address:
                pytest.fail(process.stderr.read())
            yield address
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, says)
    assert out.endswith("Ended.\n")
