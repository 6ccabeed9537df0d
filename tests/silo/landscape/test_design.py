"""The choice of trainings, and the rounds of a cycle, whatever the landscape."""

import random
from collections.abc import Iterator

import numpy as np
import pytest

from silo import InvalidInput
from silo.landscape import CycleScores, Landscape
from silo.landscape.adaptive import Adaptive, Begun, Decision, Pair, most_telling
from silo.landscape.parts import Drawn
from tests.silo.landscape.worlds import world

Cycle = tuple[Begun, dict[Pair, float], list[Decision]]


def searched(accuracies: np.ndarray, rates: np.ndarray, policy: Adaptive) -> Iterator[Cycle]:
    """An adaptive search of (cycles, n, replicates): per cycle its trainings, and all its decisions."""
    landscape, before, spent = Landscape(rates), None, 0
    for m, scores in enumerate(accuracies):
        begun = Begun(cycle=m, grid=rates, replicates=scores.shape[1], before=before, earlier=m, spent=spent)
        trained: dict[Pair, float] = {}
        decisions = [policy.decide(landscape, begun, trained)]
        while decisions[-1].asks:
            assert not set(decisions[-1].asks) & set(trained)
            trained |= {pair: float(scores[pair]) for pair in decisions[-1].asks}
            decisions.append(policy.decide(landscape, begun, trained, decisions[-1].rounds))
        assert all((decisions[-1].chosen, r) in trained for r in range(begun.replicates))
        yield begun, trained, decisions
        before, spent = decisions[-1].known or before, spent + len(trained)


def recorded(kind: str, n: int = 10, cycles: int = 4, replicates: int = 3) -> tuple[np.ndarray, np.ndarray]:
    true = world(kind, n, cycles)
    return np.stack([each.accuracies for each in true.search(replicates)]), true.rates


