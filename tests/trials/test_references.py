"""References stand for what a worker has: looked up at the call, and nowhere else."""

import pytest

from silo.errors import InvalidInput
from trials import secrets
from trials.objectives import make_loss
from trials.paths import check_references, has_references, looked_up
from trials.registry import call
from trials.secrets import without_secrets
from trials.tasks import Component


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Nothing is known to be a secret yet."""
    monkeypatch.setattr(secrets, "_known", set())


@pytest.fixture
def given(monkeypatch, tmp_path):
    """A variable and a file, and arguments with references to them."""
    monkeypatch.setenv("SOME_WORD", "swordfish & co")
    (tmp_path / "word").write_text("open sesame\n")
    return {"a": "${env:SOME_WORD}", "b": [f"user:${{file:{tmp_path}/word}}@host", {"c": 3}]}


def test_a_function_is_given_the_values_and_what_it_says_of_them_is_not_shown(given):
    def login(*, a, b, seed):
        raise ConnectionError(f"{seed}: {a} was refused, {b}")

    with pytest.raises(ConnectionError) as refused:
        call("data set", "mine:login", login, given, seed=1)
    assert str(refused.value) == "1: *** was refused, ['user:***@host', {'c': 3}]"
    assert given["a"] == "${env:SOME_WORD}"
    # From now on they are hidden wherever they come from, as they are written in URLs and in JSON, too.
    assert without_secrets({"x": ["open sesame", "swordfish%20%26%20co"]}) == {"x": ["***", "***"]}


def test_a_function_that_is_called_later_has_them_too(given, own_module):
    own_module("lossy", "def loss(outputs, targets, *, a, b):\n    return a, b\n")
    loss = make_loss(Component(name="lossy:loss", arguments=given))
    assert loss(0, 0) == ("swordfish & co", ["user:open sesame@host", {"c": 3}])
    with pytest.raises(InvalidInput, match="loss 'lossy:loss': the environment variable NO_SUCH is not set"):
        make_loss(Component(name="lossy:loss", arguments={"a": "${env:NO_SUCH}", "b": 1}))


def test_a_function_gets_them_whole(given):
    assert has_references(given) and not has_references({"a": "${HOME}/x", "b": [1, None]})
    assert looked_up(given) == {"a": "swordfish & co", "b": ["user:open sesame@host", {"c": 3}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${env:NO_SUCH_WORD}", "the environment variable NO_SUCH_WORD is not set on .*: set it wherever"),
        ("${file:word}", "give an absolute path"),
        ("${file:/no/such}", "there is no such file"),
        ("${file:/dev/zero}", "there is no such file"),
        ("${file:{folder}/large}", "has more than 65,536 bytes"),
        ("${file:{folder}/binary}", "is no UTF-8 text"),
        ("${file:{folder}/empty}", r"\$\{file:.*/empty\} is empty on .*: leave it out, or give it a value"),
        ("${env:EMPTY_WORD}", r"\$\{env:EMPTY_WORD\} is empty on"),
    ],
)
def test_what_can_t_be_looked_up_is_said_in_a_line(tmp_path, text, words, monkeypatch):
    monkeypatch.setenv("EMPTY_WORD", "")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "large").write_bytes(b"x" * 65_537)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    text = text.replace("{folder}", str(tmp_path))
    with pytest.raises(InvalidInput, match=words) as refused:
        call("network", "mine:Net", lambda **_: None, {"deep": {"er": [text]}})
    assert str(refused.value).startswith("network 'mine:Net': ") and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["${env:}", "x${file: }", "${env:A} and ${env:B", "${ env:A}", "${env:${B}}"]
)
def test_what_only_begins_as_a_reference_is_refused(text):
    with pytest.raises(InvalidInput, match=r"is no reference: give \$\{env:NAME\} or"):
        check_references({"a": [text]})


def test_what_is_one_is_taken_up_to_the_largest_file(tmp_path):
    check_references({"token": "${env:A} and ${file:/b}", "plain": ["text", 1]})
    (tmp_path / "most").write_text("a" * 65_536)
    assert len(looked_up(f"${{file:{tmp_path}/most}}")) == 65_536
    (tmp_path / "most").write_text("a" * 65_537)
    with pytest.raises(InvalidInput, match="has more than 65,536 bytes"):
        looked_up(f"${{file:{tmp_path}/most}}")
