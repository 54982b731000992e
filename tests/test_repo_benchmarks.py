"""Do the benchmarks measure what they say? Their parts that need neither peers nor time."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", sys.path[:])


def test_call_tests_are_the_plain_comparisons_of_check_and_no_others() -> None:
    from workload import call_work

    test = (
        "def check(candidate):\n    assert candidate(1, [2]) == (3,)\n    assert abs(candidate(2) - 1.5) < 1e-6\n"
        "    assert candidate(x) == 1\n    assert candidate(-1) == None, 'why'\n"
    )
    row = {"prompt": "def f(x):\n", "canonical_solution": "    pass\n", "entry_point": "f", "test": test}
    (request,) = call_work([row]).requests
    assert [(case.args, case.expected) for case in request.cases] == [((1, [2]), (3,)), ((-1,), None)]


def test_a_slice_of_work_is_the_same_for_a_grader_and_its_peers() -> None:
    from workload import stdio_work

    part = stdio_work(2).slice(6, 4)
    assert [request.program.source for request in part.requests] == [record["source"] for record in part.records]
    assert [[case.stdout for case in request.cases] for request in part.requests] == [
        r["outputs"] for r in part.records
    ]


@pytest.mark.parametrize(
    ("name", "step", "grew"), [("descriptors", 1, True), ("judge_mib", 1.0, True), ("mounts", 0, False)]
)
def test_the_soak_sees_what_grows_slowly_and_forgives_what_comes_and_goes(name: str, step: float, grew: bool) -> None:
    from grader_soak import Sample, growth

    still = Sample(
        judge_mib=90.0, zygotes_mib=200.0, descriptors=50, processes=20, threads=4, mounts=20, groups=30, disk_mib=9.0
    )
    samples = [replace(still, **{name: getattr(still, name) + step * i}, zygotes_mib=200.0 + i % 7) for i in range(200)]
    assert {what for what, (*_, more) in growth(samples).items() if more} == ({name} if grew else set())


def test_the_soak_requires_the_verdict_of_each_case_where_the_corpus_does() -> None:
    from grader_soak import honest, hostile

    from sandbox import CaseResult, Integrity, Isolation, Outcome, Verdict

    def verdict(*outcomes: Outcome) -> Verdict:
        cases = tuple(CaseResult(outcome=outcome, flags=(outcome,)) for outcome in outcomes)
        return Verdict(
            outcome=outcomes[0], cases=cases, integrity=Integrity.SEPARATED, isolation=Isolation(backend="jail")
        )

    item = next(item for item in hostile("jail") if item.name == "atexit_answer")
    assert item.must == ("AC|RE", "RE|WA", "RE|WA")
    assert item.allows(verdict(Outcome.AC, Outcome.RE, Outcome.WA))
    assert not item.allows(verdict(Outcome.AC, Outcome.AC, Outcome.WA))
    wrong = next(item for item in honest() if item.name == "sum.wrong")
    assert wrong.allows(verdict(Outcome.WA, Outcome.WA)) and not wrong.allows(verdict(Outcome.AC))


def test_the_arithmetic_of_scale_is_that_of_its_formulas() -> None:
    from scale_arithmetic import Inputs, needs

    plain = Inputs(
        parameters=1e9, layers=10, kv_width=100, prompts_per_step=4, samples_per_prompt=4, prompt_tokens=100, new_tokens=100,
        longest_share=1, batch_size=16, flops=1e12, update_share=0.5, memory_bandwidth=1e12, decode_share=0.5, forward_passes=1,
        weight_bytes=2, cpu_seconds=1, grade_share=0.5, disk=1e9, checkpoint_every=10,
    )  # fmt: skip
    one = needs(plain)
    # prefill 2e9 * 400 / 5e11 = 1.6; cache 2*2*10*100*150*16 = 9.6e6 bytes; 100 steps of (2e9 + 9.6e6) / 5e11
    assert one.generate_seconds == pytest.approx(1.6 + 100 * 2.0096e9 / 5e11)
    assert one.update_seconds == pytest.approx(8e9 * 16 * 200 / 5e11)  # 51.2
    assert one.network_seconds == 0
    # grading takes half of the step: as long as all else; the checkpoint, 12 GB at 1 GB/s, a tenth of itself
    step = 2 * (one.generate_seconds + one.update_seconds)
    assert one.step_seconds == pytest.approx(step + 1.2)
    assert one.grader_cores == pytest.approx(16 / (0.5 * step))
    two = needs(replace(plain, gpus=2, link=1e9))
    assert two.link_gigabytes == pytest.approx(4.0)  # half of 4 GB, twice
    assert two.update_seconds == pytest.approx(one.update_seconds / 2)


def test_the_table_of_the_page_on_scale_is_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    from scale_arithmetic import main

    assert main([]) == 0
    assert capsys.readouterr().out in (BENCHMARKS.parent / "docs" / "scale.md").read_text()
    assert main(["gpu=8"]) == 2
    assert "with one of gpus" in capsys.readouterr().err
