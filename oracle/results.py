"""A search's results for notebooks: tidy frames, each made when it is first looked at.

import oracle
results = oracle.load("digits")
results.candidates.query("inside")
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from oracle import frames
from oracle.analysis import Analysis, analysis_of
from oracle.comparison import Comparison, load_search, recorded_comparison
from oracle.ledger import Ledger, Run, SearchRecord
from oracle.opening import DEFAULT_LEDGER, open_recorded
from oracle.search import Search
from trials.secrets import without_secrets

if TYPE_CHECKING:
    import pandas as pd


def load(name: str, ledger: str | None = None) -> Results:
    """What a search has found so far; load it again to see what has been found since.

    Args:
        name: The search's name; of a spec with variants ``NAME.VARIANT``.
        ledger: Database URL; by default $ORACLE_LEDGER, then that of a spec that names none.

    Raises:
        InvalidInput: The URL is none.
        Refused: There is no such ledger, no such search in it, or its spec is another version's.
    """
    opened, record = open_recorded(name, ledger or os.environ.get("ORACLE_LEDGER") or DEFAULT_LEDGER)
    try:
        return Results.read(opened, record)
    finally:
        opened.close()


class Results:
    """A search as it stood when it was loaded. :data:`oracle.frames.COLUMNS` says what each column means.

    Args:
        record: The search as the ledger knows it.
        search: Its state.
        runs: Its runs, oldest first.
        resamples: Of the fit's bootstrap; 0 for none.

    Raises:
        Refused: The recorded spec is not one that this version reads.
    """

    def __init__(
        self, record: SearchRecord, search: Search, runs: tuple[Run, ...], *, resamples: int = 1000
    ) -> None:
        self.comparison: Comparison = recorded_comparison(record, search)
        """Optimum, interval and curves per cycle."""
        self._search, self._runs, self._resamples = search, runs, resamples

    @classmethod
    def read(cls, ledger: Ledger, record: SearchRecord) -> Results:
        """Reads all that the ledger holds of a search; the ledger is not needed any more then."""
        return cls(record, load_search(ledger, record), ledger.runs(record.name))

    def __repr__(self) -> str:
        found = self.comparison
        return f"Results({found.name!r}: {len(found.rows)}/{found.cycles} cycles, {found.trials:,} trials)"

    @property
    def name(self) -> str:
        """The search's name."""
        return self.comparison.name

    @property
    def spec(self) -> dict[str, Any]:
        """The spec as JSON-able data, without the passwords that its URLs may hold."""
        shown: dict[str, Any] = without_secrets(self.comparison.spec.model_dump(mode="json"))
        return shown

    @cached_property
    def analysis(self) -> Analysis:
        """The comparison with the fit's bootstrap, rivals, costs and distributions."""
        return analysis_of(
            self.comparison, self._search.decisions, runs=self._runs, resamples=self._resamples
        )

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per finished training, those that diverged included; what failed has no outcome."""
        cycles = range(self.comparison.cycles)
        return frames.trials_frame(
            self._search.outcomes(),
            prunings=[pruned for cycle in cycles for pruned in self._search.prunings(cycle)],
            optima={decision.cycle: decision.interval.optimum for decision in self._search.decisions},
        )

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """One row per candidate of each decided cycle."""
        return frames.candidates_frame(self.comparison)

    @cached_property
    def intervals(self) -> pd.DataFrame:
        """One row per decided cycle."""
        return frames.intervals_frame(self.comparison)

    @cached_property
    def fits(self) -> pd.DataFrame:
        """One row per SILO curve: predicted, least squares, and the one that keeps to the intervals best."""
        return frames.fits_frame(self.analysis)

    @cached_property
    def rivals(self) -> pd.DataFrame:
        """One row per kind of curve that was fitted to the optima."""
        return frames.rivals_frame(self.analysis)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """One row per way to set the rates."""
        return frames.costs_frame(self.analysis)

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """One row per decided cycle whose selected networks have statistics."""
        return frames.diagnostics_frame(self.analysis)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run, oldest first."""
        return frames.runs_frame(self._runs)

    def frames(self) -> dict[str, pd.DataFrame]:
        """All of them by name."""
        return {name: getattr(self, name) for name in frames.COLUMNS}
