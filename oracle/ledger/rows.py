"""Trials as rows of Optuna's studies, read and written in a handful of statements.

Optuna's own calls write a row as some thirty statements, one attribute after another, and read it as fifteen
objects of SQLAlchemy's: beside packs of trainings that last a third of a second, writing kept half a core
busy, and reading 100,000 rows took most of a minute. Whoever looked at a study while its figure was written
saw half of it. This makes the same rows of Optuna's own models at once, for the layout of its tables that it
was tried with; for any other it leaves them to Optuna.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

import optuna
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from oracle.ledger.tables import LATEST, DamagedValue, checked, digest, parsed
from trials.tasks import STATISTICS, StoredFile, TrainingCurve, Trial, TrialDiagnostics, numbers_of

OPTUNAS = models.BaseModel.metadata
"""Optuna's own tables."""

_ELSEWHERE = ("cycle", "max_lr", "score")
"""Fields of a trial that its row tells by its study, its parameter and its value."""

_NUMBERS = numbers_of(Trial)
_PLAIN = tuple(name for name in _NUMBERS if name not in _ELSEWHERE)
_REQUIRED = frozenset(each.name for each in fields(Trial) if each.default is MISSING)

_ONCE = {"test_accuracy": "test_score"}
"""Names that fields had in the ledgers of earlier versions."""


_CURVE = "curve"
"""Attribute of a trial's curve, a text, so that a read parses none; rows of earlier versions have none."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The axis of a study: the grid's ends, whether it is logarithmic, and the parameter's name."""

    low: float
    high: float
    log: bool
    name: str = "max_lr"

    def distribution(self, max_lr: float) -> FloatDistribution:
        """The grid's range, widened to a value past its edge: a study takes ranges that differ."""
        return FloatDistribution(min(self.low, max_lr), max(self.high, max_lr), log=self.log)


def to_row(outcome: Trial, *, key: str, axis: Axis) -> FrozenTrial:
    """The finished row of an outcome: parameter what was searched, value the validation score."""
    attributes = _attributes(outcome, key)
    written = _digest(FinishedRow(0, outcome.max_lr, outcome.score, attributes))
    row = create_trial(
        state=TrialState.COMPLETE,
        value=outcome.score,
        params={axis.name: outcome.max_lr},
        distributions={axis.name: axis.distribution(outcome.max_lr)},
        user_attrs={**attributes, "digest": written},
    )
    # Optuna's duration is their difference: the attributes hold when it really started and ended.
    row.datetime_start = datetime.fromtimestamp(outcome.ended - outcome.lasted)
    row.datetime_complete = datetime.fromtimestamp(outcome.ended)
    return row


def failed_row(*, replicate: int, max_lr: float, error: str, axis: Axis) -> FrozenTrial:
    """The row of a trial that failed for good in one run; another run tries it again."""
    return create_trial(
        state=TrialState.FAIL,
        params={axis.name: max_lr},
        distributions={axis.name: axis.distribution(max_lr)},
        user_attrs={"replicate": replicate, "error": error[-2000:]},
    )


def from_row(row: FinishedRow, *, cycle: int) -> tuple[str, Trial]:
    """Key and outcome of a finished row of ours.

    Raises:
        DamagedValue: One of its values can't be what was written.
        KeyError: One is missing.
    """
    attributes = {_ONCE.get(name, name): value for name, value in row.attributes.items()}
    outcome = Trial(
        cycle=cycle,
        max_lr=checked("max_lr", row.max_lr, float, low=sys.float_info.min),
        score=checked("score", row.score, float),
        checkpoint=_file(attributes, "checkpoint", "sha256"),
        diagnostics=_diagnostics(attributes),
        curve=TrainingCurve(checked(_CURVE, attributes.get(_CURVE, ""), str)),
        **{name: _number(attributes, name) for name in _PLAIN if name in attributes or name in _REQUIRED},
    )
    if row.attributes.get("digest", found := _digest(row)) != found:
        raise DamagedValue("its values are not those that were written: their digest is another")
    return checked("key", attributes["key"], str), outcome


def _digest(row: FinishedRow) -> str:
    """Tells a row's values from any others; rows of earlier versions have none."""
    attributes = sorted(item for item in row.attributes.items() if item[0] != "digest")
    return digest((row.max_lr, row.score, attributes))


def _number(attributes: Mapping[str, Any], name: str) -> Any:
    kind, meaning = _NUMBERS[name]
    if meaning.time:
        return checked(name, attributes[name], float, low=0.0, high=LATEST)
    least = {"pack": 1, "test_score": -math.inf, "train_loss": -math.inf}.get(name, 0)
    return checked(name, attributes[name], kind, low=least, finite=kind is not float)


def _file(attributes: Mapping[str, Any], path: str, sha256: str) -> StoredFile:
    return StoredFile(
        path=checked(path, attributes[path], str), sha256=checked(sha256, attributes[sha256], str)
    )


