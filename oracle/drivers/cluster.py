"""The Ray cluster that a search runs on: one that is there, or one that is started on this machine."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from oracle.errors import Refused
from oracle.machine import cores
from oracle.spec import Spec
from oracle.ways import Choice, choose_way
from silo.errors import SiloOracleError

# What Tune and Ray would print, log and sync of their own, read by them when an experiment starts.
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_CONNECT_SECONDS = 10


@contextmanager
def cluster(spec: Spec, address: str | None) -> Iterator[int]:
    """Connects to a Ray cluster, or starts one on this machine; gives the number of workers it takes.

    Args:
        spec: The spec; its resources say what a worker needs.
        address: Address of a running cluster, ``auto`` for the one around this process; None starts one.

    Raises:
        Refused: The cluster can't be reached, or can't ever run one worker.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options.update(address="local", include_dashboard=False, num_cpus=_local_cpus(spec))
    else:
        _check_reachable(address)
        options.update(address=address)
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError) as error:
        raise Refused(f"no Ray cluster at {address!r}: {str(error).splitlines()[0]}") from error
    try:
        yield _worker_count(spec)
    finally:
        ray.shutdown()


def choose_way_on_worker(spec: Spec, workers: int) -> Choice | None:
    """Measures ways as :func:`oracle.ways.choose_way` does, on a worker of the cluster; None if that fails.

    Args:
        spec: The spec.
        workers: Workers at a time.

    Raises:
        InvalidInput: See :func:`oracle.ways.choose_way`.
    """
    wants = spec.resources
    measuring = ray.remote(_choose_way).options(num_cpus=wants.cpus, num_gpus=wants.gpus)
    # What a worker isn't told it can't give away: the ledger's password.
    told = spec.model_copy(update={"ledger": "sqlite:///none.db"})
    try:
        found: Choice = ray.get(measuring.remote(told, workers))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, SiloOracleError):
            raise cause from None
        return None  # a worker that dies, too little memory: the search itself will show
    return found


def _choose_way(spec: Spec, workers: int) -> Choice:
    from oracle.preflight import open_runner

    return choose_way(spec, open_runner(spec).on(spec.device), workers)


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


def _worker_count(spec: Spec) -> int:
    """As many workers as the spec wants and the cluster has room for.

    Raises:
        Refused: There is room for none.
    """
    room = ray.cluster_resources()
    wanted = {"CPU": spec.resources.cpus, "GPU": spec.resources.gpus}
    for name, amount in wanted.items():
        if amount > room.get(name, 0.0):
            raise Refused(
                f"resources: a worker needs {amount:g} {name}, the cluster has {room.get(name, 0.0):g}; "
                f"ask for less or give it more"
            )
    fits = min(int(room.get(name, 0.0) / amount) for name, amount in wanted.items() if amount > 0)
    return fits if spec.resources.workers is None else min(fits, spec.resources.workers)
