"""How often does a policy solve each of these tasks? Answers are kept by content, so that a second question costs nothing.

CACHE is JSONL, a line per task: a key, and how many scorable samples there were and passed. The key is a hash of the task, of
the policy (of every file of a model folder; of the name of a hub model) and of all that decides what is sampled. Lines are
appended as tasks are done: an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from coderl.config import RunConfig
from coderl.errors import RunFolderError
from coderl.evaluate.passrate import evaluate
from coderl.metrics import Progress
from coderl.train import workbench
from tasks import jsonl
from tasks.errors import writing
from tasks.task import Task


def pass_rates(config: RunConfig, tasks: Sequence[Task], *, cache: Path) -> dict[str, float | None]:
    """The share of `config.eval.samples_per_task` samples that pass all cases, by task id; None if none was scorable."""
    policy = _policy_digest(config)
    keys = {task.id: _digest(policy, json.dumps(jsonl.to_json(task), sort_keys=True)) for task in tasks}
    known = _read(cache)
    todo = [task for task in tasks if keys[task.id] not in known]
    if todo:
        with workbench(config) as bench, Progress(total=len(todo), description="pass rates") as progress:
            size = max(1, 2 * config.generation.batch_size // config.eval.samples_per_task)
            for start in range(0, len(todo), size):
                evaluation, _ = evaluate(bench, config.eval, todo[start : start + size], label="eval", step=0)
                found = {keys[score.task_id]: (score.num_samples, score.num_passed) for score in evaluation.scores}
                if bench.accelerator.is_main_process:
                    _append(cache, found)
                known |= found
                progress.update(min(start + size, len(todo)), {})
    counts = {task.id: known[keys[task.id]] for task in tasks}
    return {task_id: passed / samples if samples else None for task_id, (samples, passed) in counts.items()}


def _policy_digest(config: RunConfig) -> str:
    chosen = {
        "policy": config.policy.model_dump(mode="json"),
        "prompt": config.prompt.model_dump(mode="json"),
        "generation": config.generation.model_dump(mode="json", exclude={"batch_size"}),
        "eval": [config.eval.samples_per_task, config.eval.temperature, config.eval.max_new_tokens],
        "seed": config.seed,
    }
    folder = Path(config.policy.model)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return _digest(json.dumps(chosen, sort_keys=True), *(f"{path.name}:{_of_file(path)}" for path in files))


def _of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _read(path: Path) -> dict[str, tuple[int, int]]:
    if not path.exists():
        return {}
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break  # cut off by a killed run
        try:
            record = json.loads(line)
            found[record["key"]] = (int(record["samples"]), int(record["passed"]))
        except (ValueError, KeyError, TypeError):
            raise RunFolderError(f"{path}:{number}: is no pass rate; delete the file, or name another cache") from None
    return found


def _append(path: Path, found: dict[str, tuple[int, int]]) -> None:
    lines = [json.dumps({"key": k, "samples": n, "passed": c}) + "\n" for k, (n, c) in found.items()]
    with writing(path), open(path, "ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write("".join(lines).encode())
