"""A storage that becomes full or read-only: one line says so, and the search goes on once that is mended."""

import subprocess
import threading

import pytest
import torch

from oracle.ledger import Ledger
from oracle.results import Results
from tests.processes import raw_rows, rows, run_undisturbed, start, table, write_spec
from tests.support import needs_compiler, results, run_in_process, small_spec
from trials.checkpoints import Store
from trials.engine.compile_cache import CompilerFailed
from trials.engine.graphs import compile_all, trace

SEARCH = {
    "network": {"name": "fc", "arguments": {"hidden": [64, 64]}},  # 35 KB a file
    "cycles": 3,
    "training": {"epochs": 2, "batch_size": 64, "pack": 2, "compile": False},
    "resources": {"workers": 1},
}
LITTLE = SEARCH | {"network": {"name": "fc", "arguments": {"hidden": [16]}}}
CYCLE_0, ENOUGH = "600k", "50m"
NAP = threading.Event()


@pytest.fixture
def disk(tmp_path):
    """Mounts a small file system at ``networks`` with the options that it is called with; again to change."""
    folder = tmp_path / "networks"
    folder.mkdir()
    mounted = []

    def mount(options):
        how = [f"remount,{options}"] if mounted else [options, "-t", "tmpfs"]
        done = subprocess.run(
            ["mount", "-o", *how, "none", str(folder)], capture_output=True, text=True, check=False
        )
        if not mounted and done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr}")
        mounted.append(options)
        return done.returncode == 0

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_undisturbed(tmp_path_factory.mktemp("undisturbed"), **SEARCH)


def check_what_is_left(folder, storage="networks"):
    """No half file, and each row's file is there until its cycle is decided; gives the number of rows."""
    assert not list(folder.rglob("*.tmp"))
    ledger, store = Ledger(f"sqlite:///{folder}/ledger.db"), Store(str(folder / storage / "small"))
    try:
        outcomes = ledger.outcomes("small").values()
        decided = len(Results.read(ledger, ledger.search("small")).decided)
    finally:
        ledger.close()
    for outcome in outcomes:
        if outcome.cycle >= decided:
            store.read(outcome.checkpoint)
    return len(outcomes)


@pytest.fixture
def fails(call, tmp_path):
    """Runs the command, which must end with 1 and with a line that the status tells, too."""

    def check(arguments, beginning, *words):
        code, out, err = call("run", *arguments)
        assert code == 1, (out, err)
        *_, line = [line for line in err.splitlines() if line.startswith("oracle:")]
        assert line.startswith(f"oracle: {beginning}") and all(word in line for word in words), err
        assert "run the same command again" in line and "Traceback" not in err
        code, out, _ = call("status", tmp_path / "spec.yaml")
        assert code == 0 and "state     failed\n" in out and line.removeprefix("oracle: ") in out, out

    return check


@pytest.fixture
def goes_on(call, tmp_path, undisturbed):
    """Runs the command to its end, which must be that of a search that nothing happened to."""

    def check():
        code, _, err = call("run", tmp_path / "spec.yaml", "--driver", "in-process")
        assert code == 0, err
        assert table(tmp_path) == table(undisturbed)
        assert raw_rows(tmp_path) == raw_rows(undisturbed)

    return check


@pytest.mark.parametrize("driver", ["in-process", "ray"])
def test_a_folder_that_becomes_full(tmp_path, disk, fails, goes_on, undisturbed, driver, ray_cluster):
    disk(f"size={CYCLE_0}")
    where = ("--address", ray_cluster.address) if driver == "ray" else ("--driver", driver)
    storage = f"storage {tmp_path}/networks/small on "
    full = "is full (No space left on device); free some space there"
    fails((write_spec(tmp_path, **SEARCH), *where), storage, full)
    assert 0 < check_what_is_left(tmp_path) < rows(undisturbed)
    disk(f"size={ENOUGH}")
    goes_on()


