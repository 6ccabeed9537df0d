"""What curves of rates lose, and when that isn't known."""

import math

import numpy as np

from silo.landscape import CycleScores, best_constant, judge, learn
from silo.measured import optimized

RATES = np.geomspace(0.01, 0.4, 14)


def scores(mean, *, rates=RATES, cycles=5, replicates=3, noise=0.004, seed=0):
    """Trainings of the same mean curve in every cycle."""
    random = np.random.default_rng(seed)
    return [
        CycleScores(
            cycle=m,
            grid=rates,
            index=np.repeat(np.arange(rates.size), replicates),
            replicate=np.tile(np.arange(replicates), rates.size),
            score=(mean(rates)[:, None] + noise * random.standard_normal((rates.size, replicates))).ravel(),
        )
        for m in range(cycles)
    ]


def hump(rates):
    return 0.95 - 0.012 * np.log(rates / 0.06) ** 2


def test_a_low_tail_of_rates_does_not_make_the_noise_look_small():
    step = RATES[1] / RATES[0]
    wide = np.concatenate([RATES[0] / step ** np.arange(30, 0, -1), RATES])
    for rates in (RATES, wide):
        for belief in learn(scores(hump, rates=rates)):
            assert 0.003 < belief.noise < 0.005
            _, first, last = (int(end[0]) for end in optimized(hump(rates)[None], 0.005))
            assert abs(belief.stated[0] - first) <= 1 and abs(belief.stated[1] - last) <= 1


def test_the_best_constant_is_tried_at_the_candidates_and_what_is_equal_is_no_better():
    beliefs = learn(scores(lambda rates: 0.95 - 0.05 * np.log(rates / RATES[5]) ** 2, noise=0.001))
    constant = best_constant(beliefs)
    assert constant is not None and constant.rates[0] == RATES[5]
    same = judge(beliefs, lambda _: float(RATES[5]) * 1.00001)
    assert same is not None and same.better_than(constant) == 0.5
    worse = judge(beliefs, lambda _: float(RATES[7]))
    assert worse is not None and worse.better_than(constant) == 0 and constant.better_than(worse) == 1


def test_beyond_the_grid_nothing_is_known_of_a_curve():
    beliefs = learn(scores(lambda rates: 0.9 + 0.02 * np.log(rates)))
    curve, known = judge(beliefs, lambda m: 2.0 if m == 3 else 0.4), best_constant(beliefs)
    assert curve is not None and known is not None
    assert curve.cycles("unknown") == (3,) and not curve.known
    assert all(math.isnan(value) for value in curve.mean) and math.isnan(curve.better_than(known))
    assert curve.mean.verdict == "unknown" and known.known


def test_noisy_cycles_at_a_lower_level_still_say_something():
    early = scores(lambda rates: hump(rates), cycles=3)
    late = scores(lambda rates: hump(rates) - 0.15, cycles=2, noise=0.03, seed=1)
    late = [CycleScores(**{**vars(one), "cycle": one.cycle + 3}) for one in late]
    assert not any(belief.silent for belief in learn([*early, *late], chance=0.12))
