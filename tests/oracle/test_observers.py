"""Who watches a search: observers that a spec names, TensorBoard's and MLflow's among them."""

import logging
from types import SimpleNamespace

import pytest

import oracle
from oracle.observers import Observer, make_observers
from silo.errors import InvalidInput
from tests.support import open_session, small_spec


class Notes(Observer):
    """Notes what it hears."""

    heard: list[str] = []  # noqa: RUF012 - a spec names the class, and makes it itself

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    def started(self, session):
        self.heard.append(f"{self._prefix}started {session.spec.name}")

    def trained(self, session, outcomes):
        self.heard.append(f"{self._prefix}trained {len(outcomes)}")

    def ended(self, session, state):
        self.heard.append(f"{self._prefix}ended {state}")


class Fails(Notes):
    def decided(self, session, decision):
        raise RuntimeError("no disk\nsecond line")


def watched(folder, *observers, **changes):
    return oracle.run(small_spec(folder, observers=list(observers), **changes), driver="in-process")


@pytest.fixture(autouse=True)
def fresh():
    Notes.heard.clear()


def named(kind, **arguments):
    return {"name": f"{__name__}:{kind.__name__}", "arguments": arguments}


def test_a_spec_names_observers_and_their_arguments_which_may_change_under_a_search(tmp_path):
    first = watched(tmp_path, cycles=1)
    assert not Notes.heard
    both = watched(tmp_path, named(Notes, prefix="> "), cycles=2)
    assert Notes.heard[0] == "> started small" and Notes.heard[-1] == "> ended done"
    trained = sum(int(each.split()[-1]) for each in Notes.heard if "trained" in each)
    assert trained == len(both.trials) - len(first.trials) > 0


def test_one_that_fails_is_named_once_and_hears_no_more(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="oracle"):
        found = watched(tmp_path, named(Fails), cycles=3)
    assert len(found.intervals) == 3 and "ended done" not in Notes.heard
    (record,) = caplog.records
    assert record.getMessage().endswith("hears no more, the search goes on: RuntimeError: no disk")


@pytest.mark.parametrize(
    ("observer", "said"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        (f"{__name__}:Missing", "has no attribute 'Missing'"),
        (named(Notes, suffix="x"), "takes no argument 'suffix'"),
        (f"{__name__}:watched", "needs the argument 'folder'"),
        ("builtins:dict", "gives dict, which is no oracle.observers.Observer"),
    ],
)
def test_what_can_t_watch_is_said_before_the_search(tmp_path, observer, said):
    with pytest.raises(InvalidInput, match=said):
        make_observers(small_spec(tmp_path, observers=[observer]))


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_who_checks_a_spec_hears_of_an_observer_that_can_t_watch(write, call, command):
    lacking = {"name": "tensorboard", "arguments": {"folder": "${env:NO_SUCH_FOLDER}"}}
    code, _, err = call(command, write(observers=[lacking]))
    assert code == 2 and "observer 'tensorboard': the environment variable NO_SUCH_FOLDER is not set" in err


def test_tensorboard_shows_cycles_trials_and_landscapes(tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = {"name": "tensorboard", "arguments": {"folder": str(tmp_path / "runs")}}
    one_second = SimpleNamespace(time=lambda: 1.7e9)  # by which files are named
    monkeypatch.setattr("tensorboardX.event_file_writer.time", one_second)
    watched(tmp_path, board, cycles=1)
    found = watched(tmp_path, board, cycles=2)

    def scalars(folder, tag):
        events = accumulator.EventAccumulator(str(tmp_path / "runs" / folder))
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars(tag)]

    optima = [(cycle, pytest.approx(optimum)) for cycle, optimum in enumerate(found.intervals.optimum)]
    assert scalars("small", "cycle/optimum") == optima
    assert scalars("small", "cycle/density") == [(0, 1.0), (1, pytest.approx(0.8, abs=1e-3))]
    steps = [step for step, _ in scalars("small", "trial/max_lr")]
    assert steps == list(range(1, len(found.trials) + 1))
    for trial in found.outcomes[::7]:
        place = f"small/cycle-{trial.cycle:02d}/max_lr-{trial.max_lr!r}-replicate-{trial.replicate}"
        points = [(point.step, pytest.approx(point.score)) for point in trial.curve.validations]
        assert points and scalars(place, "curve/validation_accuracy") == points
    landscape = scalars("small/cycle-01", "landscape/validation_accuracy")
    candidates = found.candidates.query("cycle == 1")
    assert landscape == [
        (round(1e6 * each.max_lr), pytest.approx(each.validation_accuracy_mean))
        for each in candidates.itertuples()
    ]


def test_tensorboard_names_what_is_searched(tmp_path):
    grid = {"over": "training.batch_size", "values": [32, 64], "extend": False}
    training = {"epochs": 1, "max_lr": 0.1, "batch_size": 64, "compile": False}
    searched = {"grid": grid, "training": training, "silo": None}
    watched(tmp_path, {"name": "tensorboard", "arguments": {"folder": str(tmp_path)}}, cycles=1, **searched)
    runs = {path.name for path in (tmp_path / "small/cycle-00").iterdir() if path.is_dir()}
    assert runs == {f"batch_size-{each}-replicate-{r}" for each in (32.0, 64.0) for r in range(2)}


def test_mlflow_keeps_a_search_as_one_run_however_often_it_goes_on(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # no server in these tests
    place = f"file:{tmp_path}/mlruns"
    tracker = {"name": "mlflow", "arguments": {"tracking_uri": place, "experiment": "pruning"}}
    watched(tmp_path, tracker, cycles=1)
    found = watched(tmp_path, tracker, cycles=3)
    client = mlflow.MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("pruning")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "small"
    assert run.data.params["training.batch_size"] == "64"
    optima = {(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "optimum")}
    assert optima == {(each.cycle, each.optimum) for each in found.intervals.itertuples()}


def test_an_interrupted_search_ends_mlflow_s_run_as_killed(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    place = f"file:{tmp_path}/mlruns"
    spec = small_spec(
        tmp_path, observers=[{"name": "mlflow", "arguments": {"tracking_uri": place}}], cycles=1
    )
    with open_session(spec, observers=make_observers(spec)) as session:
        session.end("interrupted")
    client = mlflow.MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("silo-oracle")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
