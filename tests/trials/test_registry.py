import sys

import pytest

from silo.checks import did_you_mean
from silo.errors import InvalidInput
from trials.registry import call, resolve

KNOWN = {"resnet20": 1, "vgg19": 2}


def test_known_name():
    assert resolve("network", "vgg19", KNOWN) == 2


def test_a_known_thing_may_be_imported_only_when_it_is_asked_for():
    known = {"root": "math:sqrt", "broken": "nowhere.at.all:thing"}
    assert resolve("function", "root", known)(4.0) == 2.0


@pytest.mark.parametrize(("given", "near"), [("resnet", "resnet20"), ("VGG-19", "vgg19")])
def test_unknown_name_lists_the_known_and_the_nearest(given, near):
    with pytest.raises(InvalidInput) as caught:
        resolve("network", given, KNOWN)
    message = str(caught.value)
    assert message.startswith(
        f"unknown network {given!r}: known are 'resnet20', 'vgg19' (did you mean {near!r}?)"
    )
    assert "package.module:name" in message


def test_nothing_near():
    assert did_you_mean("zzz", KNOWN) == ""


def test_own_by_module_and_name(own_module):
    own_module("own_nets", "def small():\n    return 1\nclass Zoo:\n    big = 2\n")
    assert resolve("network", "own_nets:small", KNOWN)() == 1
    assert resolve("network", "own_nets:Zoo.big", KNOWN) == 2


def test_own_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "here_nets.py").write_text("small = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    assert resolve("network", "here_nets:small", KNOWN) == 3
    assert sys.path[-1] == str(tmp_path)
    del sys.modules["here_nets"]


@pytest.mark.parametrize("name", ["no_such_module:net", "json.no_such:net", "json.decoder.no_such:net"])
def test_missing_module_says_where_it_should_be(name):
    module = name.partition(":")[0]
    with pytest.raises(InvalidInput, match=f"no module '{module}'.*PYTHONPATH or the working directory"):
        resolve("network", name, KNOWN)


def test_missing_parent_package():
    with pytest.raises(InvalidInput, match="no module 'nowhere'; it must be importable"):
        resolve("network", "nowhere.nets:net", KNOWN)


def test_module_that_lacks_something_itself(own_module):
    own_module("needy_nets", "import not_installed_here\n")
    with pytest.raises(
        InvalidInput, match="'needy_nets' can't be imported: No module named 'not_installed_here'"
    ):
        resolve("network", "needy_nets:net", KNOWN)


def test_error_inside_the_module_is_not_hidden(own_module):
    own_module("broken_nets", "1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        resolve("network", "broken_nets:net", KNOWN)


def test_own_module_that_imports_torchvision_itself(own_module):
    own_module("vision_nets", "import torchvision\nversion = torchvision.__version__\n")
    assert resolve("network", "vision_nets:version", KNOWN)


def test_missing_attribute(own_module):
    own_module("two_nets", "def small(): ...\n")
    with pytest.raises(InvalidInput, match=r"'two_nets' has no attribute 'smal' \(did you mean 'small'\?\)"):
        resolve("network", "two_nets:smal", KNOWN)


@pytest.mark.parametrize("name", [":net", "module:", "a:b:c"])
def test_unreadable_name(name):
    with pytest.raises(InvalidInput, match=r"can't be read.*'package.module:name'"):
        resolve("network", name, KNOWN)


def build(*, input_shape, width, depth=2):
    return input_shape, width, depth


def test_call_joins_context_and_arguments():
    assert call("network", "n", build, {"width": 3}, input_shape=(1,)) == ((1,), 3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"widht": 3},
            r"network 'n' takes no argument 'widht' \(did you mean 'width'\?\): it takes 'width', 'depth'",
        ),
        ({}, "network 'n' needs the argument 'width': given were nothing"),
        ({"depth": 1}, "needs the argument 'width': given were 'depth'"),
        (
            {"width": 1, "input_shape": (2,)},
            "argument 'input_shape' of network 'n' can't be given: leave it out",
        ),
        ({"width": 1, 5: 2}, "takes no argument 5"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        call("network", "n", build, arguments, input_shape=(1,))


def test_function_that_lacks_the_context():
    with pytest.raises(InvalidInput, match=r"must take the keyword 'seed'.*it takes 'width'"):
        call("network", "n", lambda width: width, {"width": 1}, seed=0)


def test_function_that_takes_anything():
    assert call("network", "n", lambda **anything: anything, {"name": 1, "kind": 2}, seed=0) == {
        "seed": 0,
        "name": 1,
        "kind": 2,
    }


def test_positional_only_is_refused():
    with pytest.raises(InvalidInput, match="can't be called by keywords"):
        call("network", "n", lambda a, /, **others: a, {"b": 1})


def test_not_callable():
    with pytest.raises(InvalidInput, match="not a function or a class but int"):
        call("network", "n", 3, {})


def test_type_error_inside_is_not_swallowed():
    def broken(*, width):
        return width + "1"

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        call("network", "n", broken, {"width": 1})
    assert not isinstance(caught.value, InvalidInput)
