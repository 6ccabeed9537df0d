"""A worker that can't measure how to train: why is said, and kept with the way that is taken."""

from types import SimpleNamespace

import ray

from oracle import service
from oracle.drivers import nodes
from tests.support import open_session, small_spec


def test_why_measuring_failed_is_said_and_kept(tmp_path, monkeypatch, caplog):
    def get(reference):
        raise ray.exceptions.RayError("what comes first\nno CUDA device is here")

    monkeypatch.setattr("oracle.execution.measured_on_workers", lambda spec: True)
    monkeypatch.setattr(nodes, "_on_worker", lambda *given: SimpleNamespace(remote=lambda *given: None))
    monkeypatch.setattr(ray, "get", get)
    with open_session(small_spec(tmp_path)) as session:
        monkeypatch.setattr(session.ledger, "search", lambda name: None)  # it is new
        found = service._measured(session, 1).record
        assert found.execution == session.record.execution
        before = session.record.execution_reason
    why = "no CUDA device is here"
    assert found.execution_reason == f"{before}; measuring on a worker failed ({why})"
    assert caplog.messages[-1] == f"that failed ({why}); a rule of thumb decides"
