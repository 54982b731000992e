"""Does remembering verdicts change any of them, and does it forget what it must?"""

import random

import pytest

from coderl.config import SandboxConfig
from coderl.verdict_cache import VerdictCache, is_certain
from coderl.workbench import open_grader
from sandbox import CallCase, GradeRequest, Limits, Program, StdioCase
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict

LIMITS = Limits(cpu_seconds=1.0, wall_seconds=4.0, memory_bytes=1000)


def case(outcome="AC", *, cpu_ms=10.0, wall_ms=12.0, memory_bytes=100):
    return CaseResult(
        outcome=Outcome(outcome), flags=(Outcome(outcome),), cpu_ms=cpu_ms, wall_ms=wall_ms, memory_bytes=memory_bytes
    )


def verdict(*cases, **changes):
    outcome = next((c.outcome for c in cases if c.outcome is not Outcome.AC), Outcome.AC)
    made = {"outcome": outcome, "cases": cases, "integrity": Integrity.SEPARATED, "isolation": Isolation(backend="x")}
    return Verdict(**{**made, **changes})


class Scripted:
    """Gives each program its verdicts in turn, the last one for ever; `graded` are the sources that it ran."""

    order = reversed  # verdicts come when they come
    isolation = Isolation(backend="x")

    def __init__(self, verdicts):
        self.verdicts, self.graded = verdicts, []

    def stream(self, requests):
        requests = list(requests)
        for index in self.order(range(len(requests))):
            source = requests[index].program.source
            waiting = self.verdicts[source]
            self.graded.append(source)
            yield index, waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def close(self):
        self.closed = True


DOUBLE = (CallCase(function="f", args=(1,), expected=2),)


def request(source, cases=DOUBLE, **changes):
    return GradeRequest(program=Program(source=source), cases=cases, limits=changes.pop("limits", LIMITS), **changes)


def test_a_program_is_graded_once_and_verdicts_keep_their_order():
    ac, wa = verdict(case()), verdict(case("WA"))
    inner = Scripted({"a": [ac], "b": [wa]})
    cache = VerdictCache(inner, recheck=0.0)
    assert cache.grade([request("a"), request("b")]) == [ac, wa]
    assert cache.grade([request("b"), request("a"), request("b")]) == [wa, ac, wa]
    assert sorted(inner.graded) == ["a", "b"]
    assert cache.metrics() == {"time/verdicts_reused": 3 / 5}
    assert cache.metrics() == {}


@pytest.mark.parametrize(
    "other",
    [
        request("a", cases=(CallCase(function="f", args=(1,), expected=3),)),
        request("a", cases=(CallCase(function="f", args=(1.0,), expected=2),)),
        request("a", limits=Limits(cpu_seconds=2.0)),
        request("a", stop_early=True),
        GradeRequest(program=Program(source="a", files={"x": ""}), cases=request("a").cases, limits=LIMITS),
        GradeRequest(program=Program(source="a", language="bash"), cases=request("a").cases, limits=LIMITS),
    ],
)
def test_whatever_a_verdict_depends_on_makes_it_another_request(other):
    """Correctness, point 40."""
    inner = Scripted({"a": [verdict(case())]})
    cache = VerdictCache(inner, recheck=0.0)
    cache.grade([request("a")])
    cache.grade([other])
    assert len(inner.graded) == 2


def test_equal_requests_of_other_records_share_a_verdict():
    inner = Scripted({"a": [verdict(case())]})
    cache = VerdictCache(inner, recheck=0.0)
    for _ in range(50):  # new records each time, whose ids the interpreter uses again
        cache.grade([request("a", cases=(CallCase(function="f", args=(1,), expected=2),))])
    assert len(inner.graded) == 1
    for i in range(50):
        cache.grade([request("a", cases=(CallCase(function="f", args=(i,), expected=5),))])
    assert len(inner.graded) == 51


@pytest.mark.parametrize(
    ("found", "certain"),
    [
        (verdict(case(cpu_ms=700)), True),
        (verdict(case(cpu_ms=760)), False),  # three quarters of one second are 750 ms
        (verdict(case("TLE", cpu_ms=1190)), False),
        (verdict(case("TLE", cpu_ms=1250)), True),  # cut off at 1.25 s
        (verdict(case("WTLE", wall_ms=4000)), False),
        (verdict(case(wall_ms=3100)), False),
        (verdict(case(memory_bytes=760)), False),
        (verdict(case("MLE", memory_bytes=1000)), True),
        (verdict(case("IE")), False),
        (verdict(case("JE")), False),
        (verdict(case(cpu_ms=1000), time_factor=2.0), True),  # half of two seconds
        (verdict(), True),
    ],
)
def test_only_what_no_busy_machine_can_have_decided_is_remembered(found, certain):
    assert is_certain(request("a"), found) is certain
    inner = Scripted({"a": [found]})
    cache = VerdictCache(inner, recheck=0.0)
    for _ in range(3):
        assert cache.grade([request("a")]) == [found]
    assert len(inner.graded) == (1 if certain else 3)


def test_a_program_that_changes_its_verdict_is_reported_and_never_remembered_again():
    """Correctness, point 40."""
    ac, wa = verdict(case()), verdict(case("WA"))
    inner = Scripted({"a": [ac, ac, wa, ac]})
    cache = VerdictCache(inner, recheck=1.0)
    assert [cache.grade([request("a")])[0] for _ in range(4)] == [ac, ac, wa, ac]
    [flaky] = cache.take_flaky()
    assert (flaky.before, flaky.after, flaky.source) == (ac, wa, "a")
    assert flaky.data == {"program": "a", "before": "AC", "after": "WA"}
    assert cache.take_flaky() == []
    assert len(inner.graded) == 4


