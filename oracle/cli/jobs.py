"""Commands on a Ray cluster: submit, logs, stop."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from oracle.cli.show import ADDRESS, LEDGER, TARGET, open_searches
from oracle.cli.specs import SPEC
from oracle.jobs import Job, Jobs, status
from oracle.jobs.calls import hear, job_name, start, stop_in_ledger, why_ended


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
    """Hand a search to a Ray cluster, and leave it there.

    Returns once the cluster has looked at everything that can refuse the search; 'oracle status', 'logs' and
    'stop' reach it from then on. Submitted again, a search that has stopped goes on: what the ledger holds is
    never trained again. To run it from this terminal: 'oracle run'.

    \b
    Example:
      oracle submit mine.yaml --address http://HOST:8265
    """
    place = _named(address)
    job, log = start(spec_file, address=place, working_dir=working_dir, follow=follow, tell=_print)
    if not job.ended_state:
        named = f"{job.name} --address {place}"
        click.echo(f"Search {job.name} runs. Look: oracle logs -f {named}; stop: oracle stop {named}")
        return
    _end(context, job, log)


@click.command()
@TARGET
@ADDRESS
@click.option("-f", "--follow", is_flag=True, help="Until the search ends.")
def logs(target: str, address: str | None, follow: bool) -> None:
    """Show what a submitted search has printed.

    \b
    Example:
      oracle logs -f mine --address http://HOST:8265
    """
    place = _named(address)
    job = status(target, address=place)
    if follow:
        hear(Jobs(place), job.name, _print)
    else:
        _print(Jobs(place).log(job.name))


@click.command()
@TARGET
@LEDGER
@ADDRESS
def stop(target: str, ledger: str | None, address: str | None) -> None:
    """Interrupt a running search; the same command goes on with it.

    With an address, its job on a Ray cluster; else, through the ledger, whatever runs it on any machine.

    \b
    Example:
      oracle stop mine.yaml
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
        asked = partial(click.echo, f"Search {record.name} is asked to stop.", err=True)
        if stop_in_ledger(opened, record.name, asked):
            click.echo(f"Search {record.name} has stopped; the command that began it goes on with it.")
        else:
            click.echo(f"Search {record.name} does not run.")


def _named(address: str | None) -> str:
    if not address:
        raise click.UsageError("give --address http://HOST:8265, or set RAY_API_SERVER_ADDRESS")
    return address.rstrip("/")


def _print(text: str) -> None:
    click.echo(text, nl=False)


def _end(context: click.Context, job: Job, log: str) -> None:
    """Exits as the job's driver did."""
    if job.state == "SUCCEEDED":
        return
    if (why := why_ended(job, log)) is not None:
        click.echo(f"oracle: {why}", err=True)
    code = job.exit_code or 1
    context.exit(code if code > 0 else 128 - code)