def test_a_folder_that_becomes_read_only(tmp_path, disk, fails, goes_on, undisturbed):
    disk(f"size={ENOUGH}")
    command = (write_spec(tmp_path, **SEARCH), "--driver", "in-process")

    def make_read_only():
        while rows(tmp_path) < 3:
            NAP.wait(0.01)
        while not disk("ro"):  # a file is just being written
            NAP.wait(0.001)

    thread = threading.Thread(target=make_read_only)
    thread.start()
    storage = f"storage {tmp_path}/networks/small on "
    fails(command, storage, "is read-only (Read-only file system); make it writable")
    thread.join()
    assert 3 <= check_what_is_left(tmp_path) < rows(undisturbed)
    disk("rw")
    goes_on()


def test_a_ledger_on_the_full_disk(tmp_path, disk, call, monkeypatch):
    monkeypatch.setenv("ORACLE_LEDGER_PATIENCE", "1")
    disk("size=700k")
    everything = tmp_path / "networks"
    spec_file = write_spec(everything, **LITTLE, storage=str(tmp_path / "elsewhere"))
    # A process of its own: its lease can't be given back, and ends with it.
    _, err = (process := start(spec_file, "--driver", "in-process")).communicate()
    assert process.returncode == 1 and "Traceback" not in err, err
    *_, line = [line for line in err.splitlines() if line.startswith("oracle:")]
    assert line == (
        f"oracle: the ledger failed (database or disk is full: sqlite:///{everything}/ledger.db); no "
        "finished trial is lost: free some space there, and run the same command again"
    )
    whole = run_in_process(small_spec(tmp_path / "whole", **LITTLE))
    assert 0 < check_what_is_left(everything, tmp_path / "elsewhere") < len(results(whole))
    disk(f"size={ENOUGH}")
    assert call("run", spec_file, "--driver", "in-process")[0] == 0
    assert raw_rows(everything) == raw_rows(tmp_path / "whole")


def test_a_report_for_which_there_is_no_room(tmp_path, disk, call, write):
    disk("size=2m")  # a report has 5 MB, the networks 0.1
    spec_file = write(**LITTLE)
    code, _, err = call("run", spec_file, "--driver", "in-process")
    (line,) = [line for line in err.splitlines() if line.startswith("oracle:")]
    assert code == 1 and f"report: {tmp_path}/networks/small/report can't be written (No space left" in line
    assert not list(tmp_path.rglob("*.tmp"))
    assert "state     done\n" in call("status", spec_file)[1]
    disk(f"size={ENOUGH}")
    assert call("run", spec_file, "--driver", "in-process")[0] == 0 and table(tmp_path)


@pytest.fixture
def small_cache(tmp_path, disk, monkeypatch):
    """Makes the folder for compiled steps a small disk, of which nothing half done must be left."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "networks"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    yield lambda size: disk(f"size={size},mode=0700")
    assert not list((tmp_path / "networks").rglob("compiling-*"))


@needs_compiler
def test_a_search_does_without_compiled_steps_where_their_folder_is_full(tmp_path, small_cache, call):
    small_cache("8k")
    changes = LITTLE | {"training": {**LITTLE["training"], "compile": True}, "cycles": 1}
    spec_file = write_spec(tmp_path, **changes, storage=str(tmp_path / "elsewhere"))
    code, _, err = call("run", spec_file, "--driver", "in-process")
    assert code == 0 and "Traceback" not in err, err
    assert "its step is not compiled: " in err and "No space left on device" in err, err
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    assert not ledger.search("small").execution.compiled and len(ledger.outcomes("small")) > 0
    ledger.close()


@needs_compiler
def test_a_folder_that_becomes_full_while_the_compiler_runs_is_its_reason(small_cache):
    small_cache("200k")
    with pytest.raises(CompilerFailed, match="No space left on device"):
        compile_all([trace(lambda numbers: (numbers.exp().sum(0),), [torch.ones(3, 4)])])
