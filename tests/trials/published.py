"""Tiny files in the formats of the published data sets, with checksums that torchvision accepts."""

import dataclasses
import gzip
import hashlib
import io
import pickle

import numpy as np
import scipy.io

from trials.vision import load_torchvision

TEST = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is published about a data set, and where its files lie."""

    shape: tuple[int, ...]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: bool
    flips: bool
    held: str
    file: str
    train: int = 100


CASES = {
    "cifar10": Case(
        shape=(3, 32, 32),
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        augment=True,
        flips=True,
        held="cifar-10-batches-py",
        file="cifar-10-batches-py/data_batch_3",
    ),
    "cifar100": Case(
        shape=(3, 32, 32),
        classes=100,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        augment=True,
        flips=True,
        held="cifar-100-python",
        file="cifar-100-python/train",
        train=300,
    ),
    "mnist": Case(
        shape=(1, 28, 28),
        classes=10,
        mean=(0.1307,),
        std=(0.3081,),
        augment=False,
        flips=False,
        held="MNIST/raw",
        file="MNIST/raw/train-images-idx3-ubyte",
    ),
    "fashion_mnist": Case(
        shape=(1, 28, 28),
        classes=10,
        mean=(0.2860,),
        std=(0.3530,),
        augment=False,
        flips=True,
        held="FashionMNIST/raw",
        file="FashionMNIST/raw/train-images-idx3-ubyte",
    ),
    "svhn": Case(
        shape=(3, 32, 32),
        classes=10,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        augment=False,
        flips=False,
        held="train_32x32.mat and test_32x32.mat",
        file="train_32x32.mat",
    ),
}


def drawn(name, part, count):
    """Pictures [N, C, H, W] and labels of a part."""
    case = CASES[name]
    draw = np.random.default_rng([*name.encode(), *part.encode()])
    return draw.integers(0, 256, (count, *case.shape), dtype=np.uint8), np.arange(count) % case.classes


def checksum(data):
    return hashlib.md5(data).hexdigest()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return [path.name, checksum(data)]


def write_cifar(root, name, monkeypatch):
    case, reader = CASES[name], getattr(load_torchvision().datasets, name.upper())
    key = "labels" if name == "cifar10" else "fine_labels"

    def batches(part, count, names):
        pixels, labels = drawn(name, part, count)
        pieces = zip(np.split(pixels, len(names)), np.split(labels, len(names)), strict=True)
        return [
            write(
                root / case.held / file,
                pickle.dumps({"data": p.reshape(len(p), -1), key: n.tolist(), "coarse_labels": [0] * len(n)}),
            )
            for file, (p, n) in zip(names, pieces, strict=True)
        ]

    names = [f"data_batch_{index}" for index in range(1, 6)] if name == "cifar10" else ["train"]
    monkeypatch.setattr(reader, "train_list", batches("train", case.train, names))
    monkeypatch.setattr(
        reader, "test_list", batches("test", TEST, ["test_batch" if name == "cifar10" else "test"])
    )
    meta = reader.meta
    file, md5 = write(
        root / case.held / meta["filename"], pickle.dumps({meta["key"]: list(map(str, range(case.classes)))})
    )
    monkeypatch.setattr(reader, "meta", {"filename": file, "key": meta["key"], "md5": md5})


def idx(array):
    """LeCun's format: two zero bytes, the type (8: bytes), the dimensions' number and sizes, the data."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def write_mnist(root, name, monkeypatch):
    reader = (
        load_torchvision().datasets.MNIST if name == "mnist" else load_torchvision().datasets.FashionMNIST
    )
    resources = []
    for part, prefix, count in (("train", "train", CASES[name].train), ("test", "t10k", TEST)):
        pixels, labels = drawn(name, part, count)
        for kind, array in (("images-idx3", pixels[:, 0]), ("labels-idx1", labels.astype(np.uint8))):
            path = root / CASES[name].held / f"{prefix}-{kind}-ubyte.gz"
            resources.append(tuple(write(path, gzip.compress(idx(array)))))
    monkeypatch.setattr(reader, "resources", resources)


def write_svhn(root, name, monkeypatch):
    reader, entries = load_torchvision().datasets.SVHN, {}
    for part, count in (("train", CASES[name].train), ("test", TEST), ("extra", 40)):
        pixels, labels = drawn(name, part, count)
        buffer = io.BytesIO()
        content = {
            "X": pixels.transpose(2, 3, 1, 0),
            "y": np.where(labels, labels, 10)[:, None].astype("uint8"),
        }
        scipy.io.savemat(buffer, content)
        file, md5 = write(root / f"{part}_32x32.mat", buffer.getvalue())
        entries[part] = [f"http://example.invalid/{file}", file, md5]
    monkeypatch.setattr(reader, "split_list", entries)


def write_fake(root, name, monkeypatch):
    writer = {"svhn": write_svhn}.get(name) or (write_mnist if "mnist" in name else write_cifar)
    writer(root, name, monkeypatch)
