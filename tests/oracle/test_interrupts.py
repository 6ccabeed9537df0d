"""Interrupts from a command's first moment to its last: one line, no traceback, and none is lost."""

import os
import signal
import subprocess
import sys

import pytest

from oracle import interrupts
from tests.processes import ROOT

SIGNALS = [signal.SIGINT, signal.SIGTERM]
INTERRUPTED_WHILE = """
import importlib.abc, os, runpy, sys
class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Interrupts())
sys.argv = ["oracle", "run", "spec.yaml"]
runpy.run_module("oracle", run_name="__main__")
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["oracle.cli.main", "click", "sqlalchemy"])
def test_one_while_the_command_is_imported(tmp_path, number, module):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE.format(module=module, number=int(number))],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "oracle: interrupted\n")


def test_one_in_a_finalizer_comes_through_and_prints_nothing(capsys):
    class Finalized:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(10))

    before = sys.unraisablehook
    with interrupts.remembering():
        Finalized()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert sys.unraisablehook is before and capsys.readouterr().err == ""
    interrupts.check()  # the next command begins anew


def test_what_was_told_to_ignore_signals_goes_on_ignoring_them():
    kept = [signal.getsignal(number) for number in SIGNALS]
    try:
        with interrupts.remembering():
            interrupts.ignore_signals()
        assert all(signal.getsignal(number) is signal.SIG_IGN for number in SIGNALS)
    finally:
        for number, handler in zip(SIGNALS, kept, strict=True):
            signal.signal(number, handler)
