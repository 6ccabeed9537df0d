"""Modules of the user's own."""

import sys

import pytest


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Writes modules of the user's own, outside of every package, and forgets them afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)
