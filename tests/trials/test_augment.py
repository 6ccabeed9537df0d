import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trials.datasets.augment import _boxes, pad_crop, pad_crop_flip, resized_crop_flip
from trials.vision import load_torchvision

SIDE, PADDING = 5, 2
OUTCOMES = 2 * (2 * PADDING + 1) ** 2
IMAGE = torch.arange(1, 2 * SIDE * SIDE + 1, dtype=torch.uint8).view(2, SIDE, SIDE)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def position_of():
    """Every picture that torchvision's crop and flip can make of IMAGE, numbered."""
    functional = load_torchvision().transforms.functional
    padded = functional.pad(IMAGE, PADDING)
    pictures = []
    for top, left in itertools.product(range(2 * PADDING + 1), repeat=2):
        cropped = functional.crop(padded, top, left, SIDE, SIDE)
        pictures += [cropped, functional.hflip(cropped)]
    positions = {picture.numpy().tobytes(): index for index, picture in enumerate(pictures)}
    assert len(positions) == OUTCOMES
    return positions


def counts(pictures, position_of):
    found = torch.tensor([position_of[picture.numpy().tobytes()] for picture in pictures])
    return torch.bincount(found, minlength=OUTCOMES).numpy()


def test_same_pictures_equally_likely_as_with_torchvision(position_of):
    ours = counts(pad_crop_flip(IMAGE.expand(20_000, -1, -1, -1), generator(), PADDING), position_of)
    transforms = load_torchvision().transforms
    theirs_one = transforms.Compose(
        [transforms.RandomCrop(SIDE, padding=PADDING), transforms.RandomHorizontalFlip()]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = counts([theirs_one(IMAGE) for _ in range(4000)], position_of)
    assert stats.chisquare(ours).pvalue > 1e-3
    assert stats.chisquare(theirs).pvalue > 1e-3
    assert stats.chi2_contingency([ours, theirs]).pvalue > 1e-3


def test_images_move_independently():
    pictures = pad_crop_flip(IMAGE.expand(200, -1, -1, -1), generator(), PADDING)
    neighbours_equal = sum(torch.equal(a, b) for a, b in itertools.pairwise(pictures))
    assert neighbours_equal < 20


def test_channels_move_together():
    inputs = torch.arange(1.0, 65).view(1, 1, 8, 8).expand(16, 3, 8, 8)
    moved = pad_crop_flip(inputs, generator())
    assert torch.equal(moved[:, 0], moved[:, 1]) and torch.equal(moved[:, 0], moved[:, 2])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_shape_dtype_and_untouched_input(dtype):
    inputs = torch.randint(255, (4, 3, 6, 10), generator=generator()).to(dtype)
    before = inputs.clone()
    moved = pad_crop_flip(inputs, generator())
    assert moved.shape == inputs.shape and moved.dtype == dtype
    assert torch.equal(inputs, before)


def test_seed_decides_and_the_global_state_does_not():
    inputs = IMAGE.expand(50, -1, -1, -1)
    before = torch.get_rng_state()
    first, again, other = (pad_crop_flip(inputs, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_padding_only_flips():
    moved = pad_crop_flip(IMAGE.expand(40, -1, -1, -1), generator(), padding=0)
    mirrored = sum(torch.equal(each, IMAGE.flip(-1)) for each in moved)
    assert sum(torch.equal(each, IMAGE) for each in moved) == 40 - mirrored
    assert 5 < mirrored < 35


def test_pad_crop_is_the_same_without_the_mirror(position_of):
    found = counts(pad_crop(IMAGE.expand(10_000, -1, -1, -1), generator(), PADDING), position_of)
    assert not found[1::2].any()  # the mirrored ones
    assert stats.chisquare(found[::2]).pvalue > 1e-3


BOXED = ((24, 24), (6, 40), (40, 6))  # in the long ones few boxes fit


def picture(size, channels=3, seed=1):
    shape = (1, channels, *size)
    return torch.randint(256, shape, generator=generator(seed), dtype=torch.uint8)


@pytest.mark.parametrize("size", BOXED)
def test_a_resized_crop_is_torchvisions_crop_of_the_same_box(size):
    functional = load_torchvision().transforms.functional
    boxes = _boxes(40, torch.Size(size), generator(5), (0.08, 1.0), (3 / 4, 4 / 3))
    image, seen = picture(size).float(), set()
    ours = resized_crop_flip(image.expand(40, -1, -1, -1), generator(5))
    for index, (top, left, height, width) in enumerate(boxes.squeeze(2).T.int().tolist()):
        expected = functional.resized_crop(image[0], top, left, height, width, list(size))
        distances = [float((ours[index] - side).abs().max()) for side in (expected, expected.flip(-1))]
        assert min(distances) < 0.01
        seen.add(distances.index(min(distances)))
    assert seen == {0, 1}
    whole = resized_crop_flip(picture(size).expand(40, -1, -1, -1), generator(5))
    assert torch.equal(whole, ours.round().to(torch.uint8))


@pytest.mark.parametrize("size", BOXED)
def test_boxes_are_distributed_as_torchvisions(size):
    count, image = 3000, picture(size)[0]
    ours = _boxes(count, torch.Size(size), generator(), (0.08, 1.0), (3 / 4, 4 / 3)).squeeze(2).int()
    crop = load_torchvision().transforms.RandomResizedCrop
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = [crop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    theirs = torch.tensor(draws).T
    for mine, other in zip([*ours, ours[2] * ours[3]], [*theirs, theirs[2] * theirs[3]], strict=True):
        assert stats.ks_2samp(mine.numpy(), other.numpy()).pvalue > 1e-3


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**63 - 1))
def test_every_box_lies_in_the_image(height, width, seed):
    boxes = _boxes(30, torch.Size((height, width)), generator(seed), (0.08, 1.0), (3 / 4, 4 / 3)).squeeze(2)
    assert torch.equal(boxes, boxes.round())
    top, left, heights, widths = boxes
    assert bool((top >= 0).all() & (left >= 0).all() & (heights >= 1).all() & (widths >= 1).all())
    assert bool((top + heights <= height).all() & (left + widths <= width).all())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_resized_crops_keep_shape_dtype_input_and_seed(dtype):
    inputs = torch.cat([picture((12, 18), seed=seed) for seed in range(6)]).to(dtype)
    before, state = inputs.clone(), torch.get_rng_state()
    first, again, other = (resized_crop_flip(inputs, generator(seed)) for seed in (1, 1, 2))
    assert first.shape == inputs.shape and first.dtype == dtype and torch.equal(inputs, before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert bool((first >= 0).all() & (first <= 255).all())


def test_the_whole_image_as_its_own_crop():
    inputs = torch.cat([picture((16, 16), seed=seed) for seed in range(8)])
    whole = resized_crop_flip(inputs, generator(), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    for before, after in zip(inputs, whole, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))
