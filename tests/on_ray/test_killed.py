"""Nothing is lost, whatever ends the driver: the command is killed at random moments and run again."""

import json
import random
import signal
import subprocess

import pytest

from oracle.ledger import Ledger
from oracle.ledger.tables import read_rounds
from tests.processes import raw_rows, rows, run_undisturbed, start, table, write_spec

KILLS = {"in-process": (0.0, 0.5), "ray": (0.4,)}
"""After which shares of the rows the driver is killed; a law kills searches that ask for everything."""

SEARCH = {
    "network": {"name": "fc", "arguments": {"hidden": [32, 32]}},
    "cycles": 3,
    "training": {"epochs": 3, "batch_size": 32, "pack": 2, "compile": False},
    "resources": {"workers": 2},
}


def kill_at(process, folder, threshold, delay):
    """SIGKILL once the ledger holds so many rows, and a random moment later."""
    while rows(folder) < threshold:
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended before it could be killed: {process.communicate()}")
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The folder of a search that nothing disturbs."""
    return run_undisturbed(tmp_path_factory.mktemp("undisturbed"), **SEARCH, policy="adaptive")


def asked(folder):
    """What the policy asked for, round by round."""
    return read_rounds(Ledger(f"sqlite:///{folder}/ledger.db"), "small")


@pytest.mark.parametrize("driver", KILLS)
def test_killed_at_random_moments_a_search_ends_as_one_that_was_not(tmp_path, expected, driver):
    spec_file = write_spec(tmp_path, **SEARCH, policy="adaptive")
    whole = rows(expected)
    generator = random.Random(f"moments {driver}")
    killed_at = []
    for share in KILLS[driver]:
        process = start(spec_file, "--driver", driver)
        kill_at(process, tmp_path, round(whole * share), generator.uniform(0.0, 0.4))
        killed_at.append(rows(tmp_path))
    assert killed_at == sorted(killed_at), "a finished row was lost"
    assert killed_at[-1] < whole, "the last kill came too late to show anything"
    process = start(spec_file, "--driver", driver, "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert table(tmp_path) == table(expected)
    assert rows(tmp_path) == whole
    assert raw_rows(tmp_path) == raw_rows(expected)
    assert asked(tmp_path) == asked(expected) != {}
    assert json.loads(out)["verdict"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_interrupted_search_says_that_it_can_go_on(tmp_path, ray_cluster):
    spec_file = write_spec(tmp_path, **SEARCH | {"cycles": 15})  # longer than a busy machine needs to look
    # By SIGINT a search on Ray ends wherever a cluster's job is stopped.
    on_ray, here = ("--address", ray_cluster.address), ("--driver", "in-process")
    for number, options in ((signal.SIGTERM, on_ray), (signal.SIGINT, here)):
        process = start(spec_file, *options)
        target = rows(tmp_path) + 1  # before the first decision, in which libraries load
        while rows(tmp_path) < target:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == 130, err
        assert "Run the same command again" in err
        assert "Traceback" not in err


def test_a_search_is_stopped_through_its_ledger(tmp_path, call):
    spec_file = write_spec(tmp_path, **SEARCH | {"cycles": 25})  # longer than the driver needs to notice
    process = start(spec_file, "--driver", "in-process")
    while not rows(tmp_path):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    code, out, err = call("stop", spec_file)
    assert code == 0, err
    assert out == "Search small has stopped; the command that began it goes on with it.\n"
    _, err = process.communicate()
    assert process.returncode == 130
    assert "search 'small' is interrupted; every finished trial is in the ledger" in err
    code, out, _ = call("stop", spec_file)
    assert (code, out) == (0, "Search small does not run.\n")
    code, out, _ = call("status", spec_file, "--json")
    assert json.loads(out)["state"] == "interrupted"
