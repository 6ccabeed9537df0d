"""Searches on Ray clusters from Python: submit one, see how its job stands, stop it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ruamel.yaml import YAML

from oracle.errors import Refused, TrialsFailed
from oracle.jobs.client import PREFLIGHT_PASSED, Job, Jobs, make_package
from oracle.ledger import Ledger
from oracle.spec import DEFAULT_LEDGER, Spec
from oracle.spec_file import given_specs, is_spec_file, load_specs, spec_name
from silo.errors import InvalidInput, SiloOracleError

Search = Spec | str | Path | Job
"""What names a search: its spec, the spec's file, its name, or its job."""

Tell = Callable[[str], object]
"""Hears what a search prints, some whole lines at a time."""

_STOP_SECONDS, _LOOK_EVERY = 120, 0.5


def submit(
    spec: Spec | str | Path,
    *,
    address: str | None = None,
    working_dir: str | Path | None = None,
    follow: bool = False,
    tell: Tell = lambda text: None,
) -> Job:
    """Submits a search to a Ray cluster, or goes on with it there: nothing in the ledger is trained again.

    Returns once the cluster has looked at everything that can refuse the search. :func:`oracle.load` has what
    it finds, in the ledger that the spec names.

    Args:
        spec: A spec, or the YAML file of one, with or without variants.
        address: The dashboard of the cluster's head, ``http://HOST:8265``; by default
            $RAY_API_SERVER_ADDRESS.
        working_dir: Folder that travels with the spec, for modules of your own.
        follow: Waits for the search's end instead.
        tell: Hears what it prints, until this returns.

    Returns:
        Its job.

    Raises:
        InvalidInput: The spec or the address is wrong.
        Refused: It can't run there and now, or runs already.
        TrialsFailed: It has ended with an error; what has finished is in the ledger.
    """
    folder = None if working_dir is None else Path(working_dir)
    job, log = start(spec, address=_given(address), working_dir=folder, follow=follow, tell=tell)
    if job.state != "FAILED":
        return job
    kind: type[SiloOracleError] = {2: InvalidInput, 3: Refused}.get(job.exit_code or 1, TrialsFailed)
    if kind is TrialsFailed and PREFLIGHT_PASSED not in log:
        kind = Refused
    lines = [why_ended(job, log), *reversed(log.strip().splitlines()), job.message]
    raise kind(f"search {job.name!r} has failed on {_given(address)}: {next(filter(None, lines))}")


def status(search: Search, *, address: str | None = None) -> Job:
    """How a submitted search's job stands; :func:`oracle.load` says how far the search is.

    Args:
        search: What names it.
        address: As for :func:`submit`.

    Raises:
        InvalidInput: There is no address, or the spec's file is wrong.
        Refused: The cluster can't be asked, or knows no such job.
    """
    jobs, name = Jobs(_given(address)), job_name(search)
    job = jobs.find(name)
    if job is None:
        known = ", ".join(each.name for each in jobs.all()) or "none"
        raise Refused(f"no search {name!r} was submitted to {jobs.address}; there are: {known}")
    return job


def stop(search: Search, *, address: str | None = None, ledger: str | None = None) -> bool:
    """Interrupts a running search, and waits for its end; the call that began it goes on with it.

    Args:
        search: What names it; all variants of a file that has some.
        address: As for :func:`submit`: its job there is interrupted. Without one, or if there is no such job,
            whatever runs the search on any machine is asked through the ledger.
        ledger: Database URL, in place of an address; by default the spec's, of a name $ORACLE_LEDGER.

    Returns:
        Whether it ran.

    Raises:
        InvalidInput: The ledger's URL or the spec's file is wrong.
        Refused: There is no such search, or it has not ended in time.
    """
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if address and ledger is None:
        jobs = Jobs(address)
        if (job := jobs.find(job_name(search))) is not None:
            if not job.ended_state:
                jobs.stop(job.name)
            return not job.ended_state
    ran, unknown = [], []
    for name, url in _places(search, ledger):
        try:
            opened, _ = Ledger.open_search(name, url)
        except Refused as error:  # of a file's variants some may not have begun
            unknown.append(error)
            continue
        try:
            ran.append(stop_in_ledger(opened, name))
        finally:
            opened.close()
    if not ran:
        raise unknown[0]
    return any(ran)


