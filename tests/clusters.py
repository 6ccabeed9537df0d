"""Real Ray clusters of one or two nodes on this machine, with token authentication, for the tests."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

ROOT = Path(__file__).parents[1]
START_SECONDS = 120


class Cluster:
    """A head and the nodes that joined it, each a ``ray start --block`` process.

    Args:
        folder: For logs and the token.
        token: Whether the cluster asks for a token.
        host: The address that the head has for its nodes.
        dashboard: Whether it takes jobs; without, it starts in a fraction of the time.
    """

    def __init__(
        self, folder: Path, *, token: bool = True, host: str = "127.0.0.1", dashboard: bool = True
    ) -> None:
        self._folder, self._host = folder, host
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self.environment |= {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token" if token else "disabled"}
        # Jobs run what is called python there.
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # A killed node is missed sooner than by default.
        self.environment |= {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
        self.token = secrets.token_hex(32)
        if token:
            (folder / "token").write_text(self.token)
            self.environment["RAY_AUTH_TOKEN_PATH"] = str(folder / "token")
        self.processes: list[subprocess.Popen[bytes]] = []
        self.folders: list[Path] = []
        self.port, port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self._with_dashboard = dashboard
        self._dashboard = [f"--include-dashboard={str(dashboard).lower()}", f"--dashboard-port={port}"]

    @property
    def address(self) -> str:
        """Where a driver reaches it."""
        return f"{self._host}:{self.port}"

    def start_head(self, *, cpus: int = 1, gpus: int = 0) -> None:
        """Starts the head, and waits until it takes jobs, or drivers if it has no dashboard."""
        place = (f"--port={self.port}", f"--node-ip-address={self._host}", *self._dashboard)
        process = self._start("--head", *place, f"--num-cpus={cpus}", f"--num-gpus={gpus}")
        deadline = time.monotonic() + START_SECONDS
        while not (self._takes_jobs() if self._with_dashboard else "Ray runtime started" in self.log()):
            if time.monotonic() > deadline or process.poll() is not None:
                raise TimeoutError(self.log())
            time.sleep(0.1)

    def _takes_jobs(self) -> bool:
        headers = {"Authorization": f"Bearer {self.token}"}
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/api/jobs/", headers=headers, timeout=10).ok and self.nodes() > 0
        return False

    def join(self, *options: str, cpus: int = 1, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Starts a node that joins the head, with a command before it (``unshare``); waits until it has."""
        count = self.nodes()
        place = (f"--address={self.address}", f"--num-cpus={cpus}", *options)
        process = self._start(*place, before=before)
        deadline = time.monotonic() + START_SECONDS
        while self.nodes() == count:
            if time.monotonic() > deadline or process.poll() is not None:
                raise TimeoutError(self.log())
            time.sleep(0.2)
        return process

    def nodes(self) -> int:
        """Nodes that are alive, as the head sees it."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.get(f"{self.url}/nodes?view=summary", headers=headers, timeout=30).json()
        return sum(node["raylet"].get("state") == "ALIVE" for node in answer["data"]["summary"])

    def oracle(self, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        """Runs the ``oracle`` command with this cluster's token."""
        return subprocess.run(
            [sys.executable, "-m", "oracle", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )

    def log(self) -> str:
        """What the nodes have printed."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("node-*.log")))

    def _start(self, *options: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        ray = str(Path(sys.executable).with_name("ray"))
        agent, metrics, client = free_ports(3)
        command = [*before, ray, "start", "--block", "--disable-usage-stats", *options]
        command += [f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}"]
        command += ["--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=100000000"]
        command += [f"--ray-client-server-port={client}"] if "--head" in options else []
        # Nodes that share one would take each other's copy of a job's working directory away.
        self.folders.append(Path(tempfile.mkdtemp(prefix="ray-")))  # short: sockets' paths must be
        command += [f"--temp-dir={self.folders[-1]}"]
        with (self._folder / f"node-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """Ends every node."""
        for process in reversed(self.processes):
            end(process)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """Ends a node: what it started ends with it, at the latest by SIGKILL."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        if number == signal.SIGKILL:
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for child in psutil.wait_procs(family, timeout=10)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0)
    if process.poll() is None:
        process.kill()
        process.wait()


@contextmanager
def running(
    folder: Path,
    *,
    token: bool = True,
    dashboard: bool = True,
    cpus: int = 1,
    gpus: int = 0,
    nodes: int = 1,
) -> Iterator[Cluster]:
    """A cluster of so many nodes with so many CPUs each, and a head that says that it has so many GPUs."""
    cluster = Cluster(folder, token=token, dashboard=dashboard)
    try:
        cluster.start_head(cpus=cpus, gpus=gpus)
        for _ in range(nodes - 1):
            cluster.join(cpus=cpus)
        yield cluster
    finally:
        cluster.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]
