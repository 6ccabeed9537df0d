"""Searches by training loops of one's own: what a loop may leave out, and what becomes of one that fails."""

import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import oracle
from dashboards import comparison_table
from dashboards.report import report_html
from oracle.errors import TrialsFailed
from tests.support import small_spec
from trials import process
from trials.loops import Outcome

HERE = __name__
CALLS = []


def bare(network, training):
    """Gives a score alone, the best at 0.1; no test score, no curve, no network of its own."""
    CALLS.append((training.cycle, training.replicate, training.max_lr))
    return 0.9 - abs(training.max_lr - 0.1) - 0.01 * training.replicate


def diverging(network, training):
    return Outcome(score=0.0, diverged=True) if training.max_lr > 0.1 else 0.5 + training.max_lr


def failing(network, training):
    if training.max_lr > 0.1:
        return float("nan")
    return bare(network, training)


def nothing(network, training):
    CALLS.append(training.max_lr)


def stepping(network, training):
    """Three steps, which threads, types and gradients take part in."""
    optimizer = torch.optim.SGD(network.parameters(), lr=training.max_lr)
    for _ in range(3):
        optimizer.zero_grad()
        loss = network(torch.rand(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
    CALLS.append((Path.cwd(), torch.get_num_threads(), torch.get_float32_matmul_precision()))
    return 1 / (1 + loss.item())


def meddling(network, training):
    """The same, and leaves torch, numpy and the process in another state."""
    score = stepping(network, training)
    for meddle in MEDDLE:
        meddle()
    return score


MEDDLE = (
    lambda: torch.set_default_dtype(torch.float64),
    lambda: torch.set_default_device("meta"),
    lambda: torch.set_grad_enabled(False),
    lambda: torch.set_num_threads(3),
    lambda: torch.use_deterministic_algorithms(True),
    lambda: torch.set_float32_matmul_precision("medium"),
    lambda: torch.set_autocast_enabled("cpu", True),
    lambda: torch.autograd.set_detect_anomaly(True),
    lambda: np.seterr(all="raise"),
    lambda: os.chdir("/"),
    lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
)


def spec(tmp_path, loop, **changes):
    given = {
        "dataset": {"name": "none"},
        "network": {"name": "fc", "arguments": {"input_shape": [4], "num_classes": 3, "hidden": [5]}},
        "training": {"loop": f"{HERE}:{loop}"},
        "grid": {"values": [0.03, 0.1, 0.3], "extend": False},
        "cycles": 3,
        "replicates": 2,
        "silo": None,
    }
    return small_spec(tmp_path, **given | changes)


def test_a_score_is_enough(tmp_path):
    CALLS.clear()
    results = oracle.run(spec(tmp_path, "bare"), driver="in-process")
    assert len(CALLS) == 3 * 3 * 2 and [each.interval.optimum for each in results.decided] == [0.1] * 3
    assert results.trials["test_accuracy"].isna().all() and results.curves.empty
    table = comparison_table(results)
    assert any("–" in cell.text for row in table.rows for cell in row)
    assert "nan" not in report_html(results).partition("<script")[0].lower().replace("finance", "")
    again = oracle.run(spec(tmp_path, "bare"), driver="in-process")  # nothing is trained twice
    assert len(CALLS) == 3 * 3 * 2 and again.done
    assert oracle.load("small", ledger=spec(tmp_path, "bare").ledger).done


def test_a_loop_that_leaves_torch_in_another_state_changes_no_other_training(tmp_path):
    CALLS.clear()
    handler = signal.getsignal(signal.SIGINT)
    found = [
        [(t.cycle, t.replicate, t.max_lr, t.score) for t in oracle.run(each, driver="in-process").outcomes]
        for each in (spec(tmp_path / loop, loop) for loop in ("stepping", "meddling"))
    ]
    assert found[0] == found[1] and len({score for *_, score in found[0]}) == 3 * 3 * 2
    assert set(CALLS) == {(Path.cwd(), 1, "highest")}
    assert signal.getsignal(signal.SIGINT) == handler and torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("meddle", MEDDLE)
def test_each_setting_is_set_back(meddle):
    before = [read() for read, _ in process._SETTINGS]
    with process.settings_kept():
        meddle()
        assert [read() for read, _ in process._SETTINGS] != before
    assert [read() for read, _ in process._SETTINGS] == before


def test_a_working_directory_that_is_gone_is_no_failure(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with process.settings_kept():
        torch.set_num_threads(3)
    assert torch.get_num_threads() != 3


def test_one_that_fails_as_all_would_ends_the_search_at_once(tmp_path, capsys):
    CALLS.clear()
    with pytest.raises(TrialsFailed, match="gave nothing"):
        oracle.run(spec(tmp_path, "nothing"), driver="in-process")
    assert len(CALLS) == 1


def test_what_diverged_is_noted_and_loses(tmp_path):
    results = oracle.run(spec(tmp_path, "diverging"), driver="in-process")
    diverged = results.trials[results.trials["diverged"]]
    assert set(diverged["max_lr"]) == {0.3} and set(diverged["validation_accuracy"]) == {0.0}
    assert [each.interval.optimum for each in results.decided] == [0.1] * 3


def test_one_that_fails_is_a_line_and_nothing_else_is_lost(tmp_path, caplog):
    CALLS.clear()
    with caplog.at_level(logging.WARNING), pytest.raises(TrialsFailed) as caught:
        oracle.run(spec(tmp_path, "failing"), driver="in-process")
    assert f"training.loop '{HERE}:failing' gave the score nan" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert {rate for _, _, rate in CALLS} == {0.03, 0.1}
    kept = oracle.load("small", ledger=spec(tmp_path, "failing").ledger)
    assert len(kept.outcomes) == len(CALLS) == 4
