import json

import pytest
from ruamel.yaml import YAML

from tests.support import run_in_process, small_data, small_spec

FILES = {f"compare.{ending}" for ending in ("html", "md", "tex", "csv", "json")}
FIXED = {"policy": {"name": "fixed", "arguments": {"max_lr": 0.1}}}
COMMON = {"cycles": 2, "replicates": 2, "training": {"epochs": 1, "batch_size": 64}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A spec with two variants that have run, and one more search on another ledger."""
    folder = tmp_path_factory.mktemp("compare")
    grid = {"values": [0.05, 0.2], "extend": False}
    for name, changes in (("small.oracle", {"grid": grid}), ("small.fixed", {**FIXED, "grid": None})):
        run_in_process(small_spec(folder, name=name, **COMMON, **changes))
    other = folder / "other"
    other.mkdir()
    spec = small_spec(other, name="other", **COMMON, **FIXED, grid=None, pruning={"rate": 0.5})
    run_in_process(spec)
    data = small_data(folder, variants={"oracle": {"grid": grid}, "fixed": FIXED}, **COMMON)
    del data["grid"]
    YAML(typ="safe").dump(data, folder / "small.yaml")
    return folder


def test_a_spec_with_variants_stands_for_all_and_files_are_written(call, place, tmp_path):
    code, out, err = call("compare", place / "small.yaml")
    assert code == 0, err
    assert out.startswith("Test accuracy (%)\n")
    assert max(map(len, out.splitlines())) <= 110
    words = out.split()
    assert {"oracle", "fixed", "verdict", "searched"} <= set(words)
    assert out.endswith("Files: compare/compare.html, .md, .tex, .csv, .json\n")
    folder = tmp_path / "compare"
    assert {path.name for path in folder.iterdir()} == FILES
    data = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    accuracies, searches, _costs = (table["rows"] for table in data["tables"])
    assert [(row["search"], row["cycle"]) for row in accuracies] == [
        (f"small.{name}", cycle) for name in ("fixed", "oracle") for cycle in (0, 1)
    ]
    assert [row["trials"] for row in searches] == [4, 8]
    page = (folder / "compare.html").read_text(encoding="utf-8")
    assert "accuracy-figure" in page and "<h2>What each search says</h2>" in page
    assert 'src="http' not in page and "<link" not in page.replace('<link rel="icon" href="data:,">', "")
    assert (folder / "compare.tex").read_text(encoding="utf-8").count(r"\begin{table}") == 3
    assert len((folder / "compare.csv").read_text(encoding="utf-8").splitlines()) == 5


def test_names_are_on_the_ledger_that_is_given_and_specs_on_their_own(call, place, tmp_path):
    ledger = f"sqlite:///{place}/other/ledger.db"
    given = (place / "small.yaml", "other", "--ledger", ledger, "--out", tmp_path / "deep" / "here")
    code, out, err = call("compare", *given)
    assert code == 0, err
    assert "Not all were pruned alike" in out
    assert {path.name for path in (tmp_path / "deep" / "here").iterdir()} == FILES
    code, _, err = call("compare", place / "small.yaml", "nosuch", "--ledger", ledger)
    assert code == 3 and "no search 'nosuch' in this ledger; there are: other" in err


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("markdown", "# small.fixed and small.oracle side by side\n\n## Test accuracy (%)\n"),
        ("latex", "% needs \\usepackage{booktabs}\n\\begin{table}"),
        ("csv", "search,network,dataset,policy,"),
        ("json", '{\n  "title": "small.fixed and small.oracle side by side"'),
        ("html", "<!DOCTYPE html>"),
    ],
)
def test_every_form_is_printed_as_it_is_written(call, place, tmp_path, form, start):
    endings = {"markdown": "md", "latex": "tex"}
    code, out, err = call("compare", place / "small.yaml", "--format", form, "--out", tmp_path)
    assert code == 0, err
    assert out.startswith(start)
    assert out == (tmp_path / f"compare.{endings.get(form, form)}").read_text(encoding="utf-8")


def test_one_search_stands_beside_the_papers_table(call, place):
    arguments = ("small.oracle", "--ledger", f"sqlite:///{place}/ledger.db", "--paper-table", "2")
    code, out, err = call("compare", *arguments, "--format", "markdown")
    assert code == 0, err
    assert out.startswith("# small.oracle beside the paper\n")
    assert "| SILO (q = 1, β = 5) [Table 2] |" in out and "**90.8 ± 0.5**" in out


def test_a_table_of_the_paper_alone_leaves_no_files(call, tmp_path):
    code, out, err = call("compare", "--paper-table", "11")
    assert code == 0, err
    assert out.startswith("Table 11 of the SILO paper: ") and "it misses cycles 3 and 7." in out
    assert max(map(len, out.splitlines())) <= 110
    assert list(tmp_path.iterdir()) == []
    assert call("compare", "--paper-table", "11", "--format", "latex", "--out", tmp_path)[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_what_can_not_be_compared_is_said_in_a_line(call, place, tmp_path):
    spec, ledger = place / "small.yaml", f"sqlite:///{place}/ledger.db"
    (tmp_path / "file").touch()
    cases = [
        (("small.fixed", "--ledger", ledger), "see it alone by: oracle report small.fixed"),
        ((spec, "small.fixed", "--ledger", ledger), "search 'small.fixed' is given 2 times"),
        ((), "name the searches, such as: oracle compare A B"),
        ((spec, "--paper-table", 10), "Table 10 has rates, no accuracies"),
        (("--paper-table", 1), "there is no table 1: give 2 to 14"),
        ((spec, "--out", tmp_path / "file" / "x"), "can't be written (Not a directory)"),
        ((spec, "--format", "pdf"), "'pdf' is not one of"),
    ]
    for arguments, message in cases:
        code, out, err = call("compare", *arguments)
        assert (code, out) == (2, ""), arguments
        assert message in err
