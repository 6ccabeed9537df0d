"""Nothing is lost, whatever ends the driver: the command is killed at random moments and run again."""

import json
import random
import signal
import subprocess
from pathlib import Path

import pytest

from oracle.drivers import in_process
from oracle.spec import Spec
from tests.processes import raw_rows, rows, start, table, write_spec
from tests.support import harm, open_session, results, run_in_process, small_spec
from trials.tasks import PruneNetwork, TrainPack

KILLS = {"in-process": 5, "ray": 2}
SEARCH = {
    "network": {"name": "fc", "arguments": {"hidden": [32, 32]}},
    "cycles": 4,
    "training": {"epochs": 6, "batch_size": 32, "pack": 2, "compile": False},
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
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(write_spec(folder, **SEARCH), "--driver", "in-process")
    _, err = process.communicate()
    assert process.returncode == 0, err
    return folder


@pytest.mark.parametrize("driver", ["in-process", "ray"])
def test_killed_at_random_moments_a_search_ends_as_one_that_was_not(tmp_path, undisturbed, driver):
    spec_file = write_spec(tmp_path, **SEARCH)
    whole = rows(undisturbed)
    generator = random.Random(f"moments {driver}")
    killed_at = []
    for kill in range(KILLS[driver]):
        process = start(spec_file, "--driver", driver)
        kill_at(process, tmp_path, round(whole * kill / (KILLS[driver] + 1)), generator.uniform(0.0, 0.4))
        killed_at.append(rows(tmp_path))
    assert killed_at == sorted(killed_at), "a finished row was lost"
    assert killed_at[-1] < whole, "the last kill came too late to show anything"
    process = start(spec_file, "--driver", driver, "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert table(tmp_path) == table(undisturbed)
    assert rows(tmp_path) == whole
    assert raw_rows(tmp_path) == raw_rows(undisturbed)
    assert json.loads(out)["verdict"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_interrupted_search_says_that_it_can_go_on(tmp_path):
    spec_file = write_spec(tmp_path, **SEARCH | {"cycles": 15})  # longer than a busy machine needs to look
    # By SIGINT a search on Ray ends wherever a cluster's job is stopped.
    for number, driver in ((signal.SIGTERM, "ray"), (signal.SIGINT, "in-process")):
        process = start(spec_file, "--driver", driver)
        target = rows(tmp_path) + 4
        while rows(tmp_path) < target:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == 130, err
        assert "Run the same command again" in err
        assert "Traceback" not in err


def test_a_finished_search_trains_nothing_again(undisturbed):
    before = rows(undisturbed)
    process = start(undisturbed / "spec.yaml")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert rows(undisturbed) == before
    assert "cycle 0 of 0–3" not in err


def test_more_cycles_go_on_where_the_search_ended(tmp_path):
    run_in_process(small_spec(tmp_path, cycles=2))
    longer = run_in_process(small_spec(tmp_path, cycles=3))
    at_once = run_in_process(small_spec(tmp_path / "at once", cycles=3))
    assert longer.resumed > 0
    assert results(longer) == results(at_once)


@pytest.mark.parametrize("damage", ["flipped", "halved", "deleted"])
def test_a_damaged_network_is_trained_again_and_changes_nothing(tmp_path, damage):
    spec = small_spec(tmp_path)
    expected = results(run_in_process(small_spec(tmp_path / "whole")))
    with open_session(spec) as session:
        while not isinstance(task := session.ask(), PruneNetwork):
            session.tell(task, runner(spec, session).run(task))
    harm(Path(spec.storage_root()) / task.parent.path, damage)
    with open_session(spec) as session:
        asked = drive(session, spec)
    assert any(isinstance(t, TrainPack) and t.cycle == 0 for t in asked)
    assert results(session) == expected


@pytest.mark.parametrize("damage", ["flipped", "deleted"])
def test_a_damaged_start_is_pruned_again_and_changes_nothing(tmp_path, damage):
    spec = small_spec(tmp_path)
    expected = results(run_in_process(small_spec(tmp_path / "whole")))
    run_in_process(small_spec(tmp_path, cycles=2))
    harm(Path(spec.storage_root()) / "cycle-01/replicate-0/start.safetensors", damage)
    with open_session(spec) as session:
        asked = drive(session, spec)
    assert any(isinstance(t, PruneNetwork) and t.cycle == 1 for t in asked)
    assert results(session) == expected


def runner(spec: Spec, session):
    from trials.runner import Runner

    return Runner(session.recipe, storage=spec.storage_root(), threads=1)


def drive(session, spec):
    """Runs a session to its end; gives what it asked for."""
    asked, ask = [], session.ask
    session.ask = lambda: (asked.append(ask()), asked[-1])[1]
    in_process.run(session)
    return asked


def test_a_kill_between_two_rows_of_a_pack_doubles_none(tmp_path):
    spec = small_spec(tmp_path, training={"epochs": 1, "batch_size": 64, "pack": 5})
    with open_session(spec) as session:
        outcomes = runner(spec, session).run(session.ask())
        assert len(outcomes) == 5
        session._record(outcomes[:2])  # the driver ends here
    with open_session(spec) as session:
        assert session.resumed == 2
        drive(session, spec)
    found = raw_rows(tmp_path)
    assert len(found) == len({row[:4] for row in found}) == len(results(session))
    whole = run_in_process(
        small_spec(tmp_path / "whole", training={"epochs": 1, "batch_size": 64, "pack": 5})
    )
    assert results(session) == results(whole)


def test_a_search_is_stopped_through_its_ledger(tmp_path, call):
    spec_file = write_spec(tmp_path, **SEARCH)
    process = start(spec_file, "--driver", "in-process")
    while not rows(tmp_path):
        assert process.poll() is None, process.communicate()
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
