"""Python's collector is away while large libraries are imported, and as it was afterwards."""

import gc

import pytest

from trials.imports import uncollected


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_away_while_it_lasts_and_then_as_it_was(enabled):
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ImportError), uncollected():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()
