"""How the tests are shared out, where several processes run them (``pytest --numprocesses 2``)."""

import pytest


@pytest.fixture(scope="session")
def bucket():
    """An S3 server of this process; see :class:`tests.object_store.ObjectStore`."""
    from tests.object_store import object_store

    with object_store() as store:
        yield store


CLUSTERS = (
    "cluster",
    "drivers",
    "full_storage",
    "measured_on_workers",
    "network_cut",
    "resume",
    "searches",
    "shared_data",
    "storing",
)
"""Files of tests/oracle whose tests start Ray clusters."""


def starts_clusters(nodeid):
    return nodeid.startswith(tuple(f"tests/oracle/test_{name}.py" for name in CLUSTERS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One process runs all tests that start a Ray cluster: no two clusters are up at a time.

    That process begins with them, since together they take longer than any other file.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "clusters" if starts_clusters(nodeid) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not starts_clusters(item.nodeid))
