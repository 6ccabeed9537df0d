"""``oracle export``: files that give every number back, and what it refuses."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from ruamel.yaml import YAML

from oracle.cli.export import FORMATS, write_export
from oracle.ledger import Run
from oracle.results import Results
from oracle.results.frames import FLOAT, FRAMES, INT, MAYBE, TIME, TRUTH
from tests.oracle.invented import invent, make_spec, noted, write_ledger

SECRET = {"storage": "s3://id:hunter2@bucket/a", "ledger": "postgresql+psycopg://me:hunter2@host/db"}


@pytest.fixture
def ledger(tmp_path):
    """A ledger with a search, one replicate, that has passwords in its spec."""
    return write_ledger(tmp_path, *invent(replicates=1, **SECRET))


PARSERS = {FLOAT: float, INT: int, TRUTH: "True".__eq__, MAYBE: "True".__eq__}


def read(folder, name, kind):
    """A frame with its documented types, from its file."""
    kinds = {column: each.kind for column, each in FRAMES[name][1].items()}
    if kind == "parquet":
        return pd.read_parquet(folder / f"{name}.parquet")
    if kind == "csv":
        frame = pd.read_csv(folder / f"{name}.csv", dtype="string")
        for column, dtype in kinds.items():
            if dtype in PARSERS:
                frame[column] = frame[column].map(PARSERS[dtype], na_action="ignore")
    else:
        document = json.loads((folder / "invented.json").read_text(), parse_constant=pytest.fail)
        frame = pd.DataFrame(document["frames"][name], columns=list(kinds))
    for column, dtype in kinds.items():
        if dtype == TIME:
            frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601")
    return frame.astype(kinds)


ROUNDS = {"whole": {"change": noted}, "undecided": {"decided": 0}, "plain": {"replicates": 1, "silo": None}}


@pytest.fixture(scope="module", params=ROUNDS)
def results(request):
    spec, search = invent(**ROUNDS[request.param])
    run = Run(
        started=1e9 / 7, ended=None, state="running", driver="ray", host="a,b", versions={}, error='x\n"y"'
    )
    return Results.of(spec, search, runs=(run,), draws=20)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_back_what_was_written(results, tmp_path, kind):
    files = write_export(results, tmp_path / "new", kind)
    assert set(files) == set((tmp_path / "new").iterdir())
    for name, frame in results.frames().items():
        pd.testing.assert_frame_equal(read(tmp_path / "new", name, kind), frame, check_exact=True)


def test_the_command_names_what_it_wrote(call, ledger, tmp_path):
    code, out, err = call("export", "invented", "--ledger", ledger)
    assert (code, err) == (0, "")
    names = {*(f"{name}.csv" for name in FRAMES), "columns.json", "search.json", "README.md"}
    assert {path.name for path in (tmp_path / "invented-export").iterdir()} == names
    assert all(name in out for name in names)
    rows = "Rows: trials 24, curves 0, candidates 24, intervals 4, fits 3, rivals 6, rules "
    assert f"into invented-export/\n{rows}" in out


def test_what_the_columns_mean_goes_along(call, ledger, tmp_path):
    assert call("export", "invented", "--ledger", ledger, "--out", "deep/er")[0] == 0
    folder = tmp_path / "deep/er"
    columns = json.loads((folder / "columns.json").read_text())
    page = (folder / "README.md").read_text()
    for name in FRAMES:
        header = (folder / f"{name}.csv").read_text().splitlines()[0]
        assert header == ",".join(columns[name])
        assert f"## {name}.csv" in page
        assert all(f"| {column} | {meaning} |" in page for column, meaning in columns[name].items())
    assert json.loads((folder / "search.json").read_text())["done"] is True


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_no_password_leaves(call, ledger, tmp_path, kind):
    code, out, err = call("export", "invented", "--ledger", ledger, "--format", kind, "--json")
    assert code == 0
    written = b"".join(path.read_bytes() for path in (tmp_path / "invented-export").iterdir())
    assert b"hunter2" not in written + out.encode() + err.encode()
    assert b"me:***@host/db" in written


def test_json_says_what_was_written(call, ledger, tmp_path):
    code, out, _ = call("export", "invented", "--ledger", ledger, "--format", "json", "--out", "x", "--json")
    found = json.loads(out)
    assert (code, found["name"], found["format"]) == (0, "invented", "json")
    assert found["files"] == ["x/invented.json"] and found["rows"]["trials"] == 24
    document = json.loads((tmp_path / "x/invented.json").read_text(), parse_constant=pytest.fail)
    assert document["spec"]["cycles"] == 4 and document["columns"].keys() == FRAMES.keys()


def test_missing_and_infinite_numbers_are_null_in_json(tmp_path):
    spec, search = invent(change=lambda trial: replace(noted(trial), train_loss=math.inf), decided=1)
    write_export(Results.of(spec, search, draws=20), tmp_path, "json")
    row = json.loads((tmp_path / "invented.json").read_text())["frames"]["trials"][0]
    assert (row["train_loss"], row["gradient_norm"], row["flipped_signs"]) == (None, None, 0.25)


def test_each_variant_has_its_folder(call, tmp_path):
    spec = make_spec(name="both").model_dump(mode="json", exclude={"grid": {"values"}, "policy": True})
    spec |= {"ledger": f"sqlite:///{tmp_path}/invented.db", "variants": {"a": {"seed": 1}, "b": {"seed": 2}}}
    with (tmp_path / "both.yaml").open("w") as stream:
        YAML(typ="safe").dump(spec, stream)
    for name in ("both.a", "both.b"):
        write_ledger(tmp_path, *invent(name=name, decided=1))
    code, _, err = call("export", "both.yaml", "--out", "all", "--format", "json")
    assert code == 0, err
    assert sorted(
        path.relative_to(tmp_path / "all").as_posix() for path in (tmp_path / "all").rglob("*.json")
    ) == [
        "both.a/both.a.json",
        "both.b/both.b.json",
    ]
    code, out, _ = call("export", "both.yaml", "--json")
    assert [found["name"] for found in json.loads(out)] == ["both.a", "both.b"]
    assert (tmp_path / "both.b-export/trials.csv").exists()


def test_a_file_is_replaced_as_a_whole(call, ledger, tmp_path):
    folder = tmp_path / "invented-export"
    folder.mkdir()
    (folder / "trials.csv").write_text("old")
    (folder / "mine.txt").write_text("mine")
    assert call("export", "invented", "--ledger", ledger)[0] == 0
    assert (folder / "trials.csv").read_text().startswith("cycle,replicate,")
    assert (folder / "mine.txt").read_text() == "mine"
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("invente",), 3, "oracle: no search 'invente' in this ledger; there are: invented"),
        (("invented", "--out", "file/inside"), 2, "oracle: export: file/inside can't be written"),
        (("invented", "--format", "xlsx"), 2, "'xlsx' is not one of 'csv', 'parquet', 'json'"),
        (("none.yaml",), 2, "none.yaml"),
    ],
)
def test_what_is_wrong_gets_one_line(call, ledger, tmp_path, arguments, code, message):
    (tmp_path / "file").write_text("no folder")
    found, out, err = call("export", *arguments, "--ledger", ledger)
    assert (found, out) == (code, "")
    assert message in err