def test_a_recheck_that_fails_by_itself_says_nothing_about_the_program():
    ac = verdict(case())
    cache = VerdictCache(Scripted({"a": [ac, verdict(case("IE"))]}), recheck=1.0)
    assert [cache.grade([request("a")])[0] for _ in range(2)] == [ac, ac]
    assert cache.take_flaky() == []


def test_about_the_asked_share_is_graded_again():
    inner = Scripted({str(i): [verdict(case())] for i in range(300)})
    cache = VerdictCache(inner, recheck=0.1)
    for _ in range(11):
        cache.grade([request(str(i)) for i in range(300)])
    again = len(inner.graded) - 300  # of 3,000 hits; binomial: mean 300, standard deviation 16
    assert 230 < again < 370


def test_fresh_takes_nothing_from_memory_and_finds_the_flaky():
    inner = Scripted({"a": [verdict(case()), verdict(case("RE"))]})
    cache = VerdictCache(inner, recheck=0.0)
    cache.grade([request("a")])
    assert cache.grade([request("a")], fresh=True)[0].outcome is Outcome.RE
    assert len(cache.take_flaky()) == 1


def test_memory_is_bounded_and_the_longest_unused_goes_first():
    inner = Scripted({name: [verdict(case())] for name in "abc"})
    cache = VerdictCache(inner, recheck=0.0, max_bytes=2500)  # two verdicts of 1,200
    for name in "abacab":
        cache.grade([request(name)])
    assert inner.graded == list("abcb")


def test_the_same_request_twice_in_a_batch_takes_the_memory_of_one():
    inner = Scripted({name: [verdict(case())] for name in "ab"})
    cache = VerdictCache(inner, recheck=0.0, max_bytes=2500)  # two verdicts of 1,200
    cache.grade([request("a")] * 3 + [request("b")])
    graded = len(inner.graded)
    cache.grade([request("a"), request("b")])
    assert len(inner.graded) == graded


def test_a_program_may_change_its_verdict_twice_in_a_batch():
    """As when a task is listed twice, and both times the program that was remembered is graded again."""
    ac, wa = verdict(case()), verdict(case("WA"))
    cache = VerdictCache(Scripted({"a": [ac, wa]}), recheck=1.0)
    cache.grade([request("a")])
    assert cache.grade([request("a")] * 2) == [wa, wa]


def test_a_program_may_change_its_verdict_when_others_have_taken_its_place_in_memory():
    ac, wa = verdict(case()), verdict(case("WA"))
    inner = Scripted({"a": [ac, wa], "b": [ac]})
    # Verdicts come in reverse: b is remembered, and a forgotten, before a's second verdict comes
    cache = VerdictCache(inner, recheck=1.0, max_bytes=1300)
    cache.grade([request("a")])
    assert cache.grade([request("a"), request("b")]) == [wa, ac]
    assert len(cache.take_flaky()) == 1


def test_the_longest_goes_first():
    short, long = (CallCase(function="f", args=(1,), expected=2),), (StdioCase(stdin="", stdout=""),) * 3
    inner = Scripted({name: [verdict(case(cpu_ms=ms))] for name, ms in (("a", 500), ("b", 1), ("c", 1), ("d", 1))})
    inner.order = list
    cache = VerdictCache(inner, recheck=0.0)
    cache.grade([request("a", short), request("b", long)])
    assert inner.graded == ["b", "a"]  # nothing is known but the number of cases
    cache.grade([request("c", long), request("d", short)])
    assert inner.graded == ["b", "a", "d", "c"]  # the last one under the tests of d took 500 ms


def test_verdicts_of_a_real_grader_are_the_same_with_and_without_memory():
    rng = random.Random(0)
    sources = [f"def f(x):\n    return x {op} {n}\n" for op in "+*-" for n in range(4)] + [
        "def f(x): return 1 / 0",
        "def (",
    ]
    requests = [
        request(s, limits=Limits(), cases=tuple(CallCase(function="f", args=(i,), expected=2 * i) for i in range(3)))
        for s in sources
    ]
    batch = [rng.choice(requests) for _ in range(60)]
    with open_grader(SandboxConfig(backend="plain", recheck=0.2)) as cache:
        parts = [cache.grade(batch[:30]), cache.grade(batch[30:])]
        reused = cache.metrics()["time/verdicts_reused"]
        plain = cache._grader.grade(batch)

    def plainly(v):
        return v.outcome, [(c.outcome, c.detail, c.output_head) for c in v.cases], v.integrity, v.isolation, v.points

    assert list(map(plainly, parts[0] + parts[1])) == list(map(plainly, plain))
    assert reused > 0.3
    assert {v.outcome for v in plain} == {Outcome.AC, Outcome.WA, Outcome.RE, Outcome.CE}


@pytest.mark.parametrize(("processes", "given", "workers"), [("1000", None, 2), ("1000", 4, 4), ("1", 5, 5)])
def test_processes_on_one_machine_share_its_cores_unless_told_how_many_workers(monkeypatch, processes, given, workers):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    with open_grader(SandboxConfig(backend="plain", workers=given)) as grader:
        assert grader._grader.workers == workers


def test_time_factor_reaches_the_verdict():
    with open_grader(SandboxConfig(backend="plain", workers=1, time_factor=3.0)) as grader:
        [found] = grader.grade([request("def f(x): return 2", limits=Limits())])
    assert (found.outcome, found.time_factor) == (Outcome.AC, 3.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"time_factor": 0.0},
        {"time_factor": "fast"},
        {"recheck": 1.1},
        {"backend": "remote", "endpoints": ["http://a:1"], "time_factor": 2.0},
    ],
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(set(changes) - {"backend", "endpoints"}))):
        SandboxConfig(**changes)
