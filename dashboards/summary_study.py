"""A search's comparison in Optuna's dashboard: the figures and the note of the search's summary study."""

from __future__ import annotations

import logging
import warnings

import plotly.graph_objects as go
from optuna import Study
from optuna.exceptions import ExperimentalWarning

from dashboards._rates import DISPENSABLE
from dashboards.figures import comparison_figure, landscape_figure
from dashboards.tables import markdown
from oracle.analysis import Analysis
from oracle.chance import chance_of
from oracle.comparison import Comparison, compare
from oracle.decision import Decision
from oracle.events import Observer
from oracle.ledger.retrying import reason
from oracle.session import Session

LARGEST_FIGURE_BYTES = 60_000
"""Optuna keeps a figure in rows of 2,045 characters: what makes one larger is left out, or all of it."""


class SummaryStudy(Observer):
    """Rewrites the summary study of the search when it starts, when a cycle is decided, and when it ends.

    This is decoration: if it fails, the search goes on, and one line in the log says why.
    """

    def __init__(self) -> None:
        self._written: tuple[str, int] | None = None
        self._warned = False

    def started(self, session: Session) -> None:
        """Shows what the ledger holds already."""
        self._rewrite(session, "running")

    def decided(self, session: Session, decision: Decision) -> None:
        """Adds the cycle."""
        self._rewrite(session, "running")

    def ended(self, session: Session, state: str) -> None:
        """Shows how the search ended, unless another driver goes on with it."""
        if state != "taken over":
            self._rewrite(session, state)

    def _rewrite(self, session: Session, state: str) -> None:
        now = (state, len(session.search.decisions))
        if now == self._written:
            return
        try:
            self._write(session, state)
            self._written = now
        except Exception as error:
            if not self._warned:
                logging.getLogger("oracle").warning("the summary study can't be written: %s", reason(error))
            self._warned = True

    def _write(self, session: Session, state: str) -> None:
        """Waits for a database that is away, as everything does that is written into the ledger."""
        chance = chance_of(session.record.identity)
        comparison = compare(session.spec, session.search, chance=chance)
        ledger, name = session.ledger, session.spec.name
        ledger.retries.call(lambda _: write_summary(ledger.summary_study(name), comparison, state=state))


def write_summary(study: Study, comparison: Comparison, *, state: str) -> None:
    """Writes the figures and the note of a comparison into a study, in place of earlier ones.

    Args:
        study: The search's summary study.
        comparison: The comparison.
        state: ``running``, ``done``, ``failed`` or ``interrupted``.
    """
    from optuna_dashboard import save_note, save_plotly_graph_object

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        for name, figure in _figures(comparison).items():
            save_plotly_graph_object(study, figure, graph_object_id=name)
        save_note(study, f"State: **{state}**\n\n{markdown(comparison)}")


def _figures(comparison: Comparison) -> dict[str, go.Figure]:
    """Those that fit; the first one goes without parts of it before it goes altogether."""
    analysis = Analysis(comparison=comparison)
    drawn = (
        comparison_figure(analysis, without=DISPENSABLE[:count]) for count in range(len(DISPENSABLE) + 1)
    )
    figures = {"oracle-and-silo": next(filter(_fits, drawn), None)}
    if comparison.rows and comparison.spec.searched:
        landscape = landscape_figure(comparison)
        figures["validation-accuracy"] = landscape if _fits(landscape) else None
    return {name: figure for name, figure in figures.items() if figure is not None}


def _fits(figure: go.Figure) -> bool:
    return len(figure.to_json().encode()) <= LARGEST_FIGURE_BYTES
