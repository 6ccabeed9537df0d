from typing import get_args

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from oracle.cli.specs import example
from oracle.spec import Spec
from oracle.spec_file import load_spec, parse_specs
from oracle.spec_parts import GridSpec, PruningSpec
from silo.errors import InvalidInput
from tests.support import small_data, small_spec
from trials.tasks import Execution, rate_at


def parse(tmp_path, **changes):
    path = tmp_path / "spec.yaml"
    YAML(typ="safe").dump(small_data(tmp_path, **changes), path)
    return load_spec(path)


def is_model(annotation):
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def test_the_example_names_every_field_of_the_spec():
    given = YAML(typ="safe", pure=True).load(example())

    def missing(model, data, prefix=""):
        for name, field in model.model_fields.items():
            if name not in data:
                yield prefix + name
            inner = next((m for m in (field.annotation, *get_args(field.annotation)) if is_model(m)), None)
            if inner and isinstance(data.get(name), dict):
                yield from missing(inner, data[name], f"{prefix}{name}.")

    # A grid is given by points, step or values, a training's length in epochs or iterations, and how long to
    # prune in cycles or by what is left.
    assert set(missing(Spec, given)) == {"grid.step", "grid.values", "training.iterations", "until"}


def test_every_field_is_documented():
    schema = Spec.model_json_schema()

    def undocumented(model, name):
        for field, body in model.get("properties", {}).items():
            referred = schema["$defs"].get(body.get("$ref", "").rpartition("/")[2], {})
            if not body.get("description", referred.get("description")):
                yield f"{name}.{field}"

    found = [*undocumented(schema, "Spec")]
    for name, body in schema["$defs"].items():
        found += undocumented(body, name)
    assert found == []


def test_yaml_numbers_without_a_dot_are_numbers(tmp_path):
    spec = parse_specs(example().replace("weight_decay: 1.0e-4", "weight_decay: 1e-4"))[0]
    assert spec.training.optimizer.arguments["weight_decay"] == 1e-4


def test_a_bare_name_stands_for_a_component_without_arguments(tmp_path):
    assert parse(tmp_path, dataset="digits").dataset == parse(tmp_path, dataset={"name": "digits"}).dataset


