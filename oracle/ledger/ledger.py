"""The ledger: searches write it, everybody reads it."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Row, RowMapping, and_, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from oracle.errors import LedgerFailed, Refused
from oracle.ledger import lease, tables
from oracle.ledger.database import (
    DATABASE_ERRORS,
    Retries,
    Run,
    SearchRecord,
    is_away,
    open_storage,
    read_record,
    reason,
    retried,
)
from oracle.ledger.rows import (
    Attributes,
    Axis,
    failed_row,
    from_row,
    read_rows,
    study_attribute,
    study_numbers,
    to_row,
    write_attributes,
    write_rows,
)
from oracle.ledger.tables import (
    LATEST,
    DamagedValue,
    check_digest,
    checked,
    count_lost,
    digest,
    is_text,
    parsed,
    reading,
    with_digests,
    write_digests,
)
from trials.tasks import Metric, PrunedNetwork, StoredFile, Trial

_PRUNING = ("cycle", "replicate", "alive", "prunable", "parameters", "norm_drop")


def cycle_name(search: str, cycle: int) -> str:
    """The name of the study of a cycle's trials."""
    return f"{search}/cycle-{cycle:02d}"


class Ledger:
    """An open ledger.

    While the database is away, every operation is tried again, for as long as ``retries`` allows; what was
    written although the answer got lost is not written twice.

    Args:
        url: SQLAlchemy URL of the database.
        create: Whether a database without a ledger gets one.
        retries: For how long, and who hears of it; shared by the ledgers of one process.

    Raises:
        InvalidInput: The URL is none.
        Refused: The database can't be reached, has no ledger, or one of another version.
    """

    def __init__(self, url: str, *, create: bool = False, retries: Retries | None = None) -> None:
        self.retries = retries or Retries()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it says of lost connections is said here
        self.storage = open_storage(url, create=create, retries=self.retries)
        self.engine = self.storage.engine
        self._studies: dict[str, optuna.Study] = {}
        self._named: set[str] = set()
        self._begun: dict[str, tuple[float, float]] = {}

    @classmethod
    def open_search(
        cls, name: str, url: str, *, retries: Retries | None = None
    ) -> tuple[Ledger, SearchRecord]:
        """The ledger at a URL, and a search that it holds; the options are those of the class.

        Raises:
            InvalidInput: The URL is none.
            Refused: There is no ledger, or no such search in it.
        """
        opened = cls(url, retries=retries)
        record = opened.search(name) if is_text(name) else None
        if record is None:
            known = ", ".join(opened.names()) or "none"
            opened.close()
            raise Refused(f"no search {name!r} in this ledger; there are: {known}")
        return opened, record

    def close(self) -> None:
        """Gives the database's connections back."""
        self.storage.remove_session()
        self.engine.dispose()

    @retried
    def identity(self) -> str:
        """What tells this ledger from all others, wherever its database is moved."""
        table = tables.marks
        with (
            suppress(IntegrityError),
            self.engine.begin() as connection,
        ):  # or somebody else makes it just now
            if connection.execute(select(table.c.ledger)).first() is None:
                connection.execute(insert(table).values(number=1, ledger=uuid.uuid4().hex))
        with self.engine.connect() as connection:
            return str(connection.execute(select(table.c.ledger)).scalar_one())

    def place(self) -> str:
        """Where this ledger is, without a password: a file, or a URL."""
        url = self.engine.url
        if url.get_backend_name() == "sqlite" and url.database:
            return os.path.abspath(url.database)
        return url.render_as_string(hide_password=True)

    @retried
    def searches(self) -> tuple[SearchRecord, ...]:
        """All searches, by name."""
        with self.engine.connect() as connection:
            rows = connection.execute(with_digests(tables.searches).order_by(tables.searches.c.name))
            return tuple(_record(row) for row in rows)

    @retried
    def names(self) -> tuple[str, ...]:
        """The names of all searches, of those that can't be read, too."""
        column = tables.searches.c.name
        with self.engine.connect() as connection:
            return tuple(connection.execute(select(column).order_by(column)).scalars())

    @retried
    def search(self, name: str) -> SearchRecord | None:
        """A search; None if there is none of that name."""
        query = with_digests(tables.searches).where(tables.searches.c.name == name)
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _record(row)

    @retried
    def summary_number(self, search: str) -> int | None:
        """The number of a search's summary study, which stands in the dashboard's addresses."""
        return study_numbers(self.storage).get(search)

    def foreign_study(self, name: str) -> str | None:
        """A study that this search would write to although it is not in the ledger's list of searches."""
        return next((found for found in self._study_names() if _is_of(name, found)), None)

    def register(self, record: SearchRecord) -> None:
        """Writes a new search, or the spec as it is run now.

        Its summary study is made before those of its cycles, so that dashboards list it beside them in order.
        """
        self._write_record(record)
        self.summary_study(record.name)

    @retried
    def _write_record(self, record: SearchRecord) -> None:
        values = {"spec": json.dumps(record.spec), "identity": json.dumps(record.identity)}
        with self.engine.begin() as connection:
            query = update(tables.searches).where(tables.searches.c.name == record.name)
            if connection.execute(query.values(**values)).rowcount == 0:
                fixed = {name: getattr(record, name) for name in ("name", "execution_reason", "created")}
                fixed["execution"] = json.dumps(asdict(record.execution))
                connection.execute(insert(tables.searches).values(**values, **fixed))
            write_digests(connection, tables.searches, record.name, [record.name])

    def begin_anew(self, record: SearchRecord) -> None:
        """Puts a record in place of that of a search without results, and removes the rows of what failed.

        Its studies are made anew: their metric may be another.
        """
        for name in self._study_names():
            if _is_of(record.name, name):
                self._studies.pop(name, None)
                self._delete_study(name)
        self._forget_decisions(record)
        self.register(record)

    @retried
    def _delete_study(self, name: str) -> None:
        with suppress(KeyError):  # or a try whose answer was lost has done it
            optuna.delete_study(study_name=name, storage=self.storage)

    @retried
    def _forget_decisions(self, record: SearchRecord) -> None:
        fixed = {
            "execution": json.dumps(asdict(record.execution)),
            "execution_reason": record.execution_reason,
        }
        with self.engine.begin() as connection:
            query = update(tables.searches).where(tables.searches.c.name == record.name)
            connection.execute(query.values(**fixed))
            chosen = select(tables.choices.c.cycle).where(tables.choices.c.search == record.name)
            cycles = connection.execute(chosen).scalars().all()
            for made in (tables.choices, tables.asked):
                connection.execute(delete(made).where(made.c.search == record.name))
            write_digests(connection, tables.choices, record.name, cycles)

    def lease(self, search: str, **options: Any) -> lease.Lease:
        """The lease that a driver holds while it runs the search."""
        return lease.Lease(self.engine, search, retries=self.retries, **options)

    def holder(self, /, search: str, **options: Any) -> str | None:
        """Who runs the search now: see :func:`oracle.ledger.lease.holder`."""
        return lease.holder(partial(self._leased, search), search, **options)

    @retried
    def _leased(self, search: str) -> Row[tuple[object, ...]] | None:
        return lease.leased(self.engine, search)

    def ask_to_stop(self, search: str) -> bool:
        """Asks who runs the search, on whatever machine, to stop; gives whether anybody runs it.

        Raises:
            Refused: It is run, and this ledger can't be written here.
        """
        try:
            return self.retries.call(lambda _: lease.ask_to_stop(self.engine, search))
        except DATABASE_ERRORS as error:
            if is_away(error):
                raise
            raise Refused(
                f"search {search!r} is run by {self.holder(search)}, which is asked to stop in "
                f"the ledger, and that can't be written here ({reason(error)}); stop it where it can be"
            ) from error

    def start_run(self, search: str, *, driver: str, host: str, versions: dict[str, str]) -> str:
        """Records that a driver starts; gives the run's id, which tells its place among the search's runs."""
        row: dict[str, Any] = {
            "id": f"r{self._count_runs(search):07d}{uuid.uuid4().hex[:24]}",
            "search": search,
            "started": time.time(),
            "state": "running",
            "driver": driver,
            "host": host,
            "versions": json.dumps(versions),
        }
        self._add_run(row)
        self._begun[row["id"]] = row["started"], time.monotonic()
        return str(row["id"])

    @retried
    def _count_runs(self, search: str) -> int:
        query = select(func.count()).select_from(tables.runs).where(tables.runs.c.search == search)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    @retried
    def _add_run(self, row: dict[str, Any]) -> None:
        table = tables.runs
        with self.engine.begin() as connection:
            connection.execute(delete(table).where(table.c.id == row["id"]))
            abandoned = (table.c.search == row["search"]) & (table.c.state == "running")
            changed = [*connection.execute(select(table.c.id).where(abandoned)).scalars(), row["id"]]
            connection.execute(update(table).where(abandoned).values(state="interrupted"))
            connection.execute(insert(table).values(**row))
            write_digests(connection, table, row["search"], changed)

    def end_run(self, run: str, *, state: str, error: str | None = None) -> None:
        """Records how a run ended, and when by the clock as it was when it started."""
        started, begun = self._begun.get(run, (time.time(), time.monotonic()))
        self._end_run(run, {"state": state, "ended": started + time.monotonic() - begun, "error": error})

    @retried
    def _end_run(self, run: str, values: dict[str, Any]) -> None:
        table = tables.runs
        with self.engine.begin() as connection:
            connection.execute(update(table).where(table.c.id == run).values(**values))
            for search in connection.execute(select(table.c.search).where(table.c.id == run)).scalars().all():
                write_digests(connection, table, search, [run])

    @retried
    def end_abandoned(self, search: str, *, state: str, ended: float | None) -> None:
        """Records how runs ended that have no end, as their drivers were killed; the search's lease is held.

        Args:
            search: The search.
            state: How they ended.
            ended: When, in seconds since 1970; None if it is not known.
        """
        table = tables.runs
        with self.engine.begin() as connection:
            abandoned = (table.c.search == search) & (table.c.state == "running")
            rows = connection.execute(select(table.c.id, table.c.started).where(abandoned)).all()
            for run, started in rows:
                known = None if ended is None else max(started, ended)
                this = update(table).where(table.c.id == run)
                connection.execute(this.values(state=state, ended=known))
            write_digests(connection, table, search, [run for run, _ in rows])

    @retried
    def summary_state(self, search: str) -> str | None:
        """The state that a search's summary study shows; None where it shows none."""
        state = study_attribute(self.storage, search, "state")
        return None if state is None else str(state)

    @retried
    def runs(self, search: str) -> tuple[Run, ...]:
        """The runs of a search, oldest first, whatever the clocks of their machines said."""
        own = tables.runs.c
        place = case((own.id.startswith("r"), func.substr(own.id, 1, 8)), else_="")  # earlier ones have none
        with self.engine.connect() as connection:
            query = with_digests(tables.runs).where(own.search == search).order_by(place, own.started)
            rows = connection.execute(query).mappings().all()
            lost = count_lost(connection, tables.runs, search)
        if lost:
            self._name_foreign(f"search {search!r} lacks {lost} of its runs, and the time that they took")
        found = [(row["written"], _run(search, index, row)) for index, row in enumerate(rows)]
        # Runs have digests since a version of this program: one without any is older than those that do.
        since = min((run.started for written, run in found if written is not None), default=math.inf)
        ours = tuple(run for written, run in found if written is not None or run.started < since)
        if others := len(found) - len(ours):
            self._name_foreign(f"search {search!r} has {others} runs that were added by hand, and left alone")
        return ours

    def add_outcomes(self, search: str, outcomes: Mapping[str, Trial], *, axis: Axis) -> None:
        """Writes the rows of finished trials of one cycle, by their keys, in one transaction."""
        (cycle,) = {outcome.cycle for outcome in outcomes.values()}
        rows = [to_row(outcome, key=key, axis=axis) for key, outcome in outcomes.items()]
        self._write(search, cycle, rows)

    def add_failure(
        self, search: str, *, cycle: int, replicate: int, max_lr: float, error: str, axis: Axis
    ) -> None:
        """Writes the row of a trial that failed for good in this run."""
        row = failed_row(replicate=replicate, max_lr=max_lr, error=error, axis=axis)
        self._write(search, cycle, [row])

    def _write(self, search: str, cycle: int, rows: Sequence[FrozenTrial]) -> None:
        study = self.cycle_study(search, cycle)

        def write(again: bool) -> None:
            write_rows(self.storage, study, rows, again=again)

        try:
            self.retries.call(write)
        except KeyError as error:
            raise LedgerFailed(
                f"study {study.study_name!r} was deleted from the ledger while its search runs; run the same "
                "command again to train anew what was in it"
            ) from error

    @retried
    def replace_checkpoint(self, search: str, key: str, outcome: Trial) -> None:
        """Records the file that a finished trial's network was written to anew, its first one being lost.

        Optuna lets no finished row change, so this stands beside the row. What was pruned from the first file
        stays, and nothing tells any more that it was.
        """
        table, parents = tables.rewritten, tables.parents
        place = {"search": search, "cycle": outcome.cycle + 1, "replicate": outcome.replicate}
        with self.engine.begin() as connection:
            gone = (table.c.search == search) & (table.c.key == key)
            connection.execute(delete(table).where(gone))
            connection.execute(insert(table).values(key=key, search=search, sha256=outcome.checkpoint.sha256))
            here = (parents.c[name] == at for name, at in place.items())
            connection.execute(update(parents).where(*here).values(sha256=None))

    def outcomes(self, search: str) -> dict[str, Trial]:
        """All finished trials of a search by their keys, read cycle by cycle."""
        rewritten = self._rewritten(search)
        found: dict[str, Trial] = {}
        for cycle, study in self._cycle_studies(search):
            for key, outcome in self._outcomes(search, cycle, study).items():
                if key in rewritten:
                    file = StoredFile(path=outcome.checkpoint.path, sha256=rewritten[key])
                    outcome = replace(outcome, checkpoint=file)
                found[key] = outcome
        return found

    @retried
    def _rewritten(self, search: str) -> dict[str, str]:
        """Key to checksum of the networks that were written anew."""
        with self.engine.connect() as connection:
            query = select(tables.rewritten).where(tables.rewritten.c.search == search)
            return {row.key: _sha256_of(search, row) for row in connection.execute(query)}

    @retried
    def _outcomes(self, search: str, cycle: int, study: optuna.Study) -> dict[str, Trial]:
        """The outcomes that a cycle's study holds; what has no key is somebody else's, and left alone."""
        found: dict[str, Trial] = {}
        numbers: dict[str, int] = {}
        for row in read_rows(self.storage, study):
            place = f"trial {row.number} of study {study.study_name!r}"
            if "key" not in row.attributes:
                self._name_foreign(f"{place} has no key: it is none of search {search!r}, and left alone")
                continue
            delete_it = f"delete study {study.study_name!r} and run the search again, which trains it anew"
            with reading(search, f"cycle {cycle}, {place}; put back what was there, or {delete_it}"):
                key, outcome = from_row(row, cycle=cycle)
                if repr(found.get(key, outcome)) != repr(outcome):  # NaN is not equal to itself
                    raise DamagedValue(f"trial {numbers[key]} has the same key, and other values")
            found[key], numbers[key] = outcome, row.number
        return found

    def _name_foreign(self, line: str) -> None:
        """Names what is not ours, once."""
        if line not in self._named:
            self._named.add(line)
            logging.getLogger("oracle").warning("ledger: %s", line)

    @retried
    def add_pruning(self, search: str, pruned: PrunedNetwork) -> None:
        """Records a pruned network, replacing an earlier one of the same cycle and replicate."""
        table, parents = tables.prunings, tables.parents
        place = {"search": search, "cycle": pruned.cycle, "replicate": pruned.replicate}
        with self.engine.begin() as connection:
            for made in (table, parents):
                connection.execute(delete(made).where(*(made.c[name] == at for name, at in place.items())))
            file = {"path": pruned.start.path, "sha256": pruned.start.sha256}
            numbers = {name: getattr(pruned, name) for name in _PRUNING[2:]}
            connection.execute(insert(table).values(**place, **file, **numbers))
            beside = {"sha256": pruned.parent, "digest": _digest(pruned)}
            connection.execute(insert(parents).values(**place, **beside))

    @retried
    def prunings(self, search: str) -> tuple[PrunedNetwork, ...]:
        """The pruned networks of a search."""
        table, parents = tables.prunings, tables.parents
        same_place = (table.c[name] == parents.c[name] for name in ("search", "cycle", "replicate"))
        beside = parents.c.sha256.label("parent"), parents.c.digest
        query = select(table, *beside).outerjoin(parents, and_(*same_place))
        with self.engine.connect() as connection:
            rows = connection.execute(query.where(table.c.search == search)).mappings().all()
        return tuple(_pruning(search, row) for row in rows)

    def summary_study(self, search: str) -> optuna.Study:
        """The study that carries a search's comparison plot and note in Optuna's dashboard."""
        return self._open_study(search, search)

    def add_summary_rows(self, search: str, rows: Sequence[FrozenTrial]) -> None:
        """Writes rows into the summary study, in place of those of the same attribute ``key``."""

        if not rows:
            return
        study = self.summary_study(search)
        if self.retries.call(lambda _: write_rows(self.storage, study, rows, replacing=True)):
            self._studies.pop(search)  # as Optuna keeps finished rows in memory

    def cycle_study(self, search: str, cycle: int) -> optuna.Study:
        """The study that holds a cycle's trials."""
        return self._open_study(cycle_name(search, cycle), search)

    @retried
    def describe(
        self,
        study: optuna.Study,
        user: Attributes,
        *,
        system: Attributes | None = None,
        replacing: tuple[str, ...] = (),
    ) -> None:
        """Writes attributes of a study in one transaction; see :func:`write_attributes`."""
        write_attributes(self.storage, study, user=user, system=system or {}, replacing=replacing)

    def _open_study(self, name: str, search: str) -> optuna.Study:
        if name not in self._studies:
            metric = self._metric(search)
            with _naming_study(name):
                study = self._created(name, metric)
                self._name_metric(study, metric)
            self._studies[name] = study
        return self._studies[name]

    @retried
    def _created(self, name: str, metric: Metric) -> optuna.Study:
        goal = StudyDirection.MINIMIZE if metric.goal == "min" else StudyDirection.MAXIMIZE
        return optuna.create_study(
            storage=self.storage, study_name=name, load_if_exists=True, directions=[goal]
        )

    @retried
    def _name_metric(self, study: optuna.Study, metric: Metric) -> None:
        if not study.metric_names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([f"validation {metric.name}"])

    def _metric(self, search: str) -> Metric:
        """What a search is judged by: accuracy where its spec is of a time without metrics."""
        record = self.search(search)
        told = record.spec.get("metric") if record else None
        return Metric(**{name: told[name] for name in ("name", "goal") if name in told}) if told else Metric()

    def _cycle_studies(self, search: str) -> Iterable[tuple[int, optuna.Study]]:
        """The studies of a search's cycles; one of a similar name is somebody else's, and left alone."""
        prefix = f"{search}/"
        for name in sorted(name for name in self._study_names() if name.startswith(prefix)):
            cycle = _cycle_of(search, name)
            if cycle is None:
                self._name_foreign(f"study {name!r} is none of search {search!r}, and left alone")
                continue
            try:
                with _naming_study(name):
                    study = self._loaded(name)
            except KeyError:  # it has been deleted since
                continue
            yield cycle, study

    @retried
    def _loaded(self, name: str) -> optuna.Study:
        return optuna.load_study(study_name=name, storage=self.storage)

    @retried
    def _study_names(self) -> list[str]:
        return list(study_numbers(self.storage))