def _attributes(outcome: Trial, key: str) -> dict[str, Any]:
    """In the order in which dashboards show them: what is read first, what programs need last."""
    plain = {name: _written(getattr(outcome, name)) for name in _PLAIN}
    return {
        **{name: value for name, value in plain.items() if value != "" or name in _REQUIRED},
        **_diagnostics_attributes(outcome.diagnostics),
        "checkpoint": outcome.checkpoint.path,
        "sha256": outcome.checkpoint.sha256,
        **({_CURVE: outcome.curve.text} if outcome.curve.text else {}),
        "key": key,
    }


def _diagnostics_attributes(diagnostics: TrialDiagnostics | None) -> dict[str, Any]:
    if diagnostics is None:
        return {}
    return {
        **{name: _written(getattr(diagnostics, name)) for name in STATISTICS},
        "diagnostics": diagnostics.file.path,
        "diagnostics_sha256": diagnostics.file.sha256,
    }


def _diagnostics(attributes: Mapping[str, Any]) -> TrialDiagnostics | None:
    if "diagnostics" not in attributes:
        return None
    return TrialDiagnostics(
        file=_file(attributes, "diagnostics", "diagnostics_sha256"),
        **{name: checked(name, attributes[name], float, finite=False) for name in STATISTICS},
    )


def _written(value: Any) -> Any:
    """A number as JSON has it, which knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


TRIED_LAYOUT = "v3.2.0.a"
"""The revision of Optuna's tables that is read and written at once."""


class FinishedRow(NamedTuple):
    """A finished row of a study, as it stands there.

    Attributes:
        number: Its number in the study.
        max_lr: The parameter: the rate, or what else was searched.
        score: The value.
        attributes: The attributes by their names.
    """

    number: int
    max_lr: Any
    score: Any
    attributes: dict[str, Any]


Attributes = Mapping[str, Any]
"""JSON-able values by their names."""


def write_rows(
    storage: RDBStorage,
    study: optuna.Study,
    rows: Sequence[FrozenTrial],
    *,
    again: bool = False,
    replacing: bool = False,
) -> bool:
    """Adds finished rows to a study: all or none.

    Optuna's own writing, for other layouts, adds them one by one, and may double one whose commit was not
    answered; readers take one row per key. It changes no finished row.

    Args:
        storage: The database.
        study: The study.
        rows: Finished rows of one value each at most.
        again: Whether this was tried before and may have been done: rows that are there are left out.
        replacing: Whether they are put in place of those of the same marks.

    Returns:
        Whether any was put in place of another.
    """
    if storage.get_current_version() == TRIED_LAYOUT:
        return _write_at_once(storage, study, rows, again=again, replacing=replacing)
    looks = again or replacing
    written = {_mark(row) for row in study.get_trials(deepcopy=False)} if looks else ()
    study.add_trials([row for row in rows if _mark(row) not in written])
    return False


def _write_at_once(
    storage: RDBStorage, study: optuna.Study, rows: Sequence[FrozenTrial], *, again: bool, replacing: bool
) -> bool:
    identity = storage.get_study_id_from_name(study.study_name)
    with Session(storage.engine) as session, session.begin():
        # Held until the end, as Optuna does it, so that nobody else counts the rows at the same time; and so
        # that a first try that the server is still busy with ends before it is looked for.
        models.StudyModel.find_or_raise_by_id(identity, session, for_update=True)
        written = _written_before(session, identity, rows) if again or replacing else {}
        new = [row for row in rows if _mark(row) not in written]
        trials = models.TrialModel
        count = session.scalar(select(func.count()).where(trials.study_id == identity)) or 0
        heads = [_head(row, identity, number) for number, row in enumerate(new, start=count)]
        numbers = insert(trials).returning(trials.trial_id, sort_by_parameter_order=True)
        places = list(zip(session.scalars(numbers, heads), new, strict=True)) if new else []
        old = [(written[_mark(row)], row) for row in rows if _mark(row) in written] if replacing else []
        _remove_parts(session, [trial for trial, _ in old])
        if old:
            times = [{"trial_id": trial, **_times(row)} for trial, row in old]
            session.execute(update(trials), times)
        parts = defaultdict(list)
        for trial, row in places + old:
            for model, fields in _parts(row):
                parts[model].append({"trial_id": trial, **fields})
        for model, fields_of_all in parts.items():
            session.execute(insert(model), fields_of_all)
    return bool(old)


def _remove_parts(session: Session, of: Collection[int]) -> None:
    if of:
        for model in (models.TrialValueModel, models.TrialParamModel, models.TrialUserAttributeModel):
            session.execute(delete(model).where(model.trial_id.in_(of)))


