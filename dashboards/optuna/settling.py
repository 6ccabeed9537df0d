"""The end of a run whose driver was killed, or lost its database: written by whoever comes next."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace

from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.ledger.retrying import DATABASE_ERRORS, reason
from oracle.results import Results


def settled(ledger: Ledger, results: Results) -> Results:
    """The results, once the ledger says how their search ended where nobody runs it any more.

    Nothing is done where a driver holds the lease, or where the ledger can't be written.
    """
    runs = results.recorded_runs
    if runs and runs[-1].state == "done" and not results.done:
        counts = len(results.decided), results.search_spec.cycles
        logging.getLogger("oracle").warning(
            "search %r was done, and %d of its %d cycles are decided: it was extended, or rows are missing; "
            "run it again",
            *(results.name, *counts),
        )
    if _is_settled(ledger, results) or ledger.holder(results.name) is not None:
        return results
    with suppress(Refused, *DATABASE_ERRORS), ledger.lease(results.name):
        settle(ledger, results)
        return replace(results, recorded_runs=ledger.runs(results.name))
    return results


def settle(ledger: Ledger, results: Results) -> None:
    """Ends what the last run has left open, and rewrites the summary study; the search's lease is held.

    A search that has every result is done, and was when the last one came; any other was interrupted.
    """
    if _is_settled(ledger, results):
        return
    from dashboards.optuna.summary_study import write_all  # imports plotly

    ended = max((trial.ended for trial in results.outcomes), default=None)
    state = "done" if results.done else "interrupted"
    ledger.end_abandoned(results.name, state=state, ended=ended if results.done else None)
    if not results.done:
        state = ledger.runs(results.name)[-1].state if results.recorded_runs else state
    try:
        write_all(ledger, replace(results, draws=0), state=state)
    except Exception as error:  # it is decoration, as it is while a search runs
        logging.getLogger("oracle").warning("the summary study can't be written: %s", reason(error))


def _is_settled(ledger: Ledger, results: Results) -> bool:
    runs = results.recorded_runs
    open_ended = bool(runs) and runs[-1].state == "running"
    shown = ledger.summary_state(results.name)
    return not open_ended and shown != "running" and not (results.done and shown != "done")