@contextmanager
def _naming_study(name: str) -> Iterator[None]:
    """Makes what Optuna can't read of a study itself one line."""
    try:
        yield
    except KeyError:
        raise
    except (ValueError, LookupError) as error:
        raise Refused(
            f"ledger: study {name!r} can't be read ({str(error).splitlines()[0]}); put back what was there, "
            "or delete it, and run the search again, which makes it anew"
        ) from error


def _cycle_of(search: str, study: str) -> int | None:
    """The cycle whose trials a study holds; None if it is none of the search's."""
    found = re.fullmatch(rf"{re.escape(search)}/cycle-([0-9]{{2,}})", study)
    return int(found[1]) if found and study == cycle_name(search, int(found[1])) else None


def _is_of(search: str, study: str) -> bool:
    """Whether a study is a search's, by its name."""
    return study == search or _cycle_of(search, study) is not None


def _record(row: Row[Any]) -> SearchRecord:
    record = read_record(row)
    mend = "put back what was there, or delete the row of oracle_digests that is its, to take it as it is"
    with reading(record.name, f"its row of oracle_searches; {mend}"):
        check_digest(row)
    return record


def _run(search: str, index: int, row: RowMapping) -> Run:
    with reading(search, f"run {index} of oracle_runs; put back what was there, or delete the row"):
        known = {name: checked(name, row[name], str) for name in ("state", "driver", "host")}
        versions = checked("versions", parsed(row["versions"]), dict)
        ended, error = row["ended"], row["error"]
        run = Run(
            started=checked("started", row["started"], float, low=0.0, high=LATEST),
            ended=None if ended is None else checked("ended", ended, float, low=0.0, high=LATEST),
            error=None if error is None else checked("error", error, str),
            versions={name: checked(name, version, str) for name, version in versions.items()},
            **known,
        )
        check_digest(row)
        return run


