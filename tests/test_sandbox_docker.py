"""Programs in warm containers: the same verdicts, nothing of the host, nothing left."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from test_sandbox_landlock import PROGRAMS

from sandbox import cgroup
from sandbox.backend import STRENGTH, SandboxUnavailable, open_backend
from sandbox.container import FIRST_ID, HOME_LABEL, LABEL, PREFIX, _home, _life, _sweep, engine, mine
from sandbox.grader import Grader
from sandbox.image import DOCKERFILE, build_from_host
from sandbox.languages import LanguageUnavailable, toolchain
from sandbox.limits import Limits
from sandbox.selftest import State, chosen, selftest
from sandbox.spec import AssertCase, CallCase, Case, GradeRequest, Program, StdioCase
from sandbox.verdict import Outcome

TEST_IMAGE = "coderl-sandbox-test"
# In a container programs see its own files, have its own sockets, and memory that forks share counts once each.
HERE = {
    "a host file": "WA",
    "the host's /tmp": "WA",
    "a fork bomb": "PLE|TLE|WTLE|MLE",
    "writing outside": "AC",  # /tmp is its own
    "a datagram pair": "AC",  # all sockets are
    "killing everything": "RE|WA",
}


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """An image of Python alone, under a name of its own: the user's stays."""
    build_from_host(TEST_IMAGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODERL_DOCKER_IMAGE", TEST_IMAGE)
        yield TEST_IMAGE


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    opened = engine()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def grader(image: str) -> Iterator[Grader]:
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
        source = source.replace("FILE", repr(__file__))  # which no container sees
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


def _is_mine(container: Any) -> bool:
    return bool(container.labels.get(LABEL) == _life(os.getpid()))


@pytest.mark.docker
def test_a_killed_container_costs_no_verdict_and_closing_leaves_none(image: str, client: Any) -> None:
    before = {container.id for container in client.containers.list(ignore_removed=True)}
    case = StdioCase(stdin="", stdout="1\n")
    with Grader(backend="docker", workers=1) as grader:
        assert judged(grader, "print(1)", case)[0] == "AC"
        for container in client.containers.list(ignore_removed=True):
            if _is_mine(container) and container.id not in before:
                container.kill()
        assert judged(grader, "print(1)", case)[0] == "AC"
    assert [c for c in client.containers.list(ignore_removed=True) if _is_mine(c) and c.id not in before] == []


@pytest.mark.docker
def test_the_host_and_its_network_are_not_in_the_container(grader: Grader) -> None:
    look = "import os; print(os.path.exists('/judge/socket'), os.listdir('/sys/class/net'), os.path.exists('/home'))"
    assert judged(grader, look, StdioCase(stdin="", stdout="False ['lo'] False\n"))[0] == "AC"
    own = "try: print(open('/coderl/sandbox/judge.py').read())\nexcept OSError: print(5)"
    assert judged(grader, own, StdioCase(stdin="", stdout="5\n"))[0] == "AC"


@pytest.mark.docker
def test_a_container_is_as_hard_as_promised(grader: Grader, client: Any) -> None:
    container = next(c for c in mine(client) if c.status == "running")
    host, config = container.attrs["HostConfig"], container.attrs["Config"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["Privileged"]) == ("none", True, False)
    assert (host["CapDrop"], host["CapAdd"], host["SecurityOpt"]) == (["ALL"], None, ["no-new-privileges"])
    assert 0 < host["PidsLimit"] <= 512
    assert 0 < host["Memory"] == host["MemorySwap"] <= 4 << 30
    assert int(config["User"].split(":")[0]) >= FIRST_ID
    assert [(mount["Type"], mount["RW"]) for mount in container.attrs["Mounts"]] == [("bind", False)] * 2
    assert host["AutoRemove"]


@pytest.mark.docker
def test_the_limits_of_a_run_are_kept_by_control_groups_of_the_judge(grader: Grader) -> None:
    group = cgroup.make("probe") if os.geteuid() == 0 else None
    if group is None:
        pytest.skip("this process may not make control groups")
    group.remove()
    source = "parts = []\nwhile True: parts.append(bytes(1 << 20))\n"
    (verdict,) = grader.grade(
        [
            GradeRequest(
                program=Program(source=source),
                cases=(StdioCase(stdin="", stdout=""),),
                limits=Limits(memory_bytes=100 << 20),
            )
        ]
    )
    assert verdict.outcome is Outcome.MLE
    assert verdict.cases[0].memory_bytes <= 104 << 20
    assert any(layer.endswith("-memory") for layer in verdict.isolation.layers)


JUDGE = """
import sys
from sandbox import GradeRequest, Grader, Limits, Program, StdioCase
cases = (StdioCase(stdin="", stdout=""),)
slow = GradeRequest(program=Program(source="while True: pass"), cases=cases, limits=Limits(cpu_seconds=60, wall_seconds=60))
with Grader(backend="docker", workers=1) as grader:
    grader.grade([GradeRequest(program=Program(source=""), cases=cases)])
    print("ready", flush=True)
    grader.grade([slow])
"""


@pytest.mark.docker
def test_a_judge_that_is_killed_takes_its_containers_along(image: str, client: Any) -> None:
    judge = subprocess.Popen([sys.executable, "-c", JUDGE], stdout=subprocess.PIPE, text=True)
    assert judge.stdout is not None
    assert judge.stdout.readline() == "ready\n"
    label = f"{LABEL}={_life(judge.pid)}"
    assert len(client.containers.list(filters={"label": label}, ignore_removed=True)) == 1
    judge.kill()
    judge.wait()
    judge.stdout.close()
    deadline = time.monotonic() + 60
    while client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
        assert time.monotonic() < deadline, "a container outlived its judge"
        time.sleep(0.1)
    assert client.volumes.list(filters={"dangling": True}) == []


@pytest.mark.docker
def test_only_what_a_dead_judge_of_this_machine_left_is_swept(image: str, client: Any) -> None:
    def stopped(life: str, home: str) -> Any:
        return client.containers.create(image, ["true"], labels={LABEL: life, HOME_LABEL: home})

    made = {
        "dead": stopped("4194303:1", _home()),
        "reused number": stopped(f"{os.getpid()}:1", _home()),
        "alive": stopped(_life(os.getpid()), _home()),
        "elsewhere": stopped("4194303:1", "another machine"),
    }
    left = Path(tempfile.gettempdir(), f"{PREFIX}4194303-x")
    left.mkdir()
    try:
        _sweep(client)
        there = {container.id for container in client.containers.list(all=True, ignore_removed=True)}
        assert {name for name, container in made.items() if container.id in there} == {"alive", "elsewhere"}
        assert not left.exists()
    finally:
        for container in made.values():
            with suppress(Exception):
                container.remove(force=True)


@pytest.mark.docker
def test_a_container_that_never_says_hello_is_one_line_and_goes(
    image: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {container.id for container in client.containers.list(all=True, ignore_removed=True)}
    monkeypatch.setattr("sandbox.container.START_SECONDS", 0.5)
    monkeypatch.setattr("sandbox.container.BOOT", "import time; time.sleep(60)")
    with pytest.raises(SandboxUnavailable, match="no docker: the container did not start"):
        open_backend("docker")
    deadline = time.monotonic() + 60
    while any(_is_mine(c) and c.id not in before for c in client.containers.list(all=True, ignore_removed=True)):
        assert time.monotonic() < deadline, "the container stayed"
        time.sleep(0.1)


@pytest.mark.docker
def test_the_runtime_that_is_asked_for_is_taken_or_the_backend_refuses(
    image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODERL_DOCKER_RUNTIME", "runc")
    backend = open_backend("docker")
    assert "runtime-runc" in backend.isolation.layers
    assert "own-kernel" not in backend.isolation.layers  # so that it keeps Landlock, and its user
    backend.close()
    monkeypatch.setenv("CODERL_DOCKER_RUNTIME", "no-such-runtime")
    with pytest.raises(SandboxUnavailable, match="no-such-runtime"):
        open_backend("docker")


@pytest.mark.docker
def test_programs_are_compiled_in_the_container_with_what_the_image_has(
    grader: Grader, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = '#include <stdio.h>\nint main(void) { int x; scanf("%d", &x); printf("%d\\n", 2 * x); }\n'
    request = GradeRequest(program=Program(source=source, language="c"), cases=(StdioCase(stdin="2\n", stdout="4\n"),))
    (verdict,) = grader.grade([request])
    assert verdict.outcome is Outcome.IE
    assert "no gcc in the image" in verdict.detail
    try:
        tools = toolchain("c")
    except LanguageUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setenv("CODERL_DOCKER_IMAGE", TEST_IMAGE + ":c")
    build_from_host(TEST_IMAGE + ":c", [tools])
    with Grader(backend="docker", workers=1) as other:
        wrong = GradeRequest(program=Program(source="int main( {", language="c"), cases=request.cases)
        assert [verdict.outcome for verdict in other.grade([request, wrong])] == [Outcome.AC, Outcome.CE]


@pytest.mark.docker
@pytest.mark.slow
def test_the_corpora_hold_in_containers(image: str) -> None:
    report = selftest(*chosen(), backend="docker")
    assert report.ok, [row for row in report.rows if row.state is State.WRONG] + list(report.left)


def test_the_dockerfile_makes_what_the_backend_needs() -> None:
    text = DOCKERFILE.read_text()
    for place in ("/box/work", "/coderl/sandbox", "/judge"):
        assert place in text
    assert "LABEL coderl.python=" in text


def test_no_engine_is_one_line_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(SandboxUnavailable, match=r"no engine answers.*DOCKER_HOST"):
        open_backend("docker")
    gc.collect()  # a forgotten socket is a warning here, and so an error


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
