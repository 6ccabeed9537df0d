"""How the tests are shared out, where several processes run them (``pytest --numprocesses 2``)."""

import pytest


@pytest.fixture(scope="session")
def bucket():
    """An S3 server of this process; see :class:`tests.object_store.ObjectStore`."""
    from tests.object_store import object_store

    with object_store() as store:
        yield store


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One process runs all tests that may start a Ray cluster: no two clusters are up at a time."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "clusters" if nodeid.startswith("tests/oracle/") else nodeid

    return Scheduling(config, log)
