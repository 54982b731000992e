"""Grade programs while others are still being sampled: hand them over one by one, ask for all the verdicts at the end."""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from coderl.workbench import Workbench
from sandbox import GradeRequest, Verdict
from tasks.task import Task

Key = tuple[str, str, bool]  # task id, program, whether it was graded as the task's reference


class Grading:
    """Programs judged while others are still sampled, each once however often it was written."""

    def __init__(self, bench: Workbench, *, stop_early: bool, coverage: bool) -> None:
        self._bench, self._stop_early, self._coverage = bench, stop_early, coverage
        self._queue: queue.SimpleQueue[GradeRequest | None] = queue.SimpleQueue()
        self._places: dict[Key, int] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grading")
        self.first = ""

    def __enter__(self) -> Self:
        self._found = self._executor.submit(lambda: dict(self._bench.grader.stream(iter(self._queue.get, None))))
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._executor.shutdown()

    @property
    def num_programs(self) -> int:
        return len(self._places)

    def submit(self, task: Task, program: str) -> None:
        """Judge a program, and the reference of its task where the reward looks at it."""
        key = (task.id, program, False)
        if key not in self._places:
            self.first = self.first or f"the first of task {task.id}:\n{program}"
            self._put(key, task.request(program, stop_early=self._stop_early, coverage=self._coverage))
        key = (task.id, task.reference, True)
        if self._bench.config.reward.time_weight and task.reference and key not in self._places:
            self._put(key, task.request(task.reference))

    def verdicts(self) -> dict[Key, Verdict]:
        """Once all are there."""
        self._queue.put(None)
        found = self._found.result()
        return {key: found[place] for key, place in self._places.items()}

    def _put(self, key: Key, request: GradeRequest) -> None:
        self._places[key] = len(self._places)
        self._queue.put(request)
