"""What does the text of a program earn or cost, apart from its verdict? Numbers from its syntax; nothing here runs it.

format      whether there is a program that parses
ast         share of the sub-trees of the reference that the program has too (CodeBLEU, Ren et al. 2020, 3.2)
dataflow    share of the reference's data-flow edges that it has too, names aside (CodeBLEU, 3.3)
harm        severity of the calls that a rule below names; a rule has the number of bandit's test, where there is one

PPOCoder (Shojaee et al. 2023, eq. 4) is `scheme: coderl` with ast_weight 1 and dataflow_weight 1. All are for Python; a text
that does not parse has none of them.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterator

MAX_CHARACTERS = 100_000
# Calls by their dotted name: (bandit's test, severity from 0 to 1). A rule for a module covers all calls below it.
CALLS: dict[str, tuple[str, float]] = {
    "eval": ("B307", 0.5),
    "exec": ("B102", 0.5),
    "compile": ("B102", 0.2),
    "os.system": ("B605", 1.0),
    "os.popen": ("B605", 1.0),
    "os.exec": ("B606", 0.5),
    "os.spawn": ("B606", 0.5),
    "os.chmod": ("B103", 0.5),
    "subprocess": ("B603", 0.5),
    "pickle": ("B301", 0.5),
    "marshal": ("B302", 0.5),
    "shelve": ("B301", 0.5),
    "ctypes": ("own", 1.0),
    "yaml.load": ("B506", 0.5),
    "hashlib.md5": ("B324", 0.2),
    "hashlib.sha1": ("B324", 0.2),
    "tempfile.mktemp": ("B306", 0.5),
    "socket": ("B104", 0.5),
    "ssl._create_unverified_context": ("B323", 0.5),
    "telnetlib": ("B312", 1.0),
    "ftplib": ("B321", 1.0),
    "urllib.request.urlopen": ("B310", 0.5),
    "shutil.rmtree": ("own", 0.5),
}


def parsed(program: str) -> ast.Module | None:
    """The syntax tree; None where there is no program, or it does not parse. Never raises."""
    if not program.strip() or len(program) > MAX_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a program's literals look like is not our concern
            return ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def ast_match(tree: ast.Module, reference: ast.Module) -> float:
    """0 to 1; a sub-tree counts as often as the reference has it."""
    return _share(_subtrees(tree), _subtrees(reference))


def dataflow_match(tree: ast.Module, reference: ast.Module) -> float:
    """0 to 1; names are numbered in the order in which they appear. 1 where the reference has no edges."""
    return _share(_edges(tree), _edges(reference))


def findings(tree: ast.Module) -> list[tuple[str, float, int]]:
    """(test, severity, line) for each call that a rule names, under whatever name it was imported."""
    aliases = dict(_aliases(tree))
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        head, _, rest = name.partition(".")
        full = aliases.get(head, head) + (f".{rest}" if rest else "")
        rule = next(
            (r for n, r in CALLS.items() if full == n or full.startswith((f"{n}.", n) if "." in n else f"{n}.")), None
        )
        if rule is not None:
            found.append((*rule, node.lineno))
    return found


def harm(tree: ast.Module) -> float:
    """The severities of all findings, at most 1."""
    return min(1.0, sum(severity for _, severity, _ in findings(tree)))


def _share(own: Counter[str], wanted: Counter[str]) -> float:
    total = wanted.total()
    return (own & wanted).total() / total if total else 1.0


def _subtrees(tree: ast.Module) -> Counter[str]:
    inner = (
        node for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr) and any(ast.iter_child_nodes(node))
    )
    return Counter(ast.dump(node) for node in inner)


def _edges(tree: ast.Module) -> Counter[str]:
    numbers: dict[str, int] = {}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name | ast.arg)]
    for name in sorted(names, key=lambda n: (n.lineno, n.col_offset)):
        numbers.setdefault(name.id if isinstance(name, ast.Name) else name.arg, len(numbers))

    def used(node: ast.AST | None) -> list[int]:
        return sorted(numbers[n.id] for n in ast.walk(node) if isinstance(n, ast.Name)) if node is not None else []

    edges: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            edges.update(f"{used(target)} from {used(node.value)}" for target in node.targets)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr):
            edges[f"{used(node.target)} from {used(node.value)}"] += 1
        elif isinstance(node, ast.For | ast.comprehension):
            edges[f"{used(node.target)} from {used(node.iter)}"] += 1
        elif isinstance(node, ast.Return):
            edges[f"return from {used(node.value)}"] += 1
    return edges


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield (name.asname, name.name) if name.asname else (name.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                yield name.asname or name.name, f"{node.module}.{name.name}"


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""
