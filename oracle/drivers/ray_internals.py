"""Ray's internals, where it has no public call: the one place that touches them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path


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
