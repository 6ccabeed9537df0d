"""Magnitude pruning: the smallest weights go."""

from trials.pruning.base import Scores, TrainedNetwork


def global_magnitude(trained: TrainedNetwork) -> Scores:
    """Scores |w|, compared over the whole network (Frankle and Carbin 2018, arXiv 1803.03635)."""
    return Scores({name: weight.abs() for name, weight in trained.weights.items()}, scope="global")


def layer_magnitude(trained: TrainedNetwork) -> Scores:
    """Scores |w|, compared within each tensor, all of which lose the same share.

    Han et al. 2015 (arXiv 1506.02626); LayerMagWeight of Blalock et al. 2020 (arXiv 2003.03033).
    """
    return Scores({name: weight.abs() for name, weight in trained.weights.items()}, scope="layer")
