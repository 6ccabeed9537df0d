"""Figures for a paper: as wide as they say, and no letter is too small."""

import json
import re

import pytest

from dashboards.report import figures_of
from dashboards.style import MILLIMETRES, SMALLEST_POINTS, _still, fitted, images
from oracle.results import Results
from tests.oracle.invented import invent, took


@pytest.fixture(scope="module")
def figures():
    found = figures_of(Results.of(*invent(change=took(lambda _: 3.0)), draws=0))
    return {name: _still(figure) for name, figure in found.items()}


def letters(value, key=""):
    """The sizes of all letters in pixels."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "size" and "font" in key:
                yield inner
            yield from letters(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from letters(inner, key)
    elif isinstance(value, str):
        yield from map(float, re.findall(r"font-size: *([\d.]+)px", value))


@pytest.mark.parametrize("columns", MILLIMETRES)
def test_no_letter_is_smaller_than_seven_points(figures, columns):
    assert set(figures) >= {"comparison", "landscape", "region", "cost"}
    for name, figure in figures.items():
        before = figure.to_json()
        drawn = json.loads(fitted(figure, columns).to_json())
        sizes = list(letters(drawn))
        assert sizes and min(sizes) * 72 / 96 >= SMALLEST_POINTS, name
        assert drawn["layout"]["width"] * 25.4 / 96 == pytest.approx(MILLIMETRES[columns], abs=0.2)
        assert figure.to_json() == before  # the page's own stays


def test_one_column_has_room_for_each_entry_of_the_legend(figures):
    for name, figure in figures.items():
        layout = fitted(figure, "one").layout
        names = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
        longest = max(map(len, names))
        assert layout.legend.entrywidth >= 5 * longest, name
        assert 190 < layout.height < 520, name
        lines = re.sub(r"<[^b][^>]*>", "", layout.legend.title.text).split("<br>")
        assert max(map(len, lines)) <= 50, name


@pytest.mark.slow
def test_a_pdf_has_that_width(figures):
    from tests.browser.chromium import running_browser

    with running_browser():
        pass  # skips where there is none
    (pdf,) = images({"region.pdf": figures["region"]}, "one").values()
    width = float(re.search(rb"MediaBox ?\[0 0 ([\d.]+)", pdf)[1])
    assert width / 72 * 25.4 == pytest.approx(MILLIMETRES["one"], abs=0.5)
