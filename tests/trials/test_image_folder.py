import numpy as np
import pytest
import torch
from PIL import Image

from silo.errors import InvalidInput
from trials.datasets import base, load_dataset


def pixels_of(split, label, index, size):
    return np.random.default_rng([len(split), label, index]).integers(0, 256, (*size, 3), dtype=np.uint8)


def write_split(root, split, classes=("cat", "dog"), count=10, size=(6, 4)):
    for label, name in enumerate(classes):
        folder = root / split / name
        folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(pixels_of(split, label, index, size)).save(folder / f"{index:02d}.png")


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path, "train")
    write_split(tmp_path, "test", count=3)
    return tmp_path


def load(root, seed=0, **arguments):
    return load_dataset("image_folder", {"root": str(root), **arguments}, seed=seed)


def test_reads_every_pixel_in_order(root):
    data = load(root)
    assert data.input_shape == (3, 6, 4) and data.num_classes == 2 and not data.augment
    assert [len(data.train), len(data.validation), len(data.test)] == [18, 2, 6]
    assert data.test.inputs.dtype == torch.uint8
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = [pixels_of("test", label, index, (6, 4)) for label in (0, 1) for index in range(3)]
    assert torch.equal(data.test.inputs, torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2))
    assert data.normalise(data.train.inputs).mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)


def test_validation_part_follows_the_seed(root):
    first, again, other = (load(root, seed, validation_share=0.5) for seed in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert torch.bincount(first.validation.labels).tolist() == [5, 5]


def test_validation_folder_is_used(root):
    write_split(root, "validation", count=4)
    data = load(root)
    assert [len(data.train), len(data.validation)] == [20, 8]
    assert torch.equal(
        data.validation.inputs[0], torch.from_numpy(pixels_of("validation", 0, 0, (6, 4))).permute(2, 0, 1)
    )


def test_other_modes_become_rgb(root):
    grey = np.full((6, 4), 77, dtype=np.uint8)
    Image.fromarray(grey).save(root / "test" / "cat" / "00.png")
    Image.fromarray(np.dstack([grey] * 3 + [grey])).save(root / "test" / "cat" / "01.png")
    assert torch.equal(load(root).test.inputs[:2], torch.full((2, 3, 6, 4), 77, dtype=torch.uint8))


def test_image_of_another_size_is_named(root):
    odd = root / "train" / "dog" / "05.png"
    Image.new("RGB", (5, 9)).save(odd)
    with pytest.raises(InvalidInput, match=r"9×5 pixels \(height×width\), not 6×4.*resize: true") as caught:
        load(root)
    assert str(odd) in str(caught.value)
    with pytest.raises(InvalidInput, match="not 6×4"):
        load(root, image_size=[6, 4])


@pytest.mark.parametrize(("image_size", "shape"), [(8, (3, 8, 8)), ([3, 5], (3, 3, 5))])
def test_resize(root, image_size, shape):
    Image.new("RGB", (5, 9), (10, 20, 30)).save(root / "test" / "cat" / "00.png")
    data = load(root, image_size=image_size, resize=True)
    assert data.input_shape == shape
    assert data.test.inputs[0].flatten(1).unique(dim=1).flatten().tolist() == [10, 20, 30]


def test_all_images_of_another_size_than_asked(root):
    with pytest.raises(InvalidInput, match="not 7×7"):
        load(root, image_size=7)


@pytest.mark.parametrize("content", [b"no image", b"", None])
def test_corrupt_image_is_named(root, content):
    broken = root / "train" / "cat" / "03.png"
    broken.write_bytes(broken.read_bytes()[:60] if content is None else content)
    with pytest.raises(InvalidInput, match="can't be read") as caught:
        load(root)
    assert str(broken) in str(caught.value) and "\n" not in str(caught.value)


def test_more_than_eight_bits_are_refused_not_clipped(root):
    Image.fromarray(np.full((6, 4), 1000, dtype=np.uint16)).save(root / "test" / "dog" / "00.png")
    with pytest.raises(InvalidInput, match="more than 8 bits"):
        load(root)


def test_classes_that_differ(root):
    write_split(root, "validation", classes=("cat", "dog", "emu"), count=1)
    with pytest.raises(InvalidInput, match=r"validation and .*train differ in the classes 'emu'"):
        load(root)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_missing_folder(tmp_path, missing):
    write_split(tmp_path, {"train": "test", "test": "train"}[missing])
    with pytest.raises(InvalidInput, match=rf"{missing} can't be used.*root/train/<class>") as caught:
        load(tmp_path)
    assert str(tmp_path / missing) in str(caught.value)


def test_class_without_images(root):
    (root / "train" / "emu").mkdir()
    with pytest.raises(InvalidInput, match="there is no image for the class emu"):
        load(root)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resize": True}, "needs an image_size"),
        ({"image_size": [3]}, r"image_size \[3\] can't be read"),
        ({"image_size": 0}, "image_size 0 can't be read"),
        ({"validation_share": 1.5}, "validation_share must be above 0"),
        ({"size": 3}, r"takes no argument 'size'.*'image_size'"),
    ],
)
def test_arguments_that_are_refused(root, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        load(root, **arguments)


def test_what_does_not_fit_into_memory_is_refused(root, monkeypatch):
    monkeypatch.setattr(base, "available_memory", lambda: 1871)
    with pytest.raises(InvalidInput, match=r"'image_folder' needs .*\(26 examples of 3×6×4 bytes\).*resize"):
        load(root)
    monkeypatch.setattr(base, "available_memory", lambda: 1872)
    assert len(load(root).train) == 18


def test_an_augmentation_that_does_not_mirror(root):
    assert load(root, augment=True).augmentation == "pad_crop_flip"
    assert load(root, augment=True, augmentation="pad_crop").augmentation == "pad_crop"
    with pytest.raises(InvalidInput, match="unknown augmentation 'crop'"):
        load(root, augmentation="crop")