def _pruning(search: str, row: RowMapping) -> PrunedNetwork:
    place = f"cycle {row['cycle']}, replicate {row['replicate']} of oracle_prunings"
    with reading(search, f"{place}; put back what was there, or delete the row, and run the search again"):
        whole = {name: checked(name, row[name], int, low=0) for name in _PRUNING if name != "norm_drop"}
        if not 0 < whole["alive"] <= whole["prunable"] <= whole["parameters"]:
            shown = ", ".join(f"{name} {whole[name]}" for name in ("alive", "prunable", "parameters"))
            raise DamagedValue(f"{shown} should not fall, and be above 0")
        files = {name: checked(name, row[name], str) for name in ("path", "sha256")}
        found = PrunedNetwork(
            start=StoredFile(**files),
            norm_drop=checked("norm_drop", row["norm_drop"], float, low=0.0, high=1.0 + 1e-6),
            parent=None if row["parent"] is None else checked("parent", row["parent"], str),
            **whole,
        )
        if row["digest"] not in (None, _digest(found)):
            raise DamagedValue("its values are not those that were written: their digest is another")
        return found


def _digest(pruned: PrunedNetwork) -> str:
    """Tells a pruned network's row from any other."""
    return digest((*(getattr(pruned, name) for name in _PRUNING), pruned.start))


def _sha256_of(search: str, row: Row[Any]) -> str:
    with reading(search, f"the row of oracle_rewritten with key {row.key!r}"):
        return str(checked("sha256", row.sha256, str))