def test_the_recipe_holds_what_the_spec_says(tmp_path):
    recipe = parse(tmp_path, training={"iterations": 70, "batch_size": 8}).recipe(
        execution=Execution(pack_size=4)
    )
    assert (recipe.length, recipe.unit, recipe.batch_size, recipe.execution.pack_size) == (
        70,
        "iterations",
        8,
        4,
    )
    assert recipe.network.arguments == {"hidden": [16]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cyles": 3}, ["cyles", "unknown field", "did you mean 'cycles'"]),
        ({"pruning": {"rat": 0.2}}, ["pruning.rat", "unknown field", "did you mean 'rate'"]),
        ({"pruning": {"rate": 0}}, ["pruning.rate", "greater than 0", "got 0"]),
        ({"pruning": {"rate": 1}}, ["pruning.rate", "less than 1", "got 1"]),
        ({"cycles": 0}, ["cycles", "greater than or equal to 1", "got 0"]),
        ({"replicates": 0}, ["replicates", "got 0"]),
        ({"name": "a/b"}, ["name", "got 'a/b'"]),
        ({"grid": {"low": 0.1, "high": 0.01, "points": 3}}, ["grid", "low must be smaller", "0.1", "0.01"]),
        ({"grid": {"low": 0.1, "high": 0.2, "points": 1}}, ["grid.points", "got 1"]),
        ({"grid": {"values": [0.1]}}, ["grid", "at least two values", "[0.1]"]),
        ({"grid": {"values": [0.2, 0.1]}}, ["grid", "ascend", "[0.2, 0.1]"]),
        ({"grid": {"values": [0.0, 0.1]}}, ["grid.values", "above 0", "such as 1e-6, got [0.0, 0.1]"]),
        ({"grid": {"low": 0.1, "high": 0.2}}, ["grid", "exactly one of points and step"]),
        ({"grid": {"low": 0.1, "high": 0.2, "step": 0.05}}, ["grid", "step goes with scale: linear"]),
        (
            {"grid": {"low": 0.1, "high": 0.2, "step": 0.5, "scale": "linear"}},
            ["grid", "single value", "0.5", "smaller"],
        ),
        ({"grid": {"low": 0.1, "high": 0.10001, "points": 30}}, ["grid", "too close to tell apart"]),
        ({"grid": {"low": 0.1, "values": [0.1, 0.2]}}, ["grid", "not both"]),
        ({"grid": {"low": float("nan"), "high": 1, "points": 3}}, ["grid.low", "nan"]),
        ({"training": {"batch_size": 8}}, ["training", "exactly one of epochs and iterations"]),
        ({"training": {"epochs": 0, "batch_size": 8}}, ["training.epochs", "got 0"]),
        ({"retraining": "rewinding"}, ["retraining", "weight_rewinding", "got 'rewinding'"]),
        ({"silo": {"q": 1}}, ["silo.epsilon", "missing"]),
        ({"resources": {"cpus": 0}}, ["resources.cpus", "got 0"]),
        (
            {"resources": {"gpus": 2}},
            ["resources.gpus", "one GPU", "2 would leave", "take 1 and more workers"],
        ),
        ({"resources": {"gpus": 1.5}}, ["resources.gpus", "one GPU", "1.5 would leave"]),
        ({"grid": 3}, ["grid: must be a mapping of the fields low, high", "got 3"]),
        (
            {"network": 3},
            ["network: must be a name, or a mapping of the fields name, arguments, checkpoint, got 3"],
        ),
        ({"network": {"name": "fc", "checkpoint": {"leave_out": "head.*"}}}, ["network.checkpoint.file"]),
        (
            {"network": {"name": "fc", "checkpoint": {"file": "a.pt", "leaveout": "head.*"}}},
            ["network.checkpoint.leaveout", "did you mean 'leave_out'"],
        ),
        ({"network": {"name": "fc", "checkpoint": ""}}, ["network.checkpoint.file"]),
        ({"network": {"name": "fc", "checkpoint": True}}, ["network.checkpoint", "can't be true or false"]),
        ({"dataset": {"name": "digits", "checkpoint": "a.pt"}}, ["dataset.checkpoint"]),
        ({"observers": [{"nmae": "x"}]}, ["observers.0.nmae", "did you mean 'name'"]),
        ({"observers": 3}, ["observers: must be a list, got 3"]),
        ({"pruning": {"rate": []}}, ["pruning.rate: Tuple should have at least 1 item"]),
    ],
)
def test_bad_input_gets_one_line_that_names_field_value_and_way_out(tmp_path, changes, words):
    with pytest.raises(InvalidInput) as caught:
        parse(tmp_path, **changes)
    (line,) = (line for line in str(caught.value).splitlines() if words[0] in line)
    for word in words:
        assert word in line


@pytest.mark.parametrize("changes", [{"cycles": 0, "replicates": 0}, {"pruning": {"rate": [20, 30]}}])
def test_each_of_several_problems_has_a_line(tmp_path, changes):
    with pytest.raises(InvalidInput) as caught:
        parse(tmp_path, **changes)
    assert len(str(caught.value).splitlines()) == 2


def test_python_is_told_in_the_same_lines_as_a_file(tmp_path):
    network = {"name": "fc", "arguments": {"token": "hunter22"}}
    wrong = {"network": network, "cycles": 0, "replicate": 3}
    with pytest.raises(InvalidInput) as of_a_file:
        parse(tmp_path, **wrong)
    with pytest.raises(InvalidInput) as of_python:
        Spec(**small_data(tmp_path, **wrong))
    lines = str(of_python.value).splitlines()
    assert len(lines) == 3 and "did you mean 'replicates'?" in lines[2]
    assert "hunter22" not in str(of_python.value)
    found = [line.removeprefix(f"{tmp_path}/spec.yaml: ") for line in str(of_a_file.value).splitlines()]
    assert [line.replace(", variants", "") for line in found] == lines
    with pytest.raises(InvalidInput, match=r"^low must be smaller than high, got low 1.0 and high 0.1$"):
        GridSpec(low=1, high=0.1)
    with pytest.raises(InvalidInput, match=r"^pruner: must be a name, or a mapping of the fields name, arg"):
        PruningSpec(pruner=3)


def test_a_missing_field_says_what_it_is_for(tmp_path):
    with pytest.raises(InvalidInput, match=r"cycles: is missing; Cycles, the first of which"):
        parse_specs("name: a\nnetwork: fc\ndataset: digits\ngrid: {values: [1, 2]}\ntraining: {epochs: 1}\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "a mapping of fields, got list"),
        ("name: [\n", "line"),
        ("name: a\nname: b\n", "duplicate key"),
        ("", "a mapping of fields, got nothing; 'oracle init' writes one"),
        ("# a comment\n", "got nothing"),
        ("name: Größe\n", r"name: must be 1 to 63 of A-Z, a-z, 0-9 and '\._-', the first .* got 'Größe'"),
        ("metric: {name: 100 %}\n", r"metric.name: must be 1 to 40 of .* and ' _\.@/-', .* got '100 %'"),
    ],
)
def test_a_text_that_is_no_spec_is_named(text, words):
    with pytest.raises(InvalidInput, match=words):
        parse_specs(text)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"none.yaml.*oracle init"):
        load_spec(tmp_path / "none.yaml")


