"""What the README shows works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from oracle.cli.main import main
from oracle.spec_file import parse_spec
from silo.cost import oracle_cost, silo_cost, silo_tuning_cost

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_spec_is_valid():
    (text,) = blocks("yaml")
    assert parse_spec(text).grid.grid().values == (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1)


def test_torch_and_torchvision_come_from_one_index_at_the_versions_that_were_tested():
    (line,) = re.findall(r"pip install (torch==.*) --index-url", README)
    pinned = (Path(__file__).parents[1] / "constraints.txt").read_text(encoding="utf-8")
    assert line.split() == re.findall(r"^torch(?:vision)?==.*", pinned, flags=re.MULTILINE)


def test_the_pruning_loop_runs_in_thirty_lines(capsys):
    (code,) = (text for text in blocks("python") if "SiloLR" in text)
    scope = {}
    exec(code, scope)
    assert len(code.splitlines()) <= 30
    rates = re.findall(r"max_lr ([\d.]+)", capsys.readouterr().out)
    assert [float(rate) for rate in rates] == pytest.approx(
        [scope["curve"].max_lr(cycle) for cycle in range(8)], abs=1e-4
    )
    left = 20 * 64 + 64 * 2
    for _ in range(8):
        left -= round(0.2 * left)
    assert sum(int(weight.count_nonzero()) for weight in scope["masks"]) == left


def test_ten_lines_run_a_search_and_show_its_comparison(monkeypatch, tmp_path, capsys):
    (code,) = (text for text in blocks("python") if "oracle.run" in text and "ownloop" not in text)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert len([line for line in code.splitlines() if line]) <= 10
    printed = capsys.readouterr().out
    assert "SILO's predicted curve is within 0.5 %" in printed
    assert re.search(r"cycle +optimum +low +high +silo_predicted +silo_verdict", printed)
    (code,) = (text for text in blocks("python") if "RateTableLR" in text)
    exec(code, scope := {})
    assert capsys.readouterr().out.startswith("Take ") and (tmp_path / "net.safetensors").exists()
    assert scope["scheduler"].max_lr == scope["results"].rates[0]


def test_thirty_lines_search_with_a_loop_of_one_s_own(tmp_path):
    (code,) = (text for text in blocks("python") if "ownloop.py" in text)
    assert len([line for line in code.splitlines() if line and not line.startswith("#")]) <= 30
    (tmp_path / "ownloop.py").write_text(code, encoding="utf-8")
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "ownloop.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\d +[012] +0\.\d+ +0\.\d+ +0\.\d+$", done.stdout, flags=re.MULTILINE)
    assert len(rows) == 3, done.stdout


def test_the_table_that_it_shows_is_what_the_command_prints(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["oracle", "fit", "--table", "11"])
    with pytest.raises(SystemExit):
        main()
    printed = {line.rstrip() for line in capsys.readouterr().out.splitlines()}
    (shown,) = (text for text in blocks("text") if "SILO as published" in text)
    lines = [line.rstrip() for line in shown.splitlines() if line != "…"]
    assert len(lines) == 8
    assert [line for line in lines if line not in printed] == []


def test_the_papers_table_that_it_shows_is_what_the_command_prints(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["oracle", "compare", "--paper-table", "2"])
    with pytest.raises(SystemExit):
        main()
    printed = {line.rstrip() for line in capsys.readouterr().out.splitlines()}
    (shown,) = (text for text in blocks("text") if "LR-warmup" in text)
    assert [line for line in shown.splitlines() if line not in printed] == []


def test_its_numbers_of_trainings_are_right():
    costs = [oracle_cost(19, 25, 1), silo_cost(25, 1), silo_tuning_cost(19, 25, 1)]
    assert [cost.trainings for cost in costs] == [475, 25, 457]
    assert "the Oracle takes 475, SILO 25 if its four numbers are known, and 457" in README.replace("\n", " ")


def test_every_file_that_it_links_to_is_there():
    root = Path(__file__).parents[1]
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (root / link).exists(), link
