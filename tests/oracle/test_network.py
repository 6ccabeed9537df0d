"""Networks taken home: as modules, and as files that torch alone reads."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import oracle
from oracle.errors import Refused
from silo.errors import InvalidInput
from tests.support import harm, small_data, small_spec
from trials.datasets import load_dataset
from trials.process import derive_seed

FRESH = """
import json
import sys

OURS = ("oracle", "trials", "silo", "dashboards", "ray", "optuna", "sklearn")

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OURS:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import torch
from safetensors import safe_open
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 16), nn.Linear(16, 10)])

    def forward(self, x):
        return self.layers[1](self.layers[0](x.flatten(1)).relu())

test = torch.load("test.pt", weights_only=True)
for name in sys.argv[1:]:
    if name.endswith(".pt"):
        found = torch.load(name, weights_only=True)
        state, about = found["state_dict"], found["metadata"]
        assert all(not state[key][~mask].any() for key, mask in found["masks"].items())
    else:
        with safe_open(name, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}
            about = {key: value for key, value in file.metadata().items()}
            about |= {key: json.loads(about[key]) for key in ("mean", "std", "scale", "test_score")}
    net = Net()
    net.load_state_dict(state)
    shape = (-1, *[1] * (test["inputs"].dim() - 2))
    mean, std = (torch.tensor(about[key]).view(shape) for key in ("mean", "std"))
    outputs = net.eval()((test["inputs"] / about["scale"] - mean) / std)
    print(json.dumps([(outputs.argmax(1) == test["labels"]).float().mean().item(), about["test_score"]]))
"""


def results_of(folder):
    return oracle.load("small", f"sqlite:///{folder}/ledger.db")


def test_a_fresh_python_with_torch_alone_gets_the_ledgers_test_score(finished, call):
    files = ("net.safetensors", "net.pt", "other/dense.pt")
    places = ((), ("--cycle", 1, "--replicate", 1), ("--cycle", 0))
    for file, place in zip(files, places, strict=True):
        code, out, err = call("network", "spec.yaml", *place, "-o", file)
        assert code == 0 and f"Wrote {file}: cycle" in out and "It takes inputs as (x" in out, err
    data = load_dataset("digits", {}, seed=derive_seed(0, "split"))
    inputs, labels = data.test.batch(torch.arange(len(data.test)))
    torch.save({"inputs": inputs, "labels": labels}, finished / "test.pt")
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *files], capture_output=True, text=True, cwd=finished, timeout=120
    )
    assert done.returncode == 0, done.stderr
    trials = results_of(finished).trials
    chosen = [each.chosen for each in results_of(finished).decided]
    wanted = [(2, None, chosen[2]), (1, 1, chosen[1]), (0, None, chosen[0])]
    for line, (cycle, replicate, rate) in zip(done.stdout.splitlines(), wanted, strict=True):
        computed, stated = json.loads(line)
        rows = trials[(trials.cycle == cycle) & (trials.max_lr == rate)]
        best = (
            rows.validation_accuracy.idxmax() if replicate is None else rows.query("replicate == 1").index[0]
        )
        assert computed == pytest.approx(stated, abs=1e-6) == rows.test_accuracy[best]


def test_a_search_gives_modules_masks_and_rates(finished, monkeypatch):
    found = results_of(finished)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(torch, "set_num_threads", (threads := []).append)
    assert found.rates == tuple(each.chosen for each in found.decided) and len(found.rates) == 3
    taken = found.trained_network(2, 0)
    weights = dict(taken.module.named_parameters())
    left = sum(int(mask.sum()) for mask in taken.masks.values())
    assert left / 1184 == taken.metadata["density"] == pytest.approx(0.64, abs=1e-3)
    assert all(not weights[name][~mask].any() for name, mask in taken.masks.items())
    assert not taken.module.training and taken.metadata["max_lr"] == found.rates[2]
    found.network(2, 0).train()  # another module each time
    assert not taken.module.training
    assert threads == [1, 5]
    assert all(mask.all() for mask in found.masks(0).values()) and set(found.masks(0)) == set(taken.masks)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "net.bin"), "a network's file must end in one of .safetensors, .pt, .pth, .onnx, not"),
        (("-o", "net"), "not so as 'net'"),
        (("--cycle", 3, "-o", "net.pt"), "search 'small' has decided cycles 0–2, not 3"),
        (("--cycle", -1, "-o", "net.pt"), "cycle must be an integer of at least 0, not -1"),
        (("--replicate", 2, "-o", "net.pt"), "has no replicate 2 at cycle 2, but 0, 1"),
        (("-o", "/proc/none/net.pt"), "/proc/none/net.pt can't be written"),
    ],
)
def test_what_can_not_be_is_one_line(finished, call, arguments, said):
    code, _, err = call("network", "spec.yaml", *arguments)
    assert code == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize("damage", ["deleted", "halved", "flipped"])
@pytest.mark.parametrize("lost", ["start", "max_lr-*"])
def test_a_lost_network_is_one_line(finished, call, damage, lost):
    (file,) = (finished / "networks/small/cycle-02/replicate-1").glob(f"{lost}.safetensors")
    harm(file, damage)
    code, _, err = call("network", "spec.yaml", "--replicate", 1, "-o", "net.pt")
    assert code == 3 and err.count("\n") == 1 and not (finished / "net.pt").exists()
    assert "that of search 'small', cycle 2, replicate 1 can't be read: cycle-02/" in err
    assert "give another replicate or cycle" in err
    assert call("network", "spec.yaml", "--replicate", 0, "-o", "net.pt")[0] == 0


def test_a_search_without_a_decided_cycle_has_none(tmp_path):
    from oracle.results import Results
    from oracle.results.results import may_build
    from oracle.testing.sessions import open_session

    with open_session(small_spec(tmp_path)) as session:
        found = Results.of(session.spec, session.search, record=session.record)
        with pytest.raises(InvalidInput, match="has decided none yet: let it run on"):
            found.network()
        with pytest.raises(InvalidInput, match="trust: must be True or False, got 'no'"):
            may_build(session.spec, None, trust="no")
    assert found.rates == ()


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, *, input_shape, num_classes):
        super().__init__()
        self.hidden = nn.Linear(64, {hidden})
        self.norm = nn.BatchNorm1d({hidden})
        self.{head} = nn.Linear({hidden}, num_classes)
        self.tied = self.hidden

    def forward(self, inputs):
        return self.{head}(self.norm(self.tied(inputs.flatten(1))).relu())
"""


