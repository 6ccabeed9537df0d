import itertools

import pytest
import torch
from scipy import stats

from trials.datasets.augment import pad_crop_flip
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
