"""Does the grader stay the same over many programs, a tenth of them hostile? Nothing may grow, and no verdict may change.

    python benchmarks/grader_soak.py [--count 100000] [--kill-every 5] [--busy 0] [--backend auto]

First every program runs alone, on an idle grader, which says how long it takes; an honest one must have its verdict even
then. Then `--count` of them run in a random order on `--workers` workers, and each must get the verdict that is required
of it, while a zygote is killed every few seconds and what the grader holds is sampled. A program is drawn the more
seldom the longer it takes, each hostile one at least once. Under `--busy 20` as many processes burn cpu beside. At the
end: the table of samples, every wrong verdict by name, and exit code 1 if there is one, if anything grew, or if anything
is left when the grader is closed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from workload import STDIO, stdio_work

from sandbox import (
    AssertCase,
    CallCase,
    Grader,
    GradeRequest,
    Integrity,
    Limits,
    Program,
    SandboxError,
    StdioCase,
    Verdict,
    cgroup,
)
from sandbox.corpora import read_corpora

BATCH = 500  # requests handed to the grader at a time
HOSTILE_SHARE = 0.1
MEBIBYTE = 1 << 20
# Between the second tenth of the samples (the first has what is used once) and the last. Slots are opened when first
# needed, and come back after a kill: a few more or fewer are no leak, one for each thousand programs would be many more.
ALLOWED_GROWTH = {
    "judge_mib": 24.0, "zygotes_mib": 48.0, "descriptors": 24, "processes": 12, "threads": 0, "mounts": 0, "groups": 18,
    "disk_mib": 64.0,
}  # fmt: skip
NOTHING_LEFT = ("descriptors", "processes", "threads", "mounts", "groups")  # once the grader is closed
FUNCTION = "def f(x):\n    return {}\n"
SLOW = "n = 0\nfor i in range(4_000_000): n += 1\nprint(n)"
SLOW_LIMITS = Limits(cpu_seconds=1.0)  # it takes about a quarter of that
BURN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # no longer than this process lives


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A program, and how it is drawn, e.g. Item(name="sum", request=..., hostile=False)."""

    name: str
    request: GradeRequest
    hostile: bool
    must: tuple[str, ...]  # the outcomes that will do, of the whole, or with `each` of each case: "WA|RE" is either
    each: bool = False
    weight: float = 1.0  # the longer it takes, the more seldom it is drawn
    idle: str = ""  # its outcomes when nothing else ran

    def allows(self, verdict: Verdict) -> bool:
        found = [case.outcome for case in verdict.cases] if self.each else [verdict.outcome]
        return len(found) == len(self.must) and all(
            one in must.split("|") for one, must in zip(found, self.must, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the grader has, between two batches: memory in MiB, the rest as numbers."""

    judge_mib: float
    zygotes_mib: float
    descriptors: int
    processes: int
    threads: int
    mounts: int
    groups: int
    disk_mib: float


def main() -> int:
    arguments = parse()
    rng = random.Random(arguments.seed)
    try:
        before = sample()
        # a run that is killed twice may be met: a zygote dies more often here than on any machine
        with Grader(backend=arguments.backend, workers=arguments.workers, retries=2) as grader:
            failed = soak(grader, run_idle(grader, honest_only=arguments.honest_only), arguments, rng)
        after = sample()
    except SandboxError as error:
        print(f"grader_soak: {error}", file=sys.stderr)
        return 2
    left = [name for name in NOTHING_LEFT if getattr(after, name) > getattr(before, name)]
    print(f"after close: {'more ' + ', '.join(left) + ' than before' if left else 'everything given back'}")
    return int(failed or bool(left))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="programs")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds between two killed zygotes; 0: never")
    parser.add_argument("--busy", type=int, default=0, help="processes that burn cpu beside; 20 on two cores: ten-fold")
    parser.add_argument("--honest-only", action="store_true")
    return parser.parse_args()


def run_idle(grader: Grader, *, honest_only: bool) -> list[Item]:
    """Every program, one at a time: its verdict, and how long it takes."""
    tame = [idle(grader, item) for item in honest()]
    (verdict,) = grader.grade([tame[0].request])
    wild = [idle(grader, item) for item in ([] if honest_only else hostile(verdict.isolation.backend))]
    missing = [item.name for item in wild if item.idle in ("IE", "JE") and item.request.program.language != "python"]
    found = [item for item in [*tame, *wild] if item.name not in missing]
    print(f"{len(tame)} honest and {len(found) - len(tame)} hostile programs have their idle verdict under "
          f"{verdict.isolation.backend}; no toolchain for: {', '.join(missing) or 'none'}", flush=True)  # fmt: skip
    return found


def idle(grader: Grader, item: Item) -> Item:
    began = time.monotonic()
    (verdict,) = grader.grade([item.request])
    known = replace(item, idle=outcomes(verdict), weight=1.0 / max(time.monotonic() - began, 0.01))
    if not item.hostile and not item.allows(verdict):
        raise SystemExit(f"grader_soak: the honest {item.name} is {known.idle} {verdict.detail} on an idle grader")
    return known


def honest() -> Iterator[Item]:
    """Programs with known verdicts, right and wrong ones, of every kind of case."""
    works = stdio_work(3)
    for name, request in zip(STDIO, works.requests, strict=True):
        yield Item(name=name, request=request, hostile=False, must=("AC",))
        wrong = tuple(replace(case, stdout="no") for case in request.cases if isinstance(case, StdioCase))
        yield Item(name=f"{name}.wrong", request=replace(request, cases=wrong), hostile=False, must=("WA",))
    slow = GradeRequest(
        program=Program(source=SLOW), cases=(StdioCase(stdin="", stdout="4000000"),), limits=SLOW_LIMITS
    )
    yield Item(name="slow", request=slow, hostile=False, must=("AC",))
    for text, must in (("2 * x", "AC"), ("2 * x + 1", "WA"), ("x / 0", "RE"), ("(", "CE")):
        program = Program(source=FUNCTION.format(text))
        calls = tuple(CallCase(function="f", args=(x,), expected=2 * x) for x in range(5))
        tests = (AssertCase(code="for x in range(5): assert f(x) == 2 * x", names=("f",)),)
        yield Item(name=f"call.{must}", request=GradeRequest(program=program, cases=calls), hostile=False, must=(must,))
        yield Item(
            name=f"assert.{must}", request=GradeRequest(program=program, cases=tests), hostile=False, must=(must,)
        )


def hostile(backend: str) -> Iterator[Item]:
    """The hostile corpus, but for what this backend cannot stop."""
    for specimen in read_corpora():
        weak = backend in specimen.harms or specimen.gaps.keys() & {backend, *Integrity}
        if specimen.corpus == "hostile" and not weak and not (specimen.needs and find_spec(specimen.needs) is None):
            yield Item(
                name=specimen.name, request=specimen.request, hostile=True, must=specimen.must, each=specimen.each
            )


def soak(grader: Grader, items: list[Item], arguments: argparse.Namespace, rng: random.Random) -> bool:
    tame, wild = [item for item in items if not item.hostile], [item for item in items if item.hostile]
    samples: list[tuple[int, float, Sample]] = []
    differing: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    retried, done, killed = 0, 0, 0
    left = [] if arguments.honest_only else list(wild)  # each once
    began = time.monotonic()
    with busy(arguments.busy), killer(arguments.kill_every) as kills:
        while done < arguments.count:
            batch: list[Item] = []
            for _ in range(min(BATCH, arguments.count - done)):
                if not arguments.honest_only and rng.random() < HOSTILE_SHARE:
                    batch.append(left.pop() if left else rng.choices(wild, [item.weight for item in wild])[0])
                else:
                    batch.append(rng.choices(tame, [item.weight for item in tame])[0])
            for index, verdict in grader.stream([item.request for item in batch]):
                item, told = batch[index], outcomes(verdict)
                seen["hostile" if item.hostile else "honest"] += 1
                retried += verdict.attempts > 1
                if not item.allows(verdict):
                    differing[f"{item.name}: {told} instead of {item.idle} ({verdict.detail})"] += 1
            done += len(batch)
            samples.append((done, time.monotonic() - began, sample()))
            if len(samples) % max(1, arguments.count // BATCH // 20) == 0:
                print_sample(*samples[-1])
        killed = len(kills)
    seconds = time.monotonic() - began
    print(f"\n{done} programs ({seen['honest']} honest, {seen['hostile']} hostile) in {seconds:.0f} s: "
          f"{done / seconds:.0f} a second; {killed} zygotes killed, {retried} programs run again for it; "
          f"{arguments.busy} busy processes beside")  # fmt: skip
    grown = growth([entry[2] for entry in samples])
    for what, (first, last, grew) in grown.items():
        print(f"  {what:14} {first:10.1f} -> {last:10.1f}   {'GREW' if grew else 'ok'}")
    for text, count in differing.most_common(40):
        print(f"  DIFFERS x{count}: {text}")
    failed = bool(differing) or any(grew for *_, grew in grown.values())
    print(f"{sum(differing.values())} differing verdicts; {'FAILED' if failed else 'nothing grew'}")
    return failed


def growth(samples: list[Sample]) -> dict[str, tuple[float, float, bool]]:
    """Of each belonging: the least of the second and of the last tenth (zygotes come and go), and whether it grew."""
    tenth = max(1, len(samples) // 10)
    found = {}
    for name, allowed in ALLOWED_GROWTH.items():
        first, last = (
            min(getattr(one, name) for one in part)
            for part in (samples[tenth : 2 * tenth] or samples, samples[-tenth:])
        )
        found[name] = (first, last, last - first > allowed)
    return found


def outcomes(verdict: Verdict) -> str:
    return " ".join(dict.fromkeys(case.outcome.value for case in verdict.cases))


def sample() -> Sample:
    me = os.getpid()
    zygotes = list(offspring(me))
    return Sample(
        judge_mib=resident(me),
        zygotes_mib=sum(map(resident, zygotes)),
        descriptors=len(os.listdir("/proc/self/fd")),
        processes=len(zygotes),
        threads=threading.active_count(),
        mounts=len(Path("/proc/self/mounts").read_text().splitlines()),
        groups=sum(1 for top in cgroup.parents().values() for _ in top.glob(f"{cgroup.PREFIX}{me}-*")),
        disk_mib=disk_mib(),
    )


def disk_mib() -> float:
    state = os.statvfs("/tmp")
    return (state.f_blocks - state.f_bfree) * state.f_frsize / MEBIBYTE


def resident(pid: int) -> float:
    """Memory that is this process's own (pages of files are shared, and come and go)."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def offspring(root: int) -> Iterator[int]:
    """Every process of the grader below this one: those that burn cpu are not its own."""
    with suppress(OSError):
        for task in os.listdir(f"/proc/{root}/task"):
            for word in Path(f"/proc/{root}/task/{task}/children").read_text().split():
                if BURN not in command(int(word)):
                    yield int(word)
                    yield from offspring(int(word))


def command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


@contextmanager
def busy(count: int) -> Iterator[None]:
    # Each in a session of its own: kernels that share the processors out by session would count them all as one.
    processes = [subprocess.Popen([sys.executable, "-c", BURN], start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def killer(every_seconds: float) -> Iterator[list[int]]:
    """Kills a process of the grader now and then: a guard, a zygote or a run, whichever it draws."""
    killed: list[int] = []
    stop = threading.Event()

    def work() -> None:
        rng = random.Random(1)
        while not stop.wait(every_seconds):
            chosen = sorted(pid for pid in offspring(os.getpid()) if "sandbox.zygote" in command(pid))
            # A run is the fork of a zygote: killing that is what a program may do to itself, and no fault of ours.
            chosen = [pid for pid in chosen if not is_run(pid)]
            if chosen:
                pid = rng.choice(chosen)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=work, daemon=True)
    if every_seconds > 0:
        thread.start()
    try:
        yield killed
    finally:
        stop.set()
        if every_seconds > 0:
            thread.join()


def is_run(pid: int) -> bool:
    """Not one that listens for jobs: neither this process's child nor a child of one."""
    with suppress(OSError, IndexError):
        parent = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        if parent == os.getpid():
            return False
        above = int(Path(f"/proc/{parent}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        return above != os.getpid()
    return True


def print_sample(done: int, seconds: float, found: Sample) -> None:
    texts = [f"{name} {value:.0f}" for name, value in asdict(found).items()]
    print(f"{done:7} in {seconds:5.0f} s: " + "  ".join(texts), flush=True)


if __name__ == "__main__":
    sys.exit(main())
