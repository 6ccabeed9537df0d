"""docker/compose.yaml: what must hold so that nothing is open, unpinned or unchecked."""

import re

import pytest

from tests.docker.files import DOCKER, load

TEXT = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE = load("compose.yaml")
SERVICES = COMPOSE["services"]
BY_SERVICE = pytest.mark.parametrize("name", list(SERVICES))


def test_the_services_are_those_of_a_cluster():
    assert set(SERVICES) == {"postgres", "tables", "head", "worker", "dashboard"}


@BY_SERVICE
def test_images_are_pinned(name):
    repository, tag = SERVICES[name]["image"].split(":", maxsplit=1)
    assert repository in ("postgres", "silo-oracle")
    assert re.match(r"\d+\.\d+", tag), tag
    assert "latest" not in tag


def test_postgresql_is_named_once():
    assert len(re.findall(r"postgres:\d", TEXT)) == 1


@BY_SERVICE
def test_nobody_is_root(name):
    user, group = SERVICES[name]["user"].split(":")
    assert int(user) > 0 and int(group) > 0
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in SERVICES[name]


def test_ports_are_published_on_loopback_alone():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"head": ["127.0.0.1:8265:8265"], "dashboard": ["127.0.0.1:8080:8080"]}
    assert "network_mode" not in TEXT


@BY_SERVICE
def test_every_service_that_stays_has_a_health_check(name):
    if name == "tables":  # it runs and ends
        assert SERVICES[name]["restart"] == "on-failure"
        return
    assert SERVICES[name]["restart"] == "unless-stopped"
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_the_health_checks_ask_the_ports_that_the_commands_open():
    assert SERVICES["postgres"]["healthcheck"]["test"][1] == "pg_isready"
    opened = {"head": "--dashboard-port=", "worker": "--dashboard-agent-listen-port=", "dashboard": "--port="}
    for name, option in opened.items():
        (port,) = (word.removeprefix(option) for word in SERVICES[name]["command"] if word.startswith(option))
        assert f"http://127.0.0.1:{port}/" in SERVICES[name]["healthcheck"]["test"][-1]


def test_each_waits_for_what_it_needs():
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    assert waits == {
        "postgres": {},
        "tables": {"postgres": "service_healthy"},
        "head": {"postgres": "service_healthy"},
        "worker": {"head": "service_healthy"},
        "dashboard": {"tables": "service_completed_successfully"},
    }


def test_secrets_are_files_that_make_env_writes():
    assert COMPOSE["secrets"] == {
        name: {"file": f"${{SECRETS:?run docker/make_env.sh first}}/{name}"}
        for name in ("postgres_password", "pgpass", "ray_token")
    }
    given = {name: set(service.get("secrets", [])) for name, service in SERVICES.items()}
    assert given == {
        "postgres": {"postgres_password"},
        "tables": {"pgpass"},
        "head": {"ray_token", "pgpass"},
        "worker": {"ray_token"},  # the ledger is the head's
        "dashboard": {"pgpass"},
    }


@BY_SERVICE
def test_no_environment_variable_is_a_secret(name):
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASS|TOKEN|SECRET|KEY", variable):
            assert re.fullmatch(r"/run/(secrets|oracle)/\w+", value), variable
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", TEXT), "a URL with a password"


@BY_SERVICE
def test_the_password_file_lies_in_memory(name):
    service = SERVICES[name]
    if "pgpass" not in service.get("secrets", []):
        assert "PGPASSFILE" not in service.get("environment", {})
        return
    assert service["environment"]["PGPASSFILE"] == "/run/oracle/pgpass"
    assert service["entrypoint"] == ["with-pgpass"]
    assert service["tmpfs"] == ["/run/oracle:mode=0700,uid=10001,gid=10001,size=64k"]


@pytest.mark.parametrize("name", ["head", "worker"])
def test_rays_nodes_take_the_same_token_and_share_storage(name):
    service = SERVICES[name]
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
    assert "storage:/storage" in service["volumes"]
    assert "shm_size" in service
    assert "--block" in service["command"]


def test_a_stopped_job_ends_as_with_ctrl_c():
    environment = SERVICES["head"]["environment"]
    assert environment["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert environment["RAY_JOB_STOP_WAIT_TIME_S"] == "60"


def test_workers_scale_and_keep_to_their_cores():
    worker = SERVICES["worker"]
    assert worker["deploy"]["replicas"] == "${WORKERS:-1}"
    assert "container_name" not in worker and "ports" not in worker
    assert f"--num-cpus={worker['cpus']}" in worker["command"]


def test_the_ledgers_network_is_closed_and_workers_are_not_on_it():
    assert COMPOSE["networks"]["ledger"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["ledger"]
    assert SERVICES["worker"]["networks"] == ["ray"]


def test_every_volume_and_network_is_declared():
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])


def test_the_overlay_changes_the_worker_alone():
    overlay = load("compose.cuda.yaml")
    assert set(overlay["services"]) == {"worker"}
    (device,) = overlay["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
