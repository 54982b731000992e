"""How does a program run shut in in a container of an engine?

One warm, hardened container per slot: no network, read-only root, no capabilities, no new privileges, memory and process
limits, an unprivileged user, private tmpfs; inside it the same zygote, as process 1, with Landlock and seccomp. Never a
container per test. The judge talks to it over a socket in a folder that only the two can reach, and bounds each run by
control groups of its own where it can write them. Needs an engine on this machine and an image (`sandbox image build`);
a container ends when its judge does, and what an engine keeps of it is removed by the next one.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox import cgroup
from sandbox.backend import SandboxUnavailable
from sandbox.jail import HOST_ID
from sandbox.languages import LanguageUnavailable, Toolchain, get
from sandbox.limits import MEBIBYTE
from sandbox.pool import ZygotePool
from sandbox.slot import ENVIRONMENT, FLAGS, PACKAGE, START_SECONDS, Configure, ZygoteSlot

IMAGE = "coderl-sandbox:latest"
LABEL, HOME_LABEL = "coderl.sandbox.judge", "coderl.sandbox.home"
PREFIX = "sandbox-docker-"
FIRST_ID = HOST_ID + 0x40_0000  # uids nobody has: one per container, because the kernel counts processes by uid
INNER_ID = 1000  # where the zygote is root: of programs is the next
ZYGOTE_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID", "SETPCAP")
_KERNEL = '" ".join(os.uname()[2:4])'
KERNEL = " ".join(os.uname()[2:4])
_numbers = itertools.count()
MEMORY_BYTES, DISK_BYTES = 4096 * MEBIBYTE, 1024 * MEBIBYTE  # hard bounds of a container
PROCESSES, INODES = 512, 100_000
HIDDEN = ("/coderl", "/judge", "/dev", "/etc/hostname", "/etc/resolv.conf")  # what programs do not see into
PACKAGE_BOOT = """
import sys, types
package = sys.modules["sandbox"] = types.ModuleType("sandbox")
package.__path__ = ["/coderl/sandbox"]
"""
BOOT = f"""{PACKAGE_BOOT}
import os, socket
os.environ.pop("HOSTNAME", None)  # the engine's: names the container
channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
channel.connect("/judge/socket")
from sandbox.zygote import main
main(channel.detach())
"""
PROBE = f"""{PACKAGE_BOOT}
import json
from sandbox.languages import LanguageUnavailable, names, toolchain
found = {{}}
for name in names():
    try:
        tools = toolchain(name)
        found[name] = {{"tools": dict(tools.tools), "version": tools.version}}
    except (LanguageUnavailable, OSError) as error:
        found[name] = str(error)
