"""Tables and figures of the studies' pages are those of the trials that are kept beside them."""

import re

import pytest

from oracle.cli.specs import example
from oracle.spec_file import parse_specs
from tests.benchmarks import studies

NAMES = sorted(folder.name for folder in studies.STUDIES.iterdir() if folder.is_dir())
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")
LOOSE = "right"
"""A table of searches that are replayed: another machine's last bits make some of them ask for others."""


def tables(page):
    return dict(re.findall(r"<!-- table: (\w+) -->(.*?)<!-- end -->", page, re.DOTALL))


def agree(one, other, loose=False):
    """Whether two tables say the same, fractions but for a few of their last digit."""
    if plain(one) != plain(other):
        return False
    return all(near(*pair, loose) for pair in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True))


def plain(table):
    """The words, whatever the columns' widths."""
    return re.sub(r"[-\s]+", " ", NUMBER.sub("#", table))


def near(one, other, loose):
    mantissa, _, exponent = one.partition("e")
    decimals = len(mantissa.partition(".")[2])
    last = 10.0 ** (int(exponent or 0) - decimals)
    off = 6 if loose else 2 if decimals else 0
    return abs(float(one) - float(other)) <= off * last * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_tables_are_those_of_the_kept_trials(name):
    kept = (studies.STUDIES / name / "README.md").read_text(encoding="utf-8")
    made = studies.page(name)
    assert tables(kept).keys() == tables(made).keys() and len(tables(kept)) >= 2
    for title, table in tables(kept).items():
        assert agree(table, tables(made)[title], loose=title == LOOSE), f"{title}:\n{tables(made)[title]}"


def test_an_edited_number_is_seen():
    line = "| 3 | 51.2 | 0.0413 | [0.0234, 0.0729] | 0.10 % [0.04, 0.17] |"
    assert agree(line, line) and agree(line, line.replace("0.10", "0.11"))
    for number, other in (("| 3", "| 4"), ("51.2", "51.5"), ("0.0413", "0.0513"), ("0.10 %", "0.20 %")):
        assert not agree(line, line.replace(number, other)), number
    assert not agree(line, line.replace("]", ")"))
    assert not agree("| 36 % |", "| 46 % |", loose=True) and agree("| 36 % |", "| 38 % |", loose=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_show_the_kept_trials(name):
    for file, figure in studies.figures(name).items():
        assert (studies.STUDIES / name / file).stat().st_size < 150_000
        found = studies.search(name, file.removesuffix(".svg"))
        optima = [each.interval.optimum for each in found.decided]
        (drawn,) = (trace for trace in figure.data if trace.name == "Oracle optimum")
        assert list(drawn.y) == pytest.approx(optima, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_studys_spec_is_that_of_its_searches(name):
    specs = {spec.name: spec for spec in parse_specs(example(f"study-{name}"))}
    folders = [path for path in (studies.STUDIES / name).iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        kept = studies.search(name, folder.name).search_spec
        differ = {"storage", "ledger", "silo", "cycles", "resources"}
        given = specs[kept.name].model_dump(mode="json", exclude=differ)
        assert given == kept.model_dump(mode="json", exclude=differ)
        assert all(path.stat().st_size < 150_000 for path in folder.iterdir())
