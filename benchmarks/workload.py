"""Which programs do the benchmarks of the grader run? Reference solutions of HumanEval, and small honest programs.

Each `Work` is the same work twice: as requests for a grader, and as plain records for the peers.
"""

from __future__ import annotations

import ast
import contextlib
import gzip
import io
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import CallCase, GradeRequest, Limits, Program, StdioCase
from sandbox.lift import humaneval

NUM_STDIO_TESTS = 30
STDIO = {
    "sum": "print(sum(map(int, input().split())))",
    "sort": "print(*sorted(map(int, input().split())))",
    "primes": "n = max(map(int, input().split()))\ns = [True] * (n + 1)\nfor i in range(2, n + 1):\n"
    "    for j in range(2 * i, n + 1, i): s[j] = False\nprint(sum(s[2:]))",
    "counts": "from collections import Counter\nfor k, v in sorted(Counter(input().split()).items()): print(k, v)",
    "gcd": "import math, sys\nprint(math.gcd(*map(int, sys.stdin.read().split())))",
    "rising": "import bisect\nt = []\nfor x in map(int, input().split()):\n    i = bisect.bisect_left(t, x)\n"
    "    t[i:i + 1] = [x]\nprint(len(t))",
    "steps": "def f(n): return 0 if n == 1 else 1 + f(n // 2 if n % 2 == 0 else 3 * n + 1)\n"
    "print(max(f(int(x)) for x in input().split()))",
    "reverse": "print(input()[::-1])",
}
CPP = {
    "sum": "#include <iostream>\nint main() { long long x, s = 0; while (std::cin >> x) s += x; std::cout << s << '\\n'; }",
    "sort": "#include <algorithm>\n#include <cstdio>\n#include <vector>\nint main() { std::vector<int> v; int x;\n"
    '  while (std::scanf("%d", &x) == 1) v.push_back(x);\n  std::sort(v.begin(), v.end());\n'
    '  for (int y : v) std::printf("%d ", y);\n  std::puts(""); }',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Programs of one kind, e.g. Work(kind="call", requests=[...], records=[...], runs=1)."""

    kind: str  # assert, call, stdio, cpp
    requests: list[GradeRequest]
    records: list[dict[str, Any]]
    runs: int  # of the program, for one request

    def slice(self, start: int, count: int) -> Work:
        """`count` programs from `start` on, round and round."""
        places = [i % len(self.requests) for i in range(start, start + count)]
        requests, records = [self.requests[i] for i in places], [self.records[i] for i in places]
        return Work(kind=self.kind, requests=requests, records=records, runs=self.runs)


def read_humaneval(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.decode().splitlines()]


def assert_work(rows: list[dict[str, Any]]) -> Work:
    """The published `check` programs, unchanged."""
    requests = [
        GradeRequest(
            program=Program(source=row["prompt"] + row["canonical_solution"]),
            cases=(humaneval(row["prompt"], row["entry_point"], row["test"]),),
        )
        for row in rows
    ]
    return Work(kind="assert", requests=requests, records=rows, runs=1)


def call_work(rows: list[dict[str, Any]]) -> Work:
    """Those asserts of `check` that compare one call on plain values with a plain value."""
    requests, records = [], []
    for row in rows:
        calls = list(_calls(row["test"]))
        if not calls:
            continue
        source, name = row["prompt"] + row["canonical_solution"], row["entry_point"]
        cases = tuple(CallCase(function=name, args=args, expected=value) for args, value in calls)
        requests.append(GradeRequest(program=Program(source=source), cases=cases))
        record = {"source": source, "entry_point": name, "calls": repr(calls)}
        records.append(record)
    return Work(kind="call", requests=requests, records=records, runs=1)


def stdio_work(num_tests: int = NUM_STDIO_TESTS) -> Work:
    requests, records = [], []
    for name, source in STDIO.items():
        inputs = _inputs(name, num_tests)
        outputs = [_output(source, text) for text in inputs]
        requests.append(_request(source, "python", inputs, outputs))
        records.append({"source": source, "inputs": inputs, "outputs": outputs})
    return Work(kind="stdio", requests=requests, records=records, runs=num_tests)


def cpp_work(num_tests: int = NUM_STDIO_TESTS) -> Work:
    """The tests of the Python program of the same name."""
    requests, records = [], []
    for name, source in CPP.items():
        inputs = _inputs(name, num_tests)
        outputs = [_output(STDIO[name], text) for text in inputs]
        requests.append(_request(source, "cpp", inputs, outputs))
        records.append({"source": source, "inputs": inputs, "outputs": outputs})
    return Work(kind="cpp", requests=requests, records=records, runs=num_tests)


def _request(source: str, language: str, inputs: list[str], outputs: list[str]) -> GradeRequest:
    cases = tuple(StdioCase(stdin=text, stdout=output) for text, output in zip(inputs, outputs, strict=True))
    return GradeRequest(program=Program(source=source, language=language), cases=cases, limits=Limits())


def _inputs(name: str, count: int) -> list[str]:
    rng = random.Random(name)
    return [" ".join(str(rng.randint(1, 500)) for _ in range(rng.randint(5, 50))) + "\n" for _ in range(count)]


def _output(source: str, text: str) -> str:
    """What a program of this file prints."""
    stdin, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            exec(source, {"__name__": "__main__"})
    finally:
        sys.stdin = stdin
    return stdout.getvalue()


def _calls(test: str) -> list[tuple[tuple[Any, ...], Any]]:
    found = []
    for node in ast.walk(ast.parse(test)):
        match node:
            case ast.Assert(
                test=ast.Compare(
                    left=ast.Call(func=ast.Name(id="candidate"), args=args, keywords=[]),
                    ops=[ast.Eq()],
                    comparators=[right],
                )
            ):
                with contextlib.suppress(ValueError):
                    found.append((tuple(map(ast.literal_eval, args)), ast.literal_eval(right)))
    return found
