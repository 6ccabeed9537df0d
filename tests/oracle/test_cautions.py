"""Ledger and storage are looked at before a run, and nothing is made; what is rarely meant is warned of."""

import json

import pytest
from sqlalchemy import create_engine, text

from oracle.ledger import Ledger
from oracle.ledger.database import check_url
from oracle.preflight import cautions, missing_places
from tests.support import run_in_process, small_spec
from trials.datasets.base import folder_of

QUICK = {
    "cycles": 1,
    "replicates": 1,
    "grid": {"values": [0.05, 0.1], "extend": False},
    "training": {"epochs": 1, "batch_size": 128, "pack": 2, "compile": False},
}


@pytest.fixture
def blocked(tmp_path):
    """A folder below which nothing can be made, also by root: it is a file."""
    (tmp_path / "blocked").write_text("")
    return tmp_path / "blocked"


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_database_that_no_ledger_can_be_is_refused_before(call, write, command):
    code, _, err = call(command, write(ledger="mysql://user:secret@host/name", **QUICK))
    assert code == 2 and err.count("\n") == 1 and err.startswith("oracle: ledger: ")
    assert "postgresql+psycopg" in err and "secret" not in err


@pytest.mark.parametrize("field", ["storage", "ledger"])
def test_a_place_that_can_not_be_written_is_missing(call, write, tmp_path, blocked, field):
    place = {"storage": f"{blocked}/below", "ledger": f"sqlite:///{blocked}/below/ledger.db"}[field]
    spec_file = write(**{field: place}, **QUICK)
    code, out, err = call("plan", spec_file)
    assert code == 0, err
    (line,) = (line for line in out.splitlines() if line.startswith("missing"))
    assert field in line and f"{blocked} is no folder" in line
    code, out, err = call("validate", spec_file)
    assert code == 3 and "it can't run here" in err and f"{blocked} is no folder" in err
    code, out, _ = call("validate", spec_file, "--json")
    assert code == 3 and json.loads(out)["missing"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "spec.yaml"]


def test_a_folder_of_the_system_is_no_place_either(tmp_path):
    spec = small_spec(tmp_path, storage="/proc/nowhere/at/all", ledger="sqlite:////proc/nowhere/ledger.db")
    ledger, storage = missing_places(spec)
    assert "ledger sqlite:////proc/nowhere/ledger.db" in ledger and "/proc" in storage


@pytest.mark.parametrize("content", ["no database", "another version"])
def test_a_file_that_is_no_ledger_of_ours_is_missing_and_stays_as_it_is(tmp_path, content):
    spec, file = small_spec(tmp_path), tmp_path / "ledger.db"
    if content == "no database":
        file.write_text(content * 100)
    else:
        Ledger(spec.ledger, create=True).close()
        with create_engine(spec.ledger).begin() as connection:
            connection.execute(text("UPDATE oracle_schema SET version = 99"))
    before = file.read_bytes()
    (line,) = missing_places(spec)
    assert line.startswith("ledger sqlite:///") and file.read_bytes() == before


