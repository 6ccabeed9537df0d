import dataclasses
import pickle

import pytest
import torch

from trials.datasets import Dataset, LoadOnce, Split, StreamedSplit, load_dataset
from trials.datasets.images import Listing
from trials.datasets.packed import pack


def split(inputs):
    return Split(inputs=inputs, labels=torch.arange(len(inputs)) % 2)


def dataset(inputs, **changes):
    fields = {name: split(inputs) for name in ("train", "validation", "test")}
    fields |= {"num_classes": 2, "mean": (0.5,), "std": (0.25,), "augment": True, "augmentation": "pad_crop"}
    return Dataset(**fields | changes)


IMAGES = torch.arange(4 * 3 * 5 * 6).view(4, 3, 5, 6).to(torch.uint8)
LAYOUTS = {
    "as it is": IMAGES,
    "channels last": IMAGES.contiguous(memory_format=torch.channels_last),
    "every other image": IMAGES[::2],
    "transposed": IMAGES.permute(3, 1, 0, 2),
    "vectors": torch.linspace(0, 1, 12).view(4, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_unpacked_has_the_bits_and_the_layout_of_what_was_packed(layout):
    given = dataset(LAYOUTS[layout])
    buffers = []
    data = pickle.dumps(pack(given), protocol=5, buffer_callback=buffers.append)
    read_only = [memoryview(bytes(buffer.raw())).toreadonly() for buffer in buffers]
    found = pickle.loads(data, buffers=read_only).unpack()
    assert len(read_only) == 6  # all tensors, none within the pickle
    assert found.fingerprint() == given.fingerprint()
    order = torch.tensor([1, 0])
    for name in ("train", "validation", "test"):
        (mine, my_labels), (theirs, their_labels) = (
            getattr(each, name).batch(order) for each in (found, given)
        )
        assert torch.equal(mine, theirs) and torch.equal(my_labels, their_labels)
        assert mine.stride() == theirs.stride()


def test_packing_copies_nothing_that_lies_in_one_piece():
    given = dataset(LAYOUTS["channels last"])
    packed = pack(given)
    assert packed.size == 3 * (IMAGES.numel() + 4 * 8)
    assert packed.unpack().train.inputs.data_ptr() == given.train.inputs.data_ptr()


def test_what_is_not_plain_memory_is_not_packed(tmp_path):
    listing = Listing(folder=tmp_path, classes=["a"], files=["b"], labels=torch.zeros(1, dtype=torch.int64))
    streamed = StreamedSplit(listing=listing, size=(2, 2), prepare=max)
    assert pack(dataset(IMAGES, test=streamed)) is None
    assert pack(dataset(IMAGES.to("meta"))) is None

    class Own(Dataset):
        """Does something else than its fields say."""

    fields = {field.name: getattr(dataset(IMAGES), field.name) for field in dataclasses.fields(Dataset)}
    assert pack(Own(**fields)) is None


def test_every_data_set_is_loaded_once():
    asked = []

    def load(name, arguments, *, seed):
        asked.append((name, seed))
        return load_dataset(name, arguments, seed=seed)

    once = LoadOnce(load)
    first = once("digits", {}, seed=0)
    assert once("digits", {}, seed=0) is first
    assert once("digits", {}, seed=1) is not first
    assert once("digits", {"validation_share": 0.2}, seed=0) is not first
    assert asked == [("digits", 0), ("digits", 1), ("digits", 0)]
