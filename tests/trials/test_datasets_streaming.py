"""Streamed splits: the same training as from memory, whoever decodes, and only what is in use in memory."""

import dataclasses
import gc
import math
import os
import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from silo.errors import InvalidInput
from tests.trials.test_image_folder import write_split
from tests.trials.toys import assert_bitwise_equal, random_masks, toy_recipe
from trials.datasets import Split, StreamedSplit, images, load_dataset
from trials.datasets.base import SPLITS
from trials.datasets.image_folder import imagenet
from trials.tasks import Component, Execution
from trials.training import train_pack

WORKERS = (0, 2)
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # on a machine with one core
    pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning"),  # from 3.12 on
]


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path, "train", size=(6, 4))
    write_split(tmp_path, "test", count=3, size=(6, 4))
    return tmp_path


def load(root, seed=0, **arguments):
    return load_dataset("image_folder", {"root": str(root), "augment": True, **arguments}, seed=seed)


def network(dropout=0.0):
    torch.manual_seed(0)
    dropping = [nn.Dropout(dropout)] if dropout else []  # which no pack takes
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *dropping, nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(4 * 4 * 2, 2))


def trained(data, *, dropout=0.3, **changes):
    module = network(dropout)
    recipe = toy_recipe(batch_size=5, optimizer=Component(name="sgd", arguments={"momentum": 0.9}), **changes)
    return train_pack(
        module=module,
        start=module.state_dict(),
        masks=random_masks(module),
        data=data,
        recipe=recipe,
        cycle=0,
        replicate=0,
        max_lrs=[0.1, 0.02],
    )


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout": 0.0, "execution": Execution(pack_size=2, channels_last=True)},
        {"unit": "iterations", "length": 7},
    ],
)
def test_a_training_ends_as_from_memory_to_the_last_bit(root, workers, changes):
    memory, streamed = load(root), load(root, stream=True, workers=workers)
    assert isinstance(memory.train, Split) and isinstance(streamed.train, StreamedSplit)
    for one, other in zip(
        trained(memory, diagnostics=True, **changes),
        trained(streamed, diagnostics=True, **changes),
        strict=True,
    ):
        assert_bitwise_equal(one, other)
        assert one.diagnostics == other.diagnostics and not one.diverged


