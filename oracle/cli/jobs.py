"""Commands on a Ray cluster: submit, logs, stop."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from oracle.cli.show import ADDRESS, LEDGER, TARGET, open_searches
from oracle.cli.specs import SPEC, job_name
from oracle.driving import PREFLIGHT_PASSED
from oracle.errors import Refused
from oracle.jobs import Job, Jobs, make_package
from oracle.ledger import Ledger

_STOP_SECONDS, _LOOK_EVERY = 120, 0.5


@click.command()
@SPEC
@ADDRESS
@click.option(
    "--working-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that travels with the spec, for your own modules; at most 100 MiB packed.",
)
@click.option("--follow", is_flag=True, help="Show what the search prints until it ends.")
@click.pass_context
def submit(
    context: click.Context, spec_file: Path, address: str | None, working_dir: Path | None, follow: bool
) -> None:
    """Submit a search to a Ray cluster, or go on with it there: what the ledger holds is never trained again.

    Returns once the cluster has looked at everything that can refuse the search.
    """
    with tempfile.TemporaryDirectory(prefix="oracle-submit-") as folder:
        package = make_package(spec_file, Path(folder), working_dir=working_dir)
        jobs = cluster_jobs(address)
        skip = jobs.submit(package)
    job, log = _show_until(jobs, package.name, skip, preflight=not follow)
    if not job.ended_state:
        place = f"{package.name} --address {jobs.address}"
        click.echo(f"Search {package.name} runs. Look: oracle logs -f {place}; stop: oracle stop {place}")
        return
    _end(context, job, log)


@click.command()
@TARGET
@ADDRESS
@click.option("-f", "--follow", is_flag=True, help="Until the search ends.")
def logs(target: str, address: str | None, follow: bool) -> None:
    """Show what a submitted search has printed."""
    jobs = cluster_jobs(address)
    job = known_job(jobs, target)
    if not follow:
        click.echo(jobs.log(job.name), nl=False)
        return
    _show_until(jobs, job.name, 0, preflight=False)


@click.command()
@TARGET
@LEDGER
@ADDRESS
def stop(target: str, ledger: str | None, address: str | None) -> None:
    """Interrupt a running search; the command that began it goes on with it.

    With an address, its job on a Ray cluster; else, through the ledger, whatever runs it on any machine.
    """
    job = None
    if address and ledger is None:
        jobs = Jobs(address)
        job = jobs.find(job_name(target))
    if job is not None:
        if job.ended_state:
            click.echo(f"Search {job.name} does not run: its job has {job.state.lower()}.")
            return
        ended = jobs.stop(job.name)
        which = f" with all its variants, {', '.join(ended.searches)}," if len(ended.searches) > 1 else ""
        click.echo(f"Search {ended.name}{which} has {ended.state.lower()}; oracle submit goes on with it.")
        return
    for opened, record in open_searches(target, ledger):
        if not opened.ask_to_stop(record.name):
            click.echo(f"Search {record.name} does not run.")
            continue
        click.echo(f"Search {record.name} is asked to stop.", err=True)
        wait_for_end(opened, record.name)
        click.echo(f"Search {record.name} has stopped; the command that began it goes on with it.")


def wait_for_end(ledger: Ledger, name: str) -> None:
    """Waits until nobody runs a search.

    Raises:
        Refused: That takes too long.
    """
    deadline = time.monotonic() + _STOP_SECONDS
    while holder := ledger.holder(name, watched=True):
        if time.monotonic() > deadline:
            raise Refused(f"search {name!r} is still run by {holder}: it was asked to stop, and has not yet")
        time.sleep(_LOOK_EVERY)


def cluster_jobs(address: str | None) -> Jobs:
    """The jobs of the cluster that was named.

    Raises:
        click.UsageError: None was.
    """
    if not address:
        raise click.UsageError("give --address http://HOST:8265, or set RAY_API_SERVER_ADDRESS")
    return Jobs(address)


def known_job(jobs: Jobs, target: str) -> Job:
    """The job of a spec file or a search's name.

    Raises:
        Refused: There is none.
    """
    name = job_name(target)
    job = jobs.find(name)
    if job is None:
        known = ", ".join(each.name for each in jobs.all()) or "none"
        raise Refused(f"no search {name!r} was submitted to {jobs.address}; there are: {known}")
    return job


def _show_until(jobs: Jobs, name: str, skip: int, *, preflight: bool) -> tuple[Job, str]:
    """Prints what a job prints, up to its preflight's or its own end; gives how it stands, and the text."""
    job, log = None, ""
    for text, found in jobs.follow(name, skip=skip):
        job, passed = found, preflight and PREFLIGHT_PASSED in text
        if passed:
            text = text[: text.index("\n", text.index(PREFLIGHT_PASSED)) + 1]
        log += text
        click.echo(text, nl=False)
        if passed:
            break
    assert job is not None
    return job, log


def _end(context: click.Context, job: Job, log: str) -> None:
    """Exits as the job's driver did."""
    if job.state == "SUCCEEDED":
        return
    if "No module named" in log and PREFLIGHT_PASSED not in log:
        click.echo(
            "oracle: if that is this package or what it needs, the cluster lacks it: install it on every "
            "node, in the environment whose python is first on the PATH of ray start",
            err=True,
        )
    code = job.exit_code or 1
    if code < 0:
        click.echo(
            f"oracle: the driver was killed by signal {-code} (9: too little memory, perhaps); submit "
            "it again to go on",
            err=True,
        )
        code = 128 - code
    elif job.exit_code is None:
        click.echo(f"oracle: the job has {job.state.lower()}: {job.message.splitlines()[0]}", err=True)
    context.exit(code)
