"""Checks of a cluster's nodes before a search starts: room, the same storage, a first step."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from oracle.drivers import ray_internals
from oracle.drivers.shared_data import SharedData
from oracle.errors import Refused
from oracle.execution import choose_execution
from oracle.session import Session
from oracle.spec import Spec
from silo.errors import SiloOracleError
from trials.process import is_out_of_memory
from trials.secrets import without_secrets
from trials.tasks import Execution, StoredFile

if TYPE_CHECKING:
    from trials.engine.choose import ChosenExecution
    from trials.runner import Runner

_KIND = "accelerator_type:"
"""How names of Ray's resources begin that say which model a node's GPUs are."""

_LOOK_SECONDS = 120.0
"""Seconds that a node has to look at the storage; a process of Ray's may have to start for it."""

_REHEARSAL_SECONDS = 300.0
"""Seconds that a worker has for a first step, after which it is taken for a busy cluster's."""


def worker_count(spec: Spec, *, cpus: float = math.inf) -> int:
    """As many workers as the spec wants and the nodes have room for, with those that an autoscaler may add.

    Args:
        spec: The spec.
        cpus: What it may have of a node's CPUs, at most.

    Raises:
        Refused: No node, there or to come, has room for one.
    """
    wants = _wants(spec)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    present = [{**node, "CPU": min(node.get("CPU", 0.0), cpus)} for node in nodes]
    may_come = _may_come(present)
    room = sum(_fits(wants, resources) for resources in present)
    room += sum(count * _fits(wants, resources) for resources, count in may_come)
    if not room:
        raise Refused(_lack(wants, [*present, *(resources for resources, count in may_come if count)]))
    return room if spec.resources.workers is None else min(room, spec.resources.workers)


def _lack(wants: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> str:
    """The line that names what no node has enough of; all that is wanted if none has it together."""
    largest = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in wants}
    lacking = [name for name, amount in wants.items() if amount > largest[name]] or list(wants)
    needs = " and ".join(f"{wants[name]:g} {name}" for name in lacking)
    have = " and ".join(f"{largest[name]:g} {name}" for name in lacking)
    together = "" if len(lacking) < len(wants) or len(wants) == 1 else " together"
    return (
        f"resources: a worker needs {needs}{together} on one node, the cluster's largest has {have}; "
        "ask for less or give it more"
    )


def _wants(spec: Spec) -> dict[str, float]:
    wants = {"CPU": spec.resources.cpus, "GPU": spec.resources.gpus}
    return {name: amount for name, amount in wants.items() if amount > 0}


def _fits(wants: Mapping[str, float], resources: Mapping[str, float]) -> int:
    return min(_times(name, amount, resources.get(name, 0.0)) for name, amount in wants.items())


def _times(name: str, amount: float, there: float) -> int:
    # A rounding more than there is: workers of 0.1 CPUs fit ten times into one.
    if name == "GPU":
        return int(there) * int(1 / amount + 1e-9)  # a share is one GPU's
    return int(there / amount + 1e-9)


def _may_come(present: Sequence[Mapping[str, float]]) -> list[tuple[Mapping[str, float], int]]:
    """Resources of the nodes that the cluster's autoscaler may add, and how many of each.

    To which group a present node belongs isn't told: to one of its size.
    """
    rest = [_size(node) for node in present]
    found: list[tuple[Mapping[str, float], int]] = []
    for resources, most in ray_internals.node_groups():
        there = min(rest.count(_size(resources)), most)
        for _ in range(there):
            rest.remove(_size(resources))
        found.append((resources, most - there))
    return found


def _size(resources: Mapping[str, float]) -> tuple[float, float]:
    return float(resources.get("CPU", 0.0)), float(resources.get("GPU", 0.0))


def choose_execution_on_worker(spec: Spec, workers: int) -> ChosenExecution | str:
    """Measures as :func:`oracle.execution.choose_execution` does, on a worker; a line of why if that fails.

    Args:
        spec: The spec.
        workers: Workers at a time.

    Raises:
        InvalidInput: See :func:`oracle.execution.choose_execution`.
    """
    try:
        found: ChosenExecution = ray.get(_on_worker(spec, _choose_way).remote(_told(spec), workers))
    except ray.exceptions.RayError as error:
        from trials.process import DeviceLost

        cause = getattr(error, "cause", None)
        if isinstance(cause, SiloOracleError) and not isinstance(cause, DeviceLost):
            raise cause from None
        return str(without_secrets(_short(error)))  # it died, too little memory: the search itself will show
    return found


