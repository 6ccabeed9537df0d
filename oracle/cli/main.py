"""The ``oracle`` command: its subcommands, and what every one of them does with an error.

Exit codes: 0 done; 1 trials, ledger, storage or report failed; 2 wrong usage or spec; 3 refused before it
started; 130 interrupted.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from oracle.cli.compare import compare
from oracle.cli.dashboard import dashboard
from oracle.cli.export import export
from oracle.cli.fit import fit
from oracle.cli.jobs import logs, stop, submit
from oracle.cli.network import network
from oracle.cli.run import run
from oracle.cli.show import list_searches, plain_streams, report, status
from oracle.cli.sparsity import sparsity
from oracle.cli.specs import init, plan, schema, validate
from oracle.errors import LeaseLost, Refused
from oracle.interrupts import interrupt_on_signals, remembering
from oracle.ledger.database import DATABASE_ERRORS, reason
from silo.errors import InvalidInput, SiloOracleError
from trials.secrets import without_secrets

DONE, FAILED, INVALID, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130


class _InOrder(click.Group):
    """Lists its commands in the order of work, as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="silo-oracle", prog_name="oracle")
def cli() -> None:
    """The best peak learning rate at every pruning cycle.

    A search is one YAML file: 'oracle init' writes one. 'oracle run' runs it from this terminal, 'oracle
    submit' hands it to a Ray cluster and returns. The commands stand in the order of work.
    """


for command in (
    *(init, schema, validate, plan, run, submit, status, logs, list_searches, dashboard, stop),
    *(report, compare, fit, export, sparsity, network),
):
    cli.add_command(command)


def main() -> None:
    """Runs the command that the process was called with, and exits."""
    with plain_streams():
        _main()


def _main() -> None:
    interrupt_on_signals()
    try:
        with remembering(), logging_to_stderr():
            code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = INVALID
    except (KeyboardInterrupt, click.Abort):
        click.echo("oracle: interrupted", err=True)
        code = INTERRUPTED
    except SiloOracleError as error:
        for line in str(error).splitlines():
            click.echo(f"oracle: {without_secrets(line)}", err=True)
        code = _code(error)
    except DATABASE_ERRORS as failure:
        click.echo(f"oracle: the ledger failed ({reason(failure)}); try again once that is mended", err=True)
        code = FAILED
    except BrokenPipeError:
        sys.stderr.close()
        code = DONE
    sys.exit(code or DONE)


class _Echo(logging.Handler):
    """Prints what the package has to say while a command runs, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"oracle: {without_secrets(record.getMessage())}", err=True)


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Prints the package's log here, its secrets taken out, and nowhere else."""
    logger, echo = logging.getLogger("oracle"), _Echo()
    before = logger.level, logger.propagate
    logger.addHandler(echo)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a user's module may have set up a log of its own
    try:
        yield
    finally:
        logger.removeHandler(echo)
        logger.level, logger.propagate = before


def _code(error: SiloOracleError) -> int:
    if isinstance(error, InvalidInput):
        return INVALID
    return REFUSED if isinstance(error, Refused | LeaseLost) else FAILED
