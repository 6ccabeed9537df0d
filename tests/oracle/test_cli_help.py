"""What the command says of itself: the commands in the order of work, each with an example that is one."""

import re
import shlex

import pytest

from oracle.cli.main import cli

ORDER = (
    *("init", "schema", "validate", "plan", "run", "submit", "status", "logs", "list", "dashboard", "stop"),
    *("report", "compare", "fit", "export", "sparsity", "network"),
)


def help_of(call, *arguments):
    code, out, _ = call(*arguments, "--help")
    assert code == 0
    return out


def test_commands_stand_in_the_order_of_work_each_in_a_whole_sentence(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = re.findall(r"^  ([a-z]+)  +(\S.*)$", help_of(call).partition("Commands:")[2], flags=re.MULTILINE)
    assert tuple(name for name, _ in lines) == ORDER
    assert [text for _, text in lines if not text.endswith(".") or text.endswith("...")] == []


def examples(call, name):
    return re.findall(r"^    (oracle .+)$", help_of(call, name).partition("Example:")[2], flags=re.MULTILINE)


@pytest.mark.parametrize("name", ORDER)
def test_each_command_shows_an_example_that_it_takes(call, name):
    found = examples(call, name)
    assert found
    for line in found:
        _, first, *arguments = shlex.split(line.partition(" > ")[0])
        assert first == name
        cli.commands[name].make_context(name, arguments)


def test_run_and_submit_say_what_tells_them_apart(call):
    assert "'oracle submit'" in help_of(call, "run") and "'oracle run'" in help_of(call, "submit")
    text = " ".join(help_of(call).split())
    assert "'oracle run' runs it from this terminal, 'oracle submit' hands it to a Ray cluster" in text