def start(
    spec: Spec | str | Path, *, address: str, working_dir: Path | None, follow: bool, tell: Tell
) -> tuple[Job, str]:
    """Submits as :func:`submit` does; gives how its job stands, and what it has printed."""
    given_specs(spec)
    with tempfile.TemporaryDirectory(prefix="oracle-submit-") as folder:
        if isinstance(spec, Spec):
            (Path(folder) / "spec").mkdir()
            file = Path(folder) / "spec" / f"{spec.name}.yaml"
            YAML().dump(spec.model_dump(mode="json", exclude_unset=True), file)
        else:
            file = Path(spec)
        package = make_package(file, Path(folder), working_dir=working_dir)
        jobs = Jobs(address)
        skip = jobs.submit(package)
    return hear(jobs, package.name, tell, skip=skip, preflight=not follow)


def hear(jobs: Jobs, name: str, tell: Tell, *, skip: int = 0, preflight: bool = False) -> tuple[Job, str]:
    """Tells what a job prints until its end, or its preflight's; gives how it stands, and the text.

    Args:
        jobs: Those of its cluster.
        name: Its name.
        tell: Hears it.
        skip: Characters of its log that are left out.
        preflight: Whether the end of its preflight is enough.
    """
    job, log = None, ""
    for text, found in jobs.follow(name, skip=skip):
        job, passed = found, preflight and PREFLIGHT_PASSED in text
        if passed:
            text = text[: text.index("\n", text.index(PREFLIGHT_PASSED)) + 1]
        log += text
        tell(text)
        if passed:
            break
    assert job is not None
    return job, log


def why_ended(job: Job, log: str) -> str | None:
    """What a failed job's log doesn't say, or not to those who don't know Ray."""
    if "No module named" in log and PREFLIGHT_PASSED not in log:
        return (
            "if that is this package or what it needs, the cluster lacks it: install it on every node, in "
            "the environment whose python is first on the PATH of ray start"
        )
    if job.exit_code is None:
        return f"the job has {job.state.lower()}: {(job.message.splitlines() or ['no reason is known'])[0]}"
    if job.exit_code < 0:
        return (
            f"the driver was killed by signal {-job.exit_code} (9: too little memory, perhaps); submit "
            "it again to go on"
        )
    return None


def stop_in_ledger(ledger: Ledger, name: str, asked: Callable[[], object] = lambda: None) -> bool:
    """Asks who runs a search to stop, and waits until nobody does; gives whether anybody ran it.

    Args:
        ledger: Its ledger.
        name: Its name.
        asked: Called once it is asked.

    Raises:
        Refused: That takes too long.
    """
    if not ledger.ask_to_stop(name):
        return False
    asked()
    deadline = time.monotonic() + _STOP_SECONDS
    while holder := ledger.holder(name, watched=True):
        if time.monotonic() > deadline:
            raise Refused(f"search {name!r} is still run by {holder}: it was asked to stop, and has not yet")
        time.sleep(_LOOK_EVERY)
    return True


def job_name(search: Search) -> str:
    """The name of the Ray job that runs a search, or all of a spec file's; a name is its own."""
    if isinstance(search, Spec | Job):
        return search.name
    return spec_name(search) if is_spec_file(search) else str(search)


def _places(search: Search, ledger: str | None) -> Iterator[tuple[str, str]]:
    """Names and ledgers of all searches that are meant."""
    if isinstance(search, Job):
        yield from ((name, ledger or search.place) for name in search.searches)
    elif isinstance(search, Spec) or is_spec_file(search):
        specs = (search,) if isinstance(search, Spec) else load_specs(search)
        yield from ((spec.name, ledger or spec.ledger) for spec in specs)
    else:
        yield str(search), ledger or os.environ.get("ORACLE_LEDGER") or DEFAULT_LEDGER


def _given(address: str | None) -> str:
    found = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if not found:
        raise InvalidInput("give address='http://HOST:8265', or set RAY_API_SERVER_ADDRESS")
    return found.rstrip("/")
