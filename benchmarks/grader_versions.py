"""Is this version of the grader faster than another checkout? Both grade the same work, turn by turn.

    git worktree add ../before COMMIT && python benchmarks/grader_versions.py ../before

Each has as many workers as it has by default. Prints for each kind of work the median of the ratios of the rounds, and
their range: also on a busy machine the two share whatever else goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
COUNTS = {"stdio": 8, "call": 60, "assert": 60, "cpp": 2}  # programs of one round


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--humaneval", type=Path, required=True, help="HumanEval.jsonl(.gz)")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--kinds", nargs="+", choices=list(COUNTS), default=list(COUNTS))
    parser.add_argument("--backend", default="jail")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.other, arguments.humaneval, arguments.backend)
        return 0
    versions = {"other": arguments.other.resolve(), "this": ROOT}
    command = [sys.executable, __file__, "--serve", "--backend", arguments.backend, "--humaneval", arguments.humaneval]
    workers = {
        name: subprocess.Popen([*command, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name, root in versions.items()
    }
    for kind in arguments.kinds:
        rates: dict[str, list[float]] = {name: [] for name in workers}
        for name in workers:
            ask(workers[name], kind, 0)  # warm
        for number in range(arguments.rounds):
            for name in sorted(workers, reverse=bool(number % 2)):
                rates[name].append(ask(workers[name], kind, number))
        ratios = [new / old for old, new in zip(rates["other"], rates["this"], strict=True)]
        print(
            f"{kind:7} {median(rates['this']):7.1f} against {median(rates['other']):7.1f} programs/s: "
            f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )
    for worker in workers.values():
        worker.communicate()
    return 0


def ask(worker: subprocess.Popen[str], kind: str, number: int) -> float:
    assert worker.stdin and worker.stdout
    print(json.dumps([kind, number]), file=worker.stdin, flush=True)
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a version failed: see above")
    return float(line)


def serve(root: Path, humaneval: Path, backend: str) -> None:
    """The version in `root`: programs per second for each line of input."""
    sys.path[:0] = [str(root), str(root / "benchmarks")]
    from workload import assert_work, call_work, cpp_work, read_humaneval, stdio_work

    from sandbox import Grader, Outcome

    rows = read_humaneval(humaneval)
    works = {"stdio": stdio_work(), "call": call_work(rows), "assert": assert_work(rows), "cpp": cpp_work()}
    with Grader(backend=backend) as grader:
        for line in sys.stdin:
            kind, number = json.loads(line)
            work = works[kind].slice(number * COUNTS[kind], COUNTS[kind])
            began = time.monotonic()
            verdicts = grader.grade(work.requests)
            rate = len(verdicts) / (time.monotonic() - began)
            if any(verdict.outcome is not Outcome.AC for verdict in verdicts):
                raise SystemExit(f"{root}: a right program is not accepted")
            print(rate, flush=True)


if __name__ == "__main__":
    sys.exit(main())
