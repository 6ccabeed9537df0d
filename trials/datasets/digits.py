"""scikit-learn's handwritten digits: 1,797 grey images of 8×8 pixels that come with the package."""

import torch

from silo.errors import InvalidInput
from trials.datasets.base import Dataset, Split, channel_statistics
from trials.datasets.splits import share_of, split_indices


def digits(
    *, seed: int, validation_share: float = 0.2, test_share: float = 0.2, split: int | None = None
) -> Dataset:
    """Loads the digits; nothing is downloaded.

    Args:
        seed: Seed of the split.
        validation_share: Share of all images that decides.
        test_share: Share of all images that is reported.
        split: Seed of the split in place of the search's own: searches with other seeds then have the same
            images to learn from and to decide by.

    Returns:
        Inputs [N, 1, 8, 8], float32 from 0 to 1 (sixteen grey levels / 16), normalised by the training
        split's mean and standard deviation.

    Raises:
        InvalidInput: scikit-learn is not installed, or the shares leave nothing to train on.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InvalidInput("data set 'digits' comes with scikit-learn: pip install scikit-learn") from None
    bundle = load_digits()
    inputs = torch.from_numpy(bundle.images).to(torch.float32).div(16).unsqueeze(1)
    labels = torch.from_numpy(bundle.target).to(torch.int64)
    sizes = [
        share_of("validation_share", validation_share, len(labels)),
        share_of("test_share", test_share, len(labels)),
    ]
    validation, test, train = (
        Split(inputs=inputs[chosen], labels=labels[chosen])
        for chosen in split_indices(labels, sizes, seed=seed if split is None else split)
    )
    mean, std = channel_statistics(train.inputs)
    return Dataset(train=train, validation=validation, test=test, num_classes=10, mean=mean, std=std)
