"""``oracle report``: which cycles its tables show."""

import json

import pytest


def test_chosen_cycles_have_their_densities_in_columns(finished, call):
    code, out, err = call("report", "spec.yaml", "--cycles", "0,2", "--out", "here")
    assert code == 0, err
    lines = (finished / "here/comparison.md").read_text().splitlines()
    (heading,) = [line for line in lines if "| λ" in line]
    assert [cell.strip() for cell in heading.split("|")[2:-1]] == ["100", "64.0"]
    assert "pruning cycle m" in out and "64.0" in out and "80.0" not in out
    assert (finished / "here/comparison.csv").read_text().count("\n") == 4  # numbers are all there
    taken = json.loads((finished / "here/comparison.json").read_text())["recommendation"]
    assert f"{taken['text']}\n    {taken['code'].splitlines()[0]}" in out and taken["text"].startswith(
        "Take "
    )


def test_a_width_is_that_of_images(finished, call):
    code, _, err = call("report", "spec.yaml", "--width", "one")
    assert code == 2 and "--image pdf" in err


@pytest.mark.parametrize(
    ("cycles", "said"),
    [("0,7,9", "has not decided cycles 7 and 9"), ("0;2", "'0;2' is no list"), ("", "'' is no list")],
)
def test_cycles_that_are_not_there(finished, call, cycles, said):
    code, _, err = call("report", "spec.yaml", "--cycles", cycles)
    assert code == 2 and said in err and err.count("\n") == 1
