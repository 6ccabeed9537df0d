"""docker/Dockerfile and what goes into the image. Nothing is built here."""

import re
import tomllib

import yaml

from tests.docker.files import DOCKER, ROOT, constraint, project, yaml_files

DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")


def instructions(name: str) -> list[str]:
    """The arguments of one kind of instruction, in order, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_every_yaml_file_parses():
    assert len(yaml_files()) >= 7
    for path in yaml_files():
        assert yaml.safe_load(path.read_text(encoding="utf-8")), path


def test_the_base_is_pinned_once_with_the_python_that_the_project_is_checked_with():
    bases = [source for source in instructions("FROM") if not source.startswith("base")]
    assert len(bases) == 1
    version = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-bookworm AS base", bases[0])
    assert version, bases
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert version[1] == mypy["python_version"]
    assert DOCKERFILE.count("python:") == 1


def test_pip_installs_what_the_constraints_pin_from_the_chosen_index():
    installs = [run for run in instructions("RUN") if "pip install" in run]
    assert len(installs) == 3
    *packages, own = installs
    assert all("--constraint constraints.txt" in run and "--only-binary=:all:" in run for run in packages)
    assert own == "pip install --no-deps ."
    assert instructions("ARG") == ["TORCH=cpu"]
    assert "/whl/${TORCH}" in packages[0]
    assert "['optional-dependencies']['postgresql']" in packages[1]


def test_what_the_image_installs_is_pinned():
    metadata = project()
    wanted = [*metadata["dependencies"], *metadata["optional-dependencies"]["postgresql"]]
    for requirement in wanted:
        name = re.match(r"[\w.-]+", requirement)[0]
        assert constraint(name), name


def test_the_image_is_a_command_of_a_user_that_is_not_root():
    assert instructions("ENTRYPOINT") == ['["oracle"]']
    assert instructions("USER") == ["10001:10001"]
    assert "--uid 10001" in DOCKERFILE
    last = DOCKERFILE.rindex("\nFROM ")
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.index("apt-get install") > last


def test_the_compiler_is_in_the_image_that_runs():
    run = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    for package in ("g++", "wget", "rsync", "openssh-client"):
        assert re.search(rf"apt-get install [^&]*{re.escape(package)}", run), package


def test_the_context_has_what_is_copied_and_no_secret():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = set()
    for line in instructions("COPY"):
        if "--from=" not in line:
            copied |= {word for word in line.split()[:-1] if not word.startswith("--")}
    assert copied == sent
    assert all((ROOT / name).exists() for name in sent)
    packages = [name.rstrip("*") for name in _setuptools()["packages"]["find"]["include"]]
    assert set(packages) <= sent


def _setuptools() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_file_names_the_projects_version_of_the_image():
    version = project()["version"]
    for path in [DOCKER / "Dockerfile", *yaml_files()]:
        for tag in re.findall(r"silo-oracle:(\d[\w.]*)", path.read_text(encoding="utf-8")):
            assert tag == version, path