def check_nodes(sessions: Sequence[Session], shared: Mapping[str, Any]) -> int:
    """Makes sure that all nodes see storage and data as this process does, and that a worker can train.

    Args:
        sessions: The searches; all want the same resources.
        shared: Data sets that the workers share, of :func:`oracle.drivers.shared_data.share`. All others must
            be on each node.

    Returns:
        How many nodes can have workers.

    Raises:
        Refused: A node can't write to a storage, sees another one or other data, or a worker has too little
            memory.
        InvalidInput: A worker can't build what a spec names: its data or its modules are not there.
    """
    spec = sessions[0].spec
    nodes = {
        node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        for node in ray.nodes()
        if node["Alive"] and _fits(_wants(spec), node["Resources"])
    }
    _check_data(sessions, shared, nodes)
    rehearsals = [
        _on_worker(spec, _rehearse).remote(_told(session.spec), session.record.execution, shared)
        for session in sessions
    ]
    for root in sorted({session.spec.storage_root() for session in sessions}):
        _check_storage(root, nodes)
    for session, rehearsal in zip(sessions, rehearsals, strict=True):
        _wait_for(rehearsal, session.spec, session.record.execution)
    return len(nodes)


def kinds_of_gpu(spec: Spec) -> tuple[str, ...]:
    """The models of GPU that the nodes with room for a worker have, as far as Ray knows them."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = {
        name for each in resources if "GPU" in _wants(spec) and _fits(_wants(spec), each) for name in each
    }
    return tuple(sorted(name.removeprefix(_KIND) for name in found if name.startswith(_KIND)))


def check_workers(sessions: Sequence[Session], shared: Mapping[str, Any]) -> None:
    """Makes sure that a worker on this machine builds the networks and has the data, as this process does.

    What comes along with the package, on data that is shared, can't differ there.

    Args:
        sessions: As for :func:`check_nodes`, which looks at more.
        shared: As for :func:`check_nodes`.

    Raises:
        InvalidInput: A worker can't build what a spec names: its data or its modules are not there.
    """
    from trials.datasets import key_of

    builds = {
        session: _on_worker(session.spec, _can_build).remote(_told(session.spec), shared)
        for session in sessions
        if key_of(session.recipe) not in shared
        or any(":" in component.name for component in session.recipe.components.values())
    }
    for session, build in builds.items():
        _wait_for(build, session.spec, session.record.execution)


def _can_build(spec: Spec, shared: Mapping[str, Any]) -> None:
    _build(spec, shared)


def _check_data(sessions: Sequence[Session], shared: Mapping[str, Any], nodes: Mapping[str, str]) -> None:
    """Has each node look at the data sets that its workers will load themselves, each once."""
    from trials.datasets import key_of

    unshared = (session for session in sessions if key_of(session.recipe) not in shared)
    wanted = {repr(session.spec.dataset): session for session in unshared}  # whatever the seed of its split
    for session in wanted.values():
        told, fingerprint = _told(session.spec), session.record.identity["data"]
        looks = {node: _on_node(node, _look_at_data).remote(told, fingerprint) for node in nodes}
        for node, look in looks.items():
            # One that takes long reads a large data set for the first time.
            if problem := _answer(look, seconds=_REHEARSAL_SECONDS, late=None):
                raise Refused(
                    f"dataset {session.spec.dataset.name!r}: node {nodes[node]}: {problem}; all nodes must "
                    "find the same files in the same place"
                )


def _look_at_data(spec: Spec, fingerprint: str) -> str | None:
    """On a node: what is wrong with a data set, if anything."""
    from oracle.preflight import open_runner

    try:
        found = open_runner(spec).data.fingerprint()
    except (OSError, SiloOracleError) as error:
        return str(without_secrets(str(error)))
    return None if found == fingerprint else "it has other data than the driver"


def _check_storage(root: str, nodes: Mapping[str, str]) -> None:
    """Writes a file here and one on each node, and looks for each on the other side."""
    from trials.checkpoints import DamagedFile, Store

    store, prefix = Store(root), f".look-{uuid.uuid4().hex}"
    ours = store.write_bytes(f"{prefix}-driver", uuid.uuid4().bytes)
    try:
        looks = {node: _on_node(node, _look).remote(root, ours, f"{prefix}-{node}") for node in nodes}
        for node, look in looks.items():
            problem = _answer(look, late=f"it did not answer within {_LOOK_SECONDS:.0f} seconds")
            if problem is None:
                try:
                    store.read_bytes(StoredFile(path=f"{prefix}-{node}", sha256=ours.sha256))
                except DamagedFile:
                    problem = "what it writes there can't be seen by the driver"
            if problem:
                raise Refused(
                    f"storage {without_secrets(root)}: node {nodes[node]}: {problem}; name a folder that all "
                    "nodes share, or an object store"
                )
    finally:
        for name in ("driver", *nodes):
            store.delete(f"{prefix}-{name}")


def _look(root: str, theirs: StoredFile, ours: str) -> str | None:
    """On a node: what is wrong with the storage, if anything."""
    from trials.checkpoints import DamagedFile, Store

    try:
        store = Store(root)
        data = store.read_bytes(theirs)
        store.write_bytes(ours, data)
    except DamagedFile:
        return "what the driver writes there can't be seen on it"
    except (OSError, SiloOracleError) as error:
        return f"it can't be used ({getattr(error, 'strerror', None) or error})"
    return None


def _answer(look: Any, *, late: str | None, seconds: float = _LOOK_SECONDS) -> str | None:
    """A node's answer; ``late`` if there is none in time."""
    try:
        found: str | None = ray.get(look, timeout=seconds)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(look)
        return late
    except ray.exceptions.RayError as error:
        return f"it could not look ({_short(error)})"
    return found


