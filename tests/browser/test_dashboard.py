"""``oracle dashboard`` as its own process, before a browser."""

import re

import pytest

from oracle.ledger import Ledger
from tests.browser.conftest import dashboard

FIGURE = "[id='user-defined-plot:{}'] .main-svg"


@pytest.fixture(scope="module")
def reading(finished):
    with dashboard(finished.ledger) as address:
        yield address


def base(address):
    return re.match(r"http://127\.0\.0\.1:\d+", address)[0]


def request(page, method, path):
    """What a page of the dashboard gets for a request: status and reason."""
    return page.evaluate(
        """async ([method, path]) => {
            const headers = {"Content-Type": "application/json"};
            const answer = await fetch(path, {method, headers, body: "{}"});
            return [answer.status, answer.status === 204 ? null : (await answer.json()).reason];
        }""",
        [method, path],
    )


def studies(ledger):
    opened = Ledger(ledger)
    try:
        return sorted(study.study_name for study in opened.storage.get_all_studies())
    finally:
        opened.close()


def test_the_list_begins_with_the_summary_study(page, watched, reading):
    page.goto(f"{base(reading)}/dashboard")
    page.wait_for_selector("text=small/cycle-03")
    names = [text.split(". ", 1)[1] for text in page.locator("h5").all_text_contents()]
    assert names == ["small", *(f"small/cycle-{cycle:02d}" for cycle in range(4))]
    watched.look("list")


def test_its_page_shows_the_figures_and_how_the_search_is_doing(page, watched, reading):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/dashboard/studies/\d+/note", reading)
    page.goto(reading)
    page.click("a:has-text('Figures')")
    figures = ("oracle-and-silo", "validation-accuracy")
    places = [page.wait_for_selector(FIGURE.format(name)).bounding_box() for name in figures]
    assert places[0]["x"] < places[1]["x"]
    page.wait_for_selector("text=Best Trial (number=")
    text = page.locator("body").inner_text()
    for words in ("state\tdone", "cycles decided\t4 of 4", "trials finished\t", "as of\t"):
        assert words in text
    watched.look("summary")


def test_its_note_has_the_verdict_and_the_table(page, watched, reading):
    page.goto(reading)
    page.wait_for_selector("table")
    rows = page.locator("table tr").all_text_contents()
    assert any(row.startswith("λ") for row in rows) and len(rows) > 4
    text = page.locator("body").inner_text()
    assert "State: done" in text and "4 of 4 cycles decided" in text and "SILO curve" in text
    watched.look("note")


def test_a_cycles_study_shows_its_trials_and_what_was_decided(page, watched, reading):
    page.goto(f"{base(reading)}/dashboard")
    page.click("text=small/cycle-02")
    page.wait_for_selector("text=decided max_lr")
    text = page.locator("body").inner_text()
    five = ("decided max_lr\t", "density\t0.64", "interval\t[", "validation accuracy\t", "test accuracy\t")
    for key in five:
        assert key in text
    watched.look("cycle")
    page.goto(f"{page.url}/analytics")
    page.wait_for_selector("#plot-slice .points path, .scatterlayer .points path")
    assert page.locator(".scatterlayer .points path").count() >= 10
    watched.look("cycle-analytics")


def test_nothing_is_deleted_by_default(page, watched, reading, finished):
    before = studies(finished.ledger)
    page.goto(f"{base(reading)}/dashboard")
    page.locator("[aria-label='delete study']").first.click()
    page.get_by_role("button", name="Yes").click()
    page.wait_for_selector("text=/only reads|Failed to delete/")
    watched.look("refused")
    status, reason = request(page, "DELETE", "/api/studies/1")
    assert status == 403 and "only reads" in reason and "--write" in reason
    assert studies(finished.ledger) == before
    assert len(watched.complaints) == 2
    assert all("403 (Forbidden)" in complaint for complaint in watched.complaints)
    watched.complaints.clear()


def test_with_write_the_dashboard_deletes(page, tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger(url, create=True)
    doomed, kept = ledger.summary_study("doomed"), ledger.summary_study("kept")
    ledger.close()
    says = "oracle: there is no search in this ledger yet; it will be shown once one runs\n"
    with dashboard(url, "--write", says=says) as address:
        page.goto(address)
        page.wait_for_selector("text=doomed")
        assert request(page, "DELETE", f"/api/studies/{doomed._study_id}") == [204, None]
    assert studies(url) == [kept.study_name]
