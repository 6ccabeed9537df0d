"""What the pages show works as it stands: code, commands, numbers, links."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from oracle.cli.main import cli
from oracle.spec_file import parse_specs
from silo.cost import oracle_cost, silo_cost, silo_tuning_cost
from tests.pages import ON_A_CLUSTER, PAGES, ROOT, blocks, commands
from tests.support import SMALL
from trials.datasets import DATASETS
from trials.networks import NETWORKS
from trials.optimizers import OPTIMIZERS
from trials.pruning import PRUNERS
from trials.schedules import SCHEDULES

README = PAGES["README.md"]
WITH_COMMANDS = [page for page in PAGES if commands(page, "oracle")]
RULES = ("point rule", "model")
NOT_RUN = "docker/README.md"
"""Takes containers; it says itself what of it has been run."""
BROWSERS = ("chromium", "google-chrome", "chrome", "chromium-browser")


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", PAGES[page], flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGES[page]):
        file, _, anchor = link.partition("#")
        place = (ROOT / page).parent.joinpath(file).resolve() if file else ROOT / page
        assert place.exists(), link
        assert not anchor or anchor in anchors(str(place.relative_to(ROOT))), link


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_wider_than_120_columns(page):
    assert [line for line in PAGES[page].splitlines() if len(line) > 120] == []


def test_a_newcomer_reads_it_in_one_sitting_and_finds_every_page():
    assert len(README.encode()) < 15_000
    linked = set(re.findall(r"\]\((?!http)([^)#]+)\)", README))
    assert {page for page in PAGES if page != "README.md"} <= linked


def test_the_names_that_come_along_are_all_there_are():
    registries = (NETWORKS, DATASETS, PRUNERS, SCHEDULES, OPTIMIZERS)
    (table,) = re.findall(
        r"^\| what \| names \|\n(.*?)\n\n", PAGES["trials/README.md"], re.MULTILINE | re.DOTALL
    )
    rows = [set(re.findall(r"`(\w+)`", row)) for row in table.splitlines()[1:]]
    assert rows == [set(registry) for registry in registries]


def test_the_spec_is_valid():
    (text,) = blocks("oracle/README.md", "yaml")
    assert parse_specs(text)[0].grid.grid().values == (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1)


def test_what_is_installed_is_what_was_tested():
    installed = "\n".join(commands("README.md", "pip"))
    (line,) = re.findall(r"pip install (torch==.*) --index-url", installed)
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert line.split() == re.findall(r"^torch(?:vision)?==.*", pinned, flags=re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [re.findall(r"'\.\[([\w,]+)\]'", text) for text in PAGES.values()]
    names = {name for found in extras for group in found for name in group.split(",")}
    assert names and names <= set(project["optional-dependencies"])


def test_what_make_is_asked_for_can_be_made():
    asked = {target for text in PAGES.values() for target in re.findall(r"(?:`|\$ )make ([\w-]+)", text)}
    made = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert asked and asked <= made


@pytest.mark.parametrize("page", PAGES)
def test_a_command_in_a_sentence_is_one(page):
    for name, rest in re.findall(r"`oracle ([a-z]+)((?:\s[^`]*)?)`", PAGES[page]):
        known = {option for parameter in cli.commands[name].params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"oracle {name}{rest}"
    for module in re.findall(r"python -m (tests[\w.]+)", PAGES[page]):
        assert importlib.util.find_spec(module), module


def test_the_paper_costs_what_is_said():
    costs = [oracle_cost(19, 25, 1), silo_cost(25, 1), silo_tuning_cost(19, 25, 1)]
    assert [cost.trainings for cost in costs] == [475, 25, 457]
    said = "the Oracle takes 475, SILO 25 if its four numbers are known, and 457"
    assert said in PAGES["silo/README.md"].replace("\n", " ")


@pytest.mark.parametrize(
    ("page", "shown", "command"),
    [
        ("silo/README.md", "SILO as published", ["fit", "--table", "11"]),
        ("dashboards/README.md", "LR-warmup", ["compare", "--paper-table", "2"]),
    ],
)
def test_a_table_is_what_the_command_prints(call, page, shown, command):
    code, out, err = call(*command)
    assert code == 0, err
    printed = {line.rstrip() for line in out.splitlines()}
    (text,) = (text for text in blocks(page, "text") if shown in text)
    assert [line for line in text.splitlines() if line != "…" and line.rstrip() not in printed] == []


def test_the_pruning_loop_runs_in_thirty_lines(capsys):
    (code,) = blocks("silo/README.md", "python")
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


@pytest.mark.slow  # a newcomer's first search, in processes of its own, its steps compiled
def test_a_newcomer_s_lines_run_as_they_stand(tmp_path, monkeypatch, capsys):
    *files, home = blocks("README.md", "python")
    for code in files:
        (name,) = re.findall(r"\A# (\w+\.py)$", code, flags=re.MULTILINE)
        assert 20 <= len([line for line in code.splitlines() if line and not line.startswith("#")]) <= 30
        (tmp_path / name).write_text(code, encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-W", "error", name]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = re.findall(r"^\d +\d +\d\.\d+ +\d\.\d+ +\d\.\d+$", done.stdout, flags=re.MULTILINE)
        assert len(rows) == {"mine.py": 4, "ownloop.py": 3}[name], done.stdout
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(home, scope := {})
    assert scope["scheduler"].max_lr == scope["results"].rates[0]
    assert " Take " in capsys.readouterr().out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the pages' commands are called: two small searches have run there."""
    place = tmp_path_factory.mktemp("pages")
    write_spec(place / "mine.yaml")
    write_spec(place / "other.yaml")
    (place / "intervals.csv").write_text(
        "cycle,optimum,low,high\n0,0.03,0.02,0.04\n1,0.03,0.02,0.05\n2,0.05,0.04,0.07\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name in ("mine.yaml", "other.yaml"):
            done = CliRunner().invoke(cli, ["run", name, "--driver", "in-process"])
            assert done.exit_code == 0, done.output
    return place


def write_spec(path):
    YAML(typ="safe").dump(SMALL | {"name": path.stem}, path)


@pytest.fixture
def at_once(monkeypatch):
    """Commands that search in this process, and a dashboard that is closed once it is there."""

    def closed(self):
        raise KeyboardInterrupt

    defaults = {"run": ("driver", "in-process"), "dashboard": ("port", 0)}
    for name, (parameter, value) in defaults.items():
        (option,) = (each for each in cli.commands[name].params if each.name == parameter)
        monkeypatch.setattr(option, "default", value)
    monkeypatch.setattr("socketserver.BaseServer.serve_forever", closed)
    monkeypatch.setattr("oracle.cli.dashboard.ignore_signals", lambda: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in (ON_A_CLUSTER, NOT_RUN) and commands(page, "oracle")]
)
def test_every_command_of_a_page_runs(page, folder, at_once, call, monkeypatch):
    monkeypatch.chdir(folder)
    for command in commands(page, "oracle"):
        run, _, _ = command.partition(" > ")
        _, name, *arguments = shlex.split(run)
        if "--image" in arguments and not any(map(shutil.which, BROWSERS)):
            continue
        if name == "init":
            (folder / arguments[0]).unlink(missing_ok=True)
        code, out, err = call(name, *arguments)
        assert code == 0, f"{command}: {err}"
        assert out
        if name == "init":
            parse_specs((folder / arguments[0]).read_text(encoding="utf-8"))
            write_spec(folder / arguments[0])


