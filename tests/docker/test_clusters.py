"""docker/kuberay, docker/ray-up.yaml and the spec that they run."""

import re

import pytest
from ray.autoscaler._private.docker import docker_start_cmds
from ray.autoscaler._private.util import prepare_config, validate_config

from oracle.spec_file import load_spec
from tests.docker.files import DOCKER, ROOT, constraint, load, project
from trials.engine import EVALUATION_BATCH

CLUSTER = load("kuberay/cluster.yaml")
JOB = load("kuberay/job.yaml")
SPEC = CLUSTER["spec"]
HEAD = SPEC["headGroupSpec"]["template"]["spec"]
(WORKER,) = (group["template"]["spec"] for group in SPEC["workerGroupSpecs"])
PODS = {"head": HEAD, "worker": WORKER, "submitter": JOB["spec"]["submitterPodTemplate"]["spec"]}


def containers():
    for pod in PODS.values():
        yield from [*pod["containers"], *pod.get("initContainers", [])]


def test_the_ray_version_is_the_one_that_the_constraints_pin():
    assert SPEC["rayVersion"] == constraint("ray")


def test_both_manifests_describe_the_same_cluster():
    assert (CLUSTER["apiVersion"], CLUSTER["kind"]) == ("ray.io/v1", "RayCluster")
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert JOB["spec"]["rayClusterSpec"] == SPEC


def test_the_cluster_wants_a_token():
    assert SPEC["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("name", ["kuberay/cluster.yaml", "kuberay/job.yaml", "ray-up.yaml"])
def test_no_secret_is_written_down(name):
    text = (DOCKER / name).read_text(encoding="utf-8")
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", text), "a URL with a password"
    assert "kind: Secret" not in text and "stringData" not in text
    for variable, value in re.findall(r"(\w*(?:PASS|TOKEN|SECRET|KEY)\w*)(?:=|, value: )(\S+)", text):
        if variable != "PASSWORD":  # of the command that makes the secret
            assert re.match(r"/run/(secrets|oracle)/\w+", value), variable
    for container in containers():
        for variable in container.get("env", []):
            assert not re.search("PASSWORD|TOKEN|SECRET", variable["name"])


def test_the_ledgers_password_is_a_volume_of_the_head_alone():
    secrets = {volume["name"]: volume["secret"] for volume in HEAD["volumes"] if "secret" in volume}
    assert secrets == {"ledger": {"secretName": "oracle-ledger"}}
    assert not any("secret" in volume for volume in WORKER["volumes"])
    (copying,) = HEAD["initContainers"]
    assert copying["command"] == [
        "install",
        "--mode=600",
        "/run/secrets/ledger/pgpass",
        "/run/oracle/pgpass",
    ]
    environment = {variable["name"]: variable["value"] for variable in HEAD["containers"][0]["env"]}
    assert environment["PGPASSFILE"] == "/run/oracle/pgpass"


@pytest.mark.parametrize("container", list(containers()), ids=lambda container: container["name"])
def test_every_container_is_limited_to_what_it_requests(container):
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert container["image"] == f"silo-oracle:{project()['version']}-cpu"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_autoscaler_is_limited_too():
    options = SPEC["autoscalerOptions"]
    assert options["resources"]["requests"] == options["resources"]["limits"]
    (group,) = SPEC["workerGroupSpecs"]
    assert 0 < group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] < 100