def _wait_for(rehearsal: Any, spec: Spec, execution: Execution) -> None:
    try:
        ray.get(rehearsal, timeout=_REHEARSAL_SECONDS)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(rehearsal)  # others use the cluster; this search will wait for its workers, too
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, SiloOracleError):
            raise cause from None
        killed = isinstance(error, ray.exceptions.OutOfMemoryError | ray.exceptions.WorkerCrashedError)
        if killed or is_out_of_memory(cause or error):
            raise Refused(
                f"memory: a training step of search {spec.name!r} ({execution}) does not fit into a worker "
                f"({_short(error)}); take a smaller batch_size or pack, or give a worker more"
            ) from error
        # Whatever else goes wrong in training is the trials' to say, with its traceback.


def _rehearse(spec: Spec, execution: Execution, shared: Mapping[str, Any]) -> None:
    """On a worker: one step of a pack, and one validation."""
    from oracle.execution import try_one_step

    try_one_step(spec, _build(spec, shared).on(spec.device), execution)


def _build(spec: Spec, shared: Mapping[str, Any]) -> Runner:
    """On a worker: its side of the search, with data set and network built."""
    from oracle.preflight import naming, open_runner

    runner = open_runner(spec, SharedData(shared))
    with naming("dataset", runner.recipe.dataset):
        _ = runner.data
    with naming("network", runner.recipe.network):
        runner.network(0)
    return runner


def _choose_way(spec: Spec, workers: int) -> ChosenExecution:
    from oracle.preflight import open_runner

    return choose_execution(spec, open_runner(spec).on(spec.device), workers)


def _on_worker(spec: Spec, function: Callable[..., Any]) -> Any:
    wants = spec.resources
    # A process that lived on would keep its memory of the GPU; .options() would leave max_calls out.
    calls = 1 if wants.gpus else 0
    decorated = ray.remote(num_cpus=wants.cpus, num_gpus=wants.gpus, max_calls=calls, max_retries=0)
    return decorated(function)


def _on_node(node: str, function: Callable[..., Any]) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=there)


def _told(spec: Spec) -> Spec:
    """The spec without ledger and observers: passwords that a worker doesn't know it can't give away."""
    return spec.model_copy(update={"ledger": "sqlite:///none.db", "observers": ()})


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
