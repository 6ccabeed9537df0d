"""What of a script or a notebook is its network's code, and what may change under a search."""

import os
import subprocess
import sys
from types import ModuleType

import pytest

from silo.errors import InvalidInput
from trials.registry import code_digests

SCRIPT = """
import math
from helpers import width

WIDTH, COLOUR = width(), "red"
DEPTH = 2
DEPTH += 1


def layer(size):
    return math.sqrt(size)


def decorated(kind):
    return kind


@decorated
class Net:
    def __init__(self, *, input_shape, num_classes):
        results = [layer(WIDTH) for _ in range(DEPTH)]
        self.layers = results


Net.kind = "small"

def report(results):
    print(COLOUR)


if __name__ == "__main__":
    results = report("search")
"""


@pytest.fixture
def digest(monkeypatch, tmp_path):
    """Gives the digest of a name in ``__main__``, as a new process would whose script is this text."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helpers.py").write_text("def width():\n    return 16\n")

    def of(*cells, name="Net", notebook=False):
        main = ModuleType("__main__")
        if notebook:
            main.In = ["", *cells]
        else:
            main.__file__ = str(tmp_path / "script.py")
            (tmp_path / "script.py").write_text("".join(cells))
        monkeypatch.setitem(sys.modules, "__main__", main)
        return code_digests([f"__main__:{name}"])

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('report("search")', 'report("longer search", cycles=5)'),
        ("print(COLOUR)", "print(results)"),
        ('if __name__ == "__main__":', "import json\nif True:"),
        ("math.sqrt(size)", "math.sqrt(size)  # of the layer"),
    ],
)
def test_what_a_network_does_not_rest_on_may_change(digest, old, new):
    assert old in SCRIPT
    assert digest(SCRIPT.replace(old, new)) == digest(SCRIPT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("math.sqrt(size)", "math.sqrt(size + 1)"),
        ("DEPTH = 2", "DEPTH = 3"),
        ("DEPTH += 1", "DEPTH += 2"),
        ("@decorated\n", ""),
        ("return kind", "return type(kind)"),
        ('"small"', '"large"'),
        ("self.layers = results", "self.layers = tuple(results)"),
        ("width(), ", "width() + 1, "),
        ("import math", "import cmath as math"),
    ],
)
def test_what_it_rests_on_may_not(digest, old, new):
    assert old in SCRIPT
    assert digest(SCRIPT.replace(old, new))["__main__"] != digest(SCRIPT)["__main__"]


ACTING = """
import torch
PARTS = {}
STEPS = []

def part(made):
    PARTS[made.__name__] = made
    return made

@part
def first(size):
    return size + 1

STEPS.append(4)

class Net:
    def __init__(self):
        self.size = PARTS["first"](STEPS[0])
        self.weight = torch.zeros(3)

setattr(Net, "kind", "small")
torch.set_default_dtype(torch.float32)

@torch.no_grad()
def evaluate():
    return 5
"""


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("size + 1", "size + 2", True),
        ("append(4)", "append(5)", True),
        ('"small"', '"large"', True),
        ("torch.float32)", "torch.float64)", True),
        ("return 5", "return 6", False),
    ],
)
def test_what_acts_on_what_it_rests_on_counts(digest, old, new, counts):
    assert old in ACTING
    assert (digest(ACTING.replace(old, new))["__main__"] != digest(ACTING)["__main__"]) is counts


def test_a_line_is_what_python_counts_as_one(digest):
    odd = SCRIPT.replace("import math", "import math  # \x0c \u2028 \x1c")
    assert digest(odd) == digest(SCRIPT)


def test_modules_that_it_rests_on_count_and_others_do_not(digest):
    assert [*digest(SCRIPT)] == ["__main__", "helpers"]
    assert [*digest(SCRIPT, name="layer")] == ["__main__"]
    everything = [*digest("from helpers import *\n" + SCRIPT, name="layer")]
    assert everything == ["__main__", "helpers"]  # who knows what that defines


def test_a_name_that_no_statement_defines_rests_on_all_of_it(digest):
    made = SCRIPT + "\nglobals()['Made'] = Net\n"
    assert digest(made, name="Made") != digest(made.replace("search", "other"), name="Made")


def test_a_notebook_s_cells_count_as_often_as_they_say_something_new(digest):
    once = digest(SCRIPT, notebook=True)
    assert once == digest(SCRIPT) and once["__main__"]
    assert digest(SCRIPT, "half a cell(", "results = 1", SCRIPT, notebook=True) == once
    assert digest(SCRIPT, "DEPTH = 7", notebook=True) != once


def test_a_script_that_was_edited_under_its_process_is_refused(digest, tmp_path):
    digest(SCRIPT)
    (tmp_path / "script.py").write_text(SCRIPT + "print()")
    code_digests(["__main__:Net"])
    (tmp_path / "script.py").write_text(SCRIPT.replace("DEPTH = 2", "DEPTH = 3"))
    with pytest.raises(InvalidInput, match=r"script\.py: it was edited since this process imported it"):
        code_digests(["__main__:Net"])
    (tmp_path / "script.py").write_text("class Net(:")
    with pytest.raises(InvalidInput, match=r"script\.py: it can't be read as Python"):
        code_digests(["__main__:Net"])


RUN = """
import sys
from pathlib import Path
from torch import nn

import oracle
from tests.support import small_spec


class Net(nn.Sequential):
    def __init__(self, *, input_shape, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_classes))


if __name__ == "__main__":
    training = {"epochs": 1, "batch_size": 64, "pack": 1, "compile": False}
    spec = small_spec(Path(sys.argv[1]), network="__main__:Net", cycles=1, replicates=1, training=training)
    print(len(oracle.run(spec, driver="in-process").intervals))
"""


@pytest.mark.slow
def test_a_script_does_not_go_on_with_another_network(tmp_path):
    def run(text):
        (tmp_path / "script.py").write_text(text)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run(RUN).stdout == "1\n"
    refused = run(RUN.replace("cycles=1", "cycles=2").replace("nn.ReLU()", "nn.Tanh()"))
    assert refused.returncode == 1 and "oracle.errors.Refused" in refused.stderr
    assert "__main__" in refused.stderr.splitlines()[-1]