def test_until_stands_for_a_number_of_cycles(tmp_path):
    def cycles(**changes):
        return parse(tmp_path, cycles=None, **changes).cycles

    # 0.8³ = 0.512, and no rounding makes it four prunings.
    assert [cycles(until=share) for share in (0.9, 0.8, 0.512, 0.511, 0.05)] == [2, 2, 4, 5, 15]
    assert cycles(until=0.05, pruning={"rate": 0.5}) == 6
    assert [cycles(until=share, pruning={"rate": [0.5, 0.2]}) for share in (0.5, 0.4, 0.3)] == [2, 3, 5]
    spec = parse(tmp_path, cycles=None, until=0.05)
    assert (spec.until, Spec.model_validate(spec.model_dump(mode="json"))) == (None, spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"until": 0.05}, "takes cycles or until, not both"),
        ({"until": 5, "cycles": None}, "until: "),
        ({"until": "5 %", "cycles": None}, "until: "),
        ({"pruning": {"rate": []}}, "pruning.rate"),
        ({"pruning": {"rate": [0.2, 1.5]}}, "pruning.rate"),
        ({"pruning": {"rate": "a fifth"}}, "pruning.rate"),
    ],
)
def test_what_until_and_rates_cannot_be_is_one_line(tmp_path, changes, message):
    with pytest.raises(InvalidInput) as raised:
        parse(tmp_path, **changes)
    assert message in str(raised.value), raised.value


def test_a_rate_per_pruning_holds_on_after_the_last(tmp_path):
    spec = parse(tmp_path, cycles=5, pruning={"rate": [0.5, 0.2]}, silo={"epsilon": 0.03, "delta": 0.06})
    assert spec.pruning.densities(5) == pytest.approx((1, 0.5, 0.4, 0.32, 0.256))
    assert (1 - spec.pruning.share()) ** 2 == pytest.approx(0.4)
    assert spec.silo_curve().densities == spec.pruning.densities(5)
    recipe = spec.recipe(execution=Execution())
    assert [rate_at(recipe.pruning_rate, cycle) for cycle in (1, 2, 3, 4)] == [0.5, 0.2, 0.2, 0.2]


@pytest.mark.parametrize(
    ("changes", "field", "purpose"),
    [
        ({"cycles": True}, "cycles", "Cycles, the first of which"),
        ({"seed": False}, "seed", "Seed of everything"),
        ({"grid": {"values": [0.1, True]}}, "grid.values", "The values themselves"),
        ({"silo": {"q": True, "epsilon": 0.1, "delta": 0.1}}, "silo.q", "Cycles before"),
        ({"resources": {"workers": True}}, "resources.workers", "Workers at a time"),
        ({"training": {"epochs": True}}, "training.epochs", "Length in passes"),
        ({"pruning": {"keep": True}}, "pruning.keep", "Weights that are never pruned"),
    ],
)
def test_a_bool_stands_for_no_number_or_text(tmp_path, changes, field, purpose):
    with pytest.raises(
        InvalidInput, match=rf"{field}: can't be true or false, got .*(true|false).*; {purpose}"
    ):
        parse(tmp_path, **changes)


def test_a_bool_is_taken_where_one_belongs(tmp_path):
    spec = parse(tmp_path, training={"epochs": 2, "compile": False, "diagnostics": True})
    assert spec.training.compile is False and spec.training.diagnostics is True


