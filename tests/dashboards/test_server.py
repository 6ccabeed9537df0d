"""Optuna's dashboard as it is served: what it refuses, and in which order it lists."""

import itertools
import json
import threading
from contextlib import contextmanager
from socketserver import TCPServer
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from dashboards.optuna.server import arrange, is_loopback, open_server, study_path
from oracle.errors import Refused
from oracle.ledger import Ledger
from silo.errors import InvalidInput

WRITES = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True)
    opened.summary_study("small")
    yield opened
    opened.close()


@contextmanager
def served(ledger, **options):
    """The address of a server that answers in a thread of its own."""
    with open_server(ledger, host="127.0.0.1", port=0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ask(address, method="GET", **headers):
    """Status and JSON of an answer."""
    request = Request(address, method=method, headers={"Content-Type": "application/json", **headers})
    if method in ("POST", "PUT"):
        request.data = b'{"study_name": "new", "directions": ["minimize"]}'
    try:
        with urlopen(request) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_whatever_is_no_reading_is_refused(ledger):
    with served(ledger) as address:
        for method in WRITES:
            status, answer = ask(f"{address}/api/studies", method)
            assert status == 403 and "--write" in answer["reason"], method
            assert ask(f"{address}/api/studies")[0] == 200


def test_the_database_refuses_too(ledger):
    open_server(ledger, host="127.0.0.1", port=0).server_close()
    with pytest.raises((OperationalError, optuna.exceptions.StorageInternalError)):
        ledger.storage.delete_study(ledger.summary_study("small")._study_id)


def test_with_write_a_page_of_its_own_may_write_and_no_other(ledger):
    with served(ledger, write=True) as address:
        for origin in ("http://evil.example", "null", "http://["):
            assert ask(f"{address}/api/studies", "POST", Origin=origin)[0] == 403
        assert ask(f"{address}/api/studies", "POST", Origin=address)[0] == 201
        assert len(ask(f"{address}/api/studies")[1]["study_summaries"]) == 2


def test_a_name_that_was_made_to_mean_loopback_is_refused_and_a_tunnels_own_port_is_fine(ledger):
    with served(ledger) as address:
        for host in ("evil.example", "127.0.0.1.evil.example:80", "[", ""):
            status, answer = ask(f"{address}/api/studies", Host=host)
            assert status == 403 and "localhost" in answer["reason"], host
        for host in ("localhost:9000", "127.0.0.1", "[::1]:8080"):
            assert ask(f"{address}/api/studies", Host=host)[0] == 200, host


def test_a_ledger_that_is_gone_is_one_line(ledger, tmp_path):
    lines = []
    with served(ledger, say=lines.append) as address:
        ledger.engine.dispose()
        (tmp_path / "ledger.db").rename(tmp_path / "away.db")
        (tmp_path / "ledger.db").mkdir()
        assert ask(f"{address}/dashboard")[0] == 503
        for _ in range(2):
            assert ask(f"{address}/api/studies")[0] == 500
    assert len(lines) == 2
    assert all("was deleted, moved or replaced while it was in use" in line for line in lines)
    assert [line for line in lines if "\n" in line] == []


def test_a_port_that_is_taken_and_a_host_that_is_none_are_named(ledger):
    with open_server(ledger, host="127.0.0.1", port=0) as server:
        taken = server.server_port
        with pytest.raises(Refused, match=f"port {taken} of 127.0.0.1 can't be had.*--port {taken + 1}"):
            open_server(ledger, host="127.0.0.1", port=taken)
    for host in ("no.such.host.invalid", "192.0.2.1", "ü..b", "fe80::1"):
        with pytest.raises(InvalidInput, match=f"--host: {host!r} is no address of this machine"):
            open_server(ledger, host=host, port=0)
    with pytest.raises(InvalidInput, match="--host: is empty"):
        open_server(ledger, host="", port=0)


def test_a_name_that_means_loopback_is_as_good_as_its_address(ledger, monkeypatch):
    bind = TCPServer.server_bind

    def resolve(server):
        server.server_address = ("127.0.0.1", server.server_address[1])
        bind(server)

    monkeypatch.setattr(TCPServer, "server_bind", resolve)
    with open_server(ledger, host="MyLaptop", port=0) as server:
        assert server.is_own
        refusals = {}
        for name in ("mylaptop:8080", "localhost", "evil.example"):
            environ = {"HTTP_HOST": name, "REQUEST_METHOD": "GET", "PATH_INFO": "/api/meta"}
            server.get_app()(environ, lambda status, *_, name=name: refusals.update({name: status[:3]}))
    assert refusals == {"mylaptop:8080": "200", "localhost": "200", "evil.example": "403"}


def test_each_search_is_listed_from_its_summary_on_the_newest_first():
    names = ["theirs", "old/cycle-00", "old", "new", "old/cycle-01", "new/cycle-00", "x/cycle-00"]
    answer = {"study_summaries": [{"study_name": n, "study_id": i} for i, n in enumerate(names)]}
    shown = [study["study_name"] for study in reversed(arrange(answer)["study_summaries"])]
    assert shown == ["x/cycle-00", "new", "new/cycle-00", "old", "old/cycle-00", "old/cycle-01", "theirs"]


def test_figures_come_by_name():
    figures = [{"id": "b"}, {"id": "a"}]
    assert arrange({"name": "s", "plotly_graph_objects": figures})["plotly_graph_objects"] == figures[::-1]


def test_what_only_programs_read_fills_no_table():
    keys = ["replicate", "started", "ended", "checkpoint", "sha256", "test_score", "key"]
    trial = {"number": 3, "user_attrs": [{"key": key, "value": "1"} for key in keys]}
    answer = {
        "name": "s",
        "trials": [trial],
        "union_user_attrs": [{"key": key, "sortable": True} for key in keys],
    }
    found = arrange(answer)
    assert [each["key"] for each in found["union_user_attrs"]] == ["replicate", "test_score"]
    assert [each["key"] for each in found["trials"][0]["user_attrs"]] == ["replicate", "test_score"]
    assert found["trials"][0]["number"] == 3


def test_a_search_without_a_summary_study_begins_with_the_list(ledger):
    assert study_path(ledger, "small") == f"/dashboard/studies/{ledger.summary_study('small')._study_id}/note"
    assert study_path(ledger, "none") == study_path(ledger, None) == "/dashboard"


def test_loopback_is_known_and_everything_else_is_not():
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "::", "localhost.example", ""]))


def test_no_page_of_another_site_shows_an_answer_in_a_frame(ledger):
    places = itertools.product(
        ["/dashboard/", "/api/studies", "/no/such/page"], ["localhost", "evil.example"]
    )
    with served(ledger) as address:
        for place, host in places:
            try:
                answer = urlopen(Request(f"{address}{place}", headers={"Host": host}))
            except HTTPError as error:
                answer = error
            with answer:
                assert "frame-ancestors 'none'" in answer.headers.get_all("Content-Security-Policy"), place
                assert answer.headers["X-Frame-Options"] == "DENY"