print(json.dumps(found))
"""


def engine() -> Any:
    """The client of a container engine that answers. Raises SandboxUnavailable."""
    try:
        import docker
    except ImportError:
        raise SandboxUnavailable("no docker: its Python package is missing: pip install 'coderl[docker]'") from None
    client = None
    try:
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if host.startswith("unix://"):  # the library forgets to close a socket that does not connect
            with socket.socket(socket.AF_UNIX) as trial:
                trial.connect(host.removeprefix("unix://"))
        client = docker.from_env(timeout=60)
        client.ping()
    except Exception as error:
        if client is not None:
            client.close()
        reason = str(error).splitlines()[0][:200]
        raise SandboxUnavailable(f"no docker: no engine answers ({reason}): start one, or set DOCKER_HOST") from None
    return client


class ContainerBackend(ZygotePool):
    """See `sandbox.backend.Backend`.

    Like the engine (DOCKER_HOST), its image and its runtime (e.g. runsc) may be named by the environment:
    CODERL_DOCKER_IMAGE, CODERL_DOCKER_RUNTIME.
    """

    name = "docker"

    def __init__(self) -> None:
        self._client = engine()
        image = os.environ.get("CODERL_DOCKER_IMAGE", IMAGE)
        try:
            self._image = self._client.images.get(image)
        except Exception:
            self._client.close()
            raise SandboxUnavailable(f"no docker: no image {image}: make it with `sandbox image build`") from None
        self._labels: dict[str, str] = self._image.labels
        self._runtime = os.environ.get("CODERL_DOCKER_RUNTIME") or None
        self._own_kernel = False
        self._probing = threading.Lock()
        self._found: Mapping[str, Any] | None = None
        try:
            _sweep(self._client)
            self._own_kernel = self._runtime is not None and self._kernel() != KERNEL
            super().__init__()
        except BaseException:
            self._client.close()
            raise

    def open_slot(self, binds: tuple[str, ...] = (), preload: tuple[str, ...] = ()) -> ZygoteSlot:
        """`binds` are not given: toolchains come with the image."""
        return super().open_slot(preload=preload)

    def toolchain(self, language: str) -> Toolchain:
        """What the image has."""
        record = get(language)
        if record.in_process:
            return super().toolchain(language)
        if self._own_kernel and record.compile:
            fault = f"{language}: what its compiler makes cannot leave the kernel of the runtime {self._runtime}"
            raise LanguageUnavailable(f"{fault}: unset CODERL_DOCKER_RUNTIME, or use a language that is interpreted")
        with self._probing:
            if self._found is None:
                self._found = self._probe()
        found = self._found.get(record.name, "a language that was registered is not looked for in images")
        if isinstance(found, str):
            raise LanguageUnavailable(f"{found.replace('on this machine', 'in the image')}; then `sandbox image build`")
        record = replace(record, prebuilt=None)  # made for this machine's compiler, and out of sight
        return Toolchain(language=record, tools=found["tools"], binds=(), version=found["version"])

    def close(self) -> None:
        super().close()
        self._client.close()

    def _probe(self) -> Mapping[str, Any]:
        """What each language finds in the image, asked in a container of its own."""
        slot = self._open(())
        assert isinstance(slot, _ContainerSlot)
        try:
            answer: Mapping[str, Any] = json.loads(slot.ask(PROBE))
            return answer
        except ValueError as error:
            raise SandboxUnavailable(f"no docker: the image does not say what it has: {error}") from None
        finally:
            slot.close()

    def _kernel(self) -> str:
        """What programs under the chosen runtime speak to: gVisor's, a virtual machine's, or this machine's."""
        import docker.errors

        code = f"import os; print({_KERNEL})"
        python = str(self._image.labels.get("coderl.python", "python3"))
        try:
            output = self._client.containers.run(
                self._image.id, [python, *FLAGS, "-c", code], remove=True, network_mode="none", read_only=True,
                cap_drop=["ALL"], security_opt=["no-new-privileges"], runtime=self._runtime,
            )  # fmt: skip
        except docker.errors.DockerException as error:
            reason = str(error).splitlines()[0][:300]
            raise SandboxUnavailable(f"no docker: nothing runs under the runtime {self._runtime}: {reason}") from None
        return str(output.decode("utf-8", "replace")).strip()

    def _plan(self, binds: tuple[str, ...]) -> tuple[Configure, Callable[[], None]]:
        # Joining a group from under another kernel would move a thread of that kernel, and no program.
        group = None if self._own_kernel else cgroup.make(f"docker-{next(_numbers)}")
        return lambda: self._configure(group), group.remove if group else lambda: None

    def _start(self, configure: Configure, on_close: Callable[[ZygoteSlot], None]) -> ZygoteSlot:
        return _ContainerSlot(self._client, self._image, self._runtime, self._own_kernel, configure, on_close)

    def _configure(self, group: cgroup.Group | None) -> tuple[dict[str, Any], list[int]]:
        digest = self._image.id.removeprefix("sha256:")[:12]
        runtime = (f"runtime-{self._runtime}",) if self._runtime else ()
        own = ("own-kernel",) if self._own_kernel else ()
        layers = (
            "container",
            f"image-{digest}",
            *runtime,
            *own,
            "no-network",
            "read-only",
            "cap-drop",
            "container-limits",
        )
        fds = group.open() if group else {}
        site = self._labels.get("coderl.site", "").split()
        config = {
            "mode": "landlock", "judge": 0, "read": [], "read_root_but": HIDDEN,
            "write": ["/box/work", "/tmp", "/dev/shm"], "site": site, "host_id": INNER_ID, "cgroup": list(fds),
            "cgroup_layers": group.layers if group else (), "layers": layers, "own_kernel": self._own_kernel,
        }  # fmt: skip
        return config, list(fds.values())