def test_looking_makes_nothing(tmp_path):
    assert missing_places(small_spec(tmp_path)) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_is_where_a_shell_would_have_it(call, write, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    spec_file = write(ledger="sqlite:///${SCRATCH}/here/ledger.db", storage="~/networks", **QUICK)
    code, _, err = call("run", spec_file, "--driver", "in-process")
    assert code == 0, err
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"spec.yaml", "scratch", "home"}
    assert (tmp_path / "scratch/here/ledger.db").is_file() and (tmp_path / "home/networks/small").is_dir()
    assert call("list", "--ledger", "sqlite:///$SCRATCH/here/ledger.db")[1].count("small") == 1
    assert check_url("sqlite:///~/x.db").database == f"{tmp_path}/home/x.db"
    assert folder_of("${SCRATCH}/images") == tmp_path / "scratch" / "images"


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("storage", "${NO_SUCH}/x"),
        ("storage", "$NO_SUCH"),
        ("storage", "~no_such_user/x"),
        ("ledger", "sqlite:///${NO_SUCH}/x.db"),
        ("ledger", "sqlite:///~no_such_user/x.db"),
        ("storage", "s3:/bucket/x"),
    ],
)
@pytest.mark.parametrize("command", [("validate",), ("run", "--driver", "in-process")])
def test_no_folder_is_made_of_what_stands_for_another(call, write, tmp_path, field, place, command):
    code, _, err = call(command[0], write(**{field: place}, **QUICK), *command[1:])
    assert code == 2 and err.count("\n") == 1 and field in err
    assert "NO_SUCH is not set" in err or "no home folder" in err or "neither a folder nor a URI" in err
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tolerance": 0.5}, ["tolerance: 0.5 is 50 %", "give 0.005"]),
        ({"tolerance": 0.1}, ["give 0.001"]),
        ({"pruning": {"rate": 0.8}}, ["pruning.rate: 0.8 removes 80 %", "give 0.2"]),
        ({"silo": {"epsilon": 4, "delta": 6}}, ["silo: the curve's rates, 4 to 10", "0.01 to 0.4", "1e-2"]),
        ({"silo": {"epsilon": 4e-4, "delta": 6e-4}}, ["silo: the curve's rates, 0.0004 to 0.001"]),
    ],
)
def test_what_is_rarely_meant_is_warned_of(tmp_path, changes, words):
    (line,) = cautions(small_spec(tmp_path, **changes))
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    "changes", [{}, {"tolerance": 0.05}, {"tolerance": 0}, {"pruning": {"rate": 0.5}}, {"silo": None}]
)
def test_what_is_usual_is_not(tmp_path, changes):
    assert cautions(small_spec(tmp_path, **changes)) == ()


@pytest.mark.parametrize("command", [("validate",), ("plan",), ("run", "--driver", "in-process")])
def test_every_command_before_a_search_warns(call, write, command):
    code, out, err = call(command[0], write(tolerance=0.5, **QUICK), *command[1:])
    assert code == 0 and (out + err).count("if 0.5 % was meant, give 0.005") == 1


def test_a_search_that_can_not_be_read_hides_no_other(call, tmp_path):
    for name in ("first", "second"):
        run_in_process(small_spec(tmp_path, name=name, **QUICK)).ledger.close()
    url = f"sqlite:///{tmp_path}/ledger.db"
    for column, value in (("spec", "{}"), ("spec", "no JSON"), ("execution", '{"speed": 9}')):
        with create_engine(url).begin() as connection:
            change = text(f"UPDATE oracle_searches SET {column} = :value WHERE name = 'first'")
            connection.execute(change, {"value": value})
        code, out, err = call("list", "--ledger", url)
        assert code == 0 and err.count("\n") == 1 and "first" in err
        first, second = (line for line in out.splitlines() if "first" in line or "second" in line)
        assert "can't be read" in first and "done" in second
        code, _, err = call("status", "third", "--ledger", url)
        assert code == 3 and "there are: first, second" in err


@pytest.mark.parametrize(
    ("name", "goal", "likely"),
    [
        ("rmse", "max", "min"),
        ("word error rate", "max", "min"),
        ("val_loss", "max", "min"),
        ("Perplexity", "max", "min"),
        ("mean IoU", "min", "max"),
        ("top-5 accuracy", "min", "max"),
        ("f1", "min", "max"),
        ("rmse", "min", None),
        ("negative loss", "max", None),
        ("mean IoU", "max", None),
        ("score", "min", None),
        ("glossy", "max", None),
    ],
)
def test_a_metric_whose_name_tells_another_goal_is_asked_about(tmp_path, name, goal, likely):
    metric = {"name": name, "function": "mine:metric", "goal": goal}
    found = [
        line
        for line in cautions(small_spec(tmp_path, metric=metric, tolerance=0.01))
        if line.startswith("metric:")
    ]
    assert [line.endswith(f"of it is, give goal: {likely}") for line in found] == [True] * (
        likely is not None
    )
