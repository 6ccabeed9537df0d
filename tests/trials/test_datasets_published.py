"""One contract over the data sets that torchvision reads, on tiny files in the real formats."""

import inspect
import io
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from silo.errors import InvalidInput
from tests.trials.published import CASES, TEST, drawn, idx, write_fake
from trials.datasets import DATASETS, load_dataset
from trials.registry import resolve
from trials.vision import load_torchvision


@pytest.fixture(autouse=True)
def requests(monkeypatch):
    """No test reaches the network; what was asked for."""
    asked = []

    def refuse(request, *_, **__):
        asked.append(request.full_url)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def root(name, tmp_path, monkeypatch):
    write_fake(tmp_path, name, monkeypatch)
    if "mnist" in name:  # torchvision unpacks them only when it may download
        load(name, tmp_path, download=True)
    return tmp_path


def load(name, root, seed=0, **arguments):
    return load_dataset(name, {"root": str(root), "validation_size": 30, **arguments}, seed=seed)


def rows(split):
    """The examples with their labels, in no order."""
    table = torch.cat([split.labels[:, None], split.inputs.flatten(1).long()], 1)
    return sorted(map(tuple, table[:, :20].tolist()))


def rows_of(pixels, labels):
    return sorted(map(tuple, np.c_[labels, pixels.reshape(len(labels), -1)][:, :20].tolist()))


def test_every_one_is_covered():
    takes_download = {
        name
        for name in DATASETS
        if "download" in inspect.signature(resolve("data set", name, DATASETS)).parameters
    }
    assert set(CASES) == takes_download


def test_contents(name, root, requests):
    case, data = CASES[name], load(name, root)
    assert data.input_shape == case.shape and data.num_classes == case.classes
    assert [len(data.train), len(data.validation), len(data.test)] == [case.train - 30, 30, TEST]
    assert data.train.inputs.dtype == torch.uint8 and data.train.labels.dtype == torch.int64
    assert data.train.inputs.is_contiguous()
    pixels, labels = drawn(name, "test", TEST)
    assert torch.equal(data.test.inputs, torch.from_numpy(pixels))
    assert data.test.labels.tolist() == labels.tolist()
    fitted = sorted(rows(data.train) + rows(data.validation))
    assert fitted == rows_of(*drawn(name, "train", case.train))
    assert not requests


def test_constants_are_the_published_ones(name, root):
    case, data = CASES[name], load(name, root)
    assert (data.mean, data.std) == (case.mean, case.std)
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (case.mean, case.std))
    expected = (data.test.inputs.float() / 255 - mean) / std
    torch.testing.assert_close(data.normalise(data.test.inputs), expected)


def test_split_is_stratified_and_follows_the_seed(name, root):
    case = CASES[name]
    first, again, other = (load(name, root, seed) for seed in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint()
    assert rows(first.validation) != rows(other.validation)
    assert torch.equal(first.test.inputs, other.test.inputs)
    counts = torch.bincount(first.validation.labels, minlength=case.classes)
    assert counts.max() - counts.min() <= (1 if case.classes > 30 else 0)


def test_what_may_be_mirrored_is_and_digits_are_not(name, root):
    case = CASES[name]
    assert load(name, root).augment == case.augment
    assert load(name, root, augment=not case.augment).augment != case.augment
    data = load(name, root, augment=True)
    # Dark on the left, bright on the right, and so it stays in every crop that isn't mirrored.
    picture = torch.linspace(100, 200, case.shape[-1]).to(torch.uint8).expand(64, *case.shape)
    middle = data.augmented(picture, torch.Generator().manual_seed(0))[:, 0, 14, 8:-8].int()
    rising, falling = ((sign * middle.diff(dim=1) >= 0).all(dim=1) for sign in (1, -1))
    assert bool((rising | falling).all())
    assert (16 < falling.sum() < 48) if case.flips else bool(rising.all())
    assert len({tuple(row) for row in middle.tolist()}) > 5


def test_missing(name, tmp_path, requests):
    with pytest.raises(InvalidInput) as caught:
        load(name, tmp_path / "nowhere")
    message = str(caught.value)
    assert message.startswith(
        f"data set {name!r} is missing or damaged in root {str(tmp_path / 'nowhere')!r}"
    )
    assert message.endswith(f"set download: true, or set root to the folder that holds {CASES[name].held}")
    assert "\n" not in message and not requests and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"cut off", None], ids=["empty", "other", "half"])