class _ContainerSlot(ZygoteSlot):
    """A slot whose zygote is process 1 of a container."""

    def __init__(
        self,
        client: Any,
        image: Any,
        runtime: str | None,
        own_kernel: bool,
        configure: Configure,
        on_close: Callable[[ZygoteSlot], None],
    ) -> None:
        self._client, self._image, self._runtime, self._own_kernel = client, image, runtime, own_kernel
        self._container: Any = None
        super().__init__("docker", configure, on_close)

    @property
    def _python(self) -> str:
        return str(self._image.labels.get("coderl.python", "python3"))

    def ask(self, source: str) -> str:
        """What a program of ours prints there, beside the zygote."""
        _, output = self._container.exec_run([self._python, *FLAGS, "-c", source], environment=dict(ENVIRONMENT))
        return str(output.decode("utf-8", "replace"))

    def _launch(self) -> tuple[socket.socket, dict[str, Any], list[int]]:
        config, rights = self._configure()
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))  # closed to others
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
        except BaseException as error:
            for fd in rights:
                os.close(fd)
            if isinstance(error, TimeoutError):
                raise SandboxUnavailable(f"the container did not start: {self._last_words()}") from None
            raise
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        return near, config, rights

    def _run(self, folder: Path) -> Any:
        import docker.errors
        from docker.types import Mount

        # A kernel without Landlock, such as gVisor's, needs two users to keep a program off its zygote: there the zygote is
        # that kernel's root, and may become another. No user of this machine is.
        user = 0 if self._own_kernel else FIRST_ID + next(_numbers) % 0x10_0000
        tmpfs = f"size={DISK_BYTES},nr_inodes={INODES},uid={user},gid={user},mode=700,exec,nosuid,nodev"
        try:
            return self._client.containers.run(
                self._image.id,
                [self._python, *FLAGS, "-c", BOOT],
                detach=True, auto_remove=True, network_mode="none", read_only=True, cap_drop=["ALL"], privileged=False,
                cap_add=list(ZYGOTE_CAPABILITIES) if self._own_kernel else [],
                security_opt=["no-new-privileges"], pids_limit=PROCESSES, mem_limit=MEMORY_BYTES,
                memswap_limit=MEMORY_BYTES, user=f"{user}:{user}", ipc_mode="private", shm_size=64 * MEBIBYTE,
                tmpfs={"/box/work": tmpfs, "/tmp": tmpfs}, environment=dict(ENVIRONMENT), working_dir="/",
                labels={LABEL: _life(os.getpid()), HOME_LABEL: _home()}, runtime=self._runtime,
                log_config={"type": "none"}, init=False, hostname="sandbox",
                mounts=[
                    Mount("/coderl/sandbox", PACKAGE, type="bind", read_only=True),
                    Mount("/judge", str(folder), type="bind", read_only=True),
                ],
            )  # fmt: skip
        except docker.errors.DockerException as error:
            raise SandboxUnavailable(str(error).splitlines()[0][:300]) from None

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


def _home() -> str:
    """Where a process number means what it does here: this boot, this pid namespace."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{os.readlink('/proc/self/ns/pid')}"


def _life(pid: int) -> str:
    """Names a process, and no later one with its number; raises OSError if it is gone."""
    started = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return f"{pid}:{started}"


def mine(client: Any, label: str = "") -> list[Any]:
    """The containers with a label, of this process if none is given."""
    wanted = label or f"{LABEL}={_life(os.getpid())}"
    found: list[Any] = client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)
    return found


def _sweep(client: Any) -> None:
    """Remove the containers and folders of judges that are dead: not those of judges that cannot be seen from here."""
    for container in mine(client, f"{HOME_LABEL}={_home()}"):
        judge = container.labels.get(LABEL, "")
        with suppress(OSError):
            if _life(int(judge.split(":")[0])) == judge:
                continue
        with suppress(Exception):
            container.remove(force=True)
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).split("-")[0]
        with suppress(OSError):
            if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and folder.stat().st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)
