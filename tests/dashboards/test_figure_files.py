"""Figures as files; one image is really made, where there is a browser."""

import os
import shutil

import psutil
import pytest

from dashboards import style
from dashboards.figures.cost import cost_figure
from dashboards.figures.rates import comparison_figure
from dashboards.style import write_figure
from silo.errors import InvalidInput

BROWSERS = ("chromium", "google-chrome", "chrome", "chromium-browser")


@pytest.fixture
def figure(results):
    return comparison_figure(results)


def test_a_page_needs_no_network_and_keeps_its_buttons(figure, tmp_path):
    write_figure(figure, tmp_path / "figure.html")
    page = (tmp_path / "figure.html").read_text(encoding="utf-8")
    assert "<script src=" not in page and "density \\u03bb" in page


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="there is no browser")
def test_an_image_has_no_buttons_and_nothing_that_waits_for_a_click(figure, tmp_path):
    pytest.importorskip("kaleido")
    write_figure(figure, tmp_path / "figure.svg")
    drawing = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert f'height="{figure.layout.height}"' in drawing
    assert "least squares" in drawing and "weights left λ (%)" in drawing
    assert "density λ" not in drawing and "logistic" not in drawing
    assert figure.layout.updatemenus and any(trace.visible == "legendonly" for trace in figure.data)


@pytest.mark.skipif(os.name == "nt", reason="the browser is a script of the shell's")
def test_a_browser_that_does_not_answer_is_ended_and_another_one_tried(figure, tmp_path, monkeypatch):
    pytest.importorskip("kaleido")
    browser, begun = tmp_path / "browser", tmp_path / "begun"
    browser.write_text(f"#!/bin/sh\necho $$ >> {begun}\nexec sleep 1000\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    monkeypatch.setattr(style, "_BROWSER_SECONDS", 5.0)
    with pytest.raises(
        InvalidInput, match=r"can't make figure\.svg \(the browser did not answer within 5 sec"
    ):
        write_figure(figure, tmp_path / "figure.svg")
    pids = begun.read_text().split()
    alive = {process.pid for process in psutil.process_iter() if process.status() != psutil.STATUS_ZOMBIE}
    assert len(pids) == 2 and not alive & set(map(int, pids))


def test_another_ending_is_refused(results, tmp_path):
    figure = cost_figure(results)
    with pytest.raises(InvalidInput, match=r"figure\.jpg must end in one of \.html, \.png, \.svg, \.pdf"):
        write_figure(figure, tmp_path / "figure.jpg")
