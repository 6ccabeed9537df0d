"""What determines an outcome is in its key, and a search that goes on with anything else is refused."""

import dataclasses
import datetime
import importlib
import json
import os
import subprocess
import sys

import pytest
import torch
from pydantic_core import to_jsonable_python

from oracle.errors import Refused
from oracle.identity import KEY_SCHEMA, Keys, differences, identity
from oracle.preflight import examine, open_runner
from silo.errors import InvalidInput
from tests.support import open_session, results, run_in_process, small_spec
from trials.checkpoints import StorageFailed
from trials.registry import _digest
from trials.tasks import Checkpoint, Component, Execution, Metric, Recipe
from trials.weights import alike, weights_fingerprint

NETWORK = """
import torch
from torch import nn

def net(*, input_shape, num_classes, file=None):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
    if file:
        model.load_state_dict(torch.load(file, weights_only=True))
    return model
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of the user's own, and forgets what was imported of it before."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(text, name="ownnets"):
        (folder / f"{name}.py").write_text(text)
        for known in [each for each in sys.modules if each.startswith("own")]:
            del sys.modules[known]
        importlib.invalidate_caches()
        return f"{name}:net"

    yield write
    for known in [each for each in sys.modules if each.startswith("own")]:
        del sys.modules[known]


def keys_of(spec, recipe):
    fixed = identity(spec, fingerprint="f", classes=10, validation=5, code={}, initial=())
    initial = [{"sha256": "w", "shapes": "s", "norm": 1.0, "projections": [0.0]}]
    told = json.loads(json.dumps(to_jsonable_python(recipe.to_dict())))
    return Keys({**fixed, "initial": initial, "recipe": told}, recipe.execution, ()).key(0, 0, 0.1)


OTHERS = {
    "pruning_rate": 0.3,
    "keep": ("classifier.*",),
    "also": ("embedding.*",),
    "retraining": "lr_rewinding",
    "rewind_to": 1,
    "length": 3,
    "unit": "iterations",
    "batch_size": 65,
    "evaluate_every": 2,
    "seed": 1,
    "execution": Execution(pack_size=2),
    "checkpoint": Checkpoint(file="net.pt"),
    "precision": "bf16",
    "diagnostics": True,
    "device": "cuda",
    "threads": 2,
    "clip": 1.0,
    "over": "clip",
    "max_lr": 0.1,
    "metric": Metric(goal="min"),
    **dict.fromkeys(
        ("network", "dataset", "pruner", "optimizer", "schedule", "loop", "loss"), Component(name="other")
    ),
}


def test_every_field_of_the_recipe_is_in_the_key(tmp_path):
    spec = small_spec(tmp_path)
    recipe = spec.recipe(execution=Execution())
    assert OTHERS.keys() == {field.name for field in dataclasses.fields(Recipe)}
    keys = {keys_of(spec, dataclasses.replace(recipe, **{name: value})) for name, value in OTHERS.items()}
    assert len(keys | {keys_of(spec, recipe)}) == len(OTHERS) + 1


def test_a_field_that_the_recipe_gets_is_in_the_key_too(tmp_path):
    spec = small_spec(tmp_path)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Longer(Recipe):
        label_smoothing: float = 0.0

    given = {
        field.name: getattr(spec.recipe(execution=Execution()), field.name)
        for field in dataclasses.fields(Recipe)
    }
    assert keys_of(spec, Longer(**given)) != keys_of(spec, Longer(**given, label_smoothing=0.1))


def test_data_code_and_initial_weights_are_in_the_key(tmp_path, module):
    spec = small_spec(tmp_path, network={"name": module(NETWORK)})
    facts = examine(spec, open_runner(spec))
    assert list(facts.code) == ["ownnets"]

    def key(**changes):
        known = {"fingerprint": facts.fingerprint, "code": facts.code, "initial": facts.initial} | changes
        found = identity(spec, classes=10, validation=5, **known)
        return Keys(found, Execution(), ()).key(0, 1, 0.1)

    other = dataclasses.replace(facts.initial[1], sha256="0" * 64)
    changed = [
        key(fingerprint="other"),
        key(code={"ownnets": "other"}),
        key(initial=(facts.initial[0], other)),
        key(initial=(other, facts.initial[1])),
    ]
    assert len({key(), *changed[:3]}) == 4
    assert changed[3] == key()  # another replicate's


def test_a_search_does_not_go_on_with_other_threads(tmp_path):
    run_in_process(small_spec(tmp_path, cycles=1))
    with (
        pytest.raises(Refused, match=r"changed: resources.cpus \(threads\): 1 -> 2\."),
        open_session(small_spec(tmp_path, cycles=2, resources={"cpus": 2})),
    ):
        pass


def test_a_search_does_not_go_on_with_an_overwritten_checkpoint(tmp_path, module):
    file = tmp_path / "pretrained.pt"
    network = {"name": module(NETWORK), "arguments": {"file": str(file)}}
    whole = _save(file, seed=0)
    run_in_process(small_spec(tmp_path, network=network, cycles=1))
    _save(file, seed=1)
    with (
        pytest.raises(Refused, match=r"the network's initial weights \(replicate 0, 1\)"),
        open_session(small_spec(tmp_path, network=network, cycles=2)),
    ):
        pass
    torch.save(whole, file)
    assert run_in_process(small_spec(tmp_path, network=network, cycles=2)).search.done


def test_a_search_stops_when_a_checkpoint_is_overwritten_under_it(tmp_path, module):
    file = tmp_path / "pretrained.pt"
    network = {"name": module(NETWORK), "arguments": {"file": str(file)}}
    whole = _save(file, seed=0)
    spec = small_spec(tmp_path, network=network)

    class Overwrites:
        def __getattr__(self, event):
            return lambda *given: None

        def decided(self, session, decision):
            _save(file, seed=1)

    with pytest.raises(StorageFailed, match="initial weights of replicate 0 are not those"):
        run_in_process(spec, observers=[Overwrites()])
    torch.save(whole, file)
    assert run_in_process(spec).search.done


def _save(file, *, seed):
    """Saves weights of the network above."""
    torch.manual_seed(seed)
    scope = {}
    exec(NETWORK, scope)
    state = scope["net"](input_shape=(1, 8, 8), num_classes=10).state_dict()
    torch.save(state, file)
    return state


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("nn.ReLU()", "nn.GELU()", "the code of module ownnets"),
        ("import torch\n", "import torch  # quickly\n\n\n", None),
    ],
)
def test_a_search_does_not_go_on_with_another_version_of_a_module(tmp_path, module, old, new, changed):
    spec = small_spec(tmp_path, network={"name": module(NETWORK)}, cycles=1)
    first = run_in_process(spec)
    module(NETWORK.replace(old, new))
    if changed is None:
        assert results(run_in_process(spec)) == results(first)
        return
    with pytest.raises(Refused, match=changed), open_session(spec):
        pass


def test_what_a_module_imports_of_the_same_project_counts_too(tmp_path, module):
    text = "from owncells import cell\n" + NETWORK.replace("nn.ReLU()", "cell()")
    module("from torch.nn import ReLU as cell\n", "owncells")
    spec = small_spec(tmp_path, network={"name": module(text)}, cycles=1)
    run_in_process(spec)
    module("from torch.nn import GELU as cell\n", "owncells")
    with pytest.raises(Refused, match="the code of module owncells"), open_session(spec):
        pass


def test_what_is_digested_is_code_and_not_what_else_is_loaded(tmp_path, module):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import owntypes\n" + NETWORK
    module("x = 1\n", "owntypes")
    module("def late():\n    pass\n", "ownlate")
    name = module(text + "\ndef unused():\n    import ownlate\n")
    spec = small_spec(tmp_path, network={"name": name})
    first = examine(spec, open_runner(spec)).code
    assert list(first) == ["ownlate", "ownnets"]
    importlib.import_module("owntypes"), importlib.import_module("ownlate")
    assert examine(spec, open_runner(spec)).code == first


def test_what_was_edited_since_it_was_imported_is_refused_and_so_is_half_a_file(tmp_path, module):
    spec = small_spec(tmp_path, network={"name": module(NETWORK)})
    examine(spec, open_runner(spec))
    file = tmp_path / "own" / "ownnets.py"
    file.write_text(NETWORK.replace("nn.ReLU()", "nn.GELU()"))
    with pytest.raises(InvalidInput, match="was edited since this process imported it"):
        examine(spec, open_runner(spec))
    file.write_text("def net(:\n")
    with pytest.raises(InvalidInput, match="can't be read as Python"):
        examine(spec, open_runner(spec))


@pytest.mark.parametrize("between", ["\f", "\r\n", "\t"])
def test_changed_code_has_another_digest_whatever_stands_between_its_lines(tmp_path, between):
    def digest(code):
        return _digest(code.encode(), tmp_path / "m.py")

    code = f"x = 1\n{between}\ny = 2\n# c\nz = '''a\n\n b'''\n"
    others = [code.replace("y = 2", "y = 99"), code.replace("\n\n b", "\n b")]
    assert len({digest(code), *map(digest, others)}) == 3
    assert digest(code.replace("# c", "# d").replace("x = 1\n", "x = 1  # one\n\n")) == digest(code)


def test_arguments_that_json_does_not_know_are_taken(tmp_path):
    spec = small_spec(tmp_path)
    arguments = {"hidden": [16], "since": datetime.date(2024, 1, 1), "names": {"b", "a"}}
    spec = spec.model_copy(update={"network": spec.network.model_copy(update={"arguments": arguments})})
    found = identity(spec, fingerprint="f", classes=10, validation=5, code={}, initial=())
    plain = {"hidden": [16], "since": "2024-01-01", "names": ["a", "b"]}
    assert found["recipe"]["network"]["arguments"] == plain
    assert keys_of(spec, spec.recipe(execution=Execution()))


def test_a_mask_beside_the_weights_hides_no_change():
    mask = torch.full((128, 128), torch.finfo(torch.float32).min).triu(1)
    one, other = ({"w": torch.randn(64, 64), "mask": mask} for _ in range(2))
    assert not alike(weights_fingerprint(one), weights_fingerprint(other))


def test_a_network_that_begins_differently_each_time_is_refused(tmp_path, module):
    text = NETWORK.replace(
        "    if file",
        "    import random\n    model[1].weight.data *= random.SystemRandom().random()\n    if file",
    )
    with (
        pytest.raises(Exception, match="its initial weights are others each time that it is built"),
        open_session(small_spec(tmp_path, network={"name": module(text)})),
    ):
        pass


RUN = """
import sys
from tests.support import run_in_process, small_spec
from pathlib import Path
print(run_in_process(small_spec(Path(sys.argv[1]), cycles=1)).initial[0].sha256)
"""


def test_another_processor_s_last_digits_are_no_other_weights(tmp_path):
    """A search that began on one kind of processor goes on on another."""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", RUN, str(tmp_path)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    session = run_in_process(small_spec(tmp_path, cycles=2))
    assert session.resumed >= 10 and len(session.search.decisions) == 2
    assert session.initial[0].sha256 == done.stdout.strip()


def test_a_fingerprint_tells_weights_from_roundings():
    weights = {"a": torch.randn(1000, 50), "b": torch.arange(4), "c": torch.tensor(float("nan"))}
    found = weights_fingerprint(weights)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["sha256"] == found.sha256
    assert weights_fingerprint(dict(reversed(weights.items()))) == found

    def with_a(tensor):
        return weights_fingerprint({**weights, "a": tensor})

    rounded = with_a(weights["a"] * (1 + 1e-7 * torch.randn(1000, 50)))
    one = weights["a"].clone()
    one[500, 20] = 0.0
    from trials.weights import alike

    assert rounded.sha256 != found.sha256 and alike(found, rounded)
    assert not alike(found, with_a(one))
    assert not alike(found, with_a(weights["a"].flip(0)))
    assert not alike(found, with_a(weights["a"].reshape(50, 1000)))
    assert not alike(found, with_a(weights["a"].double()))


def test_a_search_of_an_earlier_version_is_told_so(tmp_path):
    now = {"schema": KEY_SCHEMA, "spec": {"metric": {"name": "accuracy"}}}
    (line,) = differences({"schema": KEY_SCHEMA - 1, "spec": {}}, now)
    assert line.startswith("the version of this program") and "null" not in line
    assert differences(now, now) == []
