"""One spec file with variants: a search each, with the same seeds, shown side by side."""

import io
import json

import pytest
from rich.console import Console
from ruamel.yaml import YAML

from dashboards.tables.accuracy import side_by_side
from oracle.drivers import in_process
from oracle.ledger import Ledger
from oracle.results import Results
from oracle.search import Signal
from oracle.spec_file import load_spec, load_specs, parse_specs
from silo.errors import InvalidInput
from tests.support import run_in_process, small_data

BASE = """
name: a
network: fc
dataset: digits
cycles: 3
silo: {q: 1, beta: 5, epsilon: 0.05, delta: 0.1}
training: {epochs: 2, schedule: {name: warmup_drops, arguments: {warmup: 1}}}
"""


def test_a_variant_is_what_differs():
    specs = parse_specs(
        BASE
        + """
variants:
  oracle: {grid: {values: [0.1, 0.2]}}
  fixed: {policy: {name: fixed, arguments: {max_lr: 0.1}}, training: {schedule: constant}}
  silo: {policy: silo, silo: {delta: 0.2}, training: {epochs: 3}}
"""
    )
    assert [spec.name for spec in specs] == ["a.oracle", "a.fixed", "a.silo"]
    assert [spec.policy.name for spec in specs] == ["oracle", "fixed", "silo"]
    # A mapping with a name is replaced with its arguments, others are merged.
    assert [spec.training.schedule.arguments for spec in specs] == [{"warmup": 1}, {}, {"warmup": 1}]
    assert [spec.training.epochs for spec in specs] == [2, 2, 3]
    assert [spec.silo.delta for spec in specs] == [0.1, 0.1, 0.2]
    assert {spec.seed for spec in specs} == {0}


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("[]", "spec: variants must map names to what differs"),
        ("{}", "spec: variants must map names to what differs"),
        ("{b: 3}", "spec: variants.b: must be a mapping of fields, not 3"),
        ("{1: {policy: silo}, '1': {policy: silo}}", "spec: variants.1: is there twice"),
        ("{b: {name: x}}", "spec: variants.b: can't have the fields name and variants"),
        ("{b: {policy: nosuch}}", "spec: variants.b: policy: there is no policy 'nosuch'"),
        ("{'b c': {policy: silo}}", "spec: variants.b c: name: "),
        ("{b: {cycle: 3}}", "spec: variants.b: cycle: unknown field (did you mean 'cycles'?)"),
        ("{b: }", "spec: variants.b: policy: oracle needs a grid"),
    ],
)
def test_what_is_wrong_is_named_with_its_variant(variants, message):
    with pytest.raises(InvalidInput) as raised:
        parse_specs(f"{BASE}variants: {variants}\n")
    assert str(raised.value).startswith(message)


@pytest.fixture
def write(tmp_path):
    data = small_data(tmp_path, variants={"fixed": {"policy": FIXED}, "silo": {"policy": "silo"}})
    data["cycles"] = 2
    del data["grid"]
    path = tmp_path / "both.yaml"
    YAML(typ="safe").dump(data, path)
    return path


FIXED = {"name": "fixed", "arguments": {"max_lr": 0.1}}


def test_all_commands_take_a_spec_with_variants(call, write, tmp_path):
    code, out, err = call("validate", write)
    assert code == 0, err
    assert out.count("valid. variant small.") == 2
    assert len(json.loads(call("validate", write, "--json")[1])) == 2
    code, out, _ = call("plan", write)
    assert code == 0 and "small.fixed:" in out and "small.silo:" in out
    code, out, err = call("run", write, "--driver", "in-process")
    assert code == 0, err
    table = out[out.index("Test accuracy (%)") :]
    assert table.splitlines()[2].split() == ["m", "λ", "(%)", "fixed", "silo"]
    assert table.count("*") >= 3
    check_side_by_side(tmp_path)
    code, out, _ = call("status", write, "--json")
    assert [facts["state"] for facts in json.loads(out)] == ["done", "done"]
    assert call("status", write)[1].count("nothing is searched") == 2
    code, out, _ = call("report", write, "--out", tmp_path / "all", "--json")
    assert [json_["name"] for json_ in json.loads(out)] == ["small.fixed", "small.silo"]
    assert (tmp_path / "all" / "small.silo" / "report.html").exists()
    code, _, err = call("fit", write)
    assert code == 2 and "has several variants; name one of their searches: small.fixed, small.silo" in err
    code, _, err = call("sparsity", write)
    command = f"oracle sparsity small.fixed --ledger sqlite:///{tmp_path}/ledger.db"
    assert code == 2 and err.endswith(f", such as: {command}\n")
    code, out, err = call(*command.split()[1:])
    assert code == 0 and "small.fixed, cycle 1, replicate 0" in out, err
    code, _, err = call("fit", "small.silo", "--ledger", f"sqlite:///{tmp_path}/ledger.db")
    assert code == 2 and "follows policy 'silo'" in err