@pytest.mark.slow
@pytest.mark.parametrize("page", ["oracle/README.md", "oracle/results/README.md"])
def test_the_lines_of_python_of_a_page_run(page, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for code in blocks(page, "python"):
        exec(code, {})
    printed = capsys.readouterr().out
    assert {
        "oracle/README.md": "SILO's predicted curve is within 0.5 %",
        "oracle/results/README.md": "Take ",
    }[page] in printed


def test_nothing_that_is_shown_is_left_out():
    run = {"README.md", "silo/README.md", "oracle/README.md", "oracle/results/README.md"}
    assert {page for page in PAGES if blocks(page, "python")} == run
    others = {"git", "make", "pip", "python3", "export", "ray", "docker", "docker/make_env.sh"}
    firsts = {
        line.split()[1] for page in PAGES for line in "".join(blocks(page, "console")).splitlines() if line
    }
    assert firsts == others | {"oracle"}


def test_every_example_of_the_help_is_on_a_page():
    shown = {command for page in PAGES for command in commands(page, "oracle")}
    helps = (command.help or "" for command in cli.commands.values())
    examples = {
        line.strip() for text in helps for line in text.splitlines() if line.startswith("      oracle ")
    }
    on_a_cluster = {example for example in examples if "--address" in example}
    assert len(examples) > 15 and examples - on_a_cluster <= shown


def test_how_stable_the_demo_is_was_kept():
    kept = json.loads(
        (ROOT / "tests/benchmarks/results/2026-11-30-agreement.json").read_text(encoding="utf-8")
    )
    counts = {
        rule: [kept["counts"][f"SILO's curve, {other}, {rule}"] for other in ("seeds", "arithmetics")]
        for rule in RULES
    }
    pairs, wrong = (sum(each[key] for each in counts["point rule"]) for key in ("pairs", "contradictions"))
    assert len(kept["stated"]["SILO's curve"]) == 9
    assert not any(each["contradictions"] for each in counts["model"])
    for page in ("README.md", "silo/landscape/README.md"):
        said = " ".join(PAGES[page].split())
        assert "nine runs" in said and f"{pairs} pairs" in said and re.search(rf"\b{wrong}\b", said)
    shown = re.findall(r"^ +(\d+) .*([✓✗?]) +[\d.]+ [✓✗?] +[\d.]+ ± ", README, flags=re.MULTILINE)
    stated = kept["stated"]["SILO's curve"]["seed-0"]["model"]
    assert len(shown) == 6 and all(stated[int(cycle)] == sign for cycle, sign in shown)
