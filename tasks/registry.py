"""Where do tasks come from? `load("NAME[:PATH_OR_ARGS][?option=value&...]")` returns them.

    humaneval                     humaneval:/data/HumanEval.jsonl.gz      mbpp:sanitized
    jsonl:/data/mine.jsonl        easy?split=train&level=1-2              generated?count=2000&seed=0&level=1-3

Options that every source takes: `split` (comma-separated), `level` (one or a range), `ids`, `tags` (any of them),
`limit` (the first so many that are left), and `on_error`: `skip` (the default) leaves bad rows out with a warning, `stop`
stops at the first. Nothing is corrected silently: an unknown name, option or value is a
TaskError that names the nearest valid one, and so is a spec that leaves no task.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points
from urllib.parse import parse_qsl

from tasks import (
    apps,
    arrow,
    bigcodebench,
    code_contests,
    codeforces,
    easy,
    evalplus,
    generated,
    humaneval,
    humaneval_x,
    jsonl,
    kattis,
    leetcode,
    livecodebench,
    mbpp,
    multipl_e,
    taco,
    verl,
)
from tasks.errors import TaskError, nearest
from tasks.source import Source, integer, interval, words
from tasks.task import Split, Task

ENTRY_POINT_GROUP = "coderl.tasks"
FILTERS = ("split", "level", "limit", "ids", "tags")
ON_ERROR = ("skip", "stop")
COMMON = (*FILTERS, "on_error")
SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        apps.SOURCE,
        arrow.SOURCE,
        bigcodebench.SOURCE,
        code_contests.SOURCE,
        codeforces.SOURCE,
        easy.SOURCE,
        evalplus.HUMANEVAL,
        evalplus.MBPP,
        generated.SOURCE,
        humaneval.SOURCE,
        humaneval_x.SOURCE,
        jsonl.SOURCE,
        kattis.SOURCE,
        leetcode.SOURCE,
        livecodebench.SOURCE,
        mbpp.SOURCE,
        multipl_e.SOURCE,
        taco.SOURCE,
        verl.SOURCE,
    )
}


def load(spec: str) -> list[Task]:
    """The tasks that `spec` names, in the order of the source; never an empty list."""
    head, _, query = spec.partition("?")
    name, _, argument = head.partition(":")
    source = _source(spec, name)
    if argument and not source.argument:
        raise TaskError(spec, f"source {name!r} takes nothing after the colon", remedy=f"write {name!r}")
    options = _options(spec, query, source)
    own = {key: value for key, value in options.items() if key in source.options or key == "on_error"}
    tasks = _filter(spec, source.load(argument, own), options)
    if not tasks:
        raise TaskError(spec, "no task is left", remedy="loosen the filters, or look at the splits with describe()")
    return tasks


def load_many(specs: Iterable[str]) -> dict[str, list[Task]]:
    """The tasks of each spec. Raises TaskError where two tasks have one id."""
    found: dict[str, list[Task]] = {}
    owners: dict[str, str] = {}
    for spec in dict.fromkeys(specs):
        found[spec] = load(spec)
        for task in found[spec]:
            if task.id in owners:
                fault = f"{task.id!r} is a task of {owners[task.id]} already"
                raise TaskError(spec, fault, remedy="give every task once")
            owners[task.id] = spec
    return found


def load_all(specs: Iterable[str]) -> list[Task]:
    """The tasks of all specs, in order. Raises TaskError where two have one id."""
    return [task for tasks in load_many(specs).values() for task in tasks]


def describe() -> str:
    """One line per source: how to write it, its own options, what it is."""
    lines = []
    for _, source in sorted(_all_sources().items()):
        usage = source.name + (f"[:{source.argument}]" if source.argument else "")
        options = "".join(f" {option}=" for option in source.options)
        lines.append(f"{usage:<33} {source.summary}{'; options' + options if options else ''}")
    return "\n".join([*lines, f"{'every source':<34}options " + " ".join(f"{option}=" for option in COMMON)])


def _all_sources() -> dict[str, Source]:
    """The built-in sources first: an entry point cannot replace one."""
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.name not in SOURCES}
    return {**{name: entry.load() for name, entry in found.items()}, **SOURCES}


def _source(spec: str, name: str) -> Source:
    if name in SOURCES:
        return SOURCES[name]
    sources = _all_sources()
    if name not in sources:
        raise TaskError(spec, f"no source is called {name!r}", remedy=nearest(name, sources))
    return sources[name]


def _options(spec: str, query: str, source: Source) -> dict[str, str]:
    valid = {*COMMON, *source.options}
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in valid:
            raise TaskError(spec, f"source {source.name!r} has no option {key!r}", remedy=nearest(key, valid))
        if key in options or not value:
            raise TaskError(spec, "is given twice" if key in options else "is empty", field=key, remedy="give it once")
        options[key] = value
    on_error = options.get("on_error", "skip")
    if on_error not in ON_ERROR:
        raise TaskError(spec, f"is {on_error!r}", field="on_error", remedy=nearest(on_error, ON_ERROR))
    for value in words(options.get("split", "")):
        if value not in set(Split):
            raise TaskError(spec, f"no split is called {value!r}", field="split", remedy=nearest(value, Split))
    return options


def _filter(spec: str, tasks: list[Task], options: dict[str, str]) -> list[Task]:
    if "split" in options:
        tasks = [task for task in tasks if task.split in words(options["split"])]
    if "level" in options:
        levels = interval(spec, "level", options["level"])
        tasks = [task for task in tasks if task.level in levels]
    if "tags" in options:
        tasks = [task for task in tasks if not set(words(options["tags"])).isdisjoint(task.tags)]
    if "ids" in options:
        wanted = words(options["ids"])
        known = {task.id: task for task in tasks}
        for missing in (name for name in wanted if name not in known):
            raise TaskError(spec, f"no task is called {missing!r}", field="ids", remedy=nearest(missing, known))
        tasks = [known[name] for name in wanted]
    return tasks[: integer(spec, "limit", options["limit"], low=1)] if "limit" in options else tasks
