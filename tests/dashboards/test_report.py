import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import plotly.io
import pytest

from dashboards.report import report_html, write_report
from dashboards.report.report import spec_yaml, usage
from dashboards.tables.comparison import csv_text, markdown
from oracle.ledger import Run
from oracle.spec_file import parse_specs
from silo.curve import SiloCurve
from silo.errors import InvalidInput
from tests.dashboards.conftest import renamed
from trials.tasks import Execution

FILES = {"report.html", *(f"comparison.{ending}" for ending in ("md", "tex", "csv", "json"))}
HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; fails where tags don't match."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.fetched, self.text, self._open = [], [], [], []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [
            value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def made(figures, files, **options):
    """In place of a browser: images that hold their ending."""
    for file in files:
        file.write_text(file.suffix[1:])


def run(**changes):
    given = {
        "started": 1_700_000_000.0,
        "ended": 1_700_000_065.0,
        "state": "done",
        "driver": "ray",
        "host": "node-1",
        "versions": {"torch": "2.13.0"},
        "error": None,
    }
    return Run(**{**given, **changes})


def test_all_files_are_written_whole(results, tmp_path):
    folder = tmp_path / "deep" / "report"
    assert write_report(results, folder) == folder / "report.html"
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "comparison.md").read_text(encoding="utf-8") == markdown(results)
    assert (folder / "comparison.csv").read_text(encoding="utf-8") == csv_text(results)
    assert json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["name"] == "parabola"


def test_a_failed_write_leaves_the_earlier_file_and_no_other(results, tmp_path, monkeypatch):
    write_report(results, tmp_path)
    before = (tmp_path / "comparison.md").read_bytes()

    def full(path, content):
        path.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InvalidInput, match=r"can't be written \(No space left on device\)"):
        write_report(results, tmp_path)
    assert (tmp_path / "comparison.md").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_the_page_is_well_formed_and_fetches_nothing(any_results):
    html = report_html(replace(any_results, recorded_runs=(run(),)))
    page = Page(html)
    assert page.fetched == ["data:,"]
    figures = len(re.findall(r'id="\w+-figure"', html))
    assert "link" in page.tags and page.tags.count("script") == figures + 2
    style = html[html.index("<style>") : html.index("</style>")]
    assert "--paper" in style and "url(" not in style and "@import" not in style


def test_the_page_says_what_was_found(results):
    html = report_html(replace(results, recorded_runs=(run(), run(ended=None, state="running"))))
    words = Page(html).words
    assert words.index(results.verdict()) < words.index("Per cycle")
    assert results.recommendation.text in words and "SiloLR(optimizer, SiloCurve(q=" in words
    assert "5.6 [5, 6.2] [5, 6.2] [5, 6.2] 3.213 ✗ 5.517 ✓ 87.00 ± 0.10 87.00 ± 0.10" in words
    assert "weighted RMSE 0.000453; it lies in 5 of 5 intervals" in words
    assert "lies in all intervals, at least 0.00539 away from every end" in words
    assert "such curves exist for q = 0, 1, 2" in words
    assert "2023-11-14 22:13:20 1 min 05 s done ray node-1 torch 2.13.0" in words
    assert "2023-11-14 22:13:20 – running" in words
    assert html.count("Plotly.newPlot") >= 2


@pytest.mark.parametrize("name", ["curve", "fewest_misses"])
def test_the_code_gives_the_fitted_curve(results, name):
    curve = getattr(results.fit, name)
    code = usage(curve)
    assert len(code.splitlines()) == 3
    names = {"cycle": 3}
    exec(code, names)
    assert names["curve"] == curve and names["max_lr"] == curve.max_lr(3)


def test_the_code_has_no_negative_zero():
    flat = SiloCurve(q=1, beta=5, epsilon=0.03, delta=-0.0, pruning_rate=0.2)
    assert "q=1, beta=5" in usage(flat) and "delta=0.0," in usage(flat)


def test_the_spec_on_the_page_is_the_spec(results):
    text = spec_yaml(results)
    assert text.startswith("name: parabola\nnetwork:\n  name: fc\n")
    assert "iterations: null\n" in text
    assert parse_specs(text)[0] == results.search_spec


def test_the_page_says_how_to_compute_the_same_again(results):
    execution = Execution(pack_size=7, compiled=True)
    page = report_html(replace(results, execution=execution))
    assert "up to 7 candidates together, compiled" in page
    (fields,) = re.findall("set in the spec&#39;s training: (.*?)[.]", page)
    text = spec_yaml(results)
    for field in fields.split(", "):
        text, count = re.subn(rf"^  {field.partition(':')[0]}: null$", f"  {field}", text, flags=re.MULTILINE)
        assert count == 1, "what is there already can't be added"
    training = parse_specs(text)[0].training
    assert (training.pack, training.compile, training.channels_last) == (7, True, False)
    assert "Trainings were computed" not in report_html(results)


def test_what_the_user_wrote_is_escaped(make_results, results):
    network = {"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}
    hostile = renamed(make_results(network=network), HOSTILE)
    traceback = run(error=HOSTILE, host=HOSTILE, versions={HOSTILE: HOSTILE})
    page = Page(report_html(replace(hostile, recorded_runs=(traceback,))))
    calm = Page(report_html(replace(results, recorded_runs=(run(error="none"),))))
    assert page.tags == calm.tags
    assert page.words.count(HOSTILE) >= 7


def test_no_password_reaches_a_file(make_results, tmp_path):
    results = make_results(ledger="postgresql+psycopg://me:hunter2@host/db")
    error = "OperationalError: postgresql+psycopg://me:hunter2@host/db is away"
    write_report(replace(results, recorded_runs=(run(state="failed", error=error),)), tmp_path)
    for path in tmp_path.iterdir():
        assert "hunter2" not in path.read_text(encoding="utf-8")
    assert "me:***@host/db is away" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_without_kaleido_the_image_is_refused_and_the_rest_is_there(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(InvalidInput, match=r"pip install silo-oracle\[images\].*Chromium"):
        write_report(results, tmp_path, kinds=["png"])
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_without_a_browser_the_image_is_refused_in_one_line(results, tmp_path, monkeypatch):
    def no_browser(figures, files, **options):
        raise RuntimeError("\n\nKaleido requires Google Chrome\nto be installed.\n")

    monkeypatch.setitem(sys.modules, "kaleido", sys)
    monkeypatch.setattr(plotly.io, "write_images", no_browser)
    with pytest.raises(InvalidInput, match="requires Google Chrome to be installed") as caught:
        write_report(results, tmp_path, kinds=["png"])
    assert "\n" not in str(caught.value)
