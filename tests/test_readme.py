"""What the README shows works as it stands."""

import re
from pathlib import Path

import pytest

from oracle.spec_file import parse_spec

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_spec_is_valid():
    (text,) = blocks("yaml")
    assert parse_spec(text).grid.grid().values == (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1)


def test_the_curve_example_runs(capsys):
    (code,) = (text for text in blocks("python") if "fit_curve" in text)
    scope = {}
    exec(code, scope)
    assert scope["curve"].max_lr(3) == pytest.approx(0.0432, abs=1e-4)
    assert "SILO curve" in capsys.readouterr().out


def test_every_file_that_it_links_to_is_there():
    root = Path(__file__).parents[1]
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (root / link).exists(), link