def drawn(curve: np.ndarray, collapse: np.ndarray | None = None) -> Drawn:
    """1,000 draws, in turn of the curves given."""
    rows = np.tile(curve, (1000 // len(curve), 1))
    chances = 0 * rows if collapse is None else np.tile(collapse, (1000 // len(collapse), 1))
    return Drawn(rows, chances, 40.0, np.full(len(rows), 0.5), np.full(len(rows), 0.25))


def trained(pairs: list[Pair], n: int = 10) -> CycleScores:
    index, replicate = np.array(pairs).T
    grid, score = np.geomspace(0.01, 0.4, n), np.full(len(pairs), 0.9)
    return CycleScores(cycle=1, grid=grid, index=index, replicate=replicate, score=score)


def test_what_is_open_is_asked_for() -> None:
    # The interval ends at 5 or at 8, by scores or by collapses: no other rate could tell.
    known, steps = trained([(3, r) for r in range(3)]), np.arange(10)
    level = np.where((steps < 2) | (steps > 8), -5.0, 0.0)
    lower = np.where(steps > 5, -5.0, level)
    fails = np.stack([np.zeros(10), steps > 5]).astype(float)
    for draws in (drawn(np.stack([level, lower])), drawn(np.stack([level, level]), fails)):
        assert most_telling(Landscape(known.grid), known, draws, 3, 2)[0][0] in (6, 7, 8)


def test_a_replicate_that_has_trainings_tells_more() -> None:
    steps = np.arange(10)
    lower = np.stack([np.where((steps < 2) | (steps > end), -2.0, 0.0) for end in (5, 8)])
    for chain in range(3):
        known = trained([(3, chain), (4, chain)])
        ((rate, replicate),) = most_telling(Landscape(known.grid), known, drawn(lower), 3, 1)
        assert replicate == chain
        levels = 9 * np.random.default_rng(0).normal(size=(1000, 1))  # of no account
        shifted = drawn(lower)._replace(curve=drawn(lower).curve + levels)
        assert most_telling(Landscape(known.grid), known, shifted, 3, 1) == ((rate, chain),)


def test_where_nothing_is_open_the_smallest_pairs_are_as_good() -> None:
    some = trained([(0, 0), (1, 2)], n=4)
    for draws in (drawn(np.zeros((1, 4))), drawn(np.zeros((1, 4)), np.ones((1, 4)))):
        pairs = most_telling(Landscape(some.grid), some, draws, 3, 99)
        assert pairs == tuple((j, r) for j in range(4) for r in range(3) if (j, r) not in [(0, 0), (1, 2)])


@pytest.mark.parametrize("kind", ["moving", "collapse"])
def test_a_search_goes_on_from_wherever_it_stopped(kind: str) -> None:
    mixed, policy = random.Random(0), Adaptive(share=0.4)
    accuracies, rates = recorded(kind, cycles=7)
    for begun, done, decisions in searched(accuracies[[0, 1, 5]], rates, policy):
        so_far: list[Pair] = []
        for decision in decisions:
            some = mixed.sample(decision.asks, len(decision.asks) // 2)
            arrived = mixed.sample(so_far + some, len(so_far + some))
            again = policy.decide(Landscape(rates), begun, {pair: done[pair] for pair in arrived})
            assert again.asks == tuple(pair for pair in decision.asks if pair not in some)
            assert again.rounds == decision.rounds and again.chosen == decision.chosen
            so_far += decision.asks


@pytest.mark.parametrize(
    ("kind", "n", "replicates", "share"),
    [("moving", 3, 1, 0.02), ("moving", 12, 1, 0.25), ("humps", 9, 2, 1.0), ("sharp", 50, 5, 0.06)],
)
def test_a_cycle_takes_no_more_than_its_room(kind: str, n: int, replicates: int, share: float) -> None:
    policy = Adaptive(share=share)
    for begun, _, decisions in searched(*recorded(kind, n, 2, replicates), policy):
        room = policy.room(begun)
        for one in decisions[-1].rounds:  # beyond it there is only a rate that is a tolerance better
            room -= len(one)
            assert room >= 0 or len({rate for rate, _ in one}) == 1


def test_a_search_takes_no_more_than_its_budget() -> None:
    accuracies, rates = recorded("moving", 14, 10)
    spent = [len(done) for _, done, _ in searched(accuracies, rates, Adaptive(share=0.25))]
    # The last choice may be a better rate's.
    assert 0.9 * 0.25 * accuracies.size <= sum(spent) <= 0.25 * accuracies.size + 3
    assert spent[0] == 24 and min(spent[1:]) >= 8
    begun = [Begun(cycle=4, grid=rates, replicates=3, earlier=4, spent=s) for s in (60, 84, 200)]
    assert [Adaptive(share=0.5).room(each) for each in begun] == [45, 21, 9]  # debts are paid back slowly


@pytest.mark.parametrize(("n", "replicates"), [(3, 1), (14, 3)])
def test_a_search_that_says_nothing_ends(n: int, replicates: int) -> None:
    erratic = 0.1 + 0.8 * np.random.default_rng(0).random((2, n, replicates)) ** 4
    for accuracies in (np.full_like(erratic, 0.1), erratic):
        assert len(list(searched(accuracies, np.geomspace(0.01, 0.4, n), Adaptive()))) == 2


@pytest.mark.parametrize("silent", [True, False])
def test_a_fall_gets_a_coarse_look(silent: bool) -> None:
    accuracies, rates = recorded("collapse", 14, 8)
    accuracies = accuracies[[0, 4, 5 if silent else 7, 7]]
    accuracies[2:] -= 0 if silent else 0.3  # at all rates
    cycles = list(searched(accuracies, rates, Adaptive()))
    looks = [len({rate for rate, _ in done}) >= 7 and len(done) >= 21 for _, done, _ in cycles]
    assert looks == [True, False, True, False]
    assert [decisions[-1].known is None for *_, decisions in cycles] == [False, False, silent, False]


def test_cycles_that_say_nothing_any_more_do_not_take_a_look_each() -> None:
    accuracies, rates = recorded("moving", 14, 10)
    accuracies[2:] = 0.1 + 0.6 * (np.random.default_rng(0).random(accuracies[2:].shape) < 0.3)
    cycles = list(searched(accuracies, rates, Adaptive()))
    assert [decisions[-1].known is None for *_, decisions in cycles] == [False] * 2 + [True] * 8
    assert sum(len(done) for _, done, _ in cycles) <= 0.25 * accuracies.size + 21  # a look, not paid back yet


def test_settings_outside_their_range_are_refused() -> None:
    for name, value in (("share", 0), ("share", 1.5), ("sure", 2), ("rounds", 0), ("first", -1)):
        with pytest.raises(InvalidInput, match=name):
            Adaptive(**{name: value})  # type: ignore[arg-type]
