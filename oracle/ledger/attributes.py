"""Writes what a study tells of itself in Optuna's dashboard: its attributes, all in one transaction.

Optuna's own setters write one attribute after another. A figure of the dashboard is some twenty of them: who
looked in between saw half a figure, and each was waited for until it was on the disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from sqlalchemy import delete, insert, or_
from sqlalchemy.orm import Session

from oracle.ledger import writing

Attributes = Mapping[str, Any]
"""JSON-able values by their names."""


def write_attributes(
    storage: RDBStorage,
    study: optuna.Study,
    *,
    user: Attributes,
    system: Attributes,
    replacing: tuple[str, ...] = (),
) -> None:
    """Adds attributes to a study, in place of those of the same names.

    Args:
        storage: The database.
        study: The study.
        user: Attributes that the dashboard lists.
        system: Attributes that it makes notes and figures of.
        replacing: How the names of system attributes begin that go, unless they are given. Where Optuna's own
            setters write, for layouts of its tables that this was not tried with, they become empty texts.
    """
    if storage.get_current_version() == writing.TRIED_LAYOUT:
        _write_at_once(storage, study, user, system, replacing)
    else:
        _write_one_by_one(storage, study, user, system, replacing)


def _write_at_once(
    storage: RDBStorage, study: optuna.Study, user: Attributes, system: Attributes, replacing: tuple[str, ...]
) -> None:
    identity = storage.get_study_id_from_name(study.study_name)
    with Session(storage.engine) as session, session.begin():
        models.StudyModel.find_or_raise_by_id(identity, session, for_update=True)
        for model, attributes, prefixes in (
            (models.StudyUserAttributeModel, user, ()),
            (models.StudySystemAttributeModel, system, replacing),
        ):
            begin_so = (model.key.startswith(prefix, autoescape=True) for prefix in prefixes)
            old = or_(model.key.in_(attributes), *begin_so)
            session.execute(delete(model).where(model.study_id == identity, old))
            rows = [
                {"study_id": identity, "key": key, "value_json": json.dumps(value)}
                for key, value in attributes.items()
            ]
            if rows:
                session.execute(insert(model), rows)


def _write_one_by_one(
    storage: RDBStorage, study: optuna.Study, user: Attributes, system: Attributes, replacing: tuple[str, ...]
) -> None:
    identity = storage.get_study_id_from_name(study.study_name)
    for key, value in user.items():
        storage.set_study_user_attr(identity, key, value)
    written = storage.get_study_system_attrs(identity)
    gone = {key: "" for key in written if key.startswith(replacing) and key not in system}
    for key, value in {**system, **gone}.items():
        storage.set_study_system_attr(identity, key, value)
