import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silo.errors import InvalidInput
from trials.datasets import Dataset, Split, builtin, load_dataset
from trials.datasets.augment import pad_crop, pad_crop_flip
from trials.datasets.base import channel_statistics, split_indices
from trials.vision import load_torchvision

# What the first release computed.
FINGERPRINT = "5edc4e3c6745f9f898deb9953b02bcebc3dd1ff307a6ba6760c524cafe1546d4"
AUGMENTED_FINGERPRINT = "72a1d2c747c74bfeab33a375dbdf4b99cc2859701c7a6fb9a5d73ce66f0dc3e3"


def split(inputs=None, labels=None):
    inputs = torch.arange(12.0).view(3, 4) if inputs is None else inputs
    labels = torch.tensor([0, 1, 1]) if labels is None else labels
    return Split(inputs=inputs, labels=labels)


def dataset(**changes):
    values = {"num_classes": 2, "mean": (0.0,), "std": (1.0,)}
    return Dataset(**{"train": split(), "validation": split(), "test": split(), **values, **changes})


def images(seed=0, count=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)


@given(
    st.lists(st.integers(0, 4), min_size=4, max_size=60).map(lambda labels: torch.tensor(labels)),
    st.data(),
    st.integers(0, 2**63 - 1),
)
def test_splits_are_disjoint_exact_and_stratified(labels, data, seed):
    first = data.draw(st.integers(1, len(labels) - 2))
    second = data.draw(st.integers(1, len(labels) - first - 1))
    parts = split_indices(labels, [first, second], seed=seed)
    assert [len(part) for part in parts] == [first, second, len(labels) - first - second]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
    assert all(torch.equal(part, part.sort().values) for part in parts)
    whole = torch.bincount(labels, minlength=5)
    for part, slack in zip(parts, (1, 2, 2), strict=True):
        fair = whole * len(part) / len(labels)
        assert bool(((torch.bincount(labels[part], minlength=5) - fair).abs() < slack).all())


