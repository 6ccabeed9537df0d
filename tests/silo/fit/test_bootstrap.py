import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from silo import Bootstrap, CycleAccuracies, CycleInterval, InvalidInput, SiloCurve, bootstrap, fit_curve

TRUE = SiloCurve(q=1, beta=4, epsilon=0.03, delta=0.06, pruning_rate=0.2)
RATES = np.geomspace(0.01, 0.2, 14)
PARAMETERS = ("q", "beta", "epsilon", "delta")
STEP = 0.0005
# A bootstrap's columns, and what an interval calls them.
ENDS = {"optima": "optimum", "low": "low", "high": "high", "low_cut": "low_cut", "high_cut": "high_cut"}


def oracle(
    cycles: list[int],
    *,
    rates: np.ndarray = RATES,
    replicates: int = 3,
    noise: float = 0.002,
    seed: int = 0,
) -> list[CycleAccuracies]:
    """Accuracies that fall off around TRUE's rates, in log rate, and vary from training to training."""
    random = np.random.default_rng(seed)
    found = []
    for m in cycles:
        mean = 0.9 - 0.02 * np.log2(rates / TRUE.max_lr(m)) ** 2
        scores = mean[:, None] + noise * random.standard_normal((rates.size, replicates))
        found.append(CycleAccuracies(cycle=m, rates=rates, accuracies=scores.clip(0, 1)))
    return found


def ladder(cycle: int, replicates: list[float]) -> CycleAccuracies:
    """The first candidate is best, from 0.7 on; below it candidates fall by STEP each, without noise."""
    rungs = np.arange(0.7 - STEP, 0.5, -STEP)
    scores = np.vstack([replicates, np.repeat(rungs[:, None], len(replicates), axis=1)])
    return CycleAccuracies(cycle=cycle, rates=np.arange(1, rungs.size + 2) / 1000, accuracies=scores)


def read(drawn: list[CycleAccuracies], resamples: int = 1500, **options: object) -> np.ndarray:
    """(B, n): the resampled means of the ladders' first candidates, to STEP: the last rung within 0.15."""
    found = bootstrap(
        drawn,
        pruning_rate=0.2,
        tolerance=0.15,
        resamples=resamples,
        q_values=[1],
        **options,  # type: ignore[arg-type]
    )
    rung = np.rint(found.high * 1000).astype(int) - 1
    return np.stack([one.accuracies[rung[:, k], 0] for k, one in enumerate(drawn)], axis=1) + 0.15


@pytest.mark.parametrize(
    ("drawn", "options"),
    [
        (oracle(list(range(12)), replicates=2, noise=0.01), {"weighting": "uniform"}),
        (oracle([2, 3, 4, 6, 9], noise=0.02, seed=4), {"q_values": [3, 0, 2], "beta_bounds": (1.0, 3.0)}),
        ([*oracle([0, 3, 5]), *oracle([6, 8], replicates=5, seed=1)], {"tolerance": 0.0}),
        (oracle([4], noise=0.02), {"q_values": [2, 3]}),
        (oracle([0, 2, 4, 6, 9], replicates=4, noise=0.01), {"unit": "chain", "tolerance": 0.02}),
        (oracle([0, 2, 4, 5, 10], rates=np.geomspace(0.032, 0.08, 12), noise=0.005, seed=1), {}),
        ([*oracle([0, 2], rates=np.geomspace(0.05, 0.2, 8)), *oracle([3, 6, 9])], {}),
    ],
    ids=[
        "two replicates, uniform",
        "own q and beta",
        "unequal replicates",
        "one cycle",
        "chain",
        "ends cut off",
        "a grid that begins too high at first",
    ],
)
def test_each_resample_is_what_fit_curve_makes_of_its_means(
    drawn: list[CycleAccuracies], options: dict[str, object]
) -> None:
    found = bootstrap(drawn, pruning_rate=0.2, resamples=5, seed=7, **options)  # type: ignore[arg-type]
    random = np.random.default_rng(7)
    counts = [
        random.multinomial(one.replicates - 1, [1 / one.replicates] * one.replicates, size=5) for one in drawn
    ]
    if found.unit == "chain":
        counts = [counts[0]] * len(drawn)
    fitting = {name: value for name, value in options.items() if name not in ("tolerance", "unit")}
    for k in range(5):
        # The accuracies of the drawn replicates, as if they were all there are.
        intervals = [
            replace(one, accuracies=one.accuracies.repeat(count[k], axis=1)).interval(
                options.get("tolerance", 0.005)  # type: ignore[arg-type]
            )
            for one, count in zip(drawn, counts, strict=True)
        ]
        for column, name in ENDS.items():
            assert getattr(found, column)[k].tolist() == [getattr(i, name) for i in intervals]
        fit = fit_curve(intervals, pruning_rate=0.2, **fitting)  # type: ignore[arg-type]
        curve, top = fit.curve, fit.curve.epsilon + fit.curve.delta
        assert (found.q[k], bool(found.feasible[k])) == (curve.q, bool(fit.feasible_q))
        assert found.beta[k] == pytest.approx(curve.beta, rel=1e-6)
        assert found.epsilon[k] == pytest.approx(curve.epsilon, abs=1e-6 * top)
        assert found.delta[k] == pytest.approx(curve.delta, abs=1e-6 * top)


