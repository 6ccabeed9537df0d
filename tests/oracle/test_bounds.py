"""Specs that ask for memory and time without end: each is refused in one line, before anything is built."""

import subprocess
import sys
from contextlib import nullcontext
from functools import reduce
from itertools import pairwise

import pytest

from oracle import Spec, spec_file, spec_parts
from oracle.spec_file import parse_specs
from oracle.spec_parts import check_bounds, check_size
from silo.errors import InvalidInput
from tests.support import small_data

FIELDS = {
    "name": "x",
    "network": "fc",
    "dataset": "digits",
    "cycles": "2",
    "grid": "{low: 0.01, high: 0.4, points: 5}",
    "training": "{epochs: 2, batch_size: 64}",
}
TENFOLD = "".join(f", {b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghi"))
ALIASES = f"{{name: digits, arguments: {{a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]{TENFOLD}}}}}"
MANY = ", ".join(["0.1"] * 10_001)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": "{low: 0.01, high: 0.4, points: 1000000000}"}, "grid.points"),
        ({"grid": "{low: 0.01, high: 0.4, step: 1e-300, scale: linear}"}, "step 1e-300 makes more than"),
        ({"grid": f"{{values: [{MANY}]}}"}, "grid.values"),
        ({"pruning": f"{{rate: [{MANY}]}}"}, "pruning.rate"),
        ({"pruning": f"{{keep: [{', '.join(['a*'] * 1_001)}]}}"}, "pruning.keep"),
        ({"observers": f"[{', '.join(['mlflow'] * 1_001)}]"}, "observers"),
        ({"variants": f"{{{', '.join(f'v{i}: {{seed: 1}}' for i in range(1_001))}}}"}, "variants: has 1,001"),
        ({"training": "{epochs: 9223372036854775808}"}, "training.epochs"),
        ({"training": "{epochs: 2, batch_size: 1000000000000}"}, "training.batch_size"),
        ({"training": "{epochs: 2, evaluate_every: 1000000000000}"}, "training.evaluate_every"),
        ({"training": "{epochs: 2, pack: 1000000000000}"}, "training.pack"),
        ({"silo": "{q: 1000000000000, epsilon: 0.1, delta: 0.1}"}, "silo.q"),
        ({"resources": "{cpus: 1e9}"}, "resources.cpus"),
        ({"resources": "{time_limit: 1e300}"}, "resources.time_limit"),
        ({"rewind_to": "1000000000000"}, "rewind_to"),
        ({"seed": str(2**64)}, "seed"),
        ({"dataset": ALIASES}, "stands for more than 100,000 values, aliases included"),
        ({"dataset": "{name: digits, arguments: &a {x: *a}}"}, "*a stands inside what it stands for"),
        ({"dataset": "{name: digits, arguments: {x: &a {y: [*a]}}}"}, "*a stands inside what it stands for"),
        ({"network": "[" * 10_000 + "]" * 10_000}, "lie more than 50 deep"),
        ({"network": "{? " * 10_000}, "lie more than 50 deep"),
        ({"dataset": f"{{name: digits, arguments: {'{a: ' * 60}1{'}' * 60}}}"}, "lie more than 50 deep"),
        ({"seed": "1" * 5_001}, "a number of 5,001 digits"),
        ({"seed": "0x" + "f" * 5_000}, "a number of 5,002 digits"),
        ({"network": f"{{name: fc, arguments: {{hidden: [-{'1_' * 2_500}1]}}}}"}, "a number of 5,002 digits"),
        ({"observers": f"[{'mlflow, ' * 7_000_000}]"}, "has more than 1,048,576 characters"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_what_would_never_end_is_refused_in_a_line(changes, words):
    text = "\n".join(f"{name}: {value}" for name, value in (FIELDS | changes).items())
    with pytest.raises(InvalidInput) as refused:
        parse_specs(text)
    line = str(refused.value)
    assert words in line and "\n" not in line and len(line) < 300


@pytest.mark.parametrize(
    "given",
    [
        lambda more: {"cycles": str(10_000 + more)},
        lambda more: {"pruning": f"{{keep: [{', '.join(['a'] * (1_000 + more))}]}}"},
        lambda more: {"variants": f"{{{', '.join(f'v{i}: ' for i in range(3 + more))}}}"},
        lambda more: {"training": f"{{iterations: {20_000_000 + more}}}"},
        lambda more: {"training": f"{{epochs: 2, batch_size: {100_000_000 + more}}}"},
        lambda more: {"resources": f"{{time_limit: {1_000_000_000 + more}}}"},
        lambda more: {"seed": str(2**64 - 1 + more)},
    ],
)
def test_a_bound_itself_is_taken(given, monkeypatch):
    monkeypatch.setattr(spec_file, "MOST_PARTS", 3)
    for more in (0, 1):
        text = "\n".join(f"{name}: {value}" for name, value in (FIELDS | given(more)).items())
        with pytest.raises(InvalidInput) if more else nullcontext():
            parse_specs(text)


@pytest.mark.parametrize(
    "text",
    [
        lambda more: "#" * (100 + more),
        lambda more: f"[{'0,' * (19 + more)}]",
        lambda more: f"[&a [0, 0, 0], *a{', 0' * (11 + more)}]",
        lambda more: f"[&a 0, &b [*a, 0], *b{', *a' * (12 + more)}]",
        lambda more: "[" * (5 + more) + "]" * (5 + more),
        lambda more: "1" * (40 + more),
    ],
)
def test_the_most_that_a_text_may_hold(text, monkeypatch):
    for name, most in (("LARGEST", 100), ("MOST_VALUES", 20), ("DEEPEST", 5), ("LONGEST_NUMBER", 40)):
        monkeypatch.setattr(spec_parts, name, most)
    check_bounds(text(0))
    with pytest.raises(InvalidInput):
        check_bounds(text(1))


@pytest.mark.parametrize(
    "data",
    [
        lambda more: {"x": [0] * (99_998 + more)},
        lambda more: reduce(lambda inner, _: [inner], range(50 + more), 0),
        lambda more: reduce(lambda inner, _: {"x": inner}, range(50 + more), 0),
        lambda more: 10**400 - 1 + more,
        lambda more: -(10**400) + 1 - more,
    ],
)
def test_the_most_that_python_may_hand_over(data):
    check_size(data(0))
    with pytest.raises(InvalidInput):
        check_size(data(1))


def test_aliases_are_taken_where_they_stand_for_little():
    text = "\n".join(f"{name}: {value}" for name, value in FIELDS.items())
    (spec,) = parse_specs(
        text.replace("network: fc", "network: {name: fc, arguments: {hidden: &h [8, 8], also: [*h, *h]}}")
    )
    assert spec.network.arguments == {"hidden": [8, 8], "also": [[8, 8], [8, 8]]}


def test_a_file_without_an_end_is_not_read_to_it():
    code = "from oracle.spec_file import load_specs; load_specs('/dev/zero')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "/dev/zero has more than 1,048,576 characters" in done.stderr


def _inside_itself():
    found = {}
    found["x"] = [found]
    return found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (_inside_itself(), "lie more than 50 deep"),
        ({"x": [0] * 100_001}, "has more than 100,000 values"),
        ({"x": 10**5_000}, "a number of more than 400 digits"),
    ],
)
def test_what_python_hands_over_has_the_same_bounds(tmp_path, arguments, words):
    with pytest.raises(InvalidInput, match=words):
        Spec(**small_data(tmp_path, network={"name": "fc", "arguments": arguments}))
