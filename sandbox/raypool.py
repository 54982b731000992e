"""How does a Ray cluster grade? Each node with cores to spare runs a server, and this process asks them all.

The `ray` backend: on an existing cluster (RAY_ADDRESS, else the one that this machine belongs to) an actor per node reserves
`workers` CPUs and keeps `sandbox serve` running there, with a token of its own; from then on it is the `remote` backend. So a
node that dies is set aside and what it had not answered goes to the others; verdicts keep the isolation that their server
stamped. The servers end with this process, or its `close`. What can talk to the cluster is trusted, as everywhere in Ray.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from sandbox.backend import SandboxUnavailable
from sandbox.grader import default_workers
from sandbox.remote import PATIENCE_SECONDS, RemotePool

START_SECONDS = 120.0


class RayPool(RemotePool):
    """See `sandbox.grader.Grader`; `workers` is per node, None takes all its CPUs. Raises SandboxUnavailable."""

    def __init__(self, minimum: str = "", workers: int | None = None, patience_seconds: float = PATIENCE_SECONDS):
        self._ray = _connected()
        token = secrets.token_hex(32)
        self._servers, endpoints = self._start(minimum, workers, token)
        try:
            super().__init__(endpoints, token, minimum, patience_seconds=patience_seconds)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        super().close()
        self._end()

    def _start(self, minimum: str, workers: int | None, token: str) -> tuple[list[Any], list[str]]:
        """The actors and the addresses of their servers, one per node that has the CPUs."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray, servers = self._ray, {}
        for node in ray.nodes():
            cpus = int(node["Resources"].get("CPU", 0))
            if not node["Alive"] or cpus < (workers or 1):
                continue
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            actor = ray.remote(_Server).options(num_cpus=workers or cpus, scheduling_strategy=here)
            server = actor.remote(workers or default_workers(cpus), minimum, token)
            servers[server.address.remote()] = server
        if not servers:
            raise SandboxUnavailable(f"no node of the Ray cluster has {workers or 1} CPUs: give fewer workers")
        ready, late = ray.wait(list(servers), num_returns=len(servers), timeout=START_SECONDS)
        wanted = f"{workers} CPUs" if workers else "all CPUs"
        faults = [f"{len(late)} nodes do not have {wanted} free: give fewer workers"] if late else []
        endpoints, kept = [], []
        for answer in ready:
            try:
                endpoints.append(ray.get(answer))
                kept.append(servers[answer])
            except ray.exceptions.RayError as error:
                faults.append(str(getattr(error, "cause", None) or error).strip().splitlines()[-1])
        for answer in late:
            ray.kill(servers[answer])
        if not endpoints:
            raise SandboxUnavailable(f"no node of the Ray cluster can grade: {'; '.join(faults)}")
        if faults:
            logging.getLogger("sandbox").warning("without some nodes of the Ray cluster: %s", "; ".join(faults))
        return kept, endpoints

    def _end(self) -> None:
        for server in self._servers:
            with suppress(self._ray.exceptions.RayError, OSError):  # a dead node, or no cluster any more
                self._ray.kill(server)
        self._servers = []


def _connected() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise SandboxUnavailable(f"backend ray needs {error.name}: pip install 'coderl[ray]'") from None
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "auto")
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            cause = str(error).strip().splitlines()[0]
            raise SandboxUnavailable(f"no Ray cluster at {address}: {cause}; set RAY_ADDRESS") from None
    return ray


class _Server:
    """The actor: `sandbox serve` on its node, for as long as the actor lives."""

    def __init__(self, workers: int, minimum: str, token: str):
        import ray

        command = [sys.executable, "-m", "sandbox", "serve", "--host", ray.util.get_node_ip_address(), "--port", "0"]
        command += ["--workers", str(workers), *(("--min-isolation", minimum) if minimum else ())]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "SANDBOX_TOKEN": token},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_the_actor,
        )

    def address(self) -> str:
        """Of the server, once it listens. Raises RuntimeError with what it said, where it does not start."""
        assert self._process.stdout is not None and self._process.stderr is not None
        said = self._process.stdout.readline()
        if "http://" not in said:
            raise RuntimeError(self._process.stderr.read().strip() or f"the server said {said!r}")
        return "http://" + said.split("http://")[1].split(" ")[0]


def _die_with_the_actor() -> None:
    from sandbox.syscalls import PR_SET_PDEATHSIG, prctl

    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
