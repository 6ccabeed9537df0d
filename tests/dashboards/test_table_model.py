import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dashboards.report.report import page
from dashboards.tables.table import (
    Cell,
    Table,
    TerminalTable,
    csv_text,
    header_lines,
    markdown,
    markdown_text,
    one_line,
    texts,
    to_json,
)
from tests.dashboards.printing import printed

SPECIALS = st.sampled_from("<>&\"'|\\`*_[]()~#:! \nab1")


def table(*rows, **fields):
    given_ = {"headers": ("name", "one\ntwo"), "align": "lr", "title": "t"}
    return Table(**{**given_, **fields}, rows=tuple(rows))


def table_html(shown):
    """The table in a page of its own, without what stands around it."""
    html = page("compare.html", title="t", figure=None, tables=[shown])
    return html.split("</h1>")[1].split("</body>")[0].strip()


def row(name, text, mark="", bold=False):
    return (Cell(text=name), Cell(text=text, mark=mark, bold=bold))


@pytest.mark.parametrize(
    "fields",
    [{"align": "l"}, {"align": "lc"}, {"keys": 0}, {"keys": 3}, {"headers": ("one",), "align": "l"}],
)
def test_a_table_whose_parts_do_not_fit_is_none(fields):
    with pytest.raises(AssertionError):
        table(row("a", "1"), **fields)


def test_header_lines_stand_on_the_lowest():
    assert header_lines(["a", "b\nc"]) == [["", "b"], ["a", "c"]]


def test_a_terminal_shows_the_best_by_a_sign_and_marks_as_they_are():
    shown = printed(
        TerminalTable(
            table=table(
                row("a", "10", "✓"), row("b", "9", bold=True), bold_means="the best", notes=("N [b]x[/b].",)
            )
        ),
        100,
    )
    assert shown == (
        "t\n\n            one\n  name      two\n ───────────────\n  a        10 ✓\n  b         9 *\n\n"
        "*: the best.\nN [b]x[/b].\n"
    )


def test_what_is_in_brackets_stays_together_in_a_folded_header():
    wide = table(texts("a", "1"), headers=("name", "constant LR [Table 2]"), align="lr")
    assert [line.strip() for line in printed(TerminalTable(table=wide), 100).splitlines()[2:4]] == [
        "constant LR",
        "name     [Table 2]",
    ]


def test_a_wide_table_is_broken_into_blocks_that_repeat_the_keys():
    headers = ("name", *(f"column {i}" for i in range(9)))
    wide = table(
        texts("a", *"123456789"), texts("b" * 60, *"987654321"), headers=headers, align="l" + "r" * 9
    )
    for width in (40, 60, 100, 300):
        lines = printed(TerminalTable(table=wide), width).splitlines()
        assert max(map(len, lines)) <= width
        assert "".join(lines).count("b") == 60 * sum("name" in line for line in lines)
        assert all("".join(lines).count(header) == 1 for header in headers[1:])
        assert "…" not in "".join(lines)


def test_markdown_and_html_emphasise_the_best():
    found = table(row("a", "10", "✓"), row("b", "9", "✗", bold=True), bold_means="the best")
    assert "| **9** ✗ |" in markdown(found)
    assert "- **Bold**: the best.\n" in markdown(found)
    assert "<strong>9</strong> ✗" in table_html(found)
    assert "<li><strong>Bold</strong>: the best.</li>" in table_html(found)
    assert "Bold" not in markdown(table(row("a", "1"))) + table_html(table(row("a", "1")))


def test_csv_and_json_hold_the_records_in_full():
    found = table(
        row("a", "0.33"),
        columns={"x": "number", "y": "list", "z": "text"},
        records=(
            {"x": 1 / 3, "y": [0.1, 2.0], "z": 'a,"b'},
            {"x": None, "y": True, "z": ""},
        ),
    )
    assert csv_text(found.columns, found.records) == ('x,y,z\n0.3333333333333333,0.1;2.0,"a,""b"\n,true,\n')
    data = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert data["rows"][0] == {"x": 1 / 3, "y": [0.1, 2.0], "z": 'a,"b'}
    assert data["columns"] == {"x": "number", "y": "list", "z": "text"}


def test_what_is_not_finite_is_null_in_json():
    found = table(row("a", "–"), columns={"x": ""}, records=({"x": float("nan")}, {"x": float("inf")}))
    assert to_json(found)["rows"] == [{"x": None}, {"x": None}]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=SPECIALS | st.characters()), st.text(max_size=5))
def test_markdown_keeps_every_table_whole_and_every_text(text, mark):
    lines = markdown(table(row(text, text, mark))).splitlines()[2:5]
    cells = [re.split(r"(?<!\\)(?:\\\\)*\|", line) for line in lines]
    assert [len(parts) for parts in cells] == [4, 4, 4]
    shown = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown_text(text))
    assert shown == one_line(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("max_lr", "max_lr"),
        ("_a_ b", r"\_a\_ b"),
        ("[2.8, 4]†", "[2.8, 4]†"),
        ("[x](y)", r"[x\](y)"),
        ("a|b\\", r"a\|b\\"),
        ("<script>&", r"\<script\>\&"),
    ],
)
def test_markdown_escapes_what_it_would_take_for_markup(text, shown):
    assert markdown_text(text) == shown


class Texts(HTMLParser):
    """The cells' texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.found = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.found.append("")

    def handle_data(self, data):
        if self.found:
            self.found[-1] += data


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=SPECIALS | st.characters(exclude_categories=["Cs", "Cc"])))
@example("<b>x</b>&amp;")
def test_html_shows_every_text_and_no_text_is_a_tag(text):
    found = Texts(table_html(table(row("a", text), notes=())))
    assert found.tags == ["div", "table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert found.found[-1] == text.strip()


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60), st.integers(min_value=20, max_value=120))
def test_no_text_breaks_a_terminal_or_a_csv(text, width):
    found = table(row(text, "1"), columns={"x": ""}, records=({"x": text},))
    shown = printed(TerminalTable(table=found), width)
    assert all(char.isprintable() or char == "\n" for char in shown)
    again = list(csv.reader(io.StringIO(csv_text(found.columns, found.records), newline="")))
    assert again[1:] == [[one_line(text)]]
