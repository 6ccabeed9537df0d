"""What travels to a cluster with a submitted search, and what must not."""

import random
import zipfile

import pytest

from oracle.jobs import client, make_package
from oracle.spec_file import load_spec
from silo.errors import InvalidInput


def texts(made):
    with zipfile.ZipFile(made.path) as found:
        return {name: found.read(name).decode() for name in found.namelist() if not name.endswith("/")}


def test_the_spec_travels_as_it_is_but_for_the_ledgers_password(write, tmp_path):
    path = write(ledger="postgresql+psycopg://me:pass-word@host/data")
    path.write_text("# why this search\n" + path.read_text())
    made = make_package(path, tmp_path)
    assert made.ledger == "postgresql+psycopg://me@host/data"
    assert (made.name, made.searches) == ("small", ("small",))
    (name, text), *others = texts(made).items()
    assert name == made.spec_file == "small.yaml" and not others
    assert text.startswith("# why this search\n")
    assert b"pass-word" not in made.path.read_bytes()
    arrived = tmp_path / "arrived.yaml"
    arrived.write_text(text)
    assert load_spec(arrived) == load_spec(path).model_copy(update={"ledger": made.ledger})


def test_every_variants_password_is_taken_out(write, tmp_path):
    ledger = "postgresql+psycopg://me:pass-word@host/data"
    path = write(variants={"a": {"ledger": ledger}, "b": {"seed": 1, "ledger": ledger}, "c": None})
    made = make_package(path, tmp_path)
    assert made.name == "small" and made.searches == ("small.a", "small.b", "small.c")
    assert "pass-word" not in texts(made)["small.yaml"]


def test_the_same_search_is_the_same_package(write, tmp_path):
    (tmp_path / "again").mkdir()
    first, second = (make_package(write(), folder) for folder in (tmp_path, tmp_path / "again"))
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_working_directory_travels_without_what_it_ignores(write, tmp_path):
    folder = tmp_path / "mine"
    (folder / "nets").mkdir(parents=True)
    (folder / "nets" / "small.py").write_text("x = 1")
    (folder / "data.bin").write_bytes(bytes(100))
    (folder / ".gitignore").write_text("*.bin\n")
    (folder / "small.yaml").write_text("of the user")
    made = make_package(write(), tmp_path, working_dir=folder)
    found = texts(made)
    assert found["nets/small.py"] == "x = 1" and "data.bin" not in found
    assert found["small.yaml"] == "of the user" and made.spec_file == "submitted-small.yaml"
    assert "small" in found[made.spec_file]


def test_a_spec_in_its_working_directory_does_not_travel_as_it_is(write, tmp_path):
    path = write(ledger="postgresql+psycopg://me:pass-word@host/data")
    (tmp_path / "out").mkdir()
    made = make_package(path, tmp_path / "out", working_dir=tmp_path)
    with zipfile.ZipFile(made.path) as zipped:
        for name in zipped.namelist():
            assert b"pass-word" not in zipped.read(name), name
    (tmp_path / "other.yml").write_text("ledger: postgresql+psycopg://me:pass-word@host/data")
    (tmp_path / "again").mkdir()
    with pytest.raises(InvalidInput, match=r"a secret stands in other\.yml, and everybody"):
        make_package(path, tmp_path / "again", working_dir=tmp_path)


def test_too_much_is_named_with_its_size(write, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    generator = random.Random(0)
    for name, size in (("largest.bin", 1_600_000), ("large.bin", 800_000), ("small.py", 10)):
        (folder / name).write_bytes(generator.randbytes(size))
    monkeypatch.setattr(client, "LARGEST", 2 * 1024**2)
    with pytest.raises(InvalidInput) as refused:
        make_package(write(), tmp_path, working_dir=folder)
    assert "packs to 2.3 MiB, and Ray takes 2.0 MiB; the largest: largest.bin (1.5 MiB), large.bin" in str(
        refused.value
    )
    assert "in .gitignore or .rayignore" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"storage": "results"}, "'results' is a folder below the working directory"),
        ({"ledger": "sqlite:///ledger.db"}, "is a file below the working directory"),
        ({"storage": "s3://key:secret@bucket/x"}, "a secret stands in it (storage: s3://key:***@bucket/x)"),
        (
            {"dataset": {"name": "mine:load", "arguments": {"url": "https://host/x?token=abc"}}},
            "dataset.arguments: a secret seems to stand in url, by its form",
        ),
    ],
)
def test_what_a_cluster_would_lose_or_give_away_is_refused(write, tmp_path, changes, words):
    with pytest.raises(InvalidInput) as refused:
        make_package(write(**changes), tmp_path)
    assert words in str(refused.value)
    assert "secret@" not in str(refused.value) and "abc" not in str(refused.value)


def test_a_working_directory_that_is_none_is_named(write, tmp_path):
    with pytest.raises(InvalidInput, match=r"--working-dir: .*nowhere is no folder"):
        make_package(write(), tmp_path, working_dir=tmp_path / "nowhere")
