"""Writes finished rows into an Optuna study, all in one transaction.

``Study.add_trial`` writes a row as some thirty statements, one attribute after another: beside packs of
trainings that last a third of a second it kept half a core busy. This makes the same rows of Optuna's own
models in a handful of statements, for the layout of Optuna's tables that it was tried with; for any other it
leaves them to Optuna.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

TRIED_LAYOUT = "v3.2.0.a"
"""The revision of Optuna's tables that rows are written to at once."""


def write_rows(
    storage: RDBStorage, study: optuna.Study, rows: Sequence[FrozenTrial], *, again: bool = False
) -> None:
    """Adds finished rows to a study: all or none.

    Optuna's own writing, for other layouts, adds them one by one, and may double one whose commit was not
    answered; readers take one row per key.

    Args:
        storage: The database.
        study: The study.
        rows: Finished rows of one value each at most.
        again: Whether this was tried before and may have been done: rows that are there are left out.
    """
    if storage.get_current_version() == TRIED_LAYOUT:
        _write_at_once(storage, study, rows, again=again)
    else:
        study.add_trials(_missing(study, rows) if again else rows)


def _write_at_once(
    storage: RDBStorage, study: optuna.Study, rows: Sequence[FrozenTrial], *, again: bool
) -> None:
    identity = storage.get_study_id_from_name(study.study_name)
    with Session(storage.engine) as session, session.begin():
        # Held until the end, as Optuna does it, so that nobody else counts the rows at the same time; and so
        # that a first try that the server is still busy with ends before it is looked for.
        models.StudyModel.find_or_raise_by_id(identity, session, for_update=True)
        if again:
            rows = _missing(study, rows)
        trials = models.TrialModel
        count = session.scalar(select(func.count()).where(trials.study_id == identity)) or 0
        heads = [_head(row, identity, number) for number, row in enumerate(rows, start=count)]
        if not heads:
            return
        numbers = insert(trials).returning(trials.trial_id, sort_by_parameter_order=True)
        parts = defaultdict(list)
        for trial, row in zip(session.scalars(numbers, heads), rows, strict=True):
            for model, fields in _parts(row):
                parts[model].append({"trial_id": trial, **fields})
        for model, fields_of_all in parts.items():
            session.execute(insert(model), fields_of_all)


def _missing(study: optuna.Study, rows: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The rows that a try whose answer was lost has not written."""
    written = {_mark(row) for row in study.get_trials(deepcopy=False)}
    return [row for row in rows if _mark(row) not in written]


def _mark(row: FrozenTrial) -> tuple[object, ...]:
    """What tells a row from all others: an outcome's key; of a failure, what failed and when."""
    if "key" in row.user_attrs:
        return (row.user_attrs["key"],)
    return row.user_attrs.get("replicate"), row.params.get("max_lr"), row.datetime_start


def _head(row: FrozenTrial, study: int, number: int) -> dict[str, Any]:
    times = models.TrialModel(datetime_start=row.datetime_start, datetime_complete=row.datetime_complete)
    return {
        "study_id": study,
        "number": number,
        "state": row.state,
        "_datetime_start_utc": times._datetime_start_utc,
        "_datetime_complete_utc": times._datetime_complete_utc,
    }


def _parts(row: FrozenTrial) -> Iterator[tuple[type[models.BaseModel], dict[str, Any]]]:
    """What belongs to a row: its value, parameters and attributes."""
    if row.values:
        value, kind = models.TrialValueModel.value_to_stored_repr(row.values[0])
        yield models.TrialValueModel, {"objective": 0, "value": value, "value_type": kind}
    for name, distribution in row.distributions.items():
        yield (
            models.TrialParamModel,
            {
                "param_name": name,
                "param_value": distribution.to_internal_repr(row.params[name]),
                "distribution_json": distribution_to_json(distribution),
            },
        )
    for key, attribute in row.user_attrs.items():
        yield models.TrialUserAttributeModel, {"key": key, "value_json": json.dumps(attribute)}
