"""Which task is number i of a generated source? The i-th distinct prompt of an endless, seeded stream.

The stream depends on (families, levels, split, seed) only: asking for more tasks never changes the earlier ones.
Levels take turns. A level with no fresh prompt left steps aside for the others; when all are spent the stream ends,
and the loader says how many there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from random import Random

from tasks.errors import TaskError, nearest
from tasks.generated import compose
from tasks.generated.families import FAMILIES
from tasks.generated.problem import Problem, fingerprint, make_task, split_of
from tasks.generated.weak import weakened
from tasks.source import Options, Source, integer, interval, words
from tasks.task import Split, Task

Draw = Callable[[Random, int], Problem]
DRAWS: dict[str, tuple[Draw, range]] = {"compose": (compose.draw, compose.LEVELS), **FAMILIES}
PATIENCE = 400  # draws in a row without a fresh prompt of the split after which a level counts as spent


def stream(
    families: Sequence[str], levels: range, split: Split | None, seed: int, *, weak: bool = False
) -> Iterator[Task]:
    """Tasks with distinct ids, the same for equal arguments; `split` None means any. `weak`: see `tasks.generated.weak`."""
    rng = Random(f"coderl-generated:{','.join(families)}:{levels.start}-{levels.stop}:{split}:{seed}")
    slots = [(name, level) for level in levels for name in families if level in DRAWS[name][1]]
    seen: set[str] = set()
    while slots:
        for name, level in list(slots):
            found = _fresh(name, level, split, rng, seen)
            if found is None:
                slots.remove((name, level))
                continue
            seen.add(found[0].prompt)
            task = make_task(*found)
            yield weakened(task, found[0]) if weak else task


def _fresh(name: str, level: int, split: Split | None, rng: Random, seen: set[str]) -> tuple[Problem, str] | None:
    for _ in range(PATIENCE):
        problem = DRAWS[name][0](rng, level)
        if problem.prompt in seen:
            continue
        digest = fingerprint(problem.kinds, problem.solve)
        if split is None or split_of(digest) is split:
            return problem, digest
    return None


def _load(argument: str, options: Options) -> list[Task]:
    count = integer("generated", "count", options.get("count", "1000"), low=1)
    seed = integer("generated", "seed", options.get("seed", "0"))
    levels = interval("generated", "level", options.get("level", "1-3"))
    weak = integer("generated", "weak", options.get("weak", "0")) > 0
    names = words(options.get("family", "compose"))
    names = tuple(FAMILIES) if names == ("all",) else names
    for unknown in (name for name in names if name not in DRAWS):
        remedy = nearest(unknown, [*DRAWS, "all"])
        raise TaskError("generated", f"no family is called {unknown!r}", field="family", remedy=remedy)
    tasks: list[Task] = []
    splits = [Split(name) for name in words(options.get("split", "train"))]
    for i, split in enumerate(splits):
        share = count // len(splits) + (i < count % len(splits))
        tasks += islice(stream(names, levels, split, seed, weak=weak), share)
    if len(tasks) < count:
        where = f"families {','.join(names)}, levels {levels.start}-{levels.stop - 1}"
        fault = f"only {len(tasks)} distinct tasks in {where}"
        raise TaskError("generated", fault, field="count", remedy="lower count, or add levels or families")
    return tasks


SOURCE = Source(
    name="generated",
    summary="seeded families; compose (the default) is learnable from scratch",
    load=_load,
    options=("split", "level", "count", "seed", "family", "weak"),
)