SEARCHED = {"over": "training.optimizer.arguments.weight_decay", "values": [0.001, 0.01]}
FIXED = {"epochs": 1, "max_lr": 0.1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"epochs": 1}}, "training.max_lr is missing"),
        ({"grid": {"values": [0.1, 0.2]}}, "training.max_lr goes with grid.over"),
        ({"silo": {"epsilon": 0.1, "delta": 0.1}}, "without silo: its curve is one of max_lr"),
        ({"policy": {"name": "fixed", "arguments": {"max_lr": 0.1}}}, "policies oracle and adaptive"),
        (
            {"grid": SEARCHED | {"over": "training.optimiser.arguments.weight_decay"}},
            "is no number of the training",
        ),
        ({"grid": SEARCHED | {"over": "training.optimizer.arguments"}}, "is no number of the training"),
        ({"grid": SEARCHED | {"over": "training.iterations"}}, "is no number of the training that the spec"),
        (
            {"grid": SEARCHED | {"over": "training.clip"}, "training": {"loop": "m:f", "max_lr": 0.1}},
            "is no number of the training",
        ),
        ({"grid": SEARCHED | {"over": "training.batch_size"}}, "takes whole numbers, got 0.001"),
        ({"grid": {"over": "training.epochs", "values": [1, 2]}}, "takes whole numbers: set extend to false"),
    ],
)
def test_what_is_searched_instead_of_max_lr_is_looked_at(tmp_path, changes, words):
    given = {"grid": SEARCHED, "training": FIXED, "silo": None}
    spec = small_spec(tmp_path, **given)
    assert (
        spec.over == "optimizer.arguments.weight_decay" and spec.recipe(execution=Execution()).max_lr == 0.1
    )
    with pytest.raises(InvalidInput, match=words):
        small_spec(tmp_path, **given | changes)


LOOP = {"training": {"loop": "mine:train"}, "dataset": {"name": "none"}}
RMSE = {"name": "rmse", "goal": "min", "diverged": 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": RMSE}, "tolerance is missing: say how far from the best a rmse is as good"),
        ({"metric": RMSE, "tolerance": 0.1}, "metric rmse needs a function"),
        ({"metric": {"name": "accuracy", "goal": "min"}}, "accuracy has no function of its own"),
        ({"metric": RMSE | {"arguments": {"x": 1}}, "tolerance": 0.1}, "arguments are those of function"),
        ({"tolerance": "one per cent"}, "or a share of the best such as '1 %', got 'one per cent'"),
        ({"tolerance": "0 %"}, "above 0 % and below 100 %"),
        ({"tolerance": -1}, "at least 0, got -1"),
        ({"tolerance": 1.0}, "below 1 of accuracy"),
        ({"dataset": {"name": "none"}}, "dataset is missing"),
        ({**LOOP, "metric": {"name": "rmse", "goal": "min"}, "tolerance": 0.1}, "metric.diverged is missing"),
        (
            {**LOOP, "metric": RMSE | {"function": "m:f"}, "tolerance": 0.1},
            "function can't go with training.loop",
        ),
        ({**LOOP, "metric": RMSE | {"diverged": -1}, "tolerance": "1 %"}, "diverged must be above 0"),
        ({**LOOP, "training": {"loop": "m:f", "clip": 1.0}}, "clip can't go with loop"),
        ({**LOOP, "training": {"loop": "m:f", "diagnostics": True, "pack": 3}}, "diagnostics, pack can't go"),
        ({"training": {"epochs": 1, "arguments": {"x": 1}}}, "arguments are those of loop"),
        ({**LOOP, "training": {"loop": "m:f", "epochs": 3}, "rewind_to": 1}, "needs training.iterations"),
    ],
)
def test_what_is_judged_and_how_it_is_trained_is_looked_at(tmp_path, changes, words):
    with pytest.raises(InvalidInput, match=words):
        small_spec(tmp_path, **changes)


def test_a_loop_s_arguments_stand_beside_it_or_in_it(tmp_path):
    beside = {"loop": "mine:train", "arguments": {"steps": 3}}
    inside = {"loop": {"name": "mine:train", "arguments": {"steps": 3}}}
    specs = [small_spec(tmp_path, dataset={"name": "none"}, training=each) for each in (beside, inside)]
    assert specs[0] == specs[1] and specs[0].training.loop.arguments == {"steps": 3}
    again = Spec.model_validate(specs[0].model_dump(mode="json"))  # as a ledger records it
    assert again == specs[0]


@pytest.mark.parametrize(
    ("tolerance", "goal", "best", "least"),
    [
        (0.02, "max", 0.9, 0.88),
        (0.02, "min", 0.9, 0.92),
        ("2 %", "max", 50.0, 49.0),
        ("2 %", "min", 50.0, 51.0),
    ],
)
def test_what_is_as_good_as_the_best(tmp_path, tolerance, goal, best, least):
    metric = {"name": "mine", "goal": goal, "diverged": 1.0}
    measure = small_spec(tmp_path, **LOOP, metric=metric, tolerance=tolerance).measure()
    distance = measure.comparable(best) - measure.comparable(least)
    assert distance == pytest.approx(measure.within, rel=1e-12)
    assert measure.score(measure.comparable(best)) == pytest.approx(best)