@pytest.mark.parametrize("name", list(PODS))
def test_no_pod_is_roots(name):
    context = PODS[name]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_volumes_are_those_that_are_mounted():
    for pod in (HEAD, WORKER):
        declared = {volume["name"] for volume in pod["volumes"]}
        mounting = [*pod["containers"], *pod.get("initContainers", [])]
        mounted = {mount["name"] for container in mounting for mount in container["volumeMounts"]}
        assert mounted == declared
        claims = [volume for volume in pod["volumes"] if volume["name"] == "storage"]
        assert claims[0]["persistentVolumeClaim"]["claimName"] == "oracle-storage"
    storage = load("kuberay/storage.yaml")
    assert storage["metadata"]["name"] == "oracle-storage"
    assert storage["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_job_is_the_command_and_is_tried_again():
    spec = JOB["spec"]
    assert spec["entrypoint"] == "oracle run /spec/spec.yaml --address auto"
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] == 3
    environment = {variable["name"]: variable["value"] for variable in HEAD["containers"][0]["env"]}
    assert environment["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert environment["RAY_JOB_STOP_WAIT_TIME_S"] == "60"
    mounts = {mount["name"]: mount["mountPath"] for mount in HEAD["containers"][0]["volumeMounts"]}
    assert mounts["spec"] == "/spec"


def test_the_example_differs_from_the_demo_in_where_its_results_are():
    demo = load_spec(ROOT / "oracle/examples/digits.yaml").model_dump()
    spec = load_spec(DOCKER / "digits-cluster.yaml").model_dump()
    changed = {field: spec[field] for field in spec if spec[field] != demo[field]}
    assert changed == {
        "storage": "/storage",
        "ledger": load("compose.yaml")["x-ledger"],
    }
    assert changed["ledger"] == "postgresql+psycopg://oracle@postgres/oracle"


@pytest.fixture
def launched():
    """ray-up.yaml with Ray's defaults, as `ray up` takes it."""
    config = prepare_config(load("ray-up.yaml"))
    validate_config(config)
    return config


def test_ray_takes_the_cluster_file(launched):
    assert launched["max_workers"] == len(launched["provider"]["worker_ips"])
    assert launched["docker"]["image"] == f"silo-oracle:{project()['version']}-cpu"


def test_ray_finds_a_typing_error():
    config = prepare_config(load("ray-up.yaml"))
    config["docker"]["run_option"] = []
    with pytest.raises(Exception, match="run_option"):
        validate_config(config)


@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_starts_containers_with_the_token(launched, role):
    docker = launched["docker"]
    options = docker["run_options"] + docker.get(f"{role}_run_options", [])
    command = docker_start_cmds(
        "ubuntu",
        docker["image"],
        {},
        docker["container_name"],
        options,
        "silo-oracle",
        "/home/oracle",
        "docker",
    )
    assert "--env=RAY_AUTH_MODE=token" in command
    assert "--env=RAY_AUTH_TOKEN_PATH=/run/secrets/ray_token" in command
    assert "/run/secrets/ray_token:ro" in command
    assert command.index("--entrypoint=env") < command.index(docker["image"])
    assert command.endswith(" bash")
    assert ("pgpass" in command) is (role == "head")


def test_the_commands_of_ray_up_join_one_cluster(launched):
    (start,) = (line for line in launched["head_start_ray_commands"] if "ray start" in line)
    assert start.startswith("with-pgpass ray start --head --port=6379 ")
    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    (join,) = (line for line in launched["worker_start_ray_commands"] if "ray start" in line)
    assert "--address=$RAY_HEAD_IP:6379" in join


def test_shared_memory_holds_the_object_store_and_two_workers_that_stream_imagenet():
    image, workers, batch, validated = 3 * 224 * 224, 8, 256, 1024
    needed = 2 * (2 * workers * (batch + validated) * image)
    compose = load("compose.yaml")["services"]["worker"]
    (store,) = re.findall(r"--object-store-memory=(\d+)", " ".join(compose["command"]))
    (volume,) = (volume["emptyDir"] for volume in WORKER["volumes"] if volume["name"] == "shm")
    given = [compose["shm_size"], volume["sizeLimit"], *load("ray-up.yaml")["docker"]["run_options"]]
    sizes = re.findall(
        r"(?:WORKER_SHM:-|shm-size=|^)(\d+)(?:gb|Gi|g)\b", "\n".join(given), flags=re.MULTILINE
    )
    assert len(sizes) == 3 and min(map(int, sizes)) * 2**30 > int(store) + needed
    (default,) = re.findall(r"^WORKER_SHM=(\d+)gb$", (DOCKER / "make_env.sh").read_text(), flags=re.MULTILINE)
    assert default == sizes[0]
    assert validated >= EVALUATION_BATCH