def test_a_network_of_ones_own_is_taken_home_unless_its_code_builds_another(tmp_path, monkeypatch, caplog):
    module = tmp_path / "takenhome.py"
    module.write_text(NET.format(hidden=8, head="head"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    network = {"name": "takenhome:Net"}
    oracle.run(small_spec(tmp_path, cycles=2, network=network), driver="in-process")
    caplog.clear()
    found = results_of(tmp_path)
    taken = found.trained_network(trust=True)
    assert caplog.records == []
    again = sys.modules["takenhome"].Net(input_shape=(64,), num_classes=10).eval()
    again.load_state_dict(load_file(taken.write(tmp_path / "own.safetensors")))
    inputs = torch.randn(3, 64)
    assert torch.equal(again(inputs), taken.module(inputs))
    for hidden, head, said in (
        (9, "head", r"other shapes: hidden\.weight is 8×64, not 9×64, .* and 5 more; put"),
        (8, "out", r"missing: out\.weight, out\.bias; left over: head\.bias, head\.weight; put"),
    ):
        module.write_text(NET.format(hidden=hidden, head=head))
        del sys.modules["takenhome"]
        with pytest.raises(Refused, match=said) as raised, caplog.at_level(logging.WARNING):
            results_of(tmp_path).network(trust=True)
        assert "\n" not in str(raised.value) and "the code of module takenhome changed" in caplog.text


def test_an_onnx_file_computes_what_the_module_does(finished, call):
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    pytest.importorskip("onnxscript")
    code, _, err = call("network", "spec.yaml", "-o", "net.onnx")
    assert code == 0, err
    model = onnx.load(finished / "net.onnx")
    onnx.checker.check_model(model)
    about = {each.key: each.value for each in model.metadata_props}
    assert (about["search"], about["cycle"], about["input_shape"]) == ("small", "2", "[1, 8, 8]")
    inputs = torch.randn(5, *json.loads(about["input_shape"]))
    (outputs,) = reference.ReferenceEvaluator(model).run(None, {"inputs": inputs.numpy()})
    expected = results_of(finished).network()(inputs)
    torch.testing.assert_close(torch.tensor(outputs), expected, rtol=1e-5, atol=1e-5)


def test_onnx_says_how_to_install_what_it_needs(finished, call, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call("network", "spec.yaml", "-o", "net.onnx")
    assert code == 2 and err.count("\n") == 1
    assert "an .onnx file needs onnx and onnxscript: pip install 'silo-oracle[onnx]'" in err


def test_what_onnx_can_not_say_is_one_line(finished, call, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("no such operator\n" * 50)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("torch.onnx.export", fail)
    code, _, err = call("network", "spec.yaml", "-o", "net.onnx")
    assert code == 2 and err.count("\n") == 1 and len(err) < 500 and not (finished / "net.onnx").exists()
    assert "can't be exported as ONNX (RuntimeError: no such operator no" in err
    assert "take .safetensors or .pt" in err


LOOP = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

def loop(network, training):
    torch.manual_seed(training.seed)
    inputs = torch.randn(64, 4)
    targets = inputs.prod(dim=1, keepdim=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=training.max_lr)
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(inputs), targets)
        loss.backward()
        optimizer.step()
    return loss.item()
"""


def test_of_a_loop_of_ones_own_the_best_is_that_of_its_metric(tmp_path, monkeypatch, call):
    (tmp_path / "ownloop.py").write_text(LOOP)
    monkeypatch.syspath_prepend(tmp_path)
    training = {"loop": "ownloop:loop", "batch_size": 64}
    metric = {"name": "loss", "goal": "min", "diverged": 10.0}
    fields = {"network": "ownloop:net", "training": training, "metric": metric, "tolerance": 0.01}
    given = {**small_data(tmp_path, cycles=1), **fields}
    given["grid"] = {"low": 0.05, "high": 0.2, "points": 3, "extend": False}
    del given["dataset"]
    found = oracle.run(oracle.Spec(**given), driver="in-process")
    trials = found.decided[-1].selected.trials
    best = min(trials, key=lambda each: each.score)
    assert len({each.score for each in trials}) == 2
    taken = found.trained_network()
    assert taken.metadata["replicate"] == best.replicate and taken.metadata["validation_score"] == best.score
    named = ("small", "--trust", "--ledger", given["ledger"])
    code, out, err = call("network", *named, "-o", "net.safetensors", "--json")
    assert code == 0 and json.loads(out)["test_score"] is None and "mean" not in json.loads(out), err
    code, out, err = call("network", *named, "-o", "net.pt")
    assert code == 0 and "test loss not known" in out and out.count("\n") == 1, err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    code, _, err = call("network", *named, "-o", "net.onnx")
    assert code == 2 and "needs an input to trace the network with" in err and err.count("\n") == 1
    again = {**given, "name": "again", "network": {"name": "ownloop:net", "checkpoint": "net.pt"}}
    begun = oracle.run(oracle.Spec(**again), driver="in-process")
    assert min(each.score for each in begun.decided[0].trials) < best.score
    sys.modules.pop("ownloop")


def test_of_another_number_that_was_searched_both_are_stated(tmp_path, call):
    over = "training.optimizer.arguments.weight_decay"
    spec = small_spec(
        tmp_path,
        cycles=1,
        replicates=1,
        silo=None,
        grid={"over": over, "values": [1e-4, 1e-3], "extend": False},
        training={"epochs": 1, "batch_size": 64, "max_lr": 0.1},
    )
    found = oracle.run(spec, driver="in-process")
    about = found.trained_network().metadata
    assert (about["max_lr"], about["weight_decay"]) == (0.1, found.rates[0])
    code, out, err = call("network", "small", "--ledger", spec.ledger, "-o", "net.pt")
    assert code == 0 and f"weight_decay {found.rates[0]:.4g}, 100 % of" in out, err
