"""What a grid will tell: the more replicates and examples, the better, and too fine a grid is named."""

import json

import numpy as np
import pytest

from oracle.plan import Resolution, resolution, resolution_of
from tests.support import small_spec


def of(points=14, validation=539, replicates=3, cycles=4):
    return resolution(
        np.geomspace(0.01, 0.4, points).tolist(),
        validation=validation,
        replicates=replicates,
        cycles=cycles,
        tolerance=0.005,
    )


def test_a_common_search_knows_its_ends_to_a_few_steps_and_says_so():
    found = of()
    assert found == of() and 1 <= found.steps <= 3 and found.warning() is None
    step = 40 ** (1 / 13)
    assert found.factor == pytest.approx(step**found.steps)
    assert found.sentence().startswith(
        f"with 539 validation examples and r = 3 an interval's end is known to ± {found.steps} step"
    )


def test_more_examples_and_replicates_resolve_more_and_a_finer_grid_no_more():
    coarse = of()
    assert of(validation=20_000).factor < coarse.factor
    assert of(replicates=20).factor < coarse.factor
    fine = of(points=50)
    assert fine.steps > coarse.steps and fine.factor > 1.3
    assert "the grid's 50 rates are finer than the noise resolves" in fine.warning()


def test_every_k_th_rate_of_a_very_fine_grid_tells_about_what_all_of_them_do(monkeypatch):
    fine = of(points=60, replicates=5)
    monkeypatch.setattr("oracle.plan._MOST_RATES", 20)
    thinned = of(points=60, replicates=5)
    assert thinned.candidates == 60 and thinned.steps % 3 == 0
    assert fine.factor / 1.5 < thinned.factor < 1.5 * fine.factor
    assert of(points=1000).candidates == 1000


def test_the_warning_names_a_grid_of_about_two_steps_per_doubt():
    found = Resolution(validation=539, replicates=3, candidates=50, noise=0.006, steps=9, factor=2.0)
    assert "12 would tell about as much" in found.warning()


@pytest.mark.parametrize(
    ("rates", "tolerance"),
    [((0.01, 0.1, 0.4), 0.005), ((0.1, 0.11, 0.12, 0.13), 0.005), ((0.01, 0.04, 0.1, 0.4), 0.0)],
    ids=["few", "narrower than an interval", "no tolerance"],
)
def test_where_it_makes_no_sense_there_is_none(rates, tolerance):
    assert resolution(rates, validation=539, replicates=3, cycles=2, tolerance=tolerance) is None


def test_a_policy_without_a_search_resolves_nothing(tmp_path):
    fixed = {"name": "fixed", "arguments": {"max_lr": 0.1}}
    assert resolution_of(small_spec(tmp_path, policy=fixed, grid=None), 539) is None


def test_plan_and_validate_warn_of_a_grid_that_is_too_fine(call, write):
    fine = write(grid={"low": 0.01, "high": 0.4, "points": 40}, replicates=1)
    code, _, err = call("validate", fine)
    assert code == 0 and "40 rates are finer than the noise resolves" in err
    code, out, _ = call("plan", fine)
    assert code == 0 and "warning      the grid's 40 rates" in out
    code, out, _ = call("plan", write(), "--json")
    found = json.loads(out)["resolution"]
    assert (found["candidates"], found["replicates"]) == (5, 2)
