"""What a landscape's model says to bad input, and to trainings that tell next to nothing."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from silo import CycleAccuracies
from silo.errors import InvalidInput
from silo.landscape import CycleBelief, CycleScores, best_constant, judge, learn
from silo.landscape.adaptive import Adaptive, Begun, Pair, Round
from silo.landscape.model import Landscape
from tests.silo.landscape.worlds import CHANCE, world

GRID = np.array([0.01, 0.02, 0.04])


def cycle(**changes: Any) -> CycleScores:
    plain = {"cycle": 0, "grid": GRID, "index": [0, 1, 2], "replicate": [0, 0, 0], "score": [0.8, 0.9, 0.7]}
    return CycleScores(**(plain | changes))  # type: ignore[arg-type]


BEGUN = Landscape(rates=GRID), Begun(cycle=0, grid=GRID, replicates=2)


def decide(trained: dict[Pair, float], rounds: tuple[Round, ...] = ()) -> object:
    return Adaptive().decide(*BEGUN, trained, rounds)


def equal(value: float, cycles: int = 2) -> list[CycleAccuracies]:
    return [CycleAccuracies(cycle=m, rates=GRID, accuracies=np.full((3, 3), value)) for m in range(cycles)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: learn([cycle(score=[0.8, np.nan, 0.7])]), "finite"),
        (lambda: learn([cycle(score=[0.8, np.inf, 0.7])]), "finite"),
        (lambda: learn([cycle(index=[], replicate=[], score=[])]), "no training"),
        (lambda: learn([]), "empty"),
        (lambda: learn([cycle(index=[0, 0, 2])]), "twice in one replicate"),
        (lambda: learn([cycle(), cycle()]), "cycle 0 were given twice"),
        (lambda: learn(equal(0.5, 1) * 2), "cycle 0 were given twice"),
        (lambda: learn([cycle()], tolerance=-0.1), "tolerance"),
        (lambda: learn([cycle()], tolerance=np.nan), "tolerance"),
        (lambda: learn([cycle()], samples=1), "samples"),
        (lambda: learn([cycle()], chance=np.nan), "chance"),
        (lambda: learn([cycle(grid=GRID[::-1])]), "ascend"),
        (lambda: learn([cycle(grid=[0.01, 0.01, 0.02])]), "ascend"),
        (lambda: learn([cycle(grid=[0.0, 0.01, 0.02])]), "positive"),
        (lambda: learn([cycle(grid=[0.01, 0.02, np.inf])]), "finite"),
        (lambda: learn([cycle(index=[0, 1, 3])]), "grid lacks"),
        (lambda: cycle(index=[0.5, 1, 2]), "index of cycle 0 must be integers of at least 0, not [0.5"),
        (lambda: cycle(replicate=[0, 0, -1]), "replicate of cycle 0 must be integers"),
        (
            lambda: decide({(0, 2): 0.9}),
            "cycle 0 has 3 rates and 2 replicates, counted from 0, and no pair (0, 2)",
        ),
        (lambda: decide({}, (((3, 0),),)), "no pair (3, 0)"),
        (lambda: Adaptive().decided(*BEGUN, {(-1, 0): 0.9}), "no pair (-1, 0)"),
        (lambda: learn([cycle(index=[0, 1])]), "a rate, a replicate and a score"),
        (lambda: learn([cycle(cycle=-1)]), "cycle"),
        (lambda: learn([cycle(), *equal(0.5)]), "type CycleScores"),
        (lambda: learn([*equal(0.5), cycle(cycle=7)]), "type CycleAccuracies"),
    ],
)
def test_bad_input_is_refused_in_one_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        make()
    message = str(refused.value)
    assert said in message and "\n" not in message


def check_silent(belief: CycleBelief) -> None:
    assert belief.silent
    assert np.isnan(belief.inside).all() and np.isnan(belief.best).all() and np.isnan(belief.means).all()
    assert np.isnan(belief.sure) and np.isnan(belief.end_range("low")).all()
    assert belief.core() is None and belief.reach() is None and not belief.two_humps
    loss = belief.loss(0.02)
    assert loss.verdict == "unknown" and np.isnan(loss.mean)


def test_all_at_chance_says_nothing() -> None:
    beliefs = learn(equal(CHANCE), chance=0.12)
    for belief in beliefs:
        check_silent(belief)
    assert judge(beliefs, lambda _: 0.02) is None and best_constant(beliefs) is None


def test_all_equal_at_a_level_that_may_be_one_is_a_plateau() -> None:
    for belief in learn(equal(0.9)):
        assert (belief.inside > 0.7).all()
        assert belief.loss(0.02).verdict == "inside"
        # The last may be at the edge of a collapse, for all that is known.
        assert belief.core() in [(0.01, 0.02), (0.01, 0.04)] and belief.reach() == (0.01, 0.04)
        assert 0 < belief.noise < 0.005


@pytest.mark.parametrize("chance", [None, 0.12])
def test_a_fall_to_the_very_same_score_at_all_rates_says_nothing(chance: float | None) -> None:
    measured = world("moving").search(3)
    nothing = CycleAccuracies(
        cycle=5, rates=measured[5].rates, accuracies=np.full_like(measured[5].accuracies, CHANCE)
    )
    beliefs = learn([*measured[:5], nothing, *measured[6:]], chance=chance)
    check_silent(beliefs[5])
    # The others are as if it had been left out.
    without = learn([*measured[:5], *measured[6:]], chance=chance)
    others = [belief for belief in beliefs if belief.cycle != 5]
    assert all(np.array_equal(a.inside, b.inside) for a, b in zip(others, without, strict=True))


def test_a_fall_to_a_lower_level_that_trainings_agree_on_says_something() -> None:
    measured = world("moving").search(3)
    lower = [
        CycleAccuracies(cycle=one.cycle, rates=one.rates, accuracies=(one.accuracies - 0.3).clip(0, 1))
        for one in measured[8:]
    ]
    assert not any(belief.silent for belief in learn(measured[:8] + lower))


def test_a_cycle_asked_for_what_it_does_not_know_says_how_to_ask() -> None:
    (silent, _) = learn(equal(CHANCE), chance=0.12)
    with pytest.raises(AssertionError, match="silent"):
        silent.losses(0.02)


def test_numbers_that_are_not_random_are_none():
    """Scipy goes on where its file can't be read, and draws the same number again and again."""
    code = """
import errno, sys
import numpy
import silo.landscape.parts as parts

def load(*_, **__):
    raise OSError(errno.EMFILE, "Too many open files")

numpy.load = load
try:
    parts.fixed_numbers(8, 3, 1)
except parts.SiloOracleError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("scipy can't read its file _sobol_direction_numbers.npz"), done.stderr
