"""The specs that are shipped: they are valid, and the paper's numbers in them are the paper's."""

import re
from inspect import signature

import pytest

from oracle.cli.specs import example, examples
from oracle.spec_file import parse_specs
from silo import load_table
from trials.datasets.image_folder import image_folder

TABLES = [name for name in examples() if name.startswith("table")]


def test_every_table_of_accuracies_has_one():
    assert [f"table{number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14)] == TABLES


@pytest.mark.parametrize("name", TABLES)
def test_the_numbers_are_the_papers(name):
    table = load_table(int(name.removeprefix("table")))
    text = example(name)
    printed = [(float(mean), float(std)) for mean, std in re.findall(r"([\d.]+) ± ([\d.]+)", text)]
    assert printed == [(row.accuracy_percent, row.std_percent) for row in table.rows]
    densities = [float(number) for line in re.findall(r"lambda(.*)", text) for number in line.split()]
    assert set(densities) == {row.density_percent for row in table.rows}
    if table.dense_accuracy_percent is not None:
        assert f"Dense network: {table.dense_accuracy_percent:g} %" in text


@pytest.mark.parametrize("name", TABLES)
def test_the_variants_are_the_rows_of_the_table(name):
    table, specs = load_table(int(name.removeprefix("table"))), parse_specs(example(name))
    rows = {(row.network, row.method, row.q, row.beta) for row in table.rows}
    assert len(specs) == len(rows)
    curves = [(s.silo.q, s.silo.beta) for s in specs if s.policy.name == "silo"]
    stated = [(row[2], row[3]) for row in rows if row[1] == "SILO" and row[2] is not None]
    assert sorted(curves) == sorted(stated) or not stated
    assert {spec.pruning.rate for spec in specs} == {0.2}
    assert {spec.training.optimizer.name for spec in specs} == {table.optimizer.lower()}
    assert {spec.network.name for spec in specs} == {
        {"ViT-B/16": "vit_b_16", "ViT-B-16": "vit_b_16"}.get(row[0], row[0].lower().replace("-", ""))
        for row in rows
    }


def test_init_writes_any_of_them(call, tmp_path):
    code, _, err = call("init", "mine.yaml", "--example", "table8")
    assert code == 0, err
    specs = parse_specs((tmp_path / "mine.yaml").read_text())
    assert specs[0].name == "mine.warmup" and len(specs) == 7
    code, _, err = call("init", "other.yaml", "--example", "table1")
    assert code == 2 and "there is no example 'table1': known are digits, loops, study-digits, " in err


def test_the_pixels_of_table_7_are_said_to_be_not_the_papers():
    header, _, ours = example("table7").partition("# Ours: ")
    assert "384x384 pixels, this spec's have CIFAR-10's own 32x32" in header
    assert ours.startswith("32x32 pixels")
    (arguments,) = (line.strip("# ") for line in header.splitlines() if line.startswith("#   {"))
    given = "{name: cifar10, arguments: {root: data, download: false}}"
    text = example("table7").replace(given, f"{{name: image_folder, arguments: {arguments}}}")
    accepted = signature(image_folder).parameters
    for spec in parse_specs(text):
        assert spec.dataset.name == "image_folder" and set(spec.dataset.arguments) <= set(accepted)


@pytest.mark.parametrize("number", [10, 11])
def test_tables_of_intervals_are_to_be_fitted(call, tmp_path, number):
    code, _, err = call("init", "mine.yaml", "--example", f"table{number}")
    assert code == 2 and err.count("\n") == 1
    assert f"oracle fit --table {number}, or one of digits, loops, study-digits, " in err
    assert not (tmp_path / "mine.yaml").exists()
    help_ = " ".join(call("init", "--help")[1].split())
    assert "table2 to table9 and table12 to table14" in help_ and "oracle fit --table 10" in help_
