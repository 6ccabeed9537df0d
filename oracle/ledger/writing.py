"""Writes finished rows into an Optuna study, all in one transaction.

``Study.add_trial`` writes a row as some thirty statements, one attribute after another: beside packs of
trainings that last a third of a second it kept half a core busy. This makes the same rows with Optuna's own
models in a handful of statements, for the layout of Optuna's tables that it was tried with; for any other it
leaves them to Optuna.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import func, select
from sqlalchemy.orm import Session

TRIED_LAYOUT = "v3.2.0.a"
"""The revision of Optuna's tables that rows are written to at once."""


def write_rows(storage: RDBStorage, study: optuna.Study, rows: Sequence[FrozenTrial]) -> None:
    """Adds finished rows to a study: all or none.

    Args:
        storage: The database.
        study: The study.
        rows: Finished rows of one value each at most.
    """
    if storage.get_current_version() == TRIED_LAYOUT:
        _write_at_once(storage, study, rows)
    else:
        study.add_trials(rows)


def _write_at_once(storage: RDBStorage, study: optuna.Study, rows: Sequence[FrozenTrial]) -> None:
    identity = storage.get_study_id_from_name(study.study_name)
    with Session(storage.engine) as session, session.begin():
        # Held until the end, as Optuna does it, so that nobody else counts the rows at the same time.
        models.StudyModel.find_or_raise_by_id(identity, session, for_update=True)
        trials = models.TrialModel
        count = session.scalar(select(func.count()).where(trials.study_id == identity)) or 0
        for number, row in enumerate(rows, start=count):
            trial = trials(
                study_id=identity,
                number=number,
                state=row.state,
                datetime_start=row.datetime_start,
                datetime_complete=row.datetime_complete,
            )
            session.add(trial)
            session.add_all(_parts(row, trial))


def _parts(row: FrozenTrial, trial: models.TrialModel) -> list[models.BaseModel]:
    """What belongs to a row: its value, parameters and attributes."""
    parts: list[models.BaseModel] = []
    if row.values:
        value, kind = models.TrialValueModel.value_to_stored_repr(row.values[0])
        parts.append(models.TrialValueModel(trial=trial, objective=0, value=value, value_type=kind))
    for name, distribution in row.distributions.items():
        parts.append(
            models.TrialParamModel(
                trial=trial,
                param_name=name,
                param_value=distribution.to_internal_repr(row.params[name]),
                distribution_json=distribution_to_json(distribution),
            )
        )
    for key, attribute in row.user_attrs.items():
        parts.append(models.TrialUserAttributeModel(trial=trial, key=key, value_json=json.dumps(attribute)))
    return parts
