"""Optuna's dashboard on a ledger, served so that to look at results can't change them.

Optuna's dashboard has no users and no passwords, and whoever reaches it can delete a study. Here, unless it
is told to write, requests that would change something are refused, and the database refuses them, too.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import re
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from sqlalchemy import Engine, event

from oracle.errors import Refused
from oracle.ledger import Ledger
from oracle.ledger.database import DATABASE_ERRORS, reason
from silo.errors import InvalidInput
from trials.secrets import without_secrets

_READS = ("GET", "HEAD")
_GUARDS = (
    ("Content-Security-Policy", "frame-ancestors 'none'"),  # beside Optuna's own
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)
"""Headers of every answer."""

_STUDIES = re.compile(r"/api/studies(/\d+)?/?")
_CYCLE = re.compile(r"(?P<search>.+)/cycle-(?P<cycle>\d+)")
_FOR_PROGRAMS = frozenset(
    (
        *("started", "ended", "wall_seconds", "checkpoint", "sha256", "key", "digest"),
        *("diagnostics", "diagnostics_sha256"),
    )
)
"""Attributes of trials that nobody reads in a table: times that stand beside them, and files, mostly gone."""

_IDLE_SECONDS = 60
_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
"""Errors of binding where the address is another machine's, or of a kind that this one lacks."""


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine and nobody else can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def study_path(ledger: Ledger, search: str | None) -> str:
    """The dashboard's path of a search's note, where its verdict stands; the list of studies without one."""
    number = None if search is None else ledger.summary_number(search)
    return "/dashboard" if number is None else f"/dashboard/studies/{number}/note"


def open_server(
    ledger: Ledger, *, host: str, port: int, write: bool = False, say: Callable[[str], None] | None = None
) -> DashboardServer:
    """A server that listens, and answers once its ``serve_forever`` is called.

    Args:
        ledger: The open ledger; unless ``write``, nothing can be written through it from now on.
        host: Name or address to listen on. On one of this machine's own, requests for any other name are
            refused: a page that makes its name mean 127.0.0.1 can't read along.
        port: 0 takes a free one; the server's ``server_port`` tells.
        write: Whether the dashboard may change and delete.
        say: Hears a line if a request fails; by default the log.

    Raises:
        InvalidInput: There is no such host here.
        Refused: The port is taken, or not this user's to take.
    """
    from optuna_dashboard import wsgi

    say = say or logging.getLogger("oracle").warning
    if not write:
        _let_nothing_be_written(ledger.engine)
    _log_lines(say)
    application = wsgi(ledger.storage)
    application.catchall = False  # bottle would answer with a traceback
    server = _listening(host, port)
    own = host.lower() if server.is_own else None
    server.set_app(_Guard(application=application, own=own, write=write, say=say))
    return server


def _listening(host: str, port: int) -> DashboardServer:
    if not host:
        raise InvalidInput("--host: is empty; give 127.0.0.1, or 0.0.0.0 for every address of this machine")
    try:
        return DashboardServer((host, port), _Handler)
    except (OSError, TypeError) as error:  # a name that can't be one is a TypeError
        number = getattr(error, "errno", None)
        if isinstance(error, TypeError | socket.gaierror) or number in _NO_ADDRESS:
            raise InvalidInput(f"--host: {host!r} is no address of this machine; give 127.0.0.1") from error
        why = (error.strerror or str(error)).lower()
        raise Refused(
            f"port {port} of {host} can't be had ({why}); give another one, such as --port "
            f"{port + 1 if 1024 <= port < 65535 else 8081}"
        ) from error


class DashboardServer(ThreadingMixIn, WSGIServer):
    """A thread per request; those that are still open end with the process."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    @property
    def is_own(self) -> bool:
        """Whether only this machine can reach it, by whatever name it was told to listen on."""
        return is_loopback(str(self.server_address[0]))

    def server_bind(self) -> None:
        """Binds without asking the name service what this machine is called, which may take long."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a browser that went away, or sent nothing for long, is no error."""


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_SECONDS

    def log_message(self, *_: object) -> None:
        """Nothing: a browser asks every few seconds."""


