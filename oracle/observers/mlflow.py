"""Keeps a search in MLflow: ``observers: [{name: mlflow, arguments: {tracking_uri: …}}]``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from oracle.cycles import Cycle
from oracle.identity import flat
from oracle.observers import Observer, cycle_numbers
from silo.errors import InvalidInput
from trials.secrets import without_secrets

if TYPE_CHECKING:
    from oracle.session import Session

_SEARCH = "silo_oracle.search"
"""The tag by which a search that goes on finds its run."""

_LONGEST = 500
"""Characters of a parameter that MLflow takes."""

_STATES = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "taken over": "KILLED"}


class MLflow(Observer):
    """Keeps a search as one run of MLflow: its spec as parameters, its cycles as steps of metrics.

    A search that goes on goes on with its run. MLflow's own environment variables hold.

    Args:
        tracking_uri: Where MLflow keeps runs; by default $MLFLOW_TRACKING_URI, then MLflow's own default.
        experiment: The experiment's name.

    Raises:
        InvalidInput: MLflow is not installed.
    """

    def __init__(self, *, tracking_uri: str | None = None, experiment: str = "silo-oracle") -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise InvalidInput("observer 'mlflow' needs MLflow: pip install 'silo-oracle[mlflow]'") from error
        self._client, self._experiment = MlflowClient(tracking_uri=tracking_uri), experiment

    def started(self, session: Session) -> None:
        """Makes the search's run, or goes on with it; writes the cycles that it lacks."""
        name = session.spec.name
        known = self._client.get_experiment_by_name(self._experiment)
        place = known.experiment_id if known else self._client.create_experiment(self._experiment)
        mark = f"{name} {session.record.created!r}"  # another ledger may have a search of this name
        found = self._client.search_runs([place], f"tags.{_SEARCH} = '{mark}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            self._run = self._client.create_run(place, run_name=name, tags={_SEARCH: mark}).info.run_id
            for field, value in flat(without_secrets(session.spec.model_dump(mode="json"))).items():
                self._client.log_param(self._run, field, str(value)[:_LONGEST])
        written = {metric.step for metric in self._client.get_metric_history(self._run, "optimum")}
        for decision in session.search.decisions:
            if decision.cycle not in written:
                self.decided(session, decision)

    def decided(self, session: Session, decision: Cycle) -> None:
        """Adds a step to the metrics."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = {**cycle_numbers(session, decision), "trials": session.search.finished()}
        self._client.log_batch(
            self._run,
            metrics=[Metric(name, float(value), now, decision.cycle) for name, value in numbers.items()],
        )

    def ended(self, session: Session, state: str) -> None:
        """Ends the run, as the search did."""
        self._client.set_terminated(self._run, _STATES.get(state, "FAILED"))
