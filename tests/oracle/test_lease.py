"""One driver at a time: while the database is away, and whatever is done to the system's clock."""

import itertools
import os
import subprocess
import time

import psutil
import pytest

from oracle.errors import LeaseLost, Refused
from oracle.ledger import Ledger, Retries, database, lease, tables
from tests.outages import Clock, locked


@pytest.fixture
def new(tmp_path, impatient):
    """Opens the ledger; its driver is told of outages by the function that is given."""
    opened = []

    def make(say=lambda _: None):
        opened.append(Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True, retries=Retries(say)))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def test_a_lease_that_is_still_ours_after_an_outage_goes_on(new):
    ledger = new(lambda _: let_go())
    with ledger.lease("s") as held, locked(ledger) as let_go:
        held._renewed -= 2 * lease.SECONDS
        held.check()


def test_a_lease_that_is_anothers_after_an_outage_is_lost(new):
    def end(_):
        let_go()
        with ledger.engine.begin() as connection:
            connection.execute(tables.leases.update().values(owner="another"))

    ledger = new(end)
    with pytest.raises(LeaseLost), ledger.lease("s") as held, locked(ledger) as let_go:
        held._renewed -= 2 * lease.SECONDS
        held.check()


def test_giving_a_lease_back_to_a_database_that_is_gone_hides_no_error_and_waits_no_more(new, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(database, "time", clock)
    held = new().lease("s").__enter__()
    with locked(new()):
        held.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert not clock.slept
    with new().lease("s"), pytest.raises(Refused, match="is being run by process"):  # what stayed is nobody's
        new().lease("s").__enter__()


def test_a_watch_that_the_database_interrupts_begins_anew(new, monkeypatch):
    ledger = new()
    clock = Clock()
    holder = lease.Lease(ledger.engine, "s")
    assert holder._insert()
    with ledger.engine.begin() as connection:
        connection.execute(tables.leases.update().values(host="elsewhere/boot"))
    contender = ledger.lease("s")
    current, looks = contender._current, itertools.count()

    def slow():
        look = next(looks)
        if look == 3:
            clock.now += 100
        if look == 6:
            holder._renew()
        return current()

    monkeypatch.setattr(lease, "time", clock)
    monkeypatch.setattr(contender, "_current", slow)
    with pytest.raises(Refused, match="on elsewhere"), contender:
        pass


@pytest.mark.parametrize("beats", [False, True])
def test_a_lease_of_another_machine_is_believed_or_watched(new, monkeypatch, beats):
    monkeypatch.setattr(lease, "SECONDS", 0.4)
    monkeypatch.setattr(lease, "this_host", lambda: "afar/1")
    ledger = new()
    held = ledger.lease("s").__enter__()
    if not beats:
        held._stop.set()
        held._thread.join()
    monkeypatch.setattr(lease, "this_host", lambda: "here/1")
    said, holder = [], f"process {os.getpid()} on afar"
    assert ledger.holder("s") == holder
    assert ledger.holder("s", watched=True, waiting=said.append) == (holder if beats else None)
    assert said == [f"search 's' is leased to {holder}; watching whether it still runs"]
    held.__exit__(None, None, None)
    assert ledger.holder("s", watched=True) is None


def test_a_lease_is_not_taken_for_ended_while_the_database_is_slow(new, monkeypatch):
    ledger, clock = new(), Clock()
    held = lease.Lease(ledger.engine, "s")
    assert held._insert()
    with ledger.engine.begin() as connection:
        connection.execute(tables.leases.update().values(host="elsewhere/boot"))
    leased, looks = lease.leased, itertools.count()

    def slow(*given):
        look = next(looks)
        if look == 3:
            clock.now += 100
        if look == 6:
            held._renew()
        return leased(*given)

    monkeypatch.setattr(lease, "time", clock)
    monkeypatch.setattr(lease, "leased", slow)
    assert ledger.holder("s", watched=True) == f"process {os.getpid()} on elsewhere"


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_holder_is_alive_though_the_clock_was_set(new, monkeypatch, jump):
    ledger = new()
    with ledger.lease("s"):
        created, now = psutil.Process.create_time, time.time
        monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + jump)
        monkeypatch.setattr(time, "time", lambda: now() + jump)
        assert ledger.holder("s") == f"process {os.getpid()} on {os.uname().nodename}"
        with pytest.raises(Refused, match="is being run by process"), ledger.lease("s"):
            pass


def test_without_proc_a_process_is_told_by_what_psutil_says(monkeypatch, tmp_path):
    assert "boot" not in lease.this_host()
    monkeypatch.setattr(lease, "_BOOT", tmp_path / "none")
    assert lease.start_of(os.getpid()) == psutil.Process().create_time()
    assert lease.this_host().endswith(f"/{int(psutil.boot_time())}")
    assert lease.start_of(ended().pid) is None


def ended():
    process = subprocess.Popen(["true"])
    process.wait()
    return process


def test_a_process_that_has_ended_is_no_more_even_if_nobody_took_notice():
    assert lease.start_of(ended().pid) is None
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert lease.start_of(process.pid) is None
    process.wait()


def test_a_process_may_have_any_name(tmp_path):
    (tmp_path / "a) Z 1 (b").symlink_to("/bin/cat")
    with subprocess.Popen([tmp_path / "a) Z 1 (b"], stdin=subprocess.PIPE) as process:
        assert lease.start_of(process.pid) >= lease.start_of(os.getpid())
