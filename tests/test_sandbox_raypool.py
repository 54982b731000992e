"""Backend ray: a cluster grades as this machine does, and the death of a node costs no verdict. Two nodes on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Grader, GradeRequest, Outcome, Program
from sandbox.backend import SandboxUnavailable
from sandbox.spec import StdioCase

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

CASES = (StdioCase(stdin="2", stdout="2"),)


def requests(count: int, seconds: float = 0.0) -> list[GradeRequest]:
    """Programs of which every second one is right."""
    return [
        GradeRequest(program=Program(source=f"import time\ntime.sleep({seconds})\nprint({2 + n % 2})"), cases=CASES)
        for n in range(count)
    ]


def test_without_ray_the_backend_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SandboxUnavailable, match=r"backend ray needs ray: pip install 'coderl\[ray\]'"):
        Grader("ray")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs and two nodes with two each; RAY_ADDRESS names it."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    made.nodes = [made.add_node(num_cpus=2), made.add_node(num_cpus=2)]  # type: ignore[attr-defined]
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_node_killed_mid_batch_costs_no_verdict_and_counts_none_twice(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Grader("ray", workers=2, min_isolation="landlock", patience_seconds=30) as grader:
        assert grader.workers == 4
        found: dict[int, list[Outcome]] = {n: [] for n in range(80)}
        with caplog.at_level(logging.WARNING, "sandbox"):
            for number, (index, verdict) in enumerate(grader.stream(requests(80, seconds=0.1))):
                found[index].append(verdict.outcome)
                assert verdict.isolation.backend in ("jail", "docker", "landlock")
                if number == 8:
                    cluster.remove_node(cluster.nodes.pop(), allow_graceful=False)
    assert found == {n: [Outcome.WA if n % 2 else Outcome.AC] for n in range(80)}
    assert "is set aside" in caplog.text  # so the node did die while it had work


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_more_workers_than_any_node_has_cpus_is_one_clear_line(cluster: Any) -> None:
    with pytest.raises(SandboxUnavailable, match="no node of the Ray cluster has 3 CPUs"):
        Grader("ray", workers=3)
