import pytest

from oracle.cycles import decide
from oracle.testing.replay import replayed_trial


def decision(accuracies, tolerance=0.005):
    """accuracies: max_lr to a list with one validation accuracy per replicate."""
    outcomes = {
        lr: {r: replayed_trial(0, r, lr, value) for r, value in enumerate(values)}
        for lr, values in accuracies.items()
    }
    return decide(0, outcomes, tolerance=tolerance)


def test_the_optimum_has_the_best_mean_not_the_best_trial():
    found = decision({0.1: [0.99, 0.50], 0.2: [0.80, 0.82]})
    assert found.interval.optimum == 0.2


def test_means_of_equal_counts_tie_whatever_the_order_of_summation():
    up, down = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    assert sum(up) > sum(down)  # in the last bit
    found = decision({0.1: down, 0.2: up})
    assert found.interval.optimum == 0.1


def test_the_interval_is_the_contiguous_run_around_the_optimum():
    found = decision({0.1: [0.5], 0.2: [0.896], 0.3: [0.9], 0.4: [0.895], 0.5: [0.89], 0.6: [0.899]})
    assert (found.interval.low, found.interval.high) == (0.2, 0.4)
    assert found.detached == (0.6,)
    assert not found.interval.low_cut
    assert not found.interval.high_cut


def test_an_interval_that_reaches_the_grids_edge_is_cut_off():
    found = decision({0.1: [0.9], 0.2: [0.9], 0.3: [0.5]})
    assert found.interval.low_cut
    assert not found.interval.high_cut


def test_a_candidate_that_always_diverges_is_at_chance_and_loses():
    found = decision({0.1: [0.5], 0.2: [0.9], 0.3: [0.1]})
    assert found.selected.score == pytest.approx(0.9)
    assert found.selected.score_std is None and found.selected.test_score_std is None
