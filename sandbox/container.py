"""How does a program run shut in a container of an engine?

One warm, hardened container per slot: no network, read-only root, no capabilities, no new privileges, memory and process
limits, an unprivileged user, private tmpfs; inside it the same zygote, as process 1, with Landlock and seccomp. Never a
container per test. The judge talks to it over a socket in a folder that only the two can reach. Needs an engine on this machine
and an image (`sandbox image build`); containers of a judge that died are removed by the next one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.backend import SandboxUnavailable
from sandbox.jail import HOST_ID
from sandbox.limits import MEBIBYTE
from sandbox.pool import ZygotePool
from sandbox.slot import ENVIRONMENT, FLAGS, PACKAGE, START_SECONDS, ZygoteSlot

IMAGE = "coderl-sandbox:latest"
LABEL = "coderl.sandbox.judge"
FIRST_ID = HOST_ID + 0x40_0000  # uids nobody has: one per container, because the kernel counts processes by uid
_numbers = itertools.count()
MEMORY_BYTES, DISK_BYTES = 4096 * MEBIBYTE, 1024 * MEBIBYTE  # hard bounds of a container
PROCESSES, INODES = 512, 100_000
BOOT = """
import socket, sys, types
package = sys.modules["sandbox"] = types.ModuleType("sandbox")
package.__path__ = ["/coderl/sandbox"]
channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
channel.connect("/judge/socket")
from sandbox.zygote import main
main(channel.detach())
"""


def engine() -> Any:
    """The client of a container engine that answers. Raises SandboxUnavailable."""
    try:
        import docker
    except ImportError:
        raise SandboxUnavailable("no docker: its Python package is missing: pip install 'coderl[docker]'") from None
    client = None
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except Exception as error:
        if client is not None:
            client.close()
        reason = str(error).splitlines()[0][:200]
        raise SandboxUnavailable(f"no docker: no engine answers ({reason}): start one, or set DOCKER_HOST") from None
    return client


class ContainerBackend(ZygotePool):
    """See `sandbox.backend.Backend`. `runtime` names another runtime of the engine's, e.g. runsc."""

    name = "docker"

    def __init__(self, image: str = IMAGE, runtime: str | None = None) -> None:
        self._client = engine()
        try:
            self._image = self._client.images.get(image)
        except Exception:
            self._client.close()
            raise SandboxUnavailable(f"no docker: no image {image}: make it with `sandbox image build`") from None
        self._runtime = runtime
        _sweep(self._client)
        super().__init__()

    def open_slot(self, binds: tuple[str, ...] = ()) -> ZygoteSlot:
        """`binds` are not given: toolchains come with the image."""
        return super().open_slot()

    def close(self) -> None:
        super().close()
        self._client.close()

    def _make(self, binds: tuple[str, ...], on_close: Callable[[ZygoteSlot], None]) -> ZygoteSlot:
        return _ContainerSlot(self._client, self._image, self._runtime, on_close)


class _ContainerSlot(ZygoteSlot):
    """A slot whose zygote is process 1 of a container."""

    def __init__(self, client: Any, image: Any, runtime: str | None, on_close: Callable[[ZygoteSlot], None]) -> None:
        self._client, self._image, self._runtime = client, image, runtime
        self._container: Any = None
        super().__init__("docker", lambda: (self._describe(), []), on_close)

    def _describe(self) -> dict[str, Any]:
        digest = self._image.id.removeprefix("sha256:")[:12]
        runtime = (f"runtime-{self._runtime}",) if self._runtime else ()
        layers = ("container", f"image-{digest}", *runtime, "no-network", "read-only", "cap-drop", "container-limits")
        return {
            "mode": "landlock", "judge": 0, "read": ["/"], "write": ["/box/work", "/box/tmp", "/dev/shm"], "site": [],
            "host_id": 0, "cgroup": {}, "cgroup_layers": (), "layers": layers,
        }  # fmt: skip

    def _launch(self) -> tuple[socket.socket, dict[str, Any]]:
        config, _ = self._configure()
        folder = Path(tempfile.mkdtemp(prefix="sandbox-docker-"))  # closed to others
        try:
            inner = folder / "judge"
            inner.mkdir()
            inner.chmod(0o711)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(str(inner / "socket"))
                os.chmod(inner / "socket", 0o666)
                listener.listen(1)
                listener.settimeout(START_SECONDS)
                self._container = self._run(inner)
                near, _ = listener.accept()
        except TimeoutError:
            raise SandboxUnavailable(f"no docker: the container did not start: {self._last_words()}") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return near, config

    def _run(self, folder: Path) -> Any:
        import docker.errors
        from docker.types import Mount

        python = self._image.labels.get("coderl.python", "python3")
        user = FIRST_ID + next(_numbers) % 0x10_0000
        tmpfs = f"size={DISK_BYTES},nr_inodes={INODES},uid={user},gid={user},mode=700,exec,nosuid,nodev"
        try:
            return self._client.containers.run(
                self._image.id,
                [python, *FLAGS, "-c", BOOT],
                detach=True, auto_remove=True, network_mode="none", read_only=True, cap_drop=["ALL"], privileged=False,
                security_opt=["no-new-privileges"], pids_limit=PROCESSES, mem_limit=MEMORY_BYTES,
                memswap_limit=MEMORY_BYTES, user=f"{user}:{user}", ipc_mode="private", shm_size=64 * MEBIBYTE,
                tmpfs={"/box/work": tmpfs, "/box/tmp": tmpfs}, environment=dict(ENVIRONMENT), working_dir="/",
                labels={LABEL: str(os.getpid())}, runtime=self._runtime, log_config={"type": "none"}, init=False,
                mounts=[
                    Mount("/coderl/sandbox", PACKAGE, type="bind", read_only=True),
                    Mount("/judge", str(folder), type="bind", read_only=True),
                ],
            )  # fmt: skip
        except docker.errors.DockerException as error:
            raise SandboxUnavailable(f"no docker: {str(error).splitlines()[0][:300]}") from None

    def _last_words(self) -> str:
        with suppress(Exception):
            self._container.reload()
            return f"its state is {self._container.status}"
        return "it ended at once"

    def _reap(self) -> None:
        super()._reap()
        container, self._container = self._container, None
        if container is not None:
            with suppress(Exception):
                container.kill()


def _sweep(client: Any) -> None:
    """Remove containers whose judge is dead. Its number may be another's by now: then they stay until that ends."""
    for container in client.containers.list(all=True, filters={"label": LABEL}):
        pid = container.labels.get(LABEL, "")
        if not os.path.exists(f"/proc/{pid}"):
            with suppress(Exception):
                container.remove(force=True)
