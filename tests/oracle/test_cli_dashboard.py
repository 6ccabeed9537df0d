"""What ``oracle dashboard`` refuses; what it serves is in tests/browser."""

import socket

from oracle.ledger import Ledger
from tests.oracle.invented import make_record, make_spec
from tests.postgresql import PASSWORD


def test_a_ledger_that_is_not_there_is_not_made(call, tmp_path):
    code, out, err = call("dashboard", "--ledger", "sqlite:///none.db")
    assert (code, out) == (3, "")
    assert err.startswith("oracle: ledger sqlite:///none.db: there is no such file") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_left_empty_and_its_password_unsaid(call, postgresql):
    url = postgresql.database()
    code, _, err = call("dashboard", "--ledger", url)
    assert code == 3 and "there is no ledger in this database" in err and err.count("\n") == 1
    assert PASSWORD not in err and "pass-Word" not in err
    with postgresql.connect(url.rpartition("/")[2]) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (0,)


def test_a_search_that_is_not_there_is_named(call, tmp_path):
    Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True).close()
    code, _, err = call("dashboard", "mine", "--ledger", f"sqlite:///{tmp_path}/ledger.db")
    assert code == 3 and "no search 'mine' in this ledger; there are: none" in err


def test_variants_in_several_ledgers_are_not_half_shown(call, write, tmp_path):
    ledgers = {name: f"sqlite:///{tmp_path}/{name}.db" for name in "ab"}
    spec = write(variants={name: {"ledger": url} for name, url in ledgers.items()})
    for name, url in ledgers.items():
        ledger = Ledger(url, create=True)
        ledger.register(make_record(make_spec(name=f"small.{name}")))
        ledger.close()
    code, out, err = call("dashboard", spec)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith(f"such as: oracle dashboard small.a --ledger {ledgers['a']}\n")


def test_a_port_that_is_taken_is_one_line(call, tmp_path):
    Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True).close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = call("dashboard", "--ledger", f"sqlite:///{tmp_path}/ledger.db", "--port", port)
    assert (code, out) == (3, "")
    assert f"port {port} of 127.0.0.1 can't be had (address already in use)" in err and err.count("\n") == 1


def test_a_ledger_of_another_version_is_refused(call, tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE oracle_schema SET version = 2")
    ledger.close()
    code, _, err = call("dashboard", "--ledger", f"sqlite:///{tmp_path}/ledger.db")
    assert code == 3 and "schema 2" in err and err.count("\n") == 1
