"""Weights from a file: all forms that people keep them in, what doesn't fit, and what is no such file."""

import pathlib
import platform
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from torch import nn

from silo.errors import InvalidInput
from trials.paths import read_place
from trials.tasks import Checkpoint
from trials.weights import InitialWeightsChanged, WeightsFile


class Net(nn.Module):
    """A body with normalisation, and a head that takes its weights from elsewhere, too."""

    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
        self.head = nn.Linear(5, classes)
        self.tied = self.body[0]


def made(seed=1, classes=3):
    torch.manual_seed(seed)
    net = Net(classes)
    net.body[1].running_mean.normal_()
    return net


def with_prefix(prefix, state):
    return OrderedDict((prefix + name, tensor) for name, tensor in state.items())


def untied(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("tied.")}


FORMS = {
    "plain": lambda state: state,
    "a checkpoint's": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}},
    "a loop's": lambda state: {"model": state, "ema": with_prefix("ema.", state), "step": torch.tensor(3)},
    "of a name of one's own": lambda state: {"best": state, "scores": [0.1, 0.2]},
    "DataParallel": lambda state: with_prefix("module.", state),
    "compiled": lambda state: {"model_state_dict": with_prefix("_orig_mod.module.", state)},
    "Lightning": lambda state: {"state_dict": with_prefix("model.", state), "hyper_parameters": {"lr": 0.1}},
    "half": lambda state: {
        name: each.half() if each.is_floating_point() else each for name, each in state.items()
    },
    "sparse": lambda state: {**state, "head.weight": state["head.weight"].to_sparse()},
    "without a tied tensor's other name": untied,
    "of an old torch": lambda state: {
        name: each for name, each in state.items() if "num_batches_tracked" not in name
    },
}
KINDS = {
    "safetensors": lambda state, path: safetensors.torch.save_file(
        {name: tensor.clone() for name, tensor in state.items()}, path
    ),
    "torch": torch.save,
    "old": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
}


def read(path, *leave_out, sha256=""):
    return WeightsFile.read(Checkpoint(file=str(path), leave_out=leave_out, sha256=sha256))


FLAT = ("plain", "DataParallel", "half", "of an old torch")
"""The forms that safetensors has."""


@pytest.mark.parametrize(
    ("form", "kind"),
    [(form, kind) for form in FORMS for kind in KINDS if kind == "torch" or form in FLAT],
)
def test_every_form_is_read(tmp_path, form, kind):
    given, path = made(), tmp_path / "weights"
    state = FORMS[form](dict(given.state_dict()))
    KINDS[kind](state, path)
    net = made(2)
    said = read(path).put_into(net)
    assert said.startswith(f"begins with {len(net.state_dict())} of its {len(net.state_dict())} tensors from")
    rounded = 1e-3 if form == "half" else 0
    for name, tensor in given.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], tensor, rtol=rounded, atol=rounded)
    words = {"a loop's": "(its entry 'model')", "DataParallel": "(without the prefix 'module.')"}
    words |= {"compiled": "(its entry 'model_state_dict', without the prefix '_orig_mod.module.')"}
    assert words.get(form, "") in said


@pytest.mark.parametrize("pattern", ["head.*", "module.head.*", "h??d.[wb]*"])
def test_what_is_left_out_stays_as_it_was_drawn(tmp_path, pattern):
    path, given, net = tmp_path / "weights.pt", made(classes=1000), made(2)
    torch.save({"state_dict": with_prefix("module.", given.state_dict()), "other": 1}, path)
    leave_out = {"module.head.*", "head.*", pattern}
    assert read(path, *leave_out).put_into(net).endswith("; drawn for each replicate: head.weight, head.bias")
    assert torch.equal(net.head.weight, made(2).head.weight)
    assert torch.equal(net.body[0].weight, given.body[0].weight)
    assert torch.equal(net.body[1].running_mean, given.body[1].running_mean)


