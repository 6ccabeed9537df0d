"""Commands on clusters that can't be asked."""

import http.server
import threading

import click
import pytest

import oracle
from oracle.cli.jobs import _end, submit
from oracle.drivers.tokens import answers_without_token
from oracle.errors import Refused, TrialsFailed
from oracle.jobs import Job, calls, client
from oracle.jobs.client import PREFLIGHT_PASSED
from silo.errors import InvalidInput
from tests.clusters import free_ports


@pytest.mark.parametrize("command", ["submit", "logs"])
def test_without_an_address_the_option_is_named(call, write, command, monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    code, _, err = call(command, write() if command == "submit" else "small")
    assert code == 2
    assert "give --address http://HOST:8265, or set RAY_API_SERVER_ADDRESS" in err


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:{port}", "no Ray cluster's dashboard answers at http://127.0.0.1:{port}"),
        ("127.0.0.1:{port}", "address '127.0.0.1:{port}' is no dashboard's: give that of the cluster's head"),
    ],
)
def test_an_address_where_no_dashboard_is_takes_one_line(call, write, address, words):
    (port,) = free_ports(1)
    code, _, err = call("submit", write(), "--address", address.format(port=port))
    assert code == 3
    assert words.format(port=port) in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("exit_code", "log", "code", "words"),
    [
        (3, "oracle: refused", 3, ""),
        (-9, "search small", 137, "the driver was killed by signal 9"),
        (None, "", 1, "the job has failed: its node is gone"),
        (1, "No module named 'oracle'", 1, "install it on every node"),
        (1, f"{PREFLIGHT_PASSED} 1 worker\nNo module named 'mine'", 1, ""),
    ],
)
def test_a_submission_ends_as_its_driver_did_and_says_what_killed_it(exit_code, log, code, words, capsys):
    job = Job(
        name="small",
        state="FAILED",
        searches=("small",),
        ledger=None,
        started=1.0,
        ended=2.0,
        exit_code=exit_code,
        message="its node is gone",
    )
    with pytest.raises(click.exceptions.Exit) as ended:
        _end(click.Context(submit), job, log)
    assert ended.value.exit_code == code
    err = capsys.readouterr().err
    assert words in err if words else not err


@pytest.mark.parametrize(
    ("exit_code", "log", "error", "words"),
    [
        (2, "a search\noracle: pruning: wrong", InvalidInput, "oracle: pruning: wrong"),
        (3, "oracle: refused", Refused, "oracle: refused"),
        (1, "No module named 'oracle'", Refused, "install it on every node"),
        (1, f"{PREFLIGHT_PASSED} 1 worker\nboom", TrialsFailed, "boom"),
        (-9, f"{PREFLIGHT_PASSED} 1 worker\n", TrialsFailed, "killed by signal 9"),
        (None, "", Refused, "the job has failed: its node is gone"),
    ],
)
def test_a_submission_from_python_that_fails_raises_what_its_driver_said(
    exit_code, log, error, words, write, monkeypatch
):
    job = Job(
        name="small",
        state="FAILED",
        searches=("small",),
        ledger=None,
        started=1.0,
        ended=2.0,
        exit_code=exit_code,
        message="its node is gone",
    )
    monkeypatch.setattr(calls, "start", lambda *_, **__: (job, log))
    with pytest.raises(error, match=r"search 'small' has failed on http://head: .*") as raised:
        oracle.submit(write(), address="http://head/")
    assert words in str(raised.value)


def test_a_password_of_the_environment_goes_to_no_server_that_a_cluster_names(monkeypatch):
    job = Job(
        name="small",
        state="RUNNING",
        searches=("small",),
        ledger="postgresql+psycopg://me@elsewhere/db",
        started=1.0,
        ended=None,
        exit_code=None,
        message="",
    )
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert job.place == job.ledger
    monkeypatch.setenv("PGPASSWORD", "hush")
    with pytest.raises(
        Refused, match="PGPASSWORD would be sent there: if that is right, give --ledger postgr"
    ):
        _ = job.place
    with pytest.raises(Refused, match="PGPASSWORD"):
        list(calls._places(job, None))
    assert list(calls._places(job, "sqlite:///mine.db")) == [("small", "sqlite:///mine.db")]


def test_from_python_too_the_address_is_asked_for(write, monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    for call in (oracle.submit, oracle.status):
        with pytest.raises(InvalidInput, match="address='http://HOST:8265', or set RAY_API_SERVER_ADDRESS"):
            call(write())


@pytest.mark.parametrize(("status", "is_open"), [(200, True), (401, False)])
def test_a_cluster_is_open_if_it_answers_without_a_token(status, is_open):
    asked = []

    class Dashboard(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        assert answers_without_token(url) == is_open
        server.shutdown()
    assert asked == [("/api/jobs/", None)]
    assert not answers_without_token(url)


class Starting:
    """A cluster's jobs whose first submissions come before its nodes."""

    def __init__(self, *errors):
        self.errors, self.jobs = list(errors), []

    def submit_job(self, **job):
        if self.errors:
            raise RuntimeError(self.errors.pop(0))
        self.jobs.append(job)


NO_AGENT = "Request failed with status code 500: No available agent to submit job, please try again later."


def test_a_job_waits_for_a_cluster_that_has_just_started(monkeypatch):
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    jobs = object.__new__(client.Jobs)
    jobs._client = Starting(NO_AGENT, NO_AGENT)
    jobs._submit_once_it_can_run(submission_id="a")
    assert jobs._client.jobs == [{"submission_id": "a"}]
    jobs._client = Starting("Job a already exists", NO_AGENT)
    with pytest.raises(RuntimeError, match="already"):
        jobs._submit_once_it_can_run(submission_id="a")
    monkeypatch.setattr(client, "_AGENT_SECONDS", -1)
    jobs._client = Starting(NO_AGENT)
    with pytest.raises(RuntimeError, match="No available agent"):
        jobs._submit_once_it_can_run(submission_id="a")
