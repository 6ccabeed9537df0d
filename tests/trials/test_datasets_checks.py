import psutil
import pytest
import torch

from silo.errors import InvalidInput
from trials.datasets import Dataset, Split, base, load_dataset
from trials.datasets.base import available_memory, folder_of, require_memory, whole_number

FREE = 5_000_000_000


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": FREE}))


def limit(folder, text, held=0):
    (folder / "memory.max").write_text(text)
    (folder / "memory.stat").write_text(f"anon {held}\nfile 7000000000\n")
    return folder


@pytest.mark.parametrize(
    ("text", "held", "expected"),
    [
        ("max\n", 0, FREE),
        ("9000000000\n", 1_000_000_000, FREE),
        ("2000000000\n", 500_000_000, 1_500_000_000),
        ("2000000000\n", 2_500_000_000, 0),
    ],
)
def test_a_containers_limit_counts(machine, tmp_path, text, held, expected):
    assert available_memory(limit(tmp_path, text, held)) == expected


def test_without_control_groups(machine, tmp_path):
    assert available_memory(tmp_path) == FREE
    (tmp_path / "memory.max").write_text("2000000000\n")
    (tmp_path / "memory.stat").write_text("file 7\n")
    assert available_memory(tmp_path) == FREE


def test_this_machine():
    assert 0 < available_memory() <= psutil.virtual_memory().total


def test_the_message_states_what_is_needed_and_what_there_is(monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 1_500_000_000)
    require_memory("mine", 500_000, (3, 10, 100), remedy="")
    with pytest.raises(InvalidInput) as caught:
        require_memory("mine", 1_331_167, (3, 224, 224), remedy="take less")
    assert str(caught.value) == (
        "data set 'mine' needs 200.4 GB of memory in every worker (1,331,167 examples of 3×224×224 bytes), "
        "1.5 GB are available: take less"
    )


def test_splits_refuse_a_size_that_is_no_number():
    for size in (0, -1, 2.5, "30", True, None):
        with pytest.raises(InvalidInput, match="validation_size must be a whole number from 1 on"):
            whole_number("validation_size", size)


@pytest.mark.parametrize("root", [3, None, ["data"], "~nobody-of-this-name/data"])
def test_a_root_that_is_no_folder(root):
    for name in ("cifar10", "imagenet", "image_folder"):
        with pytest.raises(InvalidInput, match=r"root.* (can't be used: give a folder|no home folder)"):
            load_dataset(name, {"root": root}, seed=0)


def test_a_root_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_of("~/data") == tmp_path / "data"


def test_inputs_that_require_gradients_are_refused():
    split = Split(inputs=torch.randn(4, 2).requires_grad_(), labels=torch.tensor([0, 1, 0, 1]))
    with pytest.raises(InvalidInput, match=r"inputs that require gradients: give inputs.detach\(\)"):
        Dataset(train=split, validation=split, test=split, num_classes=2).check()
