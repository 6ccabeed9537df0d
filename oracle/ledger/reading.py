"""Reads the finished rows of an Optuna study.

``Study.get_trials`` makes an object of SQLAlchemy's for each attribute of a row, fifteen a row, which takes
most of a minute for 100,000 of them. This takes the same numbers as plain tuples, from the layout of Optuna's
tables that it was tried with; any other is left to Optuna.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import select

from oracle.ledger import writing

FinishedRow = tuple[float, float, dict[str, Any]]
"""The parameter ``max_lr``, the value, and the attributes of a row."""


def read_rows(storage: RDBStorage, study: optuna.Study) -> Iterable[FinishedRow]:
    """The finished rows of a study, in their order.

    Args:
        storage: The database.
        study: The study; its rows have one value and the parameter ``max_lr``.
    """
    if storage.get_current_version() == writing.TRIED_LAYOUT:
        return _read_at_once(storage, study)
    rows = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [(row.params["max_lr"], row.values[0], row.user_attrs) for row in rows]


def _read_at_once(storage: RDBStorage, study: optuna.Study) -> Iterable[FinishedRow]:
    identity = storage.get_study_id_from_name(study.study_name)
    trials, values, parameters = models.TrialModel, models.TrialValueModel, models.TrialParamModel
    attributes = models.TrialUserAttributeModel
    finished = (trials.study_id == identity) & (trials.state == TrialState.COMPLETE)
    with storage.engine.connect() as connection:
        numbers = (
            select(trials.trial_id, parameters.param_value, values.value)
            .join(parameters, (parameters.trial_id == trials.trial_id) & (parameters.param_name == "max_lr"))
            .join(values, values.trial_id == trials.trial_id)
            .where(finished)
            .order_by(trials.number)
        )
        found: dict[int, FinishedRow] = {
            trial: (max_lr, value, {}) for trial, max_lr, value in connection.execute(numbers)
        }
        texts = select(attributes.trial_id, attributes.key, attributes.value_json).join(trials)
        for trial, key, text in connection.execute(texts.where(finished)):
            if trial in found:  # else it has been written since
                found[trial][2][key] = json.loads(text)
    return found.values()
