"""The Ray cluster that a search runs on: one that is there, or one that is started on this machine."""

from __future__ import annotations

import gc
import math
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import ray

from oracle.drivers import ray_internals
from oracle.drivers.nodes import worker_count
from oracle.drivers.task_queue import TaskQueue
from oracle.drivers.tokens import answers_without_token
from oracle.errors import Refused
from oracle.execution import cores
from oracle.spec import Spec

# What Tune and Ray would print, log and sync of their own, read by them when an experiment starts.
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # What Tune would start its workers with, which then no process that is there already could become.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "PL_DISABLE_FORK": "1",
}

_CONNECT_SECONDS = 10


class LocalStart:
    """A cluster on this machine that starts while this process does something else, with as many processes as
    there may be workers, which import what those need.

    Its thread lives as long as the cluster: the system ends Ray's processes with the thread that began them.

    Args:
        specs: The specs that may be run; no worker of theirs has a GPU.
    """

    desk: Any = None
    """Where workers take their tasks; None before :meth:`wait`."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        self._specs = specs
        self._error: Exception | None = None
        self._up, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits for the cluster.

        Raises:
            Refused: Ray can't be started here.
        """
        self._up.wait()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Ends the cluster, as soon as it is up."""
        self._over.set()
        self._thread.join()

    def _hold(self) -> None:
        options = _local(self._specs)
        options["_system_config"] = {"preload_python_modules": ["oracle.drivers.preloaded"]}
        try:
            with _connected(options, None):
                # Ray starts a process for each CPU; by this environment the queue takes none of them.
                own = {"env_vars": {"ORACLE_TASK_QUEUE": "1"}}
                self.desk = ray.remote(num_cpus=0, runtime_env=own)(TaskQueue).remote()
                self._up.set()
                self._over.wait()
                self.desk = None
        except Exception as error:
            self._error = error
        finally:
            self._up.set()


@contextmanager
def starting(specs: Sequence[Spec]) -> Iterator[LocalStart]:
    """A cluster that starts on this machine; nothing is left of it afterwards."""
    start = LocalStart(specs)
    try:
        yield start
    finally:
        start.end()


@contextmanager
def cluster(
    specs: Sequence[Spec], address: str | None, start: LocalStart | None = None
) -> Iterator[list[int]]:
    """Connects to a Ray cluster, or starts one on this machine; gives the number of workers it takes.

    Args:
        specs: Specs that are run one after the other; their resources say what a worker of each needs.
        address: Address of a running cluster, ``auto`` for the one around this process; None starts one.
        start: The one that starts here already, for these specs and perhaps others.

    Yields:
        How many workers each spec can have.

    Raises:
        Refused: The cluster can't be reached, or can't ever run one worker of a spec.
    """
    if start is not None:
        start.wait()
    elif address is not None:
        _check_reachable(address)
    options = {"address": address} if address is not None else _local(specs)
    with nullcontext() if start is not None else _connected(options, address):
        if address is not None:
            _check_authentication(address)
        # Of one started here, no spec has the CPUs that it was given for another's workers.
        yield [worker_count(spec, cpus=math.inf if address else _local_cpus(spec)) for spec in specs]


def _local(specs: Sequence[Spec]) -> dict[str, Any]:
    """Ray's options for a cluster on this machine."""
    return {"address": "local", "include_dashboard": False, "num_cpus": max(map(_local_cpus, specs))}


@contextmanager
def _connected(options: dict[str, Any], address: str | None) -> Iterator[None]:
    """Connects this process to a cluster, and cuts it off again."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        raise Refused(
            "this process is connected to a Ray cluster already; call ray.shutdown() first, or run the "
            "search with the driver in-process"
        )
    with ray_internals.own_authentication():
        try:
            ray_internals.start(log_to_driver=False, logging_level="ERROR", **options)
        except Exception as error:  # of whatever class: a node that takes too long to start is a bare one
            what = "Ray can't be started here" if address is None else f"no Ray cluster at {address!r}"
            raise Refused(f"{what}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
        try:
            yield
        finally:
            gc.collect()  # handles of its actors, while it is there
            ray.shutdown()


def is_open() -> bool:
    """Whether the cluster that this process is connected to answers to everybody who reaches it."""
    place = ray_internals.dashboard()
    return answers_without_token(f"http://{place}") if place else os.environ.get("RAY_AUTH_MODE") != "token"


def _check_authentication(address: str) -> None:
    """Refuses a cluster that shows no token to a process that asks for one: its calls would go unanswered."""
    place = ray_internals.dashboard()
    if ray_internals.asks_for_token() and place and answers_without_token(f"http://{place}"):
        raise Refused(
            f"the Ray cluster at {address!r} has no token, and this process asks for one; start the cluster "
            "with RAY_AUTH_MODE=token, or set RAY_AUTH_MODE=disabled here (a ray.init() that started a "
            "cluster in this process has set it to token)"
        )


def _check_reachable(address: str) -> None:
    """Refuses an address that nothing answers at; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit() or "/" in host:
        raise Refused(f"address {address!r} is no Ray cluster's: give HOST:PORT of its head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise Refused(f"no Ray cluster at {address!r}: {error.strerror or error}") from error


def _local_cpus(spec: Spec) -> int:
    """CPUs of a cluster on this machine: the machine's, or more if the spec wants more workers."""
    workers = spec.resources.workers or 0
    return max(cores(), math.ceil(workers * spec.resources.cpus))
