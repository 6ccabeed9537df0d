"""How the tests are shared out, where several processes run them (``pytest -n 2 --dist loadgroup``)."""

from pathlib import Path

import pytest

_CLUSTERS = Path(__file__).parent / "oracle"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """One process runs all tests that may start a Ray cluster: no two clusters are up at a time."""
    for item in items:
        if item.path.is_relative_to(_CLUSTERS):
            item.add_marker(pytest.mark.xdist_group("clusters"))
