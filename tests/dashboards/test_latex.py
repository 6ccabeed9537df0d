import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dashboards.tables.paper import paper_table
from dashboards.tables.table import Table, comment, escaped, latex, texts
from tests.dashboards.printing import golden

SPECIALS = "\\{}$&#%_~^<>|\"±×≤≥✓✗†‡–—…·→−²≈√∞λβγδεθσ[*(-`'?!,"
ENGINES = [name for name in ("pdflatex", "tectonic") if shutil.which(name)]
COMMANDS = (
    r"\\(?:textbackslash|textasciitilde|textasciicircum|dots)\{\}|\\[{}$&#%_]|\{\}"
    r"|\$[^$]*\$|[^\\{}$&#%_~^]"
)


def one_cell(text, **fields):
    given_ = {"title": text, "headers": (text, "n"), "align": "lr"}
    return Table(**{**given_, **fields}, rows=(texts(text, "1"),))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from(SPECIALS + "ab1e-2 ") | st.characters()))
@example("a_b%c#d&e~f^g{h}i\\j$k")
@example("×1e-2 and ×1e2")
def test_no_special_is_left_as_it_is(text):
    shown = escaped(text)
    assert re.fullmatch(f"(?:{COMMANDS})*", shown), shown
    maths = re.findall(r"\$([^$]*)\$", shown.replace(r"\$", ""))
    assert all(re.fullmatch(r"\\[a-z]+|[<>|-]|\^2|\\times 10\^\{-?\d+\}", part) for part in maths)
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("max_lr (×1e-2)", r"max\_lr ($\times 10^{-2}$)"),
        ("90.8 ± 0.5", r"90.8 $\pm$ 0.5"),
        ("[≤1, 2]†", r"[$\le$1, 2]$\dagger$"),
        ("oracle fit --table ?`", r"oracle fit -{}-table ?{}`"),
        ("50 %\\\n", r"50 \%\textbackslash{}"),
    ],
)
def test_how_texts_are_escaped(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize("start", ["[", "*", "("])
def test_a_row_does_not_begin_with_what_would_be_an_argument(start):
    lines = latex(one_cell(f"{start}1")).splitlines()
    for index, line in enumerate(lines):
        if line.endswith(r"\\") or line.endswith("rule"):
            assert lines[index + 1][0] not in "[*("


def test_a_comment_is_one_line():
    assert comment("a\nb\r\\end{document}") == "% a b \\end{document}\n"


def test_wide_tables_have_smaller_letters():
    sizes = []
    for count in (3, 10, 12, 14, 30):
        headers = tuple("12.34" for _ in range(count))
        table = Table(title="t", headers=headers, rows=(texts(*headers),), align="r" * count)
        sizes.append(re.search(r"^\\(\w+)\\setlength", latex(table), re.MULTILINE)[1])
    assert sizes == ["normalsize", "normalsize", "small", "scriptsize", "scriptsize"]


def hostile():
    """Every character that is special in some place, at every place of a table."""
    cells = [*SPECIALS, SPECIALS, "[2.8, 4]†", "--", 'oracle\'s "one"']
    rows = tuple(texts(cell, cell) for cell in cells)
    fields = {"bold_means": SPECIALS, "notes": (SPECIALS, "[a]")}
    return Table(title=SPECIALS, headers=(SPECIALS, "[a]\n*b"), rows=rows, align="lr", **fields)


def compile_it(body, folder: Path):
    source = "\n".join([r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}", body])
    (folder / "a.tex").write_text(f"{source}\n\\end{{document}}\n", encoding="utf-8")
    arguments = ["-interaction=nonstopmode", "-halt-on-error"] if ENGINES[0] == "pdflatex" else []
    done = subprocess.run(
        [ENGINES[0], *arguments, "a.tex"], cwd=folder, capture_output=True, text=True, errors="replace"
    )
    problems = [line for line in done.stdout.splitlines() if line.startswith(("!", "Overfull"))]
    return done.returncode, problems


@pytest.mark.skipif(not ENGINES, reason="neither pdflatex nor tectonic is installed")
def test_it_compiles_with_booktabs_alone(tmp_path):
    names = ("results.tex", "marked.tex", "table2.tex", "table10.tex", "table11.tex")
    parts = [golden(name) for name in names]
    code, problems = compile_it("\n".join([*parts, latex(paper_table(14))]), tmp_path)
    assert (code, problems) == (0, [])
    assert (tmp_path / "a.pdf").stat().st_size > 10_000


@pytest.mark.skipif(not ENGINES, reason="neither pdflatex nor tectonic is installed")
def test_whatever_the_texts_hold_compiles(tmp_path):
    code, problems = compile_it(latex(hostile()), tmp_path)
    assert (code, [problem for problem in problems if problem.startswith("!")]) == (0, [])