def test_the_same_seed_draws_the_same_and_another_seed_others() -> None:
    drawn = oracle(list(range(8)), noise=0.01)
    first, again, other = (bootstrap(drawn, pruning_rate=0.2, resamples=20, seed=s) for s in (5, 5, 6))
    for field in fields(Bootstrap):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
    assert first.to_dict() == again.to_dict() and first.resamples == 20 and first.seed == 5
    assert not np.array_equal(first.optima, other.optima)
    assert not np.array_equal(first.epsilon, other.epsilon)


@pytest.mark.parametrize("replicates", [[0.7, 0.8], [0.71, 0.7, 0.72, 0.85, 0.74, 0.7, 0.8]])
def test_means_vary_as_those_of_independent_trainings(replicates: list[float]) -> None:
    means = read([ladder(2, replicates)])[:, 0]
    assert means.mean() == pytest.approx(np.mean(replicates), abs=0.003)
    assert means.var() == pytest.approx(np.var(replicates, ddof=1) / len(replicates), rel=0.06)


def test_what_all_candidates_of_a_replicate_share_is_no_noise() -> None:
    luck = np.array([-0.1, 0.0, 0.05, 0.02])
    drawn = [
        CycleAccuracies(cycle=m, rates=one.rates, accuracies=one.accuracies[:, :1] + luck)
        for m, one in enumerate(oracle(list(range(6)), replicates=1))
    ]
    found = bootstrap(drawn, pruning_rate=0.2, resamples=20)
    assert all(np.ptp(getattr(found, name)) == 0 for name in PARAMETERS)


def test_accuracies_that_are_all_equal_give_a_flat_curve_at_the_lowest_rate() -> None:
    drawn = [CycleAccuracies(cycle=m, rates=RATES, accuracies=np.full((14, 2), 0.5)) for m in range(5)]
    found = bootstrap(drawn, pruning_rate=0.2, resamples=4)
    assert found.low_cut.all() and found.high_cut.all() and found.feasible.all()
    assert found.epsilon == pytest.approx(0.01) and not found.delta.any()


@pytest.fixture(scope="module")
def spread() -> Bootstrap:
    """With ends cut off at both edges, with resamples that some curve explains and that none does."""
    rates = np.geomspace(0.028, 0.095, 16)
    drawn = oracle([0, 2, 3, 4, 5, 7, 10], rates=rates, noise=0.005, seed=1)
    return bootstrap(drawn, pruning_rate=0.2, resamples=80)


def test_an_interval_is_that_of_the_percentiles(spread: Bootstrap) -> None:
    for name in PARAMETERS:
        for level in (0.95, 0.5, 1e-9):
            # Linear between the order statistics, which lie at 0, 1 / 79, ..., 1.
            shares, ordered = [(1 - level) / 2, (1 + level) / 2], np.sort(getattr(spread, name))
            ends = np.interp(shares, np.arange(80) / 79, ordered)
            assert spread.interval(name, level) == pytest.approx(ends, rel=1e-9)  # type: ignore[arg-type]
    lowest, highest = spread.interval("epsilon")
    assert lowest < TRUE.epsilon < highest


