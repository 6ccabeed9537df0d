"""The command as a user calls it, in a folder of its own."""

import sys

import pytest
from ruamel.yaml import YAML

from oracle.cli.main import main
from tests.support import small_data


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Calls the command in tmp_path; gives its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("oracle.cli.main.interrupt_on_signals", lambda: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["oracle", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def write(tmp_path):
    def write_spec(**changes):
        path = tmp_path / "spec.yaml"
        YAML(typ="safe").dump(small_data(tmp_path, **changes), path)
        return path

    return write_spec


@pytest.fixture
def finished(call, write, tmp_path):
    code, _, err = call("run", write(), "--driver", "in-process")
    assert code == 0, err
    return tmp_path
