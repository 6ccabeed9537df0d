import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from silo.errors import InvalidInput
from trials.datasets import base, load_dataset

SMALL = {"train_size": 40, "validation_size": 20, "test_size": 20}
DIGEST = "f41cd2781f3ffa89dea893d15550b6920c2ec8044f08a90a38df3296d40e0d57"
PARTS = ("train", "validation", "test")


def load(seed=0, **arguments):
    return load_dataset("synthetic", {**SMALL, **arguments}, seed=seed)


@given(
    st.one_of(st.integers(1, 30), st.lists(st.integers(1, 9), min_size=3, max_size=3)),
    st.integers(1, 12),
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)),
    st.floats(0, 10),
    st.integers(0, 2**63 - 1),
)
def test_any_shape_number_of_classes_and_size(shape, classes, sizes, noise, seed):
    train, validation, test = sizes
    arguments = {"train_size": train, "validation_size": validation, "test_size": test}
    data = load(seed, shape=shape, num_classes=classes, noise=noise, **arguments)
    assert data.input_shape == ((shape,) if isinstance(shape, int) else tuple(shape))
    assert data.num_classes == classes and not data.augment
    for part, size in zip(PARTS, sizes, strict=True):
        split = getattr(data, part)
        assert split.inputs.dtype == torch.uint8 and len(split.inputs) == len(split.labels) == size
        counts = torch.bincount(split.labels, minlength=classes)
        assert counts.max() - counts.min() <= 1


@settings(max_examples=30)
@given(st.integers(1, 1500), st.integers(1, 1500), st.sampled_from([7, [2, 5, 3]]))
def test_sizes_leave_what_is_there_alone(small, large, shape):
    small, large = sorted((small, large))
    one, other = (load(shape=shape, train_size=size) for size in (small, large))
    assert torch.equal(one.train.inputs, other.train.inputs[:small])
    assert torch.equal(one.train.labels, other.train.labels[:small])
    assert torch.equal(one.validation.inputs, other.validation.inputs)
    assert torch.equal(one.test.inputs, other.test.inputs)


def test_the_seed_decides_and_the_global_state_does_not():
    before = torch.get_rng_state()
    first, again, other = (load(seed).fingerprint() for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_the_parts_differ():
    data = load(noise=1.0)
    assert torch.equal(data.validation.labels, data.test.labels)
    assert not torch.equal(data.validation.inputs, data.test.inputs)
    assert not torch.equal(data.train.inputs[:20], data.test.inputs)


def test_the_same_bytes_on_every_platform():
    digest = hashlib.sha256()
    for data in (load(seed=7), load(seed=7, shape=20)):
        for part in PARTS:
            digest.update(getattr(data, part).inputs.numpy().tobytes())
    assert digest.hexdigest() == DIGEST


def test_without_noise_only_the_templates_are_left():
    data = load(noise=0, shape=[2, 10, 6], num_classes=5)
    assert len(data.train.inputs.unique(dim=0)) == 5
    picture = data.train.inputs[0]
    rows, columns = ([index * 4 // side for index in range(side)] for side in (10, 6))
    for row in range(1, 10):
        assert torch.equal(picture[:, row], picture[:, row - 1]) == (rows[row] == rows[row - 1])
    for column in range(1, 6):
        same = torch.equal(picture[:, :, column], picture[:, :, column - 1])
        assert same == (columns[column] == columns[column - 1])
    assert picture.min() >= 80 and picture.max() <= 176


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_noise_is_in_standard_deviations_of_the_templates(noise):
    arguments = {"shape": 400, "num_classes": 20}
    clean, noisy = (load(noise=each, train_size=600, **arguments).train.inputs.float() for each in (0, noise))
    spread = clean[:20].std().item()
    assert spread == pytest.approx(48 / 3**0.5, rel=0.02)
    difference = noisy - clean
    assert difference.std().item() == pytest.approx(noise * spread, rel=0.04)
    assert abs(difference.mean()) < 0.2


def accuracy(network, data, steps, max_lr):
    """Of a short SGD training, on the test split."""
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(network.parameters(), lr=max_lr, momentum=0.9)
    for _ in range(steps):
        chosen = torch.randint(len(data.train), (64,), generator=draw)
        outputs = network(data.normalise(data.train.inputs[chosen]))
        optimizer.zero_grad()
        functional.cross_entropy(outputs, data.train.labels[chosen]).backward()
        optimizer.step()
    with torch.no_grad():
        outputs = network(data.normalise(data.test.inputs))
    return (outputs.argmax(1) == data.test.labels).float().mean().item()


def test_a_linear_network_learns_it():
    data = load(train_size=2000, test_size=500)
    torch.manual_seed(0)
    assert 0.8 < accuracy(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), data, 150, 0.01) < 0.99


def test_a_small_convolutional_network_learns_it():
    data = load(shape=[3, 16, 16], train_size=2000, test_size=500, noise=1.0)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(10),
    )
    network(data.normalise(data.test.inputs[:1]))
    assert accuracy(network, data, 150, 0.03) > 0.9


def test_more_than_there_is_memory_for(monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 1000)
    with pytest.raises(
        InvalidInput, match=r"'synthetic' needs .*80 examples of 3×32×32 bytes.*smaller sizes"
    ):
        load()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": [3, 32]}, r"shape \[3, 32\] can't be read"),
        ({"shape": "3x32x32"}, "shape '3x32x32' can't be read"),
        ({"shape": [3, 0, 4]}, "each number of shape must be a whole number from 1 on: given was 0"),
        ({"shape": True}, "each number of shape must be a whole number"),
        ({"num_classes": 0}, "num_classes must be a whole number from 1 on"),
        ({"train_size": 0}, "train_size must be a whole number from 1 on"),
        ({"test_size": 1.5}, "test_size must be a whole number from 1 on: given was 1.5"),
        ({"noise": -1}, "noise must be from 0 to 10, such as 2.0: given was -1"),
        ({"noise": float("nan")}, "noise must be from 0 to 10"),
        ({"noise": "2"}, "noise must be from 0 to 10"),
        ({"shape": 5, "augment": True}, "augment needs images"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        load(**arguments)
