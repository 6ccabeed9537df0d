"""The importable contracts fail, with words, on a ledger or a driver that breaks them."""

import ast
import dataclasses
from pathlib import Path

import pytest

import oracle.testing
import trials.testing
from oracle.ledger import Ledger
from oracle.search import Signal
from oracle.testing import ledgers
from oracle.testing.drivers import check_outcomes

outcomes, prunings = Ledger.outcomes, Ledger.prunings


def without_statistics(self, name):
    found = outcomes(self, name)
    return {key: dataclasses.replace(trial, diagnostics=None) for key, trial in found.items()}


def without_norms(self, name):
    return tuple(dataclasses.replace(pruned, norm_drop=0.0) for pruned in prunings(self, name))


@pytest.mark.parametrize(
    ("check", "broken", "said"),
    [
        (
            ledgers.check_outcomes,
            {"outcomes": without_statistics},
            "an outcome that was written comes back: ",
        ),
        (
            ledgers.check_prunings,
            {"prunings": without_norms},
            "the last pruning of a place comes back, alone",
        ),
        (ledgers.check_readers, {"outcomes": lambda *_: {}}, "a reader sees none of the first pack"),
    ],
)
def test_a_ledger_that_loses_something_is_told_what(check, broken, said, tmp_path, monkeypatch):
    monkeypatch.setattr(ledgers, "_READ_SECONDS", 0.5)
    for name, method in broken.items():
        monkeypatch.setattr(Ledger, name, method)
    with pytest.raises(AssertionError, match=said):
        check(f"sqlite:///{tmp_path}/ledger.db")


def test_a_driver_that_stops_early_is_told_what_was_expected(tmp_path):
    said = "a search that nothing disturbs ends: <Signal.STUCK: .*>, not <Signal.DONE: .*>"
    with pytest.raises(AssertionError, match=said):
        check_outcomes(lambda session: Signal.STUCK, tmp_path)


@pytest.mark.parametrize("package", [oracle.testing, trials.testing])
def test_contracts_hold_where_python_drops_asserts(package):
    for file in Path(package.__file__).parent.glob("*.py"):
        dropped = [
            node.lineno for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Assert)
        ]
        assert not dropped, f"{file}: python -O drops the statements of lines {dropped}"
