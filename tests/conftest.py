"""Servers that tests share, the command as a user calls it, and how tests are shared out among processes."""

import gc
import os
import shutil
import signal
import sys

import pytest
from hypothesis import settings
from ruamel.yaml import YAML

settings.register_profile("any machine", deadline=None)  # a slow one fails no test
settings.load_profile("any machine")

os.environ["ORACLE_REMEASURE"] = "1"  # no test depends on what another one has measured, or its user

# As a shell has it for what it puts into the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERVERS = {"browser", "bucket", "postgresql", "ray_cluster"}
"""Fixtures that start a program of somebody else's; a test that uses one is slow."""

SLOW_FOLDERS = ("tests/on_ray/", "tests/browser/")
RAY_FOLDER = "tests/on_ray/"


@pytest.fixture(scope="session")
def bucket():
    """An S3 server of this process; see :class:`tests.object_store.ObjectStore`."""
    from tests.object_store import object_store

    with object_store() as store:
        yield store


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server of this process, a database for each test; a test that stops it starts it again."""
    from tests.postgresql import running_server

    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory):
    """A Ray cluster without a token: one node of two CPUs and, by Ray's count, a GPU; each test is a job."""
    from tests.clusters import running

    with running(tmp_path_factory.mktemp("ray"), token=False, cpus=2, gpus=1) as cluster:
        yield cluster


@pytest.fixture(scope="module", autouse=True)
def what_is_there_stays():
    """What a file's tests begin with is no garbage: to look through it takes longer than many of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Calls the command in tmp_path; gives its exit code, output and errors."""
    from oracle.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("oracle.cli.main.interrupt_on_signals", lambda: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["oracle", *map(str, arguments)])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            for number, handler in handlers.items():  # some end by ignoring them
                signal.signal(number, handler)
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def write(tmp_path):
    """Writes the file of a small search into tmp_path."""
    from tests.support import small_data

    def write_spec(**changes):
        path = tmp_path / "spec.yaml"
        YAML(typ="safe").dump(small_data(tmp_path, **changes), path)
        return path

    return write_spec


@pytest.fixture(autouse=True)
def nothing_fails_unseen(request, monkeypatch):
    """What a report would only say in its place fails a test, but for those of these places themselves."""

    def raised(what, error):
        raise error

    shows_nothing = request.node.nodeid.startswith(("tests/silo/", "tests/trials/"))
    if not shows_nothing and not request.node.get_closest_marker("shows_failures"):
        monkeypatch.setattr("dashboards.style.failed", raised)


def pytest_collection_modifyitems(items):
    """Marks what is slow, and puts it first: what is left at the end is short, so that no process idles."""
    for item in items:
        compiles = item.get_closest_marker("compiler")
        if compiles or SERVERS & set(item.fixturenames) or item.nodeid.startswith(SLOW_FOLDERS):
            item.add_marker("slow")
        if compiles and not any(map(shutil.which, ("g++", "clang++", "c++"))):
            item.add_marker(pytest.mark.skip(reason="compiling a step takes a C++ compiler"))
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not item.nodeid.startswith(RAY_FOLDER), item.path not in slow_files))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Shares out files, in the order of the collection; those that start Ray clusters go to one process.

    Two clusters at a time would have more workers than a small machine has cores.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return RAY_FOLDER if nodeid.startswith(RAY_FOLDER) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return Scheduling(config, log)
