"""Gradients and hidden representations per cycle, and the rates that they predict."""

import errno
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from oracle.results.networks import STATISTICS, CycleDistributions, cycle_distributions, diagnosed_rates
from tests.oracle.invented import invent, noted
from tests.support import harm, run_in_process, small_spec
from trials.diagnostics import BINS
from trials.tasks import StoredFile, TrialDiagnostics

FILE = StoredFile(path="x", sha256="")
TRAINING = {"epochs": 2, "batch_size": 64, "diagnostics": True, "pack": 5, "compile": False}


def distributions(*stds, rate=0.04):
    return [
        CycleDistributions(
            cycle=cycle,
            density=0.8**cycle,
            max_lr=rate * (1 + cycle),
            means=TrialDiagnostics(**dict.fromkeys(STATISTICS, 0.0) | {"gradient_std": std}, file=FILE),
            gradients=None,
            representations=None,
        )
        for cycle, std in enumerate(stds)
    ]


def test_the_papers_figure_1_predicts_two_and_a_half_times_the_dense_rate():
    rates = diagnosed_rates(distributions(8.4e-3, 3.3e-3))
    assert rates == pytest.approx((0.04, 0.04 * 8.4 / 3.3))


def test_updates_stay_as_wide_as_the_dense_networks():
    found = distributions(0.01, 0.02, 0.001)
    widths = [
        rate * each.means.gradient_std for rate, each in zip(diagnosed_rates(found), found, strict=True)
    ]
    assert widths == pytest.approx([0.04 * 0.01] * 3)


@pytest.mark.parametrize("none", [0.0, math.nan, math.inf])
def test_gradients_without_a_width_predict_nothing(none):
    first, second, third = diagnosed_rates(distributions(0.01, none, 0.005))
    assert (first, third) == (0.04, 0.08) and math.isnan(second)
    assert all(map(math.isnan, diagnosed_rates(distributions(none, 0.01))))


def test_without_statistics_there_is_nothing():
    _, search = invent(cycles=2)
    assert cycle_distributions(search.decisions, "/nowhere") == ()
    assert diagnosed_rates(()) == ()


def test_statistics_outlive_their_files():
    _, search = invent(change=noted, cycles=3)
    found = cycle_distributions(search.decisions, "/nowhere")
    assert [each.cycle for each in found] == [0, 1, 2]
    assert [each.gradients for each in found] == [None] * 3
    assert found[1].means.gradient_std == pytest.approx(0.01 * 0.8 * 1.1)
    assert found[1].means.update_std == pytest.approx(found[1].means.gradient_std * found[1].max_lr)
    assert math.isnan(found[1].means.gradient_norm)
    assert diagnosed_rates(found) == pytest.approx([0.02, 0.02 / 0.8, 0.02 / 0.64])


def test_a_cycle_without_statistics_is_left_out():
    _, search = invent(change=lambda trial: noted(trial) if trial.cycle else trial, cycles=3)
    found = cycle_distributions(search.decisions, "/nowhere")
    assert [each.cycle for each in found] == [1, 2]
    assert [each.density for each in found] == pytest.approx([0.8, 0.64])


def test_a_storage_that_is_out_of_reach_is_asked_once(monkeypatch, tmp_path):
    def lost(path):
        asked.append(path)
        raise OSError(errno.EIO, "Input/output error")

    asked = []
    monkeypatch.setattr(Path, "read_bytes", lost)
    _, search = invent(change=noted, cycles=4)
    found = cycle_distributions(search.decisions, str(tmp_path))
    assert len(found) == 4 and len(asked) == 1


def test_a_uri_that_nothing_opens_leaves_the_numbers():
    _, search = invent(change=noted, cycles=1)
    (found,) = cycle_distributions(search.decisions, "nosuchscheme://bucket/folder")
    assert found.gradients is None and found.means.gradient_std > 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A real search with diagnostics: two cycles of a small network on digits."""
    folder = tmp_path_factory.mktemp("diagnosed")
    grid = {"low": 0.01, "high": 0.16, "points": 3, "extend": False}
    spec = small_spec(folder, cycles=2, training=TRAINING, grid=grid)
    return spec, run_in_process(spec).search


def found_in(spec, search):
    return cycle_distributions(search.decisions, spec.storage_root())


def test_a_trained_search_shows_what_its_selected_networks_did(trained):
    spec, search = trained
    found = found_in(spec, search)
    assert [(each.cycle, each.max_lr) for each in found] == [
        (decision.cycle, decision.interval.optimum) for decision in search.decisions
    ]
    for each, decision in zip(found, search.decisions, strict=True):
        notes = [trial.diagnostics for trial in decision.selected.trials]
        assert each.means.gradient_std == pytest.approx(fmean(note.gradient_std for note in notes))
        stored = json.loads((Path(spec.storage_root()) / notes[0].file.path).read_text())
        assert list(each.gradients.counts) == stored["gradients"]["counts"]
        assert (each.representations.low, each.representations.high) == (
            stored["representations"]["low"],
            stored["representations"]["high"],
        )
        assert len(each.gradients.counts) == BINS
    weights = 64 * 16 + 16 * 10
    assert sum(found[0].gradients.counts) == weights
    assert sum(found[1].gradients.counts) == search.prunings(1)[0].alive < weights


@pytest.mark.parametrize("damage", ["deleted", "halved", "flipped"])
def test_a_file_that_is_gone_or_damaged_takes_its_own_histograms_alone(trained, damage):
    spec, search = trained
    path = Path(spec.storage_root()) / search.decisions[0].selected.trials[0].diagnostics.file.path
    kept = path.read_bytes()
    harm(path, damage)
    try:
        first, second = found_in(spec, search)
    finally:
        path.write_bytes(kept)
    assert (first.gradients, first.representations) == (None, None) and first.means.gradient_std > 0
    assert second.gradients is not None and second.representations is not None


def test_a_network_without_hidden_layers_has_no_representations(trained, tmp_path):
    spec, search = trained
    folder = tmp_path / spec.name
    content = json.dumps({"gradients": {"low": 0.0, "high": 1.0, "counts": [1, 2]}, "representations": None})
    decision = search.decisions[0]
    (folder / "x").mkdir(parents=True)
    from trials.checkpoints import Store

    file = Store(str(folder)).write_bytes("x/y.json", content.encode())
    notes = replace(decision.selected.trials[0].diagnostics, file=file, activation_norm=math.nan)
    trial = replace(decision.selected.trials[0], diagnostics=notes)
    one = replace(decision.selected, trials=(trial,))
    changed = replace(decision, candidates=(one,))
    (found,) = cycle_distributions([changed], str(folder))
    assert found.gradients.counts == (1, 2) and found.representations is None
    assert math.isnan(found.means.activation_norm)
