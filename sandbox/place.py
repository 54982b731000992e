"""On what kind of machine does this process run, and how does a person there get a stronger sandbox?

Pure: looks at files below `root` and at an environment, so that it can be tried on a made-up machine. The remedies are for
`sandbox doctor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    KUBERNETES = "a Kubernetes pod"
    APPTAINER = "an Apptainer container"
    PODMAN = "a Podman container"
    DOCKER = "a Docker container"
    SLURM = "a Slurm job"
    SYSTEMD = "a machine with systemd"
    OTHER = "a machine without systemd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where we are, and what helps there."""

    kind: Kind
    namespaces: str  # how user namespaces are had
    groups: str  # how writable control groups are had


LANDLOCK = "or backend landlock, which needs none"
NAMESPACES = {
    Kind.KUBERNETES: (
        "in the container's securityContext: seccompProfile {type: Unconfined}, procMount: Unmasked, and as root capabilities "
        f"{{add: [SYS_ADMIN]}}; {LANDLOCK}"
    ),
    Kind.APPTAINER: f"start the grader outside the container; {LANDLOCK}",
    Kind.PODMAN: (
        "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL, and as root --cap-add SYS_ADMIN; "
        + LANDLOCK
    ),
    Kind.DOCKER: (
        "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined --security-opt "
        f"apparmor=unconfined, and as root --cap-add SYS_ADMIN; {LANDLOCK}"
    ),
    Kind.SLURM: f"ask the administrator for user.max_user_namespaces above 0 on the nodes; {LANDLOCK}",
    Kind.SYSTEMD: f"use a kernel with CONFIG_USER_NS, or run as root; {LANDLOCK}",
    Kind.OTHER: f"use a kernel with CONFIG_USER_NS, or run as root; {LANDLOCK}",
}
GROUPS = {
    Kind.KUBERNETES: "run as root with /sys/fs/cgroup mounted for writing; the pod's memory limit bounds all programs together",
    Kind.APPTAINER: "start the grader outside the container, under `systemd-run --user --scope -p Delegate=yes`",
    Kind.PODMAN: "podman run --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:rw, as root",
    Kind.DOCKER: "docker run --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:rw, as root; --memory bounds all together",
    Kind.SLURM: "the job's own --mem bounds all programs together; more needs a delegated group from the administrator",
    Kind.SYSTEMD: "start it under `systemd-run --user --scope -p Delegate=yes`, or as root",
    Kind.OTHER: "run as root, with a control group file system mounted on /sys/fs/cgroup",
}
SWITCHES = (  # file below /proc/sys, the value that forbids, the remedy
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor forbids them (Ubuntu 23.10 and later): sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, a "
        "profile with `userns,` for this interpreter in /etc/apparmor.d, or run as root",
    ),
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1, or run as root"),
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=10000"),
)


def find(root: Path, environment: Mapping[str, str]) -> Place:
    """The place whose files lie below `root` ("/", but for a test)."""
    kind = _kind(root, environment)
    forbidding = (remedy for name, value, remedy in SWITCHES if _read(root / "proc/sys" / name) == value)
    return Place(kind=kind, namespaces=next(forbidding, NAMESPACES[kind]), groups=GROUPS[kind])


def _kind(root: Path, environment: Mapping[str, str]) -> Kind:
    if "KUBERNETES_SERVICE_HOST" in environment or (root / "var/run/secrets/kubernetes.io").exists():
        return Kind.KUBERNETES
    if environment.keys() & {"APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"} or (root / ".singularity.d").exists():
        return Kind.APPTAINER
    if (root / "run/.containerenv").exists():
        return Kind.PODMAN
    if (root / ".dockerenv").exists():
        return Kind.DOCKER
    if "SLURM_JOB_ID" in environment:
        return Kind.SLURM
    return Kind.SYSTEMD if (root / "run/systemd/system").exists() else Kind.OTHER


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
