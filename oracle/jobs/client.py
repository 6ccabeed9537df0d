"""A cluster's jobs, by Ray's own client with what goes wrong said in one line, and what travels to them."""

from __future__ import annotations

import io
import logging
import os
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from ruamel.yaml import YAML
from sqlalchemy import URL, make_url

from oracle.errors import Refused
from oracle.ledger.database import check_url
from oracle.spec import DEFAULT_LEDGER, Spec
from oracle.spec_file import load_specs, spec_name
from silo.errors import InvalidInput
from trials.secrets import without_secrets

LARGEST = 100 * 1024**2
"""Bytes that Ray takes at most."""

_NAMED = 5
"""How many of the largest files are named when there is too much."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A zip file with everything that a search needs on the cluster.

    Attributes:
        path: The file.
        name: The search's name, of a spec with variants what their names begin with.
        searches: The names of its searches.
        spec_file: The spec's place in it.
        ledger: The ledger's URL, without a password.
    """

    path: Path
    name: str
    searches: tuple[str, ...]
    spec_file: str
    ledger: str


def make_package(spec_file: Path, folder: Path, *, working_dir: Path | None = None) -> Package:
    """Packs a spec and the working directory whose modules it names.

    Args:
        spec_file: The spec.
        folder: Where the zip file is written.
        working_dir: What travels with the spec; its .gitignore and .rayignore are heeded.

    Raises:
        InvalidInput: The spec is wrong, names a place that only this machine has, or holds a secret other
            than the ledger's password, which is taken out; or there is more than Ray takes.
    """
    specs = load_specs(spec_file)
    for spec in specs:
        _check_places(spec)
    text, name = _text_without_secrets(spec_file), spec_name(spec_file)
    path, place = folder / "working_dir.zip", f"{name}.yaml"
    if working_dir is not None:
        _zip(working_dir, path, without=spec_file)
        _check_specs(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as package:
        if place in package.namelist():
            place = f"submitted-{place}"
        # One date, so that the same content is the same package to Ray.
        package.writestr(zipfile.ZipInfo(place, (2000, 1, 1, 0, 0, 0)), text)
    _check_size(path, working_dir)
    return Package(
        path=path,
        name=name,
        searches=tuple(spec.name for spec in specs),
        spec_file=place,
        ledger=_without_password(specs[0].ledger),
    )


def _check_places(spec: Spec) -> None:
    if "://" not in spec.storage and not Path(spec.storage).is_absolute():
        raise InvalidInput(
            f"storage: {spec.storage!r} is a folder below the working directory, which on a cluster is gone "
            "with the job; give an absolute folder that all nodes share, or a URI such as s3://bucket/folder"
        )
    check_url(spec.ledger)
    url = make_url(spec.ledger)  # what ~ stands for on the head isn't known here
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_absolute():
        raise InvalidInput(
            f"ledger: {spec.ledger} is a file below the working directory, which on a cluster is gone with "
            "the job; give postgresql+psycopg://user@host/database, or sqlite:////folder/on/the/head/file.db"
        )


def _text_without_secrets(spec_file: Path) -> str:
    """The spec's text; what is wrong with the spec is found before."""
    yaml = YAML()
    data = yaml.load(spec_file.read_text(encoding="utf-8"))
    for part in (data, *(data.get("variants") or {}).values()):
        if part and "ledger" in part:
            part["ledger"] = _without_password(part["ledger"])
    stream = io.StringIO()
    yaml.dump(data, stream)
    text = stream.getvalue()
    for line in text.splitlines():
        if without_secrets(line) != line:
            raise InvalidInput(
                f"{spec_file}: a secret stands in it ({without_secrets(line.strip())}), and everybody who "
                "reaches the cluster could read it; take it out, and give it to the cluster's nodes"
            )
    return text


def _without_password(url: str) -> str:
    given = check_url(url)
    bare = URL.create(
        given.drivername, given.username, None, given.host, given.port, given.database, given.query
    )
    return bare.render_as_string()


def _check_specs(path: Path) -> None:
    """Refuses secrets in the other specs that lie in the working directory."""
    with zipfile.ZipFile(path) as package:
        for name in package.namelist():
            if name.endswith((".yaml", ".yml")):
                text = package.read(name).decode(errors="replace")
                if without_secrets(text) != text:
                    raise InvalidInput(
                        f"--working-dir: a secret stands in {name}, and everybody who reaches the cluster "
                        "could read it; take it out, or name the file in .gitignore or .rayignore"
                    )


def _zip(working_dir: Path, path: Path, *, without: Path) -> None:
    from oracle.drivers.ray_internals import zip_folder

    if not working_dir.is_dir():
        raise InvalidInput(f"--working-dir: {working_dir} is no folder; name the one that holds your modules")
    inside = without.resolve().is_relative_to(working_dir.resolve())
    excludes = [f"/{without.resolve().relative_to(working_dir.resolve())}"] if inside else []
    zip_folder(working_dir, path, excludes=excludes)


def _check_size(path: Path, working_dir: Path | None) -> None:
    size = path.stat().st_size
    if size < LARGEST:
        return
    with zipfile.ZipFile(path) as package:
        largest = sorted(package.infolist(), key=lambda item: -item.compress_size)[:_NAMED]
    named = ", ".join(f"{item.filename} ({_mebibytes(item.compress_size)})" for item in largest)
    raise InvalidInput(
        f"--working-dir: {working_dir} packs to {_mebibytes(size)}, and Ray takes {_mebibytes(LARGEST)}; the "
        f"largest: {named}. Leave out what the search doesn't need in .gitignore or .rayignore"
    )


def _mebibytes(size: int) -> str:
    return f"{size / 1024**2:,.1f} MiB"


PREFLIGHT_PASSED = "preflight passed:"
"""How the line begins after which a search on a cluster isn't refused any more."""

_ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
_OURS = "oracle.searches"
_STOP_SECONDS = 60
"""Seconds that a driver has to write down what its workers have finished."""

_AGENT_SECONDS = 60
"""Seconds within which a cluster that has just started can run a job."""

_LOOK_EVERY = 0.5
"""Seconds between two looks at a job."""

_RAY_LOOKS_EVERY = 2.5
"""Seconds after which Ray has surely seen that a job has ended."""

# Ray's words about starting a job, which say nothing about the search.
_RAYS_WORDS = ("INFO job_manager.py:", "INFO worker.py:", "Running entrypoint for job ")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A search as a Ray job.

    Attributes:
        name: Its submission id: the search's name.
        state: ``PENDING``, ``RUNNING``, ``STOPPED``, ``SUCCEEDED`` or ``FAILED``.
        searches: The names of its searches: several if its spec has variants.
        ledger: The ledger's URL, without a password.
        started: Seconds since 1970; None if it has not started.
        ended: Likewise.
        exit_code: Of the driver, below 0 if a signal has killed it; None if it has not ended, or was stopped.
        message: What Ray says of it.
    """

    name: str
    state: str
    searches: tuple[str, ...]
    ledger: str | None
    started: float | None
    ended: float | None
    exit_code: int | None
    message: str

    @property
    def ended_state(self) -> bool:
        """Whether it has ended."""
        return self.state in _ENDED

    @property
    def place(self) -> str:
        """The ledger that the cluster names, to be opened.

        Raises:
            Refused: A password of this process's environment, which is for a server of the user's choice,
                would be sent to one of the cluster's choice.
        """
        url = self.ledger or DEFAULT_LEDGER
        parsed = check_url(url)
        if parsed.get_backend_name() != "sqlite" and "PGPASSWORD" in os.environ and parsed.password is None:
            raise Refused(
                f"the cluster names {without_secrets(url)} as the ledger of job {self.name!r}, and the "
                "password in PGPASSWORD would be sent there: if that is right, give --ledger "
                f"{without_secrets(url)}"
            )
        return url


class Jobs:
    """The searches that were submitted to a cluster.

    Args:
        address: Of its dashboard, such as ``http://host:8265``.

    Raises:
        Refused: Nothing answers there, or it wants a token that this process hasn't.
    """

    def __init__(self, address: str) -> None:
        import ray
        from ray.job_submission import JobSubmissionClient

        from oracle.drivers.ray_internals import look_at_environment

        if not address.startswith(("http://", "https://")):
            raise Refused(
                f"address {address!r} is no dashboard's: give that of the cluster's head, http://HOST:8265"
            )
        self.address = address.rstrip("/")
        if not ray.is_initialized():
            look_at_environment()  # a token may have been named since Ray was imported
        logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.ERROR)
        with self._errors(), _this_address(self.address):
            self._client = JobSubmissionClient(self.address)

    def submit(self, package: Package) -> int:
        """Submits a search, in place of its job that has ended.

        Returns:
            The characters that earlier jobs of this name have left in its log.

        Raises:
            Refused: It runs already.
        """
        known = self._job(package.name)
        if known is not None and not known.ended_state:
            raise self._runs(package.name)
        before = len(self._log(package.name)) if known else 0
        with self._errors():
            if known is not None:
                # Ray looks after a job once a second: deleted before it has seen the end, the next job of
                # this name would be taken for the one that has ended.
                time.sleep(_RAY_LOOKS_EVERY)
                self._client.delete_job(package.name)
            try:
                self._submit_once_it_can_run(
                    entrypoint=f"exec python -m oracle run {package.spec_file} --address auto",
                    submission_id=package.name,
                    runtime_env={
                        "working_dir": str(package.path),
                        "env_vars": {
                            "PYTHONUNBUFFERED": "1",
                            "RAY_JOB_STOP_SIGNAL": "SIGINT",
                            "RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS),
                        },
                    },
                    metadata={_OURS: " ".join(package.searches), "oracle.ledger": package.ledger},
                )
            except RuntimeError as error:
                if "already" in str(error):  # another submission was faster
                    raise self._runs(package.name) from None
                raise
        return before

    def _submit_once_it_can_run(self, **job: Any) -> None:
        """Submits a job, on a cluster that has just started once a node can run it."""
        end = time.monotonic() + _AGENT_SECONDS
        while True:
            try:
                self._client.submit_job(**job)
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(1)
            else:
                return

    def find(self, name: str) -> Job | None:
        """The job of this name, or else the one that runs a search of this name, or ran it last."""
        found = [job for job in self.all() if name in job.searches]
        return self._job(name) or (found[0] if found else None)

    def _job(self, name: str) -> Job | None:
        return next((job for job in self.all() if job.name == name), None)

    def all(self) -> list[Job]:
        """All jobs that are searches, the newest first."""
        with self._errors():
            details = self._client.list_jobs()
        jobs = [_job(each) for each in details if each.submission_id and _OURS in (each.metadata or {})]
        return sorted(jobs, key=lambda job: -(job.started or 0.0))

    def log(self, name: str, *, skip: int = 0) -> str:
        """The log of a job's drivers, without its first characters."""
        log = self._log(name)
        # A head that was replaced has lost what came before.
        return _without_rays_words(log[skip:] if len(log) >= skip else log)

    def follow(self, name: str, *, skip: int = 0) -> Iterator[tuple[str, Job]]:
        """The log of a job as it grows, in whole lines, with the job's state; ends with the job."""
        shown = 0
        while True:
            job = self._job(name)
            if job is None:
                raise Refused(f"job {name!r} is not on the cluster at {self.address} any more")
            log = self.log(name, skip=skip)
            end = len(log) if job.ended_state else log.rfind("\n") + 1
            yield log[shown:end], job
            shown = max(shown, end)
            if job.ended_state:
                return
            time.sleep(_LOOK_EVERY)

    def stop(self, name: str) -> Job:
        """Interrupts a job's driver, and waits for its end."""
        with self._errors():
            self._client.stop_job(name)
        deadline = time.monotonic() + 2 * _STOP_SECONDS
        while time.monotonic() < deadline:
            job = self._job(name)
            if job is None or job.ended_state:
                break
            time.sleep(_LOOK_EVERY)
        if job is None or not job.ended_state:
            raise Refused(f"job {name!r} has not ended within {2 * _STOP_SECONDS} seconds; look at its log")
        return job

    def _log(self, name: str) -> str:
        with self._errors():
            found: str = self._client.get_job_logs(name)
        return found or ""

    def _runs(self, name: str) -> Refused:
        return Refused(
            f"search {name!r} runs on this cluster already; follow it: oracle logs -f {name}, or stop it: "
            f"oracle stop {name}, both with --address {self.address}"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Says in one line what Ray's client raises."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise Refused(
                f"the cluster at {self.address} asks for a token, and this one is missing or wrong; set "
                "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file that holds the cluster's token"
            ) from error
        except (ConnectionError, requests.RequestException) as error:
            raise Refused(
                f"no Ray cluster's dashboard answers at {self.address}; give that of its head, "
                "http://HOST:8265 by default"
            ) from error
        except RuntimeError as error:
            raise Refused(f"the cluster at {self.address} refuses: {_reason(error)}") from error


def _job(details: Any) -> Job:
    metadata = details.metadata or {}
    return Job(
        name=details.submission_id,
        state=details.status.value,
        searches=tuple(metadata[_OURS].split()),
        ledger=metadata.get("oracle.ledger"),
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        exit_code=details.driver_exit_code,
        message=details.message or "",
    )


@contextmanager
def _this_address(address: str) -> Iterator[None]:
    """Keeps Ray's client from going elsewhere: its environment variables outrank what it is given."""
    before = os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ["RAY_API_SERVER_ADDRESS"]
        else:
            os.environ["RAY_API_SERVER_ADDRESS"] = before


def _without_rays_words(log: str) -> str:
    return "".join(
        line for line in log.splitlines(keepends=True) if not any(words in line for words in _RAYS_WORDS)
    )


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
