"""What more trainings would tell: the fewer the doubts, the fewer they are, and none where there are none."""

import numpy as np
import pytest

from silo.landscape import CycleScores, learn
from silo.landscape.belief import NUMBERS, Advice, MoreTrainings, advise
from silo.measured import cycles_in_words

RATES = np.geomspace(0.01, 0.4, 12)


def measured(noise, cycles=4, replicates=3, seed=0):
    """One hump, which falls faster on its right; more replicates begin with the same ones."""
    random, steps = np.random.default_rng(seed), np.arange(RATES.size) - 6
    truth = 0.9 - np.where(steps < 0, 0.002 * -steps, 0.006 * steps)
    return [
        CycleScores(
            cycle=cycle,
            grid=RATES,
            index=np.repeat(np.arange(RATES.size), replicates),
            replicate=np.tile(np.arange(replicates), RATES.size),
            score=(truth + random.normal(0, noise, (19, RATES.size))).T[:, :replicates].ravel(),
        )
        for cycle in range(cycles)
    ]


def test_where_nothing_is_in_doubt_there_is_nothing_to_train():
    found = advise(learn(measured(0.0001)), lambda cycle: RATES[6])
    assert found == Advice(about="verdict", cycles=(), some=None, whole=None)
    assert found.sentence() == "Nothing is left to be told."


def test_the_cycles_are_those_that_cannot_be_told_and_the_rates_those_in_doubt():
    beliefs = learn(measured(0.004))
    found = advise(beliefs)
    assert found.cycles == tuple(each.cycle for each in beliefs if each.sure < 0.9) != ()
    for belief, rates in zip((beliefs[c] for c in found.cycles), found.some.rates, strict=True):
        doubt = RATES[(belief.inside > 0.1) & (belief.inside < 0.9)]
        assert set(doubt) <= set(rates) and len(rates) < RATES.size
        assert belief.rates[belief.optimum()] in rates
    assert found.some.settled > 0.5 and found.some.replicates in NUMBERS
    way = found.cycles[-1] + 1 - len(found.cycles)
    assert found.some.trainings == found.some.replicates * (sum(map(len, found.some.rates)) + way)
    assert found.whole.trainings == found.whole.replicates * 4 * RATES.size
    assert found.whole.replicates <= found.some.replicates


def test_a_curve_s_cycles_are_those_without_a_verdict():
    beliefs = learn(measured(0.004))
    edge = RATES[beliefs[0].stated[0]]
    found = advise(beliefs, lambda cycle: edge if cycle < 2 else RATES[6])
    unknown = tuple(b.cycle for b in beliefs if b.cycle < 2 and b.loss(edge).verdict == "unknown")
    assert found.about == "verdict" and found.cycles == unknown != ()


def test_more_noise_takes_more_replicates():
    numbers = [advise(learn(measured(noise))).whole for noise in (0.003, 0.012)]
    few, many = (NUMBERS[-1] + 1 if each is None else each.replicates for each in numbers)
    assert few < many


def test_the_same_beliefs_give_the_same_advice():
    one, other = (advise(learn(measured(0.004)[::step])) for step in (1, -1))
    assert one == other


def test_trainings_that_are_done_as_advised_settle_about_as_many_as_it_says():
    said, came = [], []
    for seed in range(20):
        found = advise(learn(measured(0.004, seed=seed)))
        if found.whole is None:
            continue
        beliefs = learn(measured(0.004, seed=seed, replicates=3 + found.whole.replicates))
        said.append(found.whole.settled)
        came.append(np.mean([beliefs[cycle].sure >= 0.9 for cycle in found.cycles]))
    assert abs(np.mean(said) - np.mean(came)) < 0.25


@pytest.mark.parametrize(
    ("cycles", "text"),
    [
        ((3,), "cycle 3"),
        ((3, 4), "cycles 3 and 4"),
        ((5, 6, 7, 8), "cycles 5–8"),
        ((0, 3, 5, 6, 7), "cycles 0, 3 and 5–7"),
        ((0, 1, 3), "cycles 0, 1 and 3"),
    ],
)
def test_cycles_are_named_by_ranges(cycles, text):
    assert cycles_in_words(cycles) == text


def test_the_sentences():
    some = MoreTrainings(replicates=4, rates=((0.1,) * 6,) * 4, trainings=116, settled=0.7)
    whole = MoreTrainings(replicates=1, rates=(), trainings=1224, settled=1.0)
    found = Advice(about="ends", cycles=(5, 6, 7, 8), some=some, whole=whole)
    assert found.sentence(10) == (
        "1 more replicate (1,224 trainings, about 3.4 hours of work) of every cycle's whole grid would "
        "probably settle cycles 5–8. 4 more replicates at 6 rates or fewer of each (116 trainings, about 19 "
        "minutes of work) would probably settle 3 of 4 (cycles 5–8)."
    )
    lone = Advice(about="ends", cycles=(5,), some=None, whole=whole)
    assert lone.sentence() == (
        "1 more replicate (1,224 trainings) of every cycle's whole grid would probably settle cycle 5."
    )
    nothing = Advice(about="ends", cycles=(5, 6, 7, 8), some=None, whole=None)
    assert nothing.sentence() == "No number of more replicates up to 16 would settle most of cycles 5–8."
