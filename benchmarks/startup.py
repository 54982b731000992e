"""How soon is coderl there? The command line, the grader alone, and the first training step of the quickstart.

    python benchmarks/startup.py [--rounds 7]

Each is a process of its own, timed from its launch, beside `python -c pass` (for the first step: beside `import torch,
transformers`, which any trainer here waits for) in the same round. The first step is over when its line is in the metrics;
the run is killed then.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).resolve().parent.parent
ROUNDS_OF_TRAINING = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    python = [sys.executable]
    short = {
        "python -c pass": [*python, "-c", "pass"],
        "import sandbox": [*python, "-c", "import sandbox"],
        "coderl --help": [*python, "-m", "coderl", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in short}
    for _ in range(options.rounds):
        for name, command in short.items():
            seconds[name].append(until_exit(command))
    table(seconds, "python -c pass")
    imports = [*python, "-c", "import torch, transformers.models.llama.modeling_llama"]
    long: dict[str, list[float]] = {"import torch, transformers": [], "quickstart, first step": []}
    for _ in range(ROUNDS_OF_TRAINING):
        long["import torch, transformers"].append(until_exit(imports))
        long["quickstart, first step"].append(until_first_step())
    table(long, "import torch, transformers")


def table(seconds: dict[str, list[float]], beside: str) -> None:
    for name, found in seconds.items():
        more = statistics.median(mine - base for mine, base in zip(found, seconds[beside], strict=True))
        extra = "" if name == beside else f"   {more:+.3f} s beside {beside}"
        print(f"{name:<28}{statistics.median(found):7.3f} s ({min(found):.3f}-{max(found):.3f}){extra}", flush=True)


def until_exit(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def until_first_step() -> float:
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "coderl", "train", "quickstart", f"output={folder}"]
        metrics = Path(folder) / "quickstart" / "metrics.jsonl"
        started = time.perf_counter()
        run = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            while not (metrics.is_file() and "\n" in metrics.read_text()):
                if run.poll() is not None:
                    assert run.stderr is not None
                    raise SystemExit(f"the quickstart ended before its first step:\n{run.stderr.read()[-2000:]}")
                time.sleep(0.01)
            return time.perf_counter() - started
        finally:
            run.kill()
            run.communicate()


if __name__ == "__main__":
    main()
