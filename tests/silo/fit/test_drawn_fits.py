import json
import math

import numpy as np
import pytest

from silo import CycleAccuracies, CycleInterval, DrawnFits, InvalidInput, SiloCurve, fit_curve, learn
from silo.fit.regions import drawn_fits

TRUE = SiloCurve(q=1, beta=4, epsilon=0.03, delta=0.06, pruning_rate=0.2)
RATES = np.geomspace(0.01, 0.2, 14)
PARAMETERS = ("q", "beta", "epsilon", "delta")


def oracle(
    cycles: list[int], *, rates: np.ndarray = RATES, replicates: int = 3, noise: float = 0.004, seed: int = 0
) -> list[CycleAccuracies]:
    """Accuracies that fall off around TRUE's rates, in log rate, and vary from training to training."""
    random = np.random.default_rng(seed)
    found = []
    for m in cycles:
        mean = 0.9 - 0.02 * np.log2(rates / TRUE.max_lr(m)) ** 2
        scores = mean[:, None] + noise * random.standard_normal((rates.size, replicates))
        found.append(CycleAccuracies(cycle=m, rates=rates, accuracies=scores.clip(0, 1)))
    return found


@pytest.mark.parametrize(
    ("measured", "options"),
    [
        (oracle(list(range(12)), replicates=2, noise=0.01), {"weighting": "uniform"}),
        (oracle([2, 3, 4, 6, 9], noise=0.02, seed=4), {"q_values": [3, 0, 2], "beta_bounds": (1.0, 3.0)}),
        (oracle([4], replicates=1), {"q_values": [2, 3]}),
        (oracle([0, 2, 4, 5, 10], rates=np.geomspace(0.032, 0.08, 12), noise=0.005, seed=1), {}),
        ([*oracle([0, 2], rates=np.geomspace(0.05, 0.2, 8)), *oracle([3, 6, 9])], {}),
    ],
    ids=["two replicates, uniform", "own q and beta", "one training each", "ends cut off", "other grids"],
)
def test_each_draw_is_fitted_as_fit_curve_fits_its_intervals(
    measured: list[CycleAccuracies], options: dict[str, object]
) -> None:
    beliefs = learn(measured)
    found = drawn_fits(beliefs, pruning_rate=0.2, draws=5, **options)  # type: ignore[arg-type]
    assert found is not None and found.draws == 5
    for k in range(5):
        intervals = [
            CycleInterval(
                cycle=int(m),
                optimum=found.optima[k, c],
                low=found.low[k, c],
                high=found.high[k, c],
                low_cut=bool(found.low_cut[k, c]),
                high_cut=bool(found.high_cut[k, c]),
            )
            for c, m in enumerate(found.cycles)
        ]
        for belief, interval in zip(beliefs, intervals, strict=True):
            best, first, last = (int(index[k]) for index in belief.ends)
            assert (interval.optimum, interval.low, interval.high) == tuple(belief.rates[[best, first, last]])
        fit = fit_curve(intervals, pruning_rate=0.2, **options)  # type: ignore[arg-type]
        curve, top = fit.curve, fit.curve.epsilon + fit.curve.delta
        assert (found.q[k], bool(found.feasible[k])) == (curve.q, bool(fit.feasible_q))
        assert found.beta[k] == pytest.approx(curve.beta, rel=1e-6)
        assert found.epsilon[k] == pytest.approx(curve.epsilon, abs=1e-6 * top)
        assert found.delta[k] == pytest.approx(curve.delta, abs=1e-6 * top)
        low = max(0.0 if i.low_cut else i.low for i in intervals)
        high = min(math.inf if i.high_cut else i.high for i in intervals)
        assert bool(found.constant[k]) == (low <= high)


def test_the_same_trainings_in_any_order_give_the_same_numbers() -> None:
    measured = oracle(list(range(8)), noise=0.01)
    first = fit_curve(measured, pruning_rate=0.2, draws=20).drawn
    again = fit_curve(measured[::-1], pruning_rate=0.2, draws=20).drawn
    assert first is not None and again is not None and first.to_dict() == again.to_dict()
    assert np.array_equal(first.optima, again.optima)