def _written_before(
    session: Session, study: int, rows: Sequence[FrozenTrial]
) -> dict[tuple[object, ...], int]:
    """The numbers of those of these rows that a study has, by their marks."""
    trials, parameters, attributes = models.TrialModel, models.TrialParamModel, models.TrialUserAttributeModel
    here = trials.study_id == study
    keys = {json.dumps(row.user_attrs["key"]): _mark(row) for row in rows if "key" in row.user_attrs}
    times = [_times(row)["_datetime_start_utc"] for row in rows if "key" not in row.user_attrs]
    same = select(attributes.value_json, trials.trial_id).join(trials).where(here, attributes.key == "key")
    found = {keys[key]: trial for key, trial in session.execute(same.where(attributes.value_json.in_(keys)))}
    failed = (
        select(trials, parameters.param_value, attributes.value_json)
        .join(parameters, parameters.trial_id == trials.trial_id)
        .join(attributes, attributes.trial_id == trials.trial_id)
        .where(here, trials._datetime_start_utc.in_(times), attributes.key == "replicate")
    )
    for trial, parameter, replicate in session.execute(failed) if times else ():
        found[json.loads(replicate), parameter, trial.datetime_start] = trial.trial_id
    return found


def _mark(row: FrozenTrial) -> tuple[object, ...]:
    """The mark that tells a row from all others: an outcome's key; of a failure, what failed and when."""
    if "key" in row.user_attrs:
        return (row.user_attrs["key"],)
    return row.user_attrs.get("replicate"), _parameter(row), row.datetime_start


def _parameter(row: FrozenTrial) -> Any:
    """The one parameter of a row of ours."""
    return next(iter(row.params.values()), None)


def _head(row: FrozenTrial, study: int, number: int) -> dict[str, Any]:
    return {"study_id": study, "number": number, "state": row.state, **_times(row)}


def _times(row: FrozenTrial) -> dict[str, Any]:
    times = models.TrialModel(datetime_start=row.datetime_start, datetime_complete=row.datetime_complete)
    return {
        "_datetime_start_utc": times._datetime_start_utc,
        "_datetime_complete_utc": times._datetime_complete_utc,
    }


def _parts(row: FrozenTrial) -> Iterator[tuple[type[models.BaseModel], dict[str, Any]]]:
    """The parts of a row: its value, parameters and attributes."""
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


def read_rows(storage: RDBStorage, study: optuna.Study) -> Iterable[FinishedRow]:
    """The finished rows of a study, in their order, whoever wrote them.

    Args:
        storage: The database.
        study: The study; its rows have one value and one parameter, or are none of ours.
    """
    if storage.get_current_version() == TRIED_LAYOUT:
        return _read_at_once(storage, study)
    return [
        FinishedRow(row.number, _parameter(row), (row.values or [None])[0], row.user_attrs)
        for row in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ]


def _read_at_once(storage: RDBStorage, study: optuna.Study) -> Iterable[FinishedRow]:
    identity = storage.get_study_id_from_name(study.study_name)
    trials, values, parameters = models.TrialModel, models.TrialValueModel, models.TrialParamModel
    attributes = models.TrialUserAttributeModel
    finished = (trials.study_id == identity) & (trials.state == TrialState.COMPLETE)
    is_score = (values.trial_id == trials.trial_id) & (values.objective == 0)
    with storage.engine.connect() as connection:
        numbers = (
            select(trials.trial_id, trials.number, parameters.param_value, values.value)
            .outerjoin(parameters, parameters.trial_id == trials.trial_id)
            .outerjoin(values, is_score)
            .where(finished)
            .order_by(trials.number)
        )
        found = {
            trial: FinishedRow(number, max_lr, score, {})
            for trial, number, max_lr, score in connection.execute(numbers)
        }
        texts = select(attributes.trial_id, attributes.key, attributes.value_json).join(trials)
        for trial, key, text in connection.execute(texts.where(finished)):
            if trial in found:  # else it has been written since
                found[trial].attributes[key] = parsed(text)
    return found.values()


def study_numbers(storage: RDBStorage) -> dict[str, int]:
    """Name to number of all studies of a database, in their order; whatever else stands in them."""
    studies = models.StudyModel
    query = select(studies.study_name, studies.study_id).order_by(studies.study_id)
    with storage.engine.connect() as connection:
        return {name: number for name, number in connection.execute(query)}


def study_attribute(storage: RDBStorage, study: str, name: str) -> Any:
    """An attribute that the dashboard lists of a study; None if there is none, or no such study."""
    attributes, studies = models.StudyUserAttributeModel, models.StudyModel
    query = select(attributes.value_json).join(studies, attributes.study_id == studies.study_id)
    with storage.engine.connect() as connection:
        text = connection.scalar(query.where(studies.study_name == study, attributes.key == name))
    return None if text is None else parsed(text)


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
    if storage.get_current_version() == TRIED_LAYOUT:
        _write_attributes_at_once(storage, study, user, system, replacing)
    else:
        _write_one_by_one(storage, study, user, system, replacing)


def _write_attributes_at_once(
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
