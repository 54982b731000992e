"""Does the doctor know where it is, and say what helps there? On made-up machines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import doctor, place
from sandbox.backend import SandboxUnavailable
from sandbox.place import Kind

FILES = {
    Kind.KUBERNETES: "var/run/secrets/kubernetes.io/token",
    Kind.APPTAINER: ".singularity.d/runscript",
    Kind.PODMAN: "run/.containerenv",
    Kind.DOCKER: ".dockerenv",
    Kind.SYSTEMD: "run/systemd/system/x",
}


def made(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize("kind", list(FILES))
def test_every_kind_of_machine_is_told_by_its_files(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / FILES[kind]).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / FILES[kind]).touch()
    assert place.find(tmp_path, {}).kind is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("KUBERNETES_SERVICE_HOST", Kind.KUBERNETES),
        ("APPTAINER_CONTAINER", Kind.APPTAINER),
        ("SLURM_JOB_ID", Kind.SLURM),
        ("HOME", Kind.OTHER),
    ],
)
def test_or_by_its_environment(tmp_path: Path, name: str, kind: Kind) -> None:
    assert place.find(tmp_path, {name: "x"}).kind is kind


def test_a_pod_is_more_than_the_container_that_it_is_made_of(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    assert place.find(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).kind is Kind.KUBERNETES


@pytest.mark.parametrize(
    ("switch", "value", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1\n", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0\n", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0\n", "user.max_user_namespaces=10000"),
    ],
)
def test_a_switch_of_the_kernel_is_named_with_the_command_that_turns_it(
    tmp_path: Path, switch: str, value: str, remedy: str
) -> None:
    root = made(tmp_path, **{f"proc/sys/{switch}": value})
    assert f"sudo sysctl -w {remedy}" in place.find(root, {}).namespaces
    other = "1" if value == "0\n" else "0"
    assert "sysctl" not in place.find(made(tmp_path, **{f"proc/sys/{switch}": other}), {}).namespaces


def test_the_remedy_of_a_container_is_one_that_was_tried(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    found = place.find(tmp_path, {})
    assert "--security-opt seccomp=unconfined --security-opt systempaths=unconfined" in found.namespaces
    assert "--cgroupns=host" in found.groups


def test_a_backend_that_does_not_open_is_a_finding_with_cause_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise SandboxUnavailable(f"no {name}: because")

    monkeypatch.setattr("sandbox.doctor.open_backend", refuse)
    found = {finding.name: finding for finding in doctor.probe()}
    for name in ("jail", "docker", "landlock"):
        finding = found[f"backend {name}"]
        assert (finding.ok, finding.detail) == (False, f"no {name}: because")
        assert finding.remedy


def test_other_systems_are_sent_to_a_linux_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    (finding,) = doctor.probe()
    assert (finding.ok, finding.required) == (False, True)
    assert "sandbox serve" in finding.remedy


def test_the_command_gives_json(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "doctor", "--json"], cwd=root, capture_output=True, text=True, check=False
    )
    findings = json.loads(done.stdout)["findings"]
    assert {"kernel", "seccomp", "backend jail", "languages"} <= {finding["name"] for finding in findings}
    assert done.returncode == int(any(finding["required"] and not finding["ok"] for finding in findings))
