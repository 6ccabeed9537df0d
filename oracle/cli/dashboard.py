"""The command that shows a ledger in Optuna's dashboard."""

from __future__ import annotations

import ipaddress
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack

import click

from oracle.cli.show import LEDGER, command_of_one, open_searches, read_results
from oracle.interrupts import ignore_signals
from oracle.ledger import Ledger
from oracle.spec import DEFAULT_LEDGER
from silo.errors import InvalidInput, SiloOracleError


@click.command()
@click.argument("target", metavar="[SPEC|NAME]", required=False)
@LEDGER
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--write", is_flag=True, help="Let the dashboard change and delete, too.")
@click.option("--browser/--no-browser", default=False, show_default=True, help="Open it in a browser.")
def dashboard(
    target: str | None, ledger: str | None, host: str, port: int, write: bool, browser: bool
) -> None:
    """Show a ledger in Optuna's dashboard, in a browser.

    While searches run, and after. Without a name it shows the whole ledger. It only reads unless --write is
    given. There is no password: it listens on this machine alone unless --host says otherwise.

    \b
    Example:
      oracle dashboard mine.yaml
    """
    from dashboards.optuna.server import open_server, study_path

    def warn(line: str) -> None:
        click.echo(f"oracle: {line}", err=True)

    with ExitStack() as stack:
        opened, name = _opened(target, ledger, stack)
        for each in opened.names() if name is None else [name]:
            _look_at(opened, each, warn, shown=each == name)
        path = study_path(opened, name)
        server = stack.enter_context(open_server(opened, host=host, port=port, write=write, say=warn))
        if not server.is_own:
            can = "read, change and delete" if write else "read"
            warn(f"{host} is not loopback: without a password, whoever reaches it can {can} this ledger")
        if not opened.names():
            warn("there is no search in this ledger yet; it will be shown once one runs")
        address = f"http://{_reachable(host)}:{server.server_port}{path}"
        click.echo(f"{address}\n{'It may change and delete.' if write else 'It only reads.'} Ctrl-C ends it.")
        if browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            ignore_signals()
            click.echo("Ended.")


def _opened(target: str | None, url: str | None, stack: ExitStack) -> tuple[Ledger, str | None]:
    """The ledger, and the search to begin with: the one that is meant, or the only one there is."""
    if target is None:
        ledger = Ledger(url or DEFAULT_LEDGER)
        stack.callback(ledger.close)
        names = list(ledger.names())
    else:
        found = open_searches(target, url)
        for opened, _ in found:
            stack.callback(opened.close)
        if len({opened.engine.url for opened, _ in found}) > 1:
            raise InvalidInput(
                f"{target}: its variants are in several ledgers, and a dashboard shows one; name a search, "
                f"such as: {command_of_one(target, url)}"
            )
        ledger, names = found[0][0], [record.name for _, record in found]
    return ledger, names[0] if len(names) == 1 else None


def _look_at(ledger: Ledger, name: str, warn: Callable[[str], None], *, shown: bool) -> None:
    """Has the ledger say how a search ended whose driver was killed, and warns if that shown is damaged."""
    if not shown and ledger.summary_state(name) != "running":
        return
    try:
        if record := ledger.search(name):
            read_results(ledger, record, draws=0)
    except SiloOracleError as error:
        warn(str(error))


def _reachable(host: str) -> str:
    """The host as it stands in an address that this machine can open."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"
