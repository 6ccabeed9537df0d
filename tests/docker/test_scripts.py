"""docker/make_env.sh and docker/with-pgpass.sh, run for real."""

import shutil
import stat
import subprocess

import pytest

from tests.docker.files import DOCKER, ROOT, load

GENERATED = [".env", "secrets/pgpass", "secrets/postgres_password", "secrets/ray_token"]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path):
    shutil.copy(DOCKER / "make_env.sh", tmp_path)
    return tmp_path


def make_env(folder):
    return subprocess.run(
        ["sh", folder / "make_env.sh"], cwd="/", capture_output=True, text=True, check=False, timeout=60
    )


def contents(folder):
    return {name: (folder / name).read_bytes() for name in GENERATED}


def test_it_makes_what_compose_reads(folder):
    done = make_env(folder)
    assert done.returncode == 0, done.stderr
    made = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert made == {*GENERATED, "make_env.sh"}
    variables = dict(
        line.split("=") for line in (folder / ".env").read_text().splitlines() if not line.startswith("#")
    )
    assert variables["SECRETS"] == "./secrets"
    assert int(variables["WORKER_CPUS"]) >= 1
    assert {f"secrets/{name}" for name in load("compose.yaml")["secrets"]} == set(GENERATED) - {".env"}


def test_nobody_else_reads_them(folder):
    make_env(folder)
    assert mode(folder / ".env") == 0o600
    assert mode(folder / "secrets") == 0o700
    # Another user inside a container: through the folder there is no way in, a mounted file is read.
    assert {mode(path) for path in (folder / "secrets").iterdir()} == {0o644}


def test_the_secrets_are_long_and_only_where_they_belong(folder):
    done = make_env(folder)
    password = (folder / "secrets/postgres_password").read_text()
    token = (folder / "secrets/ray_token").read_text()
    assert (folder / "secrets/pgpass").read_text() == f"postgres:5432:*:oracle:{password}\n"
    assert len({password, token}) == 2
    for secret in (password, token):
        assert len(secret) == 64 and int(secret, 16)
        assert secret not in done.stdout + done.stderr + (folder / ".env").read_text()
    assert "up --detach --build" in done.stdout and "oracle submit" in done.stdout


def test_two_folders_have_different_secrets(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copy(DOCKER / "make_env.sh", other)
    make_env(folder)
    make_env(other)
    for name in GENERATED[1:]:
        assert (folder / name).read_bytes() != (other / name).read_bytes()


@pytest.mark.parametrize("left", [".env", "secrets"])
def test_it_never_overwrites(folder, left):
    make_env(folder)
    before = contents(folder)
    assert make_env(folder).returncode == 1
    assert contents(folder) == before
    shutil.move(folder / (".env" if left == "secrets" else "secrets"), folder / "moved")
    done = make_env(folder)
    assert done.returncode == 1 and f"{left} is there already" in done.stderr
    assert not all((folder / name).exists() for name in GENERATED)


def test_git_keeps_none_of_them():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/docker/.env", "/docker/secrets/"} <= set(ignored)


def with_pgpass(tmp_path, *command, **environment):
    return subprocess.run(
        ["sh", DOCKER / "with-pgpass.sh", *command],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_with_pgpass_copies_the_secret_for_the_user_alone_and_runs_the_command(tmp_path):
    secret, copy = tmp_path / "secret", tmp_path / "pgpass"
    secret.write_text("postgres:5432:*:oracle:password\n")
    secret.chmod(0o644)
    copy.write_text("of an earlier start")
    copy.chmod(0o444)
    paths = {"PGPASS_SECRET": str(secret), "PGPASSFILE": str(copy)}
    done = with_pgpass(tmp_path, "sh", "-c", 'echo "$PGPASSFILE $0"; exit 7', "a b", **paths)
    assert (done.returncode, done.stdout) == (7, f"{copy} a b\n")
    assert copy.read_text() == secret.read_text()
    assert mode(copy) == 0o600


def test_with_pgpass_runs_nothing_without_the_secret(tmp_path):
    paths = {"PGPASS_SECRET": str(tmp_path / "none"), "PGPASSFILE": str(tmp_path / "pgpass")}
    done = with_pgpass(tmp_path, "echo", "ran", **paths)
    assert done.returncode != 0 and "ran" not in done.stdout
    assert with_pgpass(tmp_path, "echo", "ran", PGPASS_SECRET="/dev/null").returncode != 0
