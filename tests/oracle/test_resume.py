"""A search that goes on ends as one that was never stopped, whatever happened to its files in between."""

from pathlib import Path

from oracle.drivers import in_process
from oracle.spec import Spec
from tests.processes import raw_rows
from tests.support import harm, open_session, results, run_in_process, small_spec
from trials.tasks import PruneNetwork, TrainPack


def test_more_cycles_go_on_where_the_search_ended(tmp_path, undisturbed):
    run_in_process(small_spec(tmp_path, cycles=2))
    longer = run_in_process(small_spec(tmp_path, cycles=3))
    assert longer.resumed > 0
    assert results(longer) == results(undisturbed)


def test_a_damaged_network_is_trained_again_and_changes_nothing(tmp_path, undisturbed):
    spec = small_spec(tmp_path)
    with open_session(spec) as session:
        while not isinstance(task := session.ask(), PruneNetwork):
            session.tell(task, runner(spec, session).run(task))
    harm(Path(spec.storage_root()) / task.parent.path, "flipped")
    with open_session(spec) as session:
        asked = drive(session, spec)
    assert any(isinstance(t, TrainPack) and t.cycle == 0 for t in asked)
    assert results(session) == results(undisturbed)


def test_a_damaged_start_is_pruned_again_and_changes_nothing(tmp_path, undisturbed):
    spec = small_spec(tmp_path)
    run_in_process(small_spec(tmp_path, cycles=2))
    harm(Path(spec.storage_root()) / "cycle-01/replicate-0/start.safetensors", "deleted")
    with open_session(spec) as session:
        asked = drive(session, spec)
    assert any(isinstance(t, PruneNetwork) and t.cycle == 1 for t in asked)
    assert results(session) == results(undisturbed)


def runner(spec: Spec, session):
    from trials.runner import Runner

    return Runner(session.recipe, storage=spec.storage_root())


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
