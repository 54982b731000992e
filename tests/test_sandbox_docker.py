"""Programs in warm containers: the same verdicts, nothing of the host, nothing left."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from test_sandbox_landlock import PROGRAMS

from sandbox.backend import STRENGTH, SandboxUnavailable, open_backend
from sandbox.container import LABEL, engine
from sandbox.grader import Grader
from sandbox.image import build_from_host
from sandbox.limits import Limits
from sandbox.spec import AssertCase, CallCase, Case, GradeRequest, Program, StdioCase
from sandbox.verdict import Outcome

# In a container programs see its own files, and memory that forks share counts once each.
HERE = {
    "a host file": "WA",
    "the host's /tmp": "WA",
    "a fork bomb": "PLE|TLE|WTLE|MLE",
    "threads and processes": "RE",  # no /bin/echo in the image
    "killing everything": "RE|WA",
}


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    build_from_host()
    with Grader(backend="docker", workers=1) as grader:
        yield grader


def judged(grader: Grader, source: str, *cases: Case, **limits: float) -> tuple[str, str]:
    bounds = Limits(**{"cpu_seconds": 2.0, "wall_seconds": 8.0, **limits})
    (verdict,) = grader.grade([GradeRequest(program=Program(source=source), cases=cases, limits=bounds)])
    return verdict.outcome.value, verdict.detail + verdict.cases[0].output_head


@pytest.mark.docker
def test_hostile_programs_get_their_verdicts(grader: Grader) -> None:
    wrong = {}
    for name, (source, stdout, limits, must) in PROGRAMS.items():
        found = judged(grader, source, StdioCase(stdin="x\n", stdout=stdout), **limits)
        if found[0] not in HERE.get(name, must).split("|"):
            wrong[name] = found
    assert wrong == {}


@pytest.mark.docker
def test_every_kind_of_case_is_judged_and_stamped(grader: Grader) -> None:
    source = "def f(x):\n    return x + 1\n"
    cases = (CallCase(function="f", args=(1,), expected=2), AssertCase(code="assert f(2) == 3", names=("f",)))
    (verdict,) = grader.grade([GradeRequest(program=Program(source=source), cases=cases)])
    assert verdict.outcome is Outcome.AC, verdict
    assert verdict.isolation.backend == "docker"
    layers = set(verdict.isolation.layers)
    assert {"container", "no-network", "read-only", "cap-drop", "seccomp", "pid-1"} <= layers
    assert any(layer.startswith("image-") for layer in layers)


@pytest.mark.docker
def test_a_killed_container_costs_no_verdict_and_closing_leaves_none() -> None:
    build_from_host()
    client = engine()
    case = StdioCase(stdin="", stdout="1\n")
    with Grader(backend="docker", workers=1) as grader:
        assert judged(grader, "print(1)", case)[0] == "AC"
        for container in client.containers.list(filters={"label": LABEL}):
            container.kill()
        assert judged(grader, "print(1)", case)[0] == "AC"
    left = [c for c in client.containers.list(filters={"label": LABEL}) if c.status == "running"]
    client.close()
    assert left == []


@pytest.mark.docker
def test_the_host_and_its_network_are_not_in_the_container(grader: Grader) -> None:
    look = "import os; print(os.path.exists('/judge/socket'), os.listdir('/sys/class/net'), os.path.exists('/work'))"
    assert judged(grader, look, StdioCase(stdin="", stdout="False ['lo'] False\n"))[0] == "AC"


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # docker-py forgets a socket it could not connect
def test_no_engine_is_one_line_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(SandboxUnavailable, match=r"no engine answers.*DOCKER_HOST"):
        open_backend("docker")
    gc.collect()


def test_less_than_the_minimum_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="weaker than jail"):
        open_backend("plain", "jail")
    with pytest.raises(ValueError, match="give one of auto, jail"):
        open_backend("jail", "strong")


def test_auto_says_what_it_passed_over_and_never_takes_plain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def opened(name: str) -> str:
        asked.append(name)
        if name != "landlock":
            raise SandboxUnavailable(f"no {name} here")
        return name

    monkeypatch.setattr("sandbox.backend._open", opened)
    assert open_backend("auto") == "landlock"
    assert "no jail here; no docker here" in caplog.text
    with pytest.raises(SandboxUnavailable, match="no jail here; no docker here"):
        open_backend("auto", "docker")
    assert asked == ["jail", "docker", "landlock", "jail", "docker"]
    assert STRENGTH[0] == "plain"