def test_more_replicates_leave_less_open() -> None:
    few, many = (
        drawn_fits(learn(oracle(list(range(8)), replicates=r, noise=0.02)), pruning_rate=0.2, draws=200)
        for r in (2, 20)
    )
    assert few is not None and many is not None
    spread = [np.std(np.log(found.optima), axis=0).mean() for found in (few, many)]
    assert spread[1] < 0.7 * spread[0]


@pytest.fixture(scope="module")
def spread() -> DrawnFits:
    """With ends cut off at both edges, and with draws that some curve explains and that none does."""
    rates = np.geomspace(0.028, 0.095, 16)
    measured = oracle([0, 2, 3, 4, 5, 7, 10], rates=rates, noise=0.005, seed=1)
    found = drawn_fits(learn(measured), pruning_rate=0.2, draws=80)
    assert found is not None
    return found


def test_ranges_and_the_band_are_percentiles(spread: DrawnFits) -> None:
    for name in PARAMETERS:
        values = np.sort(getattr(spread, name))
        assert spread.interval(name) == pytest.approx(tuple(np.quantile(values, (0.05, 0.95))))  # type: ignore[arg-type]
    low, high = spread.band([0, 2.5, 10], level=0.5)
    curves = [
        SiloCurve(q=int(q), beta=float(b), epsilon=float(e), delta=float(d), pruning_rate=0.2)
        for q, b, e, d in zip(spread.q, spread.beta, spread.epsilon, spread.delta, strict=True)
    ]
    rates = np.array([[curve.max_lr(m) for m in (0, 2.5, 10)] for curve in curves])
    assert low == pytest.approx(np.quantile(rates, 0.25, axis=0))
    assert high == pytest.approx(np.quantile(rates, 0.75, axis=0))


def test_a_curves_share_counts_the_draws_that_allow_it(spread: DrawnFits) -> None:
    shares = spread.inside(TRUE)
    assert list(shares) == spread.cycles.tolist()
    above = spread.low_cut | (spread.low <= TRUE.max_lr(spread.cycles) * (1 + 1e-9))
    below = spread.high_cut | (spread.high >= TRUE.max_lr(spread.cycles) * (1 - 1e-9))
    assert list(shares.values()) == (above & below).mean(axis=0).tolist()


def test_it_is_said_in_words_and_as_json(spread: DrawnFits) -> None:
    data = json.loads(json.dumps(spread.to_dict()))
    assert data["draws"] == 80 and data["level"] == 0.9
    assert sum(data["q"].values()) == pytest.approx(1)
    assert data["feasible"] == spread.feasible.mean() and data["constant"] == spread.constant.mean()
    assert str(spread).startswith("Of 80 least-squares curves of draws of what the trainings tell, 90 % have")


def test_where_nothing_is_known_there_is_none() -> None:
    dead = [CycleAccuracies(cycle=m, rates=RATES, accuracies=np.full((RATES.size, 2), 0.1)) for m in range(3)]
    assert drawn_fits(learn(dead, chance=0.12), pruning_rate=0.2) is None
    assert fit_curve([one.interval() for one in dead], pruning_rate=0.2).drawn is None


@pytest.mark.parametrize(
    ("options", "named"), [({"draws": 0}, "draws"), ({"pruning_rate": 1.0}, "pruning_rate")]
)
def test_bad_input_is_named(options: dict[str, float], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        drawn_fits(learn(oracle([0, 2])), **{"pruning_rate": 0.2, **options})  # type: ignore[arg-type]


def test_an_unknown_parameter_or_level_is_named(spread: DrawnFits) -> None:
    with pytest.raises(InvalidInput, match="no parameter 'gamma'"):
        spread.interval("gamma")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="level"):
        spread.band([0], level=1.0)