def test_the_band_is_that_of_the_curves_cycle_by_cycle(spread: Bootstrap) -> None:
    cycles = [0.0, 1.5, 3, 4.25, 12, 30]
    low, high = spread.band(cycles, 0.8)
    for k, m in enumerate(cycles):
        numbers = zip(spread.q, spread.beta, spread.epsilon, spread.delta, strict=True)
        rates = [
            SiloCurve(q=int(q), beta=b, epsilon=e, delta=d, pruning_rate=0.2).max_lr(m)
            for q, b, e, d in numbers
        ]
        assert [low[k], high[k]] == pytest.approx(np.quantile(rates, [0.1, 0.9]), rel=1e-12)
    wider, table = spread.band(cycles), spread.band(np.reshape(cycles, (2, 3)), 0.8)
    assert (wider[0] <= low).all() and (high <= wider[1]).all() and (wider[0] < low).any()
    assert np.array_equal(table[0].ravel(), low) and table[1].shape == (2, 3)
    assert spread.band(4)[0].tolist() == spread.band([4])[0].tolist()


def test_inside_counts_the_resampled_intervals_and_ends_cut_off_bound_nothing(spread: Bootstrap) -> None:
    assert all(0 < part.mean() < 1 for part in (spread.low_cut, spread.high_cut, spread.feasible))
    for curve in (TRUE, SiloCurve(q=0, beta=2, epsilon=0.001, delta=1.0, pruning_rate=0.2)):
        expected = {}
        for k, m in enumerate(spread.cycles.tolist()):
            columns = (getattr(spread, name)[:, k].tolist() for name in ENDS)
            found = [
                CycleInterval(cycle=m, **dict(zip(ENDS.values(), row, strict=True)))
                for row in zip(*columns, strict=True)
            ]
            expected[m] = np.mean([one.compatible(curve.max_lr(m)) for one in found])
        assert spread.inside(curve) == pytest.approx(expected)
        assert len(set(expected.values())) > 1


def test_its_summary_is_strict_json_and_readable(spread: Bootstrap) -> None:
    summary = json.loads(json.dumps(spread.to_dict(), allow_nan=False))
    settings = [summary[name] for name in ("resamples", "seed", "unit", "level")]
    assert settings == [80, 0, "cycle", 0.95]
    for name in PARAMETERS[1:]:
        assert summary[name] == list(spread.interval(name))  # type: ignore[arg-type]
    assert summary["q"] == {str(q): (spread.q == q).mean() for q in sorted(set(spread.q.tolist()))}
    assert sum(summary["q"].values()) == pytest.approx(1) and len(summary["q"]) > 1
    assert summary["feasible"] == spread.feasible.mean()
    assert list(summary["optima"]) == ["0", "2", "3", "4", "5", "7", "10"]
    for k, ends in enumerate(summary["optima"].values()):
        assert ends == np.quantile(spread.optima[:, k], [0.025, 0.975]).tolist()
    first, second, third = str(spread).splitlines()
    assert first == "80 resamples by cycle (seed 0), 95 % intervals:"
    low, high = summary["epsilon"]
    assert f"epsilon {low:.4g} to {high:.4g}" in second and "q = 0 in " in second
    assert third.endswith("of them")


def test_a_few_resamples_are_not_none_and_almost_all_are_not_all() -> None:
    drawn = bootstrap(oracle([4], noise=0.01), pruning_rate=0.2, resamples=1000)
    for count, shown in [(0, "0 %"), (2, "0.2 %"), (999, "99.9 %"), (1000, "100 %")]:
        feasible = np.arange(1000) < count
        assert f"exists in {shown} of them" in str(replace(drawn, feasible=feasible))