def test_damaged(name, root, content):
    file = root / CASES[name].file
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    with pytest.raises(InvalidInput, match=r"^data set .* is missing or damaged.*looked for") as caught:
        load(name, root)
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)


def test_without_a_network(name, tmp_path, requests):
    with pytest.raises(InvalidInput, match=r"can't be fetched into root .*no route to host") as caught:
        load(name, tmp_path, download=True)
    assert "\n" not in str(caught.value) and name in str(caught.value) and requests


def test_a_download_that_arrives_damaged(name, tmp_path, monkeypatch):
    class Response(io.BytesIO):
        url, length = None, 7

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response(b"a login"))
    with pytest.raises(InvalidInput, match=r"can't be fetched .*corrupted.*delete") as caught:
        load(name, tmp_path, download=True)
    assert "\n" not in str(caught.value)


def test_no_download_of_what_is_there(name, root, requests):
    assert load(name, root, download=True).fingerprint() == load(name, root).fingerprint()
    assert not requests


def test_all_validation(name, root):
    count = CASES[name].train
    with pytest.raises(InvalidInput, match=rf"can't split {count} examples into parts of \[{count}\]"):
        load(name, root, validation_size=count)
    with pytest.raises(InvalidInput, match="validation_size must be a whole number from 1 on"):
        load(name, root, validation_size=0.1)


def test_root_is_a_file(name, tmp_path):
    (tmp_path / "data").write_text("")
    for download, message in ((False, "missing or damaged"), (True, "can't be fetched")):
        with pytest.raises(InvalidInput, match=message):
            load(name, tmp_path / "data", download=download)


def test_mnist_with_labels_that_are_too_few(tmp_path, monkeypatch):
    write_fake(tmp_path, "mnist", monkeypatch)
    load("mnist", tmp_path, download=True)
    (tmp_path / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(idx(np.zeros(99, dtype=np.uint8)))
    with pytest.raises(InvalidInput, match="'mnist' is missing or damaged"):
        load("mnist", tmp_path)
    with pytest.raises(InvalidInput, match=r"100 images, 99 labels; if it was not the network, delete .*raw"):
        load("mnist", tmp_path, download=True)


def test_svhn_extra_is_trained_on_and_decides_nothing(tmp_path, monkeypatch):
    write_fake(tmp_path, "svhn", monkeypatch)
    plain, more = (load("svhn", tmp_path, extra=extra) for extra in (False, True))
    for part in ("validation", "test"):
        assert torch.equal(getattr(plain, part).inputs, getattr(more, part).inputs)
        assert torch.equal(getattr(plain, part).labels, getattr(more, part).labels)
    assert rows(more.train) == sorted(rows(plain.train) + rows_of(*drawn("svhn", "extra", 40)))
    (tmp_path / "extra_32x32.mat").unlink()
    assert load("svhn", tmp_path).fingerprint() == plain.fingerprint()
    with pytest.raises(InvalidInput, match=r"looked for .*extra_32x32\.mat"):
        load("svhn", tmp_path, extra=True)


def test_no_memory_is_not_called_damage(tmp_path, monkeypatch):
    def exhausted(**_):
        raise MemoryError

    monkeypatch.setattr(load_torchvision().datasets, "SVHN", exhausted)
    with pytest.raises(MemoryError):
        load("svhn", Path(tmp_path))
