import sys

import numpy as np
import pytest
import torch
from PIL import Image

from silo.errors import InvalidInput
from tests.trials.test_image_folder import write_split
from trials.datasets import base, load_dataset
from trials.datasets.image_folder import imagenet

MODULE = sys.modules[imagenet.__module__]  # the package's attribute is the function
SIZE = 14  # of which 256/224 is 16


@pytest.fixture
def root(tmp_path):
    for part, count in (("train", 10), ("val", 2)):
        for label, name in enumerate(("n01440764", "n01443537", "n02102040")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                size = (48, 96) if index % 2 else (96, 48)
                draw = np.random.default_rng([len(part), label, index])
                pixels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{index}.png")
    return tmp_path


def load(root, seed=0, **arguments):
    arguments = {"image_size": SIZE, "validation_share": 0.2, **arguments}
    return load_dataset("imagenet", {"root": str(root), **arguments}, seed=seed)


def prepared(file, shorter, side):
    """The middle of the resized image, in Pillow's own terms."""
    with Image.open(file) as image:
        scale = shorter / min(image.size)
        resized = image.resize([round(edge * scale) for edge in image.size], Image.Resampling.BILINEAR)
    left, top = ((edge - side) // 2 for edge in resized.size)
    cut = resized.crop((left, top, left + side, top + side))
    return torch.from_numpy(np.array(cut)).permute(2, 0, 1)


def pictures(root, part, shorter):
    return [prepared(file, shorter, SIZE) for file in sorted((root / part).glob("*/*"))]


def numbers(split, expected):
    """Which of the expected pictures each one is."""
    known = {picture.numpy().tobytes(): index for index, picture in enumerate(expected)}
    return [known[picture.numpy().tobytes()] for picture in split.inputs]


def test_contents(root):
    data = load(root)
    assert data.input_shape == (3, SIZE, SIZE) and data.num_classes == 3
    assert [len(data.train), len(data.validation), len(data.test)] == [24, 6, 6]
    assert data.train.inputs.dtype == torch.uint8
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.bincount(data.validation.labels).tolist() == [2, 2, 2]
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert data.augment and data.augmentation == "resized_crop_flip"


def test_evaluation_cuts_the_middle_and_training_keeps_the_square(root):
    data = load(root)
    assert numbers(data.test, pictures(root, "val", 16)) == list(range(6))
    validation = numbers(data.validation, pictures(root, "train", 16))
    train = numbers(data.train, pictures(root, "train", SIZE))
    assert sorted(validation + train) == list(range(30))
    assert [index // 10 for index in train] == data.train.labels.tolist()
    assert [index // 10 for index in validation] == data.validation.labels.tolist()


def test_without_augmentation_all_are_prepared_alike(root):
    augmented, plain = load(root), load(root, augment=False)
    assert not plain.augment
    expected = numbers(augmented.train, pictures(root, "train", SIZE))
    assert numbers(plain.train, pictures(root, "train", 16)) == expected
    assert plain.augmented(plain.train.inputs, torch.Generator()) is plain.train.inputs


def test_augmented_batches_are_resized_crops(root):
    data = load(root)
    changed = data.augmented(data.train.inputs, torch.Generator().manual_seed(0))
    assert changed.shape == data.train.inputs.shape and changed.dtype == torch.uint8
    assert not torch.equal(changed, data.train.inputs)


def test_what_does_not_fit_is_refused_before_anything_is_read(root, monkeypatch):
    for module in (MODULE, base):
        monkeypatch.setattr(module, "available_memory", lambda: 20_000)
    monkeypatch.setattr(MODULE, "split_of", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(InvalidInput, match=r"^data set 'imagenet' needs 0.0 GB .*\(36 examples") as caught:
        load(root)
    assert str(caught.value).endswith("set stream: true, or image_size to 13 or less")
    assert 36 * 3 * 13**2 <= 20_000 < 36 * 3 * 14**2


@pytest.mark.parametrize("missing", ["train", "val"])
def test_missing_folder(tmp_path, missing):
    write_split(tmp_path, {"train": "val", "val": "train"}[missing])
    with pytest.raises(InvalidInput, match=r"can't be used.*root/val/<class>.*ImageNet unpacks") as caught:
        load(tmp_path)
    assert str(tmp_path / missing) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size must be a whole number from 1 on: given was 0"),
        ({"image_size": [3, 4]}, "image_size must be a whole number"),
        ({"validation_share": 0}, "validation_share must be above 0"),
        ({"download": True}, "takes no argument 'download'"),
    ],
)
def test_arguments_that_are_refused(root, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        load(root, **arguments)
