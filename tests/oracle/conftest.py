"""A search that the command has run."""

import pytest


@pytest.fixture
def finished(call, write, tmp_path):
    code, _, err = call("run", write(), "--driver", "in-process")
    assert code == 0, err
    return tmp_path
