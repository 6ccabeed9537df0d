"""Files that are damaged while a search runs, or between two runs, by processes that know nothing of it."""

import threading

import psutil
import pytest

from tests.processes import raw_rows, rows, run_undisturbed, start, table, write_spec
from tests.support import harm

SEARCH = {
    "network": {"name": "fc", "arguments": {"hidden": [32, 32]}},
    "cycles": 3,
    "training": {"epochs": 2, "batch_size": 64, "pack": 2, "compile": False},
}
START = "cycle-01/replicate-{}/start.safetensors"
NAP = threading.Event()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_undisturbed(tmp_path_factory.mktemp("undisturbed"), **SEARCH)


@pytest.fixture
def selected(undisturbed):
    """The files of cycle 0 that its successor is pruned from, by replicate."""
    networks = undisturbed / "networks/small"
    found = sorted(networks.glob("cycle-00/replicate-*/max_lr-*.safetensors"))
    assert len(found) == 2  # the losers are gone
    return [path.relative_to(networks).as_posix() for path in found]


@pytest.fixture
def stopped_at(tmp_path):
    """Starts the search, and stops it (SIGSTOP) as soon as its networks have certain files."""

    def stop(*wanted):
        process = start(write_spec(tmp_path, **SEARCH), "--driver", "in-process")
        while not all((tmp_path / "networks/small" / path).exists() for path in wanted):
            assert process.poll() is None, process.communicate()
            NAP.wait(0.005)
        psutil.Process(process.pid).suspend()
        return process

    return stop


def check_end(folder, undisturbed, damaged):
    """As if nothing had happened: the files that were damaged, the table, and every row once."""
    for path in damaged:
        made, whole = (place / "networks/small" / path for place in (folder, undisturbed))
        assert made.read_bytes() == whole.read_bytes(), path
    assert table(folder) == table(undisturbed)
    assert raw_rows(folder) == raw_rows(undisturbed)


def test_networks_damaged_while_a_search_runs_are_trained_again(tmp_path, undisturbed, selected, stopped_at):
    process, networks = stopped_at(*selected), tmp_path / "networks/small"
    assert not (networks / START.format(0)).exists(), "too late"
    harm(networks / selected[0], "flipped")
    harm(networks / selected[1], "halved")
    psutil.Process(process.pid).resume()
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert all(f"{path} is missing or damaged" in err for path in selected)
    check_end(tmp_path, undisturbed, selected)


def test_networks_damaged_between_two_runs_are_made_again(tmp_path, undisturbed, selected, stopped_at, call):
    starts = [START.format(0), START.format(1)]
    process = stopped_at(START.replace("start", "max_lr-0.01").format(1))  # trained, so the start has its row
    networks = tmp_path / "networks/small"
    process.kill()
    process.communicate()
    assert rows(tmp_path) < rows(undisturbed)
    for path, damage in zip([*selected, *starts], ["flipped", "halved", "halved", "flipped"], strict=True):
        harm(networks / path, damage)
    code, _, err = call("run", tmp_path / "spec.yaml", "--driver", "in-process")
    assert code == 0, err
    check_end(tmp_path, undisturbed, [*selected, *starts])
