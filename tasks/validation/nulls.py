"""Which programs know nothing of a task and must therefore fail it?

For functions: nothing at all, leaving with success (when loaded, when called, by an exception), constants, the first
argument, the first visible expected value, the expected value that most hidden cases share, and an object that is equal
to, contains and compares with everything. For programs: nothing, leaving with success, their own input, the first visible
output, the output that most hidden cases share. A task whose tests one of these passes rewards what is no solution.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.spec import AssertCase, CallCase, Case, StdioCase, Value
from tasks.python_text import literal, parse
from tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class NullProgram:
    """A whole program in the language of its task; `name` says what it does."""

    name: str
    source: str


def null_programs(task: Task) -> tuple[NullProgram, ...]:
    """The null programs of `task`, each once. None of them looks at how the task is solved.

    >>> from tasks.task import Split, Style
    >>> case = CallCase(function="f", args=(2,), expected=4)
    >>> task = Task(id="d", prompt="", style=Style.INSTRUCTION, split=Split.TRAIN, visible=(case,), hidden=(case,))
    >>> [program.name for program in null_programs(task)][:4]
    ['empty', 'exit when loaded', 'exit when called', 'SystemExit when called']
    """
    found: dict[str, NullProgram] = {}
    programs = _stdio(task) if _is_stdio(task) else _functions(task)
    for name, source in programs:
        found.setdefault(source, NullProgram(name=name, source=source))
    return tuple(found.values())


def expected_values(case: Case) -> tuple[Value, ...]:
    """The plain values that a case expects, as far as its text tells: `== literal` in asserts."""
    if isinstance(case, CallCase):
        return (case.expected,)
    if isinstance(case, StdioCase):
        return (case.stdout,)
    if not isinstance(case, AssertCase):
        return ()
    try:
        tree = parse(case.code)
    except SyntaxError:
        return ()
    equal = [n for n in ast.walk(tree) if isinstance(n, ast.Compare) and isinstance(n.ops[0], ast.Eq)]
    values = [literal(ast.unparse(node.comparators[0])) for node in equal if isinstance(node.left, ast.Call)]
    return tuple(value[0] for value in values if value is not None)


def _is_stdio(task: Task) -> bool:
    return any(isinstance(case, StdioCase) for case in task.cases)


def _first(cases: tuple[Case, ...]) -> tuple[Value] | None:
    return next(((value,) for case in cases for value in expected_values(case)), None)


def _commonest(cases: tuple[Case, ...]) -> tuple[Value] | None:
    values = [value for case in cases for value in expected_values(case)]
    if not values:
        return None
    commonest = Counter(map(repr, values)).most_common(1)[0][0]
    return next((value,) for value in values if repr(value) == commonest)


_CONSTANTS: tuple[Value, ...] = (None, True, False, 0, 1, "", [], {})
_ALWAYS_EQUAL = """\
class Always:
    def __init__(self, *args, **kwargs): pass
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __hash__(self): return 0
    def __bool__(self): return True
    def __len__(self): return 1
    def __abs__(self): return 0
    def __float__(self): return 0.0
    def __iter__(self): return iter((self,))
    def __getitem__(self, key): return self
    def __sub__(self, other): return self
    __add__ = __mul__ = __truediv__ = __rsub__ = __radd__ = __round__ = __call__ = __sub__
    def __getattr__(self, name): return self