def test_what_the_file_holds_beside_them_can_be_left_out(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({**with_prefix("net.", made().state_dict()), "ema.decay": torch.tensor(0.9)}, path)
    with pytest.raises(InvalidInput, match=r"left over: ema\.decay, net\.body\.0\.bias, .* and 8 more"):
        read(path).put_into(made())
    assert "without the prefix 'net.'" in read(path, "ema.*").put_into(made())


def changed(**changes):
    """The state with some tensors in place of others; None takes one out."""
    state = {**made().state_dict(), **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("state", "leave_out", "said"),
    [
        (
            changed(head__weight=None, head__bias=None),
            (),
            "missing: head.weight, head.bias; leave_out: [head.*] takes",
        ),
        (
            changed(extra__scale=torch.ones(2)),
            (),
            "left over: extra.scale; leave_out: [extra.*] takes the rest",
        ),
        (changed(scale=torch.ones(2)), (), "left over: scale; leave_out: [scale] takes the rest"),
        (
            made(classes=10).state_dict(),
            (),
            "other shapes: head.weight is 10×5, not 3×5, head.bias is 10, not 3; leave_out: [head.*] takes",
        ),
        (
            changed(head__bias=torch.tensor(1.0)),
            (),
            "head.bias is a single number, not 3; leave_out: [head.*]",
        ),
        (
            changed(head__bias=torch.ones(3, dtype=torch.int8)),
            (),
            "other kinds of numbers: head.bias (int8, not float32); give that of the same network",
        ),
        (changed(head__bias=torch.ones(3, dtype=torch.complex64)), (), "head.bias (complex64, not float32)"),
        (changed(head__bias=torch.full((3,), float("nan"))), (), "NaN or infinite values: head.bias; give"),
        (
            {**changed(body__1__running_mean=torch.full((5,), float("nan"))), "x": torch.ones(1)},
            (),
            "doesn't fit the network: left over: x; leave_out: [x] takes the rest",  # a buffer may have NaN
        ),
        (
            changed(tied__bias=torch.ones(5)),
            (),
            "two tensors for one that the network ties: body.0.bias and tied.bias",
        ),
        ({"other": torch.ones(2)}, (), "left over: other; give that of the same network"),
        (
            changed(),
            ("haed.*",),
            "leave_out: nothing is called 'haed.*' in it or in the network (did you mean 'head.bias'?)",
        ),
        (changed(), ("*",), "leave_out leaves nothing of the network to take"),
        (
            changed(head__weight=None, head__bias=torch.ones(2), extra__scale=torch.ones(2)),
            (),
            "missing: head.weight; left over: extra.scale; other shapes: head.bias is 2, not 3; leave_out: "
            "[head.*, extra.*] takes the rest",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_and_changes_nothing(tmp_path, state, leave_out, said):
    path, net = tmp_path / "weights.pt", made(2)
    torch.save(state, path)
    with pytest.raises(InvalidInput) as raised:
        read(path, *leave_out).put_into(net)
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"checkpoint {path}")
    assert all(
        torch.equal(one, other) for one, other in zip(net.parameters(), made(2).parameters(), strict=True)
    )


def write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "neither a safetensors file nor one of torch.save; it is empty"),
        (b"version https://git-lfs.github.com/spec/v1", "it begins with b'version https://git-lfs."),
        (safetensors.torch.save({"a": torch.ones(9)})[:-3], "a damaged safetensors file ("),
        (b"PK\x03\x04 cut off", "torch.load(weights_only=True) doesn't take it (damaged: "),
        (b"\x80\x02cbuiltins\neval\nq\x00.", "doesn't take it (it holds more than tensors: eval); save"),
        (made(), "torch.load(weights_only=True) doesn't take it (it holds more than tensors: "),
        ([torch.ones(2)], "it holds a list, no tensors by name; save model.state_dict()"),
        (torch.ones(2), "it holds a Tensor, no tensors by name"),
        ({"epoch": 3, "model": {}}, "it has no tensors by name, but 'epoch', 'model'; save model"),
        ({"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}}, "it has no tensors by name, but 'a', 'b'"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_weights_is_one_line(tmp_path, content, said):
    path = write(tmp_path / "weights.pt", content)
    with pytest.raises(InvalidInput) as raised:
        read(path)
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"checkpoint {path}: ")


def test_what_is_not_there_is_named_with_its_node(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    for place, said in (
        (tmp_path / "none.pt", "none.pt can't be read on"),
        (f"file://{tmp_path}/none.pt", f"can't be read on {platform.node()}: "),
        (
            tmp_path,
            "Is a directory; put it where every node sees it, or give a URI such as s3://bucket/file",
        ),
        ("/dev/zero", "checkpoint /dev/zero is no file"),
        ("file:///dev/zero", "checkpoint file:///dev/zero is no file"),
        ("~nobody-here/net.pt", "no home folder for"),
        ("$NO_SUCH_FOLDER/net.pt", "environment variable NO_SUCH_FOLDER is not set"),
        ("https://key:secret@host/net.pt", "checkpoint 'https://key:***@host/net.pt' is no URI that pyarrow"),
    ):
        with pytest.raises(InvalidInput) as raised:
            read(place)
        assert said in str(raised.value) and "\n" not in str(raised.value)
    (tmp_path / "net.pt").write_bytes(b"x")
    assert read_place("$WEIGHTS/net.pt", "checkpoint") == b"x"
    assert read_place(f"file://{tmp_path}/net.pt", "checkpoint") == b"x"


def test_what_no_machine_holds_is_not_read(tmp_path):
    for place in (tmp_path / "net.pt", f"file://{tmp_path}/net.pt"):
        with (tmp_path / "net.pt").open("wb") as file:
            file.truncate(10**13)  # a hole: it takes no space
        with pytest.raises(
            InvalidInput, match=r"net\.pt needs 20,000\.0 GB of memory in every worker, .* GB are"
        ):
            read(place)


def test_what_passes_may_be_tried_again_and_shows_no_secret(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(5, "the disk of x://key:wJalrXUtnFEMI@host is out of order")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pt").touch()
    monkeypatch.setattr(pathlib.Path, "read_bytes", fail)
    with pytest.raises(
        OSError, match=r"checkpoint net\.pt can't be read on .*: the disk of x://key:\*\*\*@host"
    ):
        read("net.pt")


def test_a_file_that_was_overwritten_is_refused_however_little_it_changed(tmp_path):
    path = write(tmp_path / "weights.pt", made().state_dict())
    known = read(path).sha256
    assert read(path, sha256=known).sha256 == known
    net = made()
    with torch.no_grad():
        net.head.weight[0, 0] *= 1 + 1e-6
    write(path, net.state_dict())
    with pytest.raises(
        InitialWeightsChanged, match=f"checkpoint {path} on .* is not the file that the search"
    ):
        read(path, sha256=known)
