"""What of a folder of images is taken: every image once, in one split, upright, and the rest is named."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from silo.errors import InvalidInput
from tests.trials.test_image_folder import load, write_split
from trials.datasets.images import Lister, open_image


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path, "train")
    write_split(tmp_path, "test", count=3)
    return tmp_path


def link(place, target):
    place.symlink_to(target)


@pytest.mark.parametrize("name", ["validation", "val", "valid", "dev", "Validation", "VAL"])
def test_a_validation_split_of_any_name_decides(root, name):
    write_split(root, name, count=4)
    data = load(root)
    assert [len(data.train), len(data.validation), len(data.test)] == [20, 8, 6]
    assert data.notes == (f"2 classes, 34 images; 8 decide, those of {root / name}",)


@pytest.mark.parametrize(("train", "test"), [("Train", "TEST"), ("training", "testing")])
def test_the_other_splits_may_have_other_names_too(root, train, test):
    (root / "train").rename(root / train)
    (root / "test").rename(root / test)
    assert [len(load(root).train), len(load(root).test)] == [18, 6]


def test_of_two_validation_splits_neither_is_taken(root):
    write_split(root, "val", count=1)
    write_split(root, "dev", count=1)
    with pytest.raises(InvalidInput, match="several folders that may be the validation split, 'dev', 'val'"):
        load(root)


def test_where_the_validation_split_comes_from_is_noted(root):
    write_split(root, "holdout", count=1)
    assert load(root).notes == (
        "2 classes, 26 images; 2 decide, split off the training images, as there is no folder validation, "
        "val, valid or dev",
        "left out: folders that are no split's, 'holdout'",
    )


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_hidden_is_no_class_and_no_image(root, stream):
    before = load(root, stream=stream).fingerprint()
    for folder in (".ipynb_checkpoints", "__MACOSX", "cat/.thumbnails", "cat/@eaDir"):
        shutil.copytree(root / "train" / "dog", root / "train" / folder)
    shutil.copy(root / "train" / "cat" / "00.png", root / "train" / "cat" / "._00.png")
    shutil.copytree(root / "test", root / ".val")
    data = load(root, stream=stream)
    assert data.fingerprint() == before and data.num_classes == 2
    assert data.notes[1:] == ("left out: 1 hidden files, 4 hidden folders",)


@pytest.mark.parametrize("target", ["..", "../..", "../../..", "."])
def test_a_link_to_a_folder_above_leads_nowhere(root, target):
    before = load(root).fingerprint()
    link(root / "train" / "cat" / "loop", target)
    assert load(root).fingerprint() == before
    assert load(root).notes[1:] == ("left out: 1 links to a folder that they lie in",)


def test_a_class_that_is_a_link_to_a_folder_above_is_none(root):
    link(root / "train" / "again", ".")
    with pytest.raises(InvalidInput, match=r"no image for the class again.*links to a folder"):
        load(root)


@pytest.mark.parametrize("make", [link, lambda place, target: os.link(target, place)])
@pytest.mark.parametrize("place", ["test/cat/x.png", "val/cat/x.png", "train/dog/x.png", "test/dog/x.png"])
def test_no_file_is_in_two_splits_or_classes(root, place, make):
    write_split(root, "val", count=2)
    make(root / place, root / "train" / "cat" / "03.png")
    with pytest.raises(InvalidInput, match="are one file: it can be in one split and in one class") as caught:
        load(root)
    assert place in str(caught.value) and "train/cat/03.png" in str(caught.value)


def test_a_folder_that_is_linked_into_two_splits_is_refused(root):
    link(root / "val", root / "test")
    with pytest.raises(InvalidInput, match="are one file"):
        load(root)


def test_an_image_that_is_linked_twice_counts_once(root):
    before = load(root).fingerprint()
    link(root / "train" / "cat" / "zz.png", root / "train" / "cat" / "03.png")
    link(root / "train" / "cat" / "zz", root / "train" / "cat")
    data = load(root)
    assert data.fingerprint() == before
    assert "1 links to images that are there already" in data.notes[1]


def test_classes_may_be_links(root, tmp_path_factory):
    before, elsewhere = load(root).fingerprint(), tmp_path_factory.mktemp("elsewhere")
    (root / "train" / "cat").rename(elsewhere / "pictures")
    link(root / "train" / "cat", elsewhere / "pictures")
    (root / "test" / "dog" / "00.png").rename(elsewhere / "blob")
    link(root / "test" / "dog" / "00.png", elsewhere / "blob")
    assert load(root).fingerprint() == before


def test_a_link_to_nothing_is_named(root):
    link(root / "train" / "cat" / "zz.png", root / "gone.png")
    with pytest.raises(InvalidInput, match=r"zz\.png is a link to nothing"):
        load(root, stream=True)


def test_the_order_is_that_of_torchvision(root):
    from trials.vision import load_torchvision

    for place in ("cat/b/1.png", "cat/a/z/2.png", "dog/A.PNG", "cat/a.png", "dog/sub/x.jpeg"):
        (root / "train" / place).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (4, 6)).save(root / "train" / place, "png")
    found = Lister("")(root / "train")
    theirs = load_torchvision().datasets.ImageFolder(root / "train")
    assert list(zip(found.files, found.labels.tolist(), strict=True)) == theirs.samples


@pytest.mark.parametrize("suffix", [".gif", ".jfif", ".jpe", ".JPG"])
def test_more_formats_are_read(root, suffix):
    kind = {".gif": "gif"}.get(suffix, "jpeg")
    for index in range(4):
        Image.new("RGB", (4, 6), (9, 9, 9)).save(root / "train" / "cat" / f"x{index}{suffix}", kind)
    data = load(root)
    assert len(data.train) + len(data.validation) == 24 and len(data.notes) == 1


def test_what_is_left_out_is_counted_by_its_ending(root):
    for name in ("a.heic", "b.HEIC", "notes.txt", "README"):
        (root / "train" / "cat" / name).write_text("?")
    shutil.copy(root / "train" / "cat" / "00.png", root / "train" / "stray.png")
    assert load(root).notes[1] == (
        "left out: 1 files beside the class folders, 2 files that end with .heic, "
        "1 files that end with .txt, 1 files without an ending"
    )


def test_a_class_of_which_nothing_can_be_read_names_its_files(root):
    (root / "train" / "emu").mkdir()
    (root / "train" / "emu" / "a.heic").write_text("?")
    with pytest.raises(InvalidInput, match=r"no image for the class emu .*left out: .*\.heic 1"):
        load(root)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stream", [False, True])
def test_images_are_upright(root, orientation, stream):
    shown = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    undone = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    ways = [
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
    ]
    ways += [Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE]
    ways += [Image.Transpose.ROTATE_90]
    image = Image.fromarray(shown)
    if orientation > 1:
        image = image.transpose(ways[undone[orientation] - 1])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(root / "test" / "cat" / "00.png", exif=exif)
    first, _ = load(root, stream=stream).test.first(1)
    assert torch.equal(first[0], torch.from_numpy(shown).permute(2, 0, 1))


def test_damaged_notes_of_a_camera_harm_no_image(root):
    file = root / "test" / "cat" / "00.png"
    pixels = np.array(open_image(str(file)))
    Image.fromarray(pixels).save(file, exif=b"Exif\0\0no such thing")
    assert np.array_equal(np.array(open_image(str(file))), pixels)


@pytest.mark.parametrize("stream", [False, True])
def test_names_need_not_be_utf8(root, stream):
    plain = load(root, stream=stream)
    odd = os.fsencode(root / "train" / "cat") + b"/caf\xe9.png"
    shutil.copy(root / "train" / "cat" / "00.png", odd)
    data = load(root, stream=stream)
    assert data.fingerprint() != plain.fingerprint()
    with open(odd, "wb") as file:
        file.write(b"no image")
    with pytest.raises(InvalidInput, match=r"caf\\xe9\.png can't be read") as caught:
        data = load(root, stream=stream)
        data.train.batch(torch.arange(len(data.train))), data.validation.batch(torch.arange(2))
    str(caught.value).encode()


def test_a_root_that_is_not_there_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="No such file") as caught:
        load("pictures")
    assert str(tmp_path / "pictures") in str(caught.value)
