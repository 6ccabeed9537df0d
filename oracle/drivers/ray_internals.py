"""Ray's internals, where it has no public call: the one place that touches them."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

AUTH_MODE = "RAY_AUTH_MODE"
"""The environment variable that says whether Ray's processes ask each other for a token."""


def dashboard() -> str | None:
    """``HOST:PORT`` of the dashboard of the cluster that this process is connected to; None without one."""
    import ray

    found: str | None = ray._private.worker.global_worker.node.address_info.get("webui_url")
    return found or None


def node_groups() -> list[tuple[Mapping[str, float], int]]:
    """Resources of a node of each of the autoscaler's groups, and how many it may have; none without one."""
    import ray

    config = ray._private.state.state.get_cluster_config()
    groups = config.node_group_configs if config is not None else ()
    return [(dict(group.resources), group.max_count) for group in groups]


_TRIES = 3


def start(**options: Any) -> None:
    """Calls ``ray.init``, again where a node that it starts needs more than the time that Ray allows it.

    Ray gives a node 30 seconds, which no setting changes, and leaves its processes behind: on a machine that
    is busy for a while the next one finds all files in memory. A cluster that is there is asked once.
    """
    import ray

    for tries in range(1, _TRIES + 1):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray raises a bare one
            _end_nodes(error)
            if options["address"] != "local" or tries == _TRIES or "timed out" not in str(error):
                raise


def _end_nodes(error: Exception) -> None:
    """Ends the processes of the nodes that were being made when this was raised: nobody else knows them."""
    from ray._private.node import Node

    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if isinstance(node, Node):
            node.kill_all_processes(check_alive=False, wait=True)


@contextmanager
def own_authentication() -> Iterator[None]:
    """Has Ray look at the environment for its token before and after, and sets its mode back.

    A cluster that Ray starts switches tokens on for the whole process, and Ray never switches them off: a
    next cluster without tokens could then make no call to this process, and would end its actors.
    """
    before = os.environ.get(AUTH_MODE)
    look_at_environment()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(AUTH_MODE, None)
        else:
            os.environ[AUTH_MODE] = before
        look_at_environment()


def asks_for_token() -> bool:
    """Whether this process answers nobody who shows no token."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return bool(is_token_auth_enabled())


def look_at_environment() -> None:
    """Makes Ray forget the mode and the token that it has read; not while this process is connected."""
    from ray import _raylet

    raylet: Any = _raylet  # its stubs leave these out
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def tune_without_environments() -> Iterator[None]:
    """Has Tune start its workers without an environment of their own: in processes that are there already."""
    import ray
    from ray.tune.execution.class_cache import _ActorClassCache

    known: Any = _ActorClassCache
    before, known.get = known.get, cache(lambda self, trainable: ray.remote(trainable))
    try:
        yield
    finally:
        known.get = before


def zip_folder(folder: Path, path: Path, *, excludes: Sequence[str]) -> None:
    """Zips a folder as Ray zips a working directory, without what its .gitignore and .rayignore name.

    Args:
        folder: The folder.
        path: The zip file to write.
        excludes: What else is left out, as in a .gitignore.
    """
    from ray._private.runtime_env.packaging import create_package

    silent = logging.getLogger("oracle.drivers.ray_internals")
    silent.setLevel(logging.CRITICAL)
    create_package(str(folder), path, include_gitignore=True, excludes=list(excludes), logger=silent)