@pytest.mark.parametrize("workers", WORKERS)
def test_batches_come_in_order_and_draw_nothing(root, workers):
    memory, streamed = load(root).train, load(root, stream=True, workers=workers).train
    orders = [torch.randperm(18, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    before = torch.get_rng_state()
    found = list(streamed.batches(iter(orders), 7))
    assert torch.equal(torch.get_rng_state(), before)
    expected = list(memory.batches(iter(orders), 7))
    assert [len(labels) for _, labels in found] == [7, 7, 4] * 3
    for (inputs, labels), (their_inputs, their_labels) in zip(found, expected, strict=True):
        assert torch.equal(inputs, their_inputs) and torch.equal(labels, their_labels)
        assert inputs.dtype == torch.uint8 and labels.dtype == torch.int64


def test_some_examples(root):
    memory, streamed = load(root).test, load(root, stream=True, workers=2).test
    none = torch.tensor([], dtype=torch.int64)
    for ours, theirs in (
        (streamed.batch(torch.tensor([4, 0])), memory.batch(torch.tensor([4, 0]))),
        (streamed.first(2), (memory.inputs[:2], memory.labels[:2])),
        (streamed.first(99), (memory.inputs, memory.labels)),
        (streamed.batch(none), memory.batch(none)),
    ):
        assert all(map(torch.equal, ours, theirs))


def images_in_memory():
    """The most images that one tensor alive holds."""
    found = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.ndim == 4]
    return max((len(each) for each in found if each.shape[1:] == (3, 11, 13)), default=0)


@pytest.mark.parametrize("workers", WORKERS)
def test_no_more_than_a_batch_is_in_memory(tmp_path, workers):
    write_split(tmp_path, "train", count=30, size=(11, 13))
    write_split(tmp_path, "test", count=3, size=(11, 13))
    gc.collect()
    assert images_in_memory() == 0
    data = load(tmp_path, stream=True, workers=workers, mean=[0.5] * 3, std=[0.2] * 3)
    assert len(data.train) == 54 and images_in_memory() == 0
    batches = enumerate(data.train.batches([torch.arange(54)], 4))
    seen = [images_in_memory() for index, _ in batches if index in (0, 6, 12)]  # to look takes long
    assert seen == [4] * 3
    held = load(tmp_path)
    assert images_in_memory() == len(held.train) == 54  # what the same count says of a set in memory


@pytest.mark.parametrize("workers", WORKERS)
def test_an_unreadable_image_is_named_in_training(root, workers):
    data = load(root, stream=True, workers=workers)
    broken = data.train.listing.files[7]
    with open(broken, "wb") as file:
        file.write(b"no image")
    with pytest.raises(InvalidInput, match="can't be read, replace it or take it out") as caught:
        trained(data)
    assert broken in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_of_another_size_is_named(root):
    data = load(root, stream=True)
    Image.new("RGB", (5, 9)).save(data.test.listing.files[3])
    with pytest.raises(InvalidInput, match=r"9×5 pixels .*, not 6×4"):
        list(data.test.batches([torch.arange(6)], 2))


def test_the_check_opens_one_image_of_each_split(root, monkeypatch):
    opened = []

    def count(files, *arguments):
        opened.append(list(files))
        return decode_files(files, *arguments)

    decode_files = images.decode_files
    monkeypatch.setattr(images, "decode_files", count)
    data = load(root, stream=True, mean=[0.5] * 3, std=[0.2] * 3)
    assert opened == [getattr(data, name).listing.files[:1] for name in SPLITS]
    assert (data.mean, data.std) == ((0.5,) * 3, (0.2,) * 3)
    data.fingerprint()
    assert len(opened) == 3


def test_the_check_refuses_an_unreadable_first_image(root):
    first = load(root, stream=True).test.listing.files[0]
    os.truncate(first, 20)
    with pytest.raises(InvalidInput, match="can't be read") as caught:
        load(root, stream=True)
    assert first in str(caught.value)


def test_mean_and_std_are_those_from_memory(root):
    memory, streamed = load(root), load(root, stream=True, workers=2)
    assert (memory.mean, memory.std) == (streamed.mean, streamed.std)
    assert load(root, mean=[0.1, 0.2, 0.3], std=[1, 2, 3]).mean == (0.1, 0.2, 0.3)


def test_the_fingerprint_follows_what_a_training_sees(root, tmp_path):
    def found(seed=0, **arguments):
        return load(root, seed, stream=True, mean=[0.5] * 3, std=[0.2] * 3, **arguments).fingerprint()

    first = found()
    assert (
        first
        == found()
        == found(workers=2)
        == load(root, stream=True, mean=[0.5] * 3, std=[0.2] * 3).to("cpu").fingerprint()
    )
    resized = {"image_size": [6, 4], "resize": True}
    others = [found(1), found(augment=False), found(**resized), found(image_size=[5, 4], resize=True)]
    file = root / "test" / "cat" / "00.png"
    with open(file, "ab") as end:
        end.write(b"more")
    others.append(found())
    file.rename(file.with_name("000.png"))
    others.append(found())
    (root / "test" / "cat" / "000.png").rename(root / "test" / "dog" / "000.png")
    others.append(found())
    assert len({first, *others}) == 8


def test_a_folder_elsewhere_has_the_same_fingerprint(root):
    first = load(root, stream=True).fingerprint()
    root.rename(root.with_name("elsewhere"))
    assert load(root.with_name("elsewhere"), stream=True).fingerprint() == first


def test_the_fingerprint_covers_the_labels(root):
    data = load(root, stream=True)
    listing = dataclasses.replace(data.test.listing, labels=1 - data.test.listing.labels)
    other = dataclasses.replace(data, test=dataclasses.replace(data.test, listing=listing))
    assert other.test.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert other.fingerprint() != data.fingerprint()


def test_imagenet_streams_what_it_holds(tmp_path, monkeypatch):
    for part, count in (("train", 6), ("val", 2)):
        write_split(tmp_path, part, count=count, size=(20, 31))
    arguments = {"root": str(tmp_path), "image_size": 14, "validation_share": 0.25}
    held = load_dataset("imagenet", arguments, seed=0)
    module = sys.modules[imagenet.__module__]
    monkeypatch.setattr(module, "require_memory", lambda *_, **__: pytest.fail("asked for memory"))
    streamed = load_dataset("imagenet", {**arguments, "stream": True, "workers": 2}, seed=0)
    assert streamed.input_shape == (3, 14, 14) and streamed.augmentation == "resized_crop_flip"
    for name in SPLITS:
        ours, theirs = getattr(streamed, name), getattr(held, name)
        assert isinstance(ours, StreamedSplit) and ours.workers == 2
        assert all(map(torch.equal, ours.first(99), (theirs.inputs, theirs.labels)))
    assert pickle.loads(pickle.dumps(streamed.train)).prepare == streamed.train.prepare


def test_a_streamed_set_needs_no_memory(root, monkeypatch):
    module = sys.modules["trials.datasets.image_folder"]
    monkeypatch.setattr(module, "require_memory", lambda *_, **__: pytest.fail("asked for memory"))
    assert len(load(root, stream=True).train) == 18


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 2}, "workers: 2 needs stream: true"),
        ({"stream": True, "workers": -1}, "workers must be a whole number from 0 on: given was -1"),
        ({"stream": True, "workers": True}, "'workers' must be a number, got True"),
        ({"stream": "yes"}, "'stream' must be true or false, got 'yes'"),
        ({"mean": [0.5] * 3}, r"mean \[0.5, 0.5, 0.5\] and std None can't be read: give both"),
        ({"mean": 0.5, "std": 0.2}, "can't be read: give both, 3 numbers each"),
        ({"mean": [0.5] * 2, "std": [0.2] * 2}, "mean .* doesn't fit inputs"),
        ({"mean": [0.5] * 3, "std": [math.nan] * 3}, "std .* doesn't fit inputs"),
    ],
)
def test_arguments_that_are_refused(root, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        load(root, **arguments)


def test_labels_on_another_device(root):
    moved = load(root, stream=True).to("meta")
    assert moved.train.labels.device.type == "meta" and moved.train.shape == (18, 3, 6, 4)
    inputs, labels = moved.train.first(2)
    assert inputs.device.type == labels.device.type == "meta"


def test_files_of_one_split_are_its_own(root):
    data = load(root, stream=True)
    files = [set(getattr(data, name).listing.files) for name in SPLITS]
    assert len(set.union(*files)) == sum(map(len, files)) == 26
    pixels = data.test.first(1)[0][0].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels, np.array(Image.open(data.test.listing.files[0])))