def check_side_by_side(tmp_path):
    """The best of each cycle is marked."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    found = [Results.read(ledger, ledger.search(f"small.{name}")) for name in ("fixed", "silo")]
    console = Console(width=100, file=io.StringIO())
    console.print(side_by_side(found))
    rows = [line for line in console.file.getvalue().splitlines() if line.strip()[:1] in ("0", "1")]
    assert len(rows) == 2
    for index, row in enumerate(rows):
        means = [results.decided[index].selected.test_score for results in found]
        texts = [f"{100 * mean:.2f}" for mean in means]
        best = texts[means.index(max(means))]
        assert all(text in row for text in texts)
        assert row[row.index(best) :].split("*")[0].split()[0] == best
        assert row.count("*") == means.count(max(means))


def test_one_spec_is_asked_for_where_there_are_several(write):
    with pytest.raises(InvalidInput, match="has several variants; name one of their searches"):
        load_spec(write)


def test_each_holds_its_lease_until_its_turn_is_over(call, tmp_path, monkeypatch):
    """One that is stuck, or done, is not said to run while the next one does."""
    run, held = in_process.run, []

    def look(session, load):
        held.append([bool(session.ledger.holder(f"small.{variant}")) for variant in "abc"])
        return Signal.STUCK if session.spec.name == "small.a" else run(session, load)

    monkeypatch.setattr(in_process, "run", look)
    spec, variants = tmp_path / "spec.yaml", {variant: {"seed": seed} for seed, variant in enumerate("abc")}
    YAML(typ="safe").dump(small_data(tmp_path, cycles=1, variants=variants), spec)
    assert call("run", spec, "--driver", "in-process")[0] == 1
    assert held == [[True, True, True], [False, True, True], [False, False, True]]


def test_variants_that_have_not_begun_are_named_beside_those_that_have(call, tmp_path):
    small = {"cycles": 1, "replicates": 1, "grid": {"values": [0.01, 0.1], "extend": False}}
    path = tmp_path / "turns.yaml"
    YAML(typ="safe").dump(small_data(tmp_path, **small, variants={"one": {}, "two": {"seed": 1}}), path)
    assert call("status", path)[0] == 3
    first, _ = load_specs(path)
    run_in_process(first)
    code, out, err = call("status", path)
    assert code == 0 and "name      small.one" in out and "small.two" not in out
    assert err == "oracle: search 'small.two' has not begun\n"


@pytest.mark.parametrize(
    ("base", "changes", "found"),
    [
        ("network: fc", {"network": {"arguments": {"hidden": [3]}}}, "network"),
        ("grid: {low: 0.1, high: 0.2, points: 3}", {"grid": {"values": [0.1, 0.3]}}, "grid"),
        ("grid: {values: [0.1, 0.3]}", {"grid": {"low": 0.1, "high": 0.2, "points": 2}}, "grid"),
        ("grid: {low: 0.1, high: 0.2, points: 3, scale: linear}", {"grid": {"step": 0.05}}, "grid"),
        ("training: {epochs: 2}", {"training": {"iterations": 30}}, "training"),
    ],
)
def test_a_variant_of_a_part_of_a_field_takes_the_place_of_its_alternatives(base, changes, found):
    data = YAML(typ="safe").load(BASE) | {"grid": {"low": 0.1, "high": 0.3, "points": 2}}
    data |= YAML(typ="safe").load(base)
    data |= {"training": {"schedule": "constant", "epochs": 2} | data["training"], "variants": {"b": changes}}
    data["training"]["schedule"] = "constant"
    text = io.StringIO()
    YAML(typ="safe").dump(data, text)
    (spec,) = parse_specs(text.getvalue())
    part = getattr(spec, found).model_dump()
    for name, value in changes[found].items():
        assert part[name] == (tuple(value) if isinstance(value, list) else value)


def test_the_arguments_of_a_variant_are_no_alternatives():
    arguments = {"values": 1, "points": 2, "epochs": 3, "iterations": 4}
    network = {"name": "mine:Net", "arguments": arguments}
    data = YAML(typ="safe").load(BASE) | {"network": network, "policy": "silo"}
    data["variants"] = {"b": {"network": {"arguments": {"step": 5}}}}
    text = io.StringIO()
    YAML(typ="safe").dump(data, text)
    (spec,) = parse_specs(text.getvalue())
    assert spec.network.arguments == {**arguments, "step": 5}