def test_the_interval_of_epsilon_covers_the_truth_and_is_no_wider_than_it_must() -> None:
    rates = np.geomspace(0.01, 0.2, 30)
    covered, estimates, widths = 0, [], []
    for seed in range(20):
        drawn = oracle(list(range(12)), rates=rates, replicates=5, noise=0.005, seed=seed)
        found = bootstrap(drawn, pruning_rate=0.2, resamples=40, seed=seed)
        low, high = found.interval("epsilon")
        covered += low <= TRUE.epsilon <= high
        widths.append(high - low)
        estimates.append(np.median(found.epsilon))
    assert covered >= 17
    # A normal's 95 % interval is 3.9 of its standard deviations wide.
    assert np.median(widths) < 3 * 3.9 * np.std(estimates)


def test_fit_curve_adds_the_bootstrap_to_what_the_intervals_give() -> None:
    drawn = oracle([0, 2, 4, 5, 7, 13], noise=0.01)
    options = {"q_values": (0, 1, 2), "beta_bounds": (1.0, 9.0), "weighting": "uniform", "tolerance": 0.01}
    fit = fit_curve(drawn[::-1], pruning_rate=0.3, resamples=15, seed=4, **options)  # type: ignore[arg-type]
    direct = bootstrap(drawn, pruning_rate=0.3, resamples=15, seed=4, **options)  # type: ignore[arg-type]
    assert fit.bootstrap is not None
    for field in fields(Bootstrap):
        assert np.array_equal(getattr(fit.bootstrap, field.name), getattr(direct, field.name))
    assert fit.to_dict()["bootstrap"] == direct.to_dict() and str(direct) in str(fit)
    plain = fit_curve([one.interval(0.01) for one in drawn], pruning_rate=0.3, **options)  # type: ignore[arg-type]
    assert plain.bootstrap is None and plain.to_dict()["bootstrap"] is None
    for field in fields(plain):
        assert field.name == "bootstrap" or getattr(fit, field.name) == getattr(plain, field.name)


def test_fit_curve_needs_replicates_in_each_cycle_to_resample() -> None:
    drawn = oracle([3])
    assert fit_curve(drawn, pruning_rate=0.2).bootstrap.resamples == 1000  # type: ignore[union-attr]
    assert fit_curve(drawn, pruning_rate=0.2, resamples=0).bootstrap is None
    assert fit_curve([*drawn, *oracle([11], replicates=1)], pruning_rate=0.2).bootstrap is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("accuracies", oracle([0, 2], replicates=1), "two replicates or more, not 1 as in cycle 0: train"),
        ("accuracies", [*oracle([0]), *oracle([2], replicates=1)], "not 1 as in cycle 2: train"),
        ("accuracies", [one.interval() for one in oracle([0, 2])], "must be of type CycleAccuracies, not"),
        ("resamples", 0, "resamples must be at least 1, not 0: give 1000"),
        ("seed", -1, "seed must be an integer .* not -1: give"),
        ("unit", "chains", "no unit 'chains': known are cycle, chain; did you mean 'chain'"),
        ("tolerance", 0.5 * 100, "tolerance must be a share of at most 1, not 50.0: 0.5 % is 0.005"),
    ],
)
def test_bad_options_are_named(name: str, value: object, message: str) -> None:
    options: dict[str, object] = {"accuracies": oracle([0, 2]), "pruning_rate": 0.2, "resamples": 3}
    with pytest.raises(InvalidInput, match=message) as raised:
        bootstrap(**(options | {name: value}))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_a_chain_has_the_same_replicates_in_each_cycle() -> None:
    drawn = [*oracle([0, 1]), *oracle([2], replicates=4)]
    with pytest.raises(InvalidInput, match=r"unit 'chain' needs .* not \[3, 3, 4\]: give unit 'cycle'"):
        bootstrap(drawn, pruning_rate=0.2, unit="chain")
    assert bootstrap(drawn, pruning_rate=0.2, resamples=3).resamples == 3


@pytest.mark.parametrize("level", [0, 95, math.nan, "0.95"])
def test_bad_questions_are_named(spread: Bootstrap, level: object) -> None:
    with pytest.raises(InvalidInput, match=rf"level must .*not {level!r}: give"):
        spread.interval("q", level)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=rf"level must .*not {level!r}: give"):
        spread.band([1], level)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"no parameter 'epsilom': known are q, .*did you mean 'epsilon'"):
        spread.interval("epsilom")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"cycle must be .*: give 3"):
        spread.band([-1])