"""


def _functions(task: Task) -> Iterator[tuple[str, str]]:
    if task.language != "python":
        yield from _LEAVING.get(task.language, ())
        return
    yield "empty", "pass\n"
    yield "exit when loaded", "import os\nos._exit(0)\n"
    yield "exit when called", "import os\n\n\n" + _definitions(task, "os._exit(0)")
    yield "SystemExit when called", "import sys\n\n\n" + _definitions(task, "sys.exit(0)")
    yield "always-equal object", _ALWAYS_EQUAL + _definitions(task, "return Always()")
    yield "first argument", _definitions(task, "return args[0] if args else next(iter(kwargs.values()), None)")
    if (first := _first(task.visible)) is not None:
        yield "first visible expected value", _definitions(task, f"return {_written(*first)}")
    if (commonest := _commonest(task.hidden)) is not None:
        yield "commonest hidden expected value", _definitions(task, f"return {_written(*commonest)}")
    for constant in _CONSTANTS:
        yield f"constant {constant!r}", _definitions(task, f"return {constant!r}")


def _written(value: Value) -> str:
    return f"float({str(value)!r})" if isinstance(value, float) and value - value != 0 else repr(value)


def _definitions(task: Task, body: str) -> str:
    """Every name that the cases look up, as a function of any arguments, or a class of such methods, with this body."""
    methods = {name: methods for name, methods in _classes(task.reference).items() if name in _names(task)}
    lines: list[str] = []
    for name in _names(task):
        if "." in name:
            owner, method = name.split(".", 1)
            methods.setdefault(owner, []).append(method)
        elif name not in methods:
            lines += [f"def {name}(*args, **kwargs):", f"    {body}", "", ""]
    for owner, names in methods.items():
        lines += [f"class {owner}:", "    def __init__(self, *args, **kwargs): pass"]
        for method in dict.fromkeys(names):
            lines += [f"    def {method}(self, *args, **kwargs):", f"        {body}"]
        lines += ["", ""]
    return "\n".join(lines).rstrip() + "\n"


def _names(task: Task) -> list[str]:
    """The names that the tests look up, in order, without repeats."""
    names = [task.entry_point] if task.entry_point else []
    for case in task.cases:
        if isinstance(case, CallCase):
            names.append(case.function)
        elif isinstance(case, AssertCase):
            names += case.names
    owners = {name.split(".")[0] for name in names if "." in name}
    return [name for name in dict.fromkeys(names) if name not in owners and name.replace(".", "").isidentifier()]


def _classes(reference: str) -> dict[str, list[str]]:
    """The classes of a reference, with their methods but for the first-named `__init__`."""
    try:
        body = parse(reference).body
    except SyntaxError:
        return {}
    return {
        node.name: [n.name for n in node.body if isinstance(n, ast.FunctionDef) and n.name != "__init__"]
        for node in body
        if isinstance(node, ast.ClassDef)
    }


def _stdio(task: Task) -> Iterator[tuple[str, str]]:
    if task.language != "python":
        yield from _LEAVING.get(task.language, ())
        return
    yield "empty", "pass\n"
    yield "exit when loaded", "import os\nos._exit(0)\n"
    yield "own input", "import sys\nsys.stdout.write(sys.stdin.read())\n"
    for name, cases in (("first visible output", task.visible), ("commonest hidden output", task.hidden)):
        value = _first(cases) if cases is task.visible else _commonest(cases)
        if value is not None:
            yield name, f"import sys\nsys.stdout.write({value[0]!r})\n"


# Other languages: the shortest program that does nothing, which for tests beside the program means that it defines nothing.
_LEAVING: dict[str, tuple[tuple[str, str], ...]] = {
    "c": (("empty", "int main(void) { return 0; }\n"),),
    "cpp": (
        ("empty", "int main() { return 0; }\n"),
        ("exit when loaded", "#include <cstdlib>\nstatic int leaves = (std::_Exit(0), 0);\n"),
    ),
    "java": (("empty", "class Main { public static void main(String[] args) { } }\n"),),
    "javascript": (("empty", ";\n"), ("exit when loaded", "process.exit(0);\n")),
    "typescript": (("empty", ";\n"),),
    "go": (("empty", "package main\n\nfunc main() { }\n"),),
    "rust": (("empty", "fn main() { }\n"),),
    "bash": (("empty", ":\n"), ("exit when loaded", "exit 0\n")),
}