@dataclass(frozen=True, kw_only=True)
class _Guard:
    """The gate that a request passes on its way to Optuna's dashboard, and its answer on the way back.

    Attributes:
        application: Optuna's dashboard.
        own: The name it listens on if only this machine can reach it, in lower case; else None.
        write: Whether requests may change something.
        say: Hears of a request that failed.
    """

    application: Callable[..., Iterable[bytes]]
    own: str | None
    write: bool
    say: Callable[[str], None]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response = _guarded(start_response)
        if refusal := self._refusal(environ):
            return _answer(start_response, "403 Forbidden", refusal)
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")  # Optuna's dashboard takes it for granted
        try:
            if environ["REQUEST_METHOD"] == "GET" and _STUDIES.fullmatch(environ["PATH_INFO"]):
                return _arranged(self.application, environ, start_response)
            return self.application(environ, start_response)
        except Exception as error:
            self.say(f"the dashboard could not answer: {reason(error)}")
            return _answer(start_response, "503 Service Unavailable", "the ledger does not answer")

    def _refusal(self, environ: dict[str, Any]) -> str | None:
        """The reason to refuse a request; None for none."""
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        name = _name(host)
        if self.own is not None and name != self.own and not is_loopback(name):
            return f"this dashboard is that of localhost, not of {host!r}: ask for localhost or 127.0.0.1"
        if environ["REQUEST_METHOD"] in _READS:
            return None
        if not self.write:
            return "this dashboard only reads: 'oracle dashboard --write' starts one that changes and deletes"
        if origin is not None and _site(origin) != host:
            return "a page of another site may not change anything here"
        return None


def _guarded(start_response: Callable[..., Any]) -> Callable[..., Any]:
    """Lets no page of another site show an answer in a frame, nor take one for what it is not."""

    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        return start_response(status, [*headers, *_GUARDS], *error)

    return start


def _name(host: str) -> str:
    """The host without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _site(origin: str) -> str | None:
    """Host and port of a page's origin; None if it tells none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _answer(start_response: Callable[..., Any], status: str, why: str) -> list[bytes]:
    body = json.dumps({"reason": why}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _arranged(
    application: Callable[..., Iterable[bytes]], environ: dict[str, Any], start_response: Callable[..., Any]
) -> list[bytes]:
    """The answer with its studies or figures in an order that can be relied upon, see :func:`arrange`."""
    head: list[Any] = []
    answer = application(environ, lambda *given: head.extend(given[:2]))
    body = b"".join(answer)
    status, headers = head
    if status.startswith("200"):
        body = json.dumps(arrange(json.loads(body))).encode()
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        headers.append(("Content-Length", str(len(body))))
    start_response(status, headers)
    return [body]


def arrange(answer: dict[str, Any]) -> dict[str, Any]:
    """Optuna's list of studies or one study, put in order.

    The dashboard shows the list from its end unless it is told otherwise: there stands the newest search's
    summary, then its cycles from the first on, then the next older search. Figures have no order. Attributes
    of trials that are for programs are left out: they would fill every table.
    """
    if "study_summaries" in answer:
        studies = answer["study_summaries"]
        first = {study["study_name"]: study["study_id"] for study in studies}

        def place(study: dict[str, Any]) -> tuple[int, float]:
            found = _CYCLE.fullmatch(study["study_name"])
            if found is None or found["search"] not in first:
                return study["study_id"], 1
            return first[found["search"]], -int(found["cycle"])

        return {**answer, "study_summaries": sorted(studies, key=place)}
    figures = sorted(answer.get("plotly_graph_objects", []), key=lambda figure: figure["id"])
    trials = [{**trial, "user_attrs": _read(trial["user_attrs"])} for trial in answer.get("trials", ())]
    union = _read(answer.get("union_user_attrs", ()))
    return {**answer, "plotly_graph_objects": figures, "trials": trials, "union_user_attrs": union}


def _read(attributes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that people read."""
    return [attribute for attribute in attributes if attribute["key"] not in _FOR_PROGRAMS]


def _let_nothing_be_written(engine: Engine) -> None:
    """Makes every connection from now on one that only reads, whatever is asked of it."""
    sqlite = engine.dialect.name == "sqlite"
    statement = "PRAGMA query_only = ON" if sqlite else "SET default_transaction_read_only = on"

    def only_read(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", only_read)
    engine.dispose()


def _log_lines(say: Callable[[str], None]) -> None:
    """Says what Optuna's dashboard logs, tracebacks left out and nothing twice in a row."""
    log = logging.getLogger("optuna_dashboard")
    log.handlers, log.propagate = [_Lines(say)], False


class _Lines(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say, self._last = say, ""

    def emit(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        # What the database said stands behind Optuna's own words, which guess at a reason.
        known = reason(error) if isinstance(error, DATABASE_ERRORS) else record.getMessage()
        line = without_secrets(known.partition("\n")[0])
        if line != self._last:
            self._last = line
            self._say(f"the dashboard: {line}")