def test_splits_follow_the_seed_alone():
    labels = torch.arange(100) % 5
    before = torch.get_rng_state()
    first, again, other = (split_indices(labels, [20], seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sizes", [[0], [5], [3, 2], [-1]])
def test_splits_that_leave_nothing(sizes):
    with pytest.raises(InvalidInput, match="can't split 5 examples"):
        split_indices(torch.zeros(5, dtype=torch.int64), sizes, seed=0)


def test_digits_may_be_split_apart_from_the_searchs_seed():
    def labels(seed, **given):
        return load_dataset("digits", given, seed=seed).validation.labels.tolist()

    assert labels(0, split=7) == labels(1, split=7) == labels(7)
    assert labels(0) != labels(1)


def test_digits():
    data = load_dataset("digits", {}, seed=3)
    assert data.input_shape == (1, 8, 8) and data.num_classes == 10 and not data.augment
    assert [len(data.train), len(data.validation), len(data.test)] == [1079, 359, 359]
    assert data.train.inputs.dtype == torch.float32
    assert (data.train.inputs.min(), data.train.inputs.max()) == (0, 1)
    normal = data.normalise(data.train.inputs)
    assert normal.mean().item() == pytest.approx(0, abs=1e-6)
    assert normal.std(unbiased=False).item() == pytest.approx(1, abs=1e-6)
    assert bool((torch.bincount(data.validation.labels) >= 34).all())


def test_digits_are_the_same_where_scikit_learn_has_their_file_elsewhere(tmp_path, monkeypatch):
    expected = load_dataset("digits", {}, seed=0).fingerprint()
    monkeypatch.setattr(builtin, "find_spec", lambda name: SimpleNamespace(origin=f"{tmp_path}/__init__.py"))
    assert load_dataset("digits", {}, seed=0).fingerprint() == expected


def test_digits_are_the_bundled_ones_each_once():
    from sklearn.datasets import load_digits

    data = load_dataset("digits", {"validation_share": 0.1, "test_share": 0.3}, seed=0)
    rows = torch.cat([part.inputs for part in (data.train, data.validation, data.test)]).flatten(1) * 16
    labels = torch.cat([part.labels for part in (data.train, data.validation, data.test)])
    ours = sorted(map(tuple, torch.cat([labels[:, None], rows.long()], 1).tolist()))
    bundle = load_digits()
    assert ours == sorted(map(tuple, np.c_[bundle.target, bundle.data.astype(int)].tolist()))


def test_fingerprint_follows_seed_and_content():
    one, again, other = (load_dataset("digits", {}, seed=seed).fingerprint() for seed in (0, 0, 1))
    assert one == again != other
    base = dataset()
    changed = split(inputs=torch.arange(12.0).view(3, 4).clone().index_fill_(0, torch.tensor(2), 0))
    others = [
        dataset(test=changed),
        dataset(train=changed),
        dataset(mean=(0.5,)),
        dataset(std=(2.0,)),
        dataset(num_classes=3),
        dataset(validation=split(labels=torch.tensor([1, 1, 1]))),
        dataset(train=split(inputs=torch.arange(12.0).view(3, 2, 2))),
    ]
    prints = {each.fingerprint() for each in (base, *others)}
    assert len(prints) == len(others) + 1
    assert all(len(each) == 64 for each in prints)
    transposed = split(inputs=torch.arange(12.0).view(3, 4).t().contiguous().t())
    assert dataset(train=transposed).fingerprint() == base.fingerprint()


@pytest.mark.parametrize("argument", ["validation_share", "test_share"])
@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_digits_share_outside(argument, share):
    with pytest.raises(InvalidInput, match=f"{argument} must be above 0 and below 1"):
        load_dataset("digits", {argument: share}, seed=0)


def test_normalise_is_what_torchvision_does():
    pixels, mean, std = images(), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    part = split(inputs=pixels)
    data = dataset(train=part, validation=part, test=part, mean=mean, std=std)
    transforms = load_torchvision().transforms
    expected = transforms.Normalize(mean, std)(transforms.functional.convert_image_dtype(pixels))
    torch.testing.assert_close(data.normalise(pixels), expected)
    assert data.normalise(pixels).dtype == torch.float32


def test_normalise_features():
    data = dataset(mean=(1.0, 2.0, 3.0, 4.0), std=(1.0, 2.0, 4.0, 8.0))
    assert data.normalise(torch.full((2, 4), 5.0)).tolist() == [[4, 1.5, 0.5, 0.125]] * 2


@pytest.mark.parametrize("inputs", [images(count=300), images(count=300).float() / 7])
def test_channel_statistics(inputs):
    mean, std = channel_statistics(inputs)
    values = inputs.double() / (255 if inputs.dtype == torch.uint8 else 1)
    assert mean == pytest.approx(values.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(values.std((0, 2, 3), unbiased=False).tolist())


def test_a_constant_channel_can_be_divided_by():
    assert channel_statistics(torch.full((5, 1, 2, 2), 7, dtype=torch.uint8))[1] == (1.0,)


def test_augmented_follows_the_name():
    part = split(inputs=images())
    crop, flip = (
        dataset(train=part, validation=part, test=part, augment=True, **name)
        for name in ({"augmentation": "pad_crop"}, {})
    )
    draw = torch.Generator()
    for data, change in ((crop, pad_crop), (flip, pad_crop_flip)):
        expected = change(images(), draw.manual_seed(3))
        assert torch.equal(data.augmented(images(), draw.manual_seed(3)), expected)
    assert dataclasses.replace(crop, augment=False).augmented(part.inputs, draw) is part.inputs


def test_augmentation_is_in_the_fingerprint_where_it_has_an_effect():
    part = split(inputs=images())
    plain = dataset(train=part, validation=part, test=part)
    usual = dataclasses.replace(plain, augment=True)
    assert dataclasses.replace(plain, augmentation="pad_crop").fingerprint() == plain.fingerprint()
    assert dataclasses.replace(usual, augmentation="pad_crop").fingerprint() != usual.fingerprint()


def test_fingerprints_that_ledgers_hold_stay():
    assert dataset().fingerprint() == FINGERPRINT
    part = split(inputs=torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2))
    images = dataset(train=part, validation=part, test=part, augment=True)
    assert images.fingerprint() == AUGMENTED_FINGERPRINT


def test_to_moves_every_split():
    moved = dataset().to("meta")
    assert {each.inputs.device.type for each in (moved.train, moved.validation, moved.test)} == {"meta"}


def spoiled(value):
    inputs = torch.zeros(3, 4)
    inputs[1, 2] = inputs[2, 0] = value
    return split(inputs=inputs)


REFUSED = [
    ({"validation": spoiled(torch.nan)}, r"validation split has 2 values .*first at inputs\[1, 2\]"),
    ({"test": spoiled(-torch.inf)}, r"test split has 2 values that are NaN or infinite"),
    ({"num_classes": 1}, r"train split has 2 labels outside 0 to 0, the first is 1 at labels\[1\]"),
    ({"train": split(labels=torch.tensor([0, -1, 1]))}, r"1 labels outside 0 to 1, the first is -1"),
    ({"test": split(labels=torch.tensor([0]))}, "test split has 3 inputs and 1 labels"),
    ({"test": split(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))}, "test split is empty"),
    ({"test": split(inputs=torch.zeros(3, 5))}, r"test split has inputs of float32 \(3, 5\).*\(3, 4\)"),
    ({"test": split(inputs=torch.zeros(3, 4, dtype=torch.uint8))}, "inputs of uint8.*must be the same"),
    ({"train": split(inputs=torch.zeros(3, 4).double())}, "inputs of float64.*give float32, uint8 or"),
    ({"train": split(inputs=torch.zeros(3))}, r"inputs of float32 \(3,\)"),
    ({"train": split(labels=torch.zeros(3))}, "labels of float32.*give int64"),
    ({"mean": (0.0, 1.0)}, r"mean \(0.0, 1.0\) doesn't fit inputs of shape \(4,\)"),
    ({"std": (0.0,)}, r"std \(0.0,\).*above 0"),
    ({"augment": True}, "augment needs images"),
    ({"augmentation": "pad_corp"}, r"unknown augmentation 'pad_corp'.*did you mean 'pad_crop'"),
]


def test_check_refuses():
    for changes, message in REFUSED:
        with pytest.raises(InvalidInput, match=message):
            dataset(**changes).check()


def test_check_accepts_and_datasets_are_frozen():
    dataset().check()
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset().num_classes = 3


OWN = """
import torch
from trials.datasets import Dataset, Split

def points(*, seed, spoil=False):
    inputs = torch.randn(6, 2, generator=torch.Generator().manual_seed(seed))
    if spoil:
        inputs[3, 1] = float("nan")
    part = Split(inputs=inputs, labels=torch.tensor([0, 1] * 3))
    return Dataset(train=part, validation=part, test=part, num_classes=2, mean=(0.0,), std=(1.0,))

def nothing(*, seed):
    return None
"""


def test_own_data(own_module):
    own_module("own_data", OWN)
    assert load_dataset("own_data:points", {}, seed=0).input_shape == (2,)
    with pytest.raises(InvalidInput, match=r"train split has 1 values .*inputs\[3, 1\]"):
        load_dataset("own_data:points", {"spoil": True}, seed=0)
    with pytest.raises(InvalidInput, match=r"must give a trials\.datasets\.Dataset, it gave NoneType"):
        load_dataset("own_data:nothing", {}, seed=0)
    with pytest.raises(InvalidInput, match="'seed' of data set 'own_data:points' can't be given"):
        load_dataset("own_data:points", {"seed": 1}, seed=0)
    with pytest.raises(InvalidInput, match=r"unknown data set 'cifar': known are .*did you mean 'cifar10'"):
        load_dataset("cifar", {}, seed=0)
