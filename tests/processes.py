"""The command in processes of its own, and what it leaves in a folder."""

from __future__ import annotations

import csv
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ruamel.yaml import YAML

from dashboards.report import write_report
from oracle.drivers import in_process
from oracle.ledger import Ledger
from oracle.results import Results
from tests.support import open_session, small_data, small_spec

ROOT = Path(__file__).parents[1]


def write_spec(folder, **changes):
    """The spec file of a small search in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "spec.yaml"
    YAML(typ="safe").dump(small_data(folder, **changes), path)
    return path


def start(spec_file, *options):
    """Starts ``oracle run`` in the folder of a spec."""
    return subprocess.Popen(
        [sys.executable, "-m", "oracle", "run", str(spec_file), *options],
        cwd=spec_file.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_undisturbed(folder, **changes):
    """Runs the search of :func:`write_spec` in this process; a folder with its ledger and its report."""
    with open_session(small_spec(folder, **changes)) as session:
        in_process.run(session)
        write_report(Results.read(session.ledger, session.record), folder / "networks/small/report")
    return folder


def rows(folder, searches="small"):
    """Finished rows in the ledger, of searches whose names are like this; 0 before there is one.

    It is asked often, and takes no time.
    """
    query = "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE state = 'COMPLETE'"
    try:
        with closing(sqlite3.connect(f"file:{folder}/ledger.db?mode=ro", uri=True)) as database:
            return database.execute(f"{query} AND study_name LIKE '{searches}/cycle-%'").fetchone()[0]
    except sqlite3.OperationalError:  # it is just being made
        return 0


def table(folder):
    """The comparison that the search's report holds."""
    with (folder / "networks/small/report/comparison.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def raw_rows(folder):
    """Every row of every study, by state and place: a doubled row would show."""
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    try:
        return sorted(
            (cycle, row.state.name, row.params["max_lr"], row.user_attrs["replicate"], row.value)
            for cycle, study in ledger._cycle_studies("small")
            for row in study.trials
        )
    finally:
        ledger.close()
