"""The report as people open it: a file, in a browser, without a network."""

import pytest

from dashboards.report import write_report
from oracle.ledger import Ledger
from oracle.results import Results

PLOT = ".js-plotly-plot"
HIDDEN = f"document.querySelector('{PLOT}').data.filter(trace => trace.visible === 'legendonly').length"


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    ledger = Ledger(finished.ledger)
    try:
        record = ledger.search(finished.name)
        return write_report(Results.read(ledger, record), tmp_path_factory.mktemp("report"))
    finally:
        ledger.close()


@pytest.fixture
def opened(page, report):
    page.context.set_offline(True)
    page.goto(report.as_uri())
    page.wait_for_selector(f"{PLOT} .legend")
    return page


def choose(page, words):
    """Presses a figure's button, such as ``density`` or ``cycle``."""
    page.locator(".updatemenu-button", has_text=words).first.click()


def hidden_traces(page):
    """How many traces of the first figure its legend has switched off."""
    return page.evaluate(HIDDEN)


def test_it_needs_no_network_and_draws_every_plot(opened, watched):
    plots = opened.locator(PLOT).all()
    assert len(plots) >= 2
    for plot in plots:
        assert plot.locator(".main-svg").first.bounding_box()["height"] > 200
        plot.locator(".scatterlayer .trace, .heatmaplayer image, .barlayer .trace").first.wait_for(
            state="attached"
        )
    watched.look("report")


def test_hovering_over_a_point_shows_its_numbers(opened):
    opened.locator(f"{PLOT} .points path").last.hover(force=True)
    label = opened.locator(f"{PLOT} .hoverlayer .hovertext").first
    label.wait_for()
    assert "cycle" in label.text_content()


def test_a_legend_entry_hides_its_trace_and_shows_it_again(opened):
    entry = opened.locator(f"{PLOT} .legendtoggle").first
    before = hidden_traces(opened)
    entry.click()
    opened.wait_for_function(f"{HIDDEN} > {before}")
    entry.click()
    opened.wait_for_function(f"{HIDDEN} == {before}")


def test_a_button_puts_densities_in_place_of_cycles(opened):
    title = opened.locator(f"{PLOT} .xtitle").first
    assert "cycle" in title.text_content()
    choose(opened, "density")
    opened.wait_for_function(f"!document.querySelector('{PLOT} .xtitle').textContent.includes('cycle')")


@pytest.mark.parametrize("width", [600, 1280])
def test_the_page_is_no_wider_than_its_window(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.wait_for_timeout(200)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("scheme", "follows"), [("dark", True), ("light", False)])
def test_figures_follow_a_dark_page_and_print_as_they_are(opened, watched, scheme, follows):
    opened.emulate_media(color_scheme=scheme)
    shown = "getComputedStyle(document.querySelector('.figure')).filter"
    assert (opened.evaluate(shown) != "none") == follows
    watched.look(f"report-{scheme}")
    opened.emulate_media(color_scheme=scheme, media="print")
    assert opened.evaluate(shown) == "none"
