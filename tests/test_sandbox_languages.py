"""Programs in other languages: compiled once, started by exec, judged as any other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import languages
from sandbox.backend import RunExit, SandboxUnavailable
from sandbox.execute import Executor
from sandbox.grader import Grader
from sandbox.judge import Seen
from sandbox.languages import Harness, Language, LanguageUnavailable, get, names, register, toolchain
from sandbox.languages.java import layout
from sandbox.limits import MEBIBYTE, Limits
from sandbox.prebuilt import Prebuilds
from sandbox.run_once import RunRequest, run_once
from sandbox.spec import CallCase, GradeRequest, Program, ProgramCase, StdioCase
from sandbox.verdict import Integrity, Outcome, Status, Verdict
from sandbox.workfiles import Fetched

LIMITS = Limits(cpu_seconds=2.0, wall_seconds=15.0)


def fault(name: str) -> str:
    try:
        toolchain(name)
    except LanguageUnavailable as error:
        return str(error)
    return ""


OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(bool(fault(name)), reason=fault(name) or "-"))
    for name in names()
    if name != "python"
]
cpp = pytest.mark.skipif(bool(fault("cpp")), reason=fault("cpp") or "-")


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as grader:
        yield grader


def judge(grader: Grader, language: str, source: str, stdin: str = "", stdout: str = "", **changes: object) -> Verdict:
    request = GradeRequest(
        program=Program(source=source, language=language),
        cases=(StdioCase(stdin=stdin, stdout=stdout),),
        **{"limits": LIMITS, **changes},
    )
    return grader.grade([request])[0]


@pytest.mark.parametrize("name", OTHERS)
def test_the_self_test_of_a_language_is_accepted_and_wrong_output_is_not(grader, name):
    hello = get(name).hello
    assert judge(grader, name, hello, "abc\n", "ABC\n").outcome is Outcome.AC
    assert judge(grader, name, hello, "abc\n", "ABD\n").outcome is Outcome.WA


BROKEN = {
    "bash": None,  # bash has no compile step: a syntax error is a runtime error
    "c": "int main(void) { return missing; }",
    "cpp": "int main() { return missing; }",
    "go": "package main\nfunc main() { missing() }",
    "java": "public class Main { public static void main(String[] a) { missing(); } }",
    "javascript": None,
    "lua": None,
    "php": None,
    "ruby": None,
    "rust": "fn main() { missing(); }",
    "typescript": None,
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_program_that_does_not_compile_is_told_the_compilers_words(grader, name):
    if BROKEN[name] is None:
        pytest.skip("this language has no compile step")
    verdict = judge(grader, name, BROKEN[name])
    assert verdict.outcome is Outcome.CE
    assert "missing" in verdict.detail or "error" in verdict.detail


EXIT_3 = {
    "bash": "exit 3",
    "c": "int main(void) { return 3; }",
    "cpp": "int main() { return 3; }",
    "go": 'package main\nimport "os"\nfunc main() { os.Exit(3) }',
    "java": "public class Main { public static void main(String[] a) { System.exit(3); } }",
    "javascript": "process.exit(3)",
    "lua": "os.exit(3)",
    "php": "<?php exit(3);",
    "ruby": "exit 3",
    "rust": "fn main() { std::process::exit(3) }",
    "typescript": "process.exit(3)",
}
LOOP = {
    "bash": "while :; do :; done",
    "c": "int main(void) { for (volatile int i = 0;; i++); }",
    "cpp": "int main() { for (volatile int i = 0;; i = i + 1); }",
    "go": "package main\nfunc main() { for {} }",
    "java": "public class Main { public static void main(String[] a) { while (true); } }",
    "javascript": "for (;;);",
    "lua": "while true do end",
    "php": "<?php for (;;);",
    "ruby": "loop {}",
    "rust": "fn main() { loop { std::hint::black_box(0); } }",
    "typescript": "for (;;);",
}
HOG = {
    "bash": None,
    "c": "#include <stdlib.h>\n#include <string.h>\nint main(void) { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }",
    "cpp": "#include <vector>\nint main() { std::vector<std::vector<char>> v; for (;;) v.emplace_back(1 << 20, 1); }",
    "go": "package main\nfunc main() { var v [][]byte; for { b := make([]byte, 1<<20); for i := range b { b[i] = 1 }; "
    "v = append(v, b) } }",
    "java": "import java.util.*;\npublic class Main { public static void main(String[] a) { List<byte[]> v = new ArrayList<>();"
    " while (true) { byte[] b = new byte[1 << 20]; Arrays.fill(b, (byte) 1); v.add(b); } } }",
    "javascript": "const v = []; for (;;) v.push(Buffer.alloc(1 << 20, 1));",
    "lua": "local v = {}; while true do v[#v + 1] = string.rep('x', 1 << 20) .. #v end",
    "php": "<?php $v = []; for (;;) $v[] = str_repeat('x', 1 << 20);",
    "ruby": "v = []; loop { v << 'x' * (1 << 20) }",
    "rust": "fn main() { let mut v = vec![]; loop { v.push(vec![1u8; 1 << 20]); } }",
    "typescript": "const v = []; for (;;) v.push(Buffer.alloc(1 << 20, 1));",
}


@pytest.mark.parametrize("name", OTHERS)
def test_exit_codes_time_and_memory_are_judged_in_every_language(grader, name):
    verdict = judge(grader, name, EXIT_3[name])
    assert (verdict.outcome, verdict.cases[0].exit_code) == (Outcome.RE, 3)
    short = Limits(cpu_seconds=0.4, wall_seconds=15.0)
    assert judge(grader, name, LOOP[name], limits=short).outcome is Outcome.TLE
    if HOG[name]:
        small = Limits(cpu_seconds=10.0, wall_seconds=30.0, memory_bytes=128 * MEBIBYTE)
        assert judge(grader, name, HOG[name], limits=small).outcome is Outcome.MLE


@cpp
@pytest.mark.parametrize(
    ("statement", "signal"),
    [("std::abort();", 6), ("raise(SIGPIPE);", 13), ("raise(SIGALRM);", 14), ("*(volatile int *)0 = 1;", 11)],
)
def test_a_native_program_dies_of_signals_as_it_would_outside(grader, statement, signal):
    source = f"#include <csignal>\n#include <cstdlib>\nint main() {{ {statement} }}"
    verdict = judge(grader, "cpp", source)
    assert (verdict.outcome, verdict.cases[0].signal) == (Outcome.RE, signal)


@cpp
def test_deep_recursion_is_honest_work_where_the_stack_allows_it(grader):
    source = (
        "#include <cstdio>\nint f(int n, volatile char *p) { volatile char a[900]; a[0] = p[0]; "
        "int r = n ? f(n - 1, a) : 0; return r + a[0]; }\n"
        'int main() { char c = 0; printf("%d\\n", f(300000, &c)); }'
    )
    deep = Limits(cpu_seconds=4.0, wall_seconds=15.0, stack_bytes=400 * MEBIBYTE)
    assert judge(grader, "cpp", source, stdout="0\n", limits=deep).outcome is Outcome.AC
    assert judge(grader, "cpp", source, stdout="0\n").outcome is Outcome.RE


@cpp
@pytest.mark.parametrize(
    "line",
    ['#include "/etc/shadow"', '#include "/etc/hostname"', "#include __FILE__", '#include "/dev/zero"'],
)
def test_compiling_reaches_nothing_of_the_host_and_ends(grader, line):
    verdict = judge(grader, "cpp", f"{line}\nint main() {{}}")
    assert verdict.outcome is Outcome.CE


@cpp
def test_a_compile_bomb_ends_as_a_compile_error_and_the_next_program_is_accepted(grader):
    bomb = "#define A(x) x x x x x x x x x x\nint a[] = { A(A(A(A(A(A(A(A(A(1,))))))))) };\nint main() {}"
    assert judge(grader, "cpp", bomb).outcome is Outcome.CE
    assert judge(grader, "cpp", get("cpp").hello, "a\n", "A\n").outcome is Outcome.AC


@cpp
def test_a_program_is_compiled_once_however_many_cases_and_workers(monkeypatch):
    from sandbox import build

    calls = []
    inner = build.compiled
    monkeypatch.setattr(build, "compiled", lambda *args: calls.append(1) or inner(*args))
    program = Program(source=get("cpp").hello, language="cpp")
    request = GradeRequest(
        program=program, cases=tuple(StdioCase(stdin=f"{c}\n", stdout=f"{c.upper()}\n") for c in "abc")
    )
    with Grader(workers=2) as grader:
        verdicts = grader.grade([request] * 4)
    assert [v.outcome for v in verdicts] == [Outcome.AC] * 4
    assert len(calls) == 1


@pytest.fixture
def cache(monkeypatch):
    """A cache folder below which every user may look, as below /var/cache."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("XDG_CACHE_HOME", folder)
        yield Path(folder)


@cpp
def test_the_large_header_is_compiled_once_and_used_by_every_judge(monkeypatch, cache, added):
    """`-H` names the headers that g++ reads: a line with ! is a precompiled one."""
    register(replace(get("cpp"), compile=("g++", "-H", *get("cpp").compile[1:])))
    seen = []
    inner = Executor._compile

    def compile_(self, role, binds, job):
        ended, told = inner(self, role, binds, job)
        seen.append((role, told.stderr_head.decode().partition("\n")[0][:1]))
        return ended, told

    monkeypatch.setattr(Executor, "_compile", compile_)
    without = "#include <cstdio>\n#include <cctype>\nint main() { int c; while ((c = getchar()) != EOF) putchar(toupper(c)); }"
    for source in (get("cpp").hello, without):
        with Grader(workers=1) as grader:
            assert judge(grader, "cpp", source, "a\n", "A\n").outcome is Outcome.AC
    with Grader(workers=1) as grader:  # in a process of its own it would be the same: the file is what counts
        assert judge(grader, "cpp", get("cpp").hello + "\n", "a\n", "A\n").outcome is Outcome.AC
    assert seen == [
        ("prebuild cpp", ""), ("compile cpp with prebuilt", "!"), ("compile cpp", "."), ("compile cpp with prebuilt", "!"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "file", "entry"),
    [
        ("public class A { public static void main(String[] a) {} }", "A.java", "A"),
        ("class B {}\nclass C { static void main(String... a) {} }\nclass D {}", "Main.java", "C"),
        ("/* class Old { public static void main(String[] a) {} } */ class New { static void main() {} }", "Main.java", "New"),
        ("// public class X\nclass Y { String s = \"}{\"; char c = '\"'; static void main() {} }", "Main.java", "Y"),
        ("public class F {} class G { static class H { static public void main(String[] a) {} } }", "F.java", "G$H"),
        ("class A { Class<?> k = B.class; { class L {} } static void main(String[] a) {} }", "Main.java", "A"),
        ("enum E { X { void f() {} }; public static void main(String[] a) {} }", "Main.java", "E"),
        ("class T { String s = \"\"\"\n class U { static void main() {} } \"\"\"; static void main() {} }", "Main.java", "T"),
        ("/* package no; */ package org.e; public class P { static void main() {} }", "P.java", "org.e.P"),
        ("", "Main.java", "Main"),
    ],
)  # fmt: skip
def test_a_java_program_starts_in_the_class_around_its_main(source: str, file: str, entry: str) -> None:
    assert layout(source) == (file, entry)


def test_no_text_of_a_megabyte_keeps_the_judge_looking_for_a_class() -> None:
    began = time.process_time()
    for text in ("\n", "class A ", "/*", '"', '\\"', "public ", "public\n\n", "{", "static void main(", "final "):
        layout("public " + text * (1_000_000 // len(text)) + "x static void main(")
    assert time.process_time() - began < 30


@pytest.mark.skipif(bool(fault("java")), reason=fault("java") or "-")
def test_the_classes_of_the_java_compiler_are_shared_by_every_compile_step(cache, added):
    """With -Xshare:on a virtual machine that cannot use the archive it is told to use does not start."""
    command = get("java").compile
    register(replace(get("java"), compile=(command[0], "-J-Xshare:on", *command[1:])))
    for source in (get("java").hello, get("java").hello + "\n"):
        with Grader(workers=1) as grader:
            verdict = judge(grader, "java", source, "a\n", "A\n")
            assert verdict.outcome is Outcome.AC, verdict
    [archive] = cache.rglob("javac.jsa")
    archive.write_bytes(b"junk")
    with Grader(workers=1) as grader:
        verdict = judge(grader, "java", get("java").hello + "\n\n", "a\n", "A\n")
    assert verdict.outcome is Outcome.CE and "archive" in verdict.detail, verdict


def test_a_tool_outside_the_folders_of_the_system_brings_its_installation_into_the_jail(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("jdk/bin/java", "jdk/lib/x", ".local/bin/node", "bin/go", "tools/node"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "bin/java").symlink_to(tmp_path / "jdk/bin/java")
    jdk, node = str(tmp_path / "jdk"), str(tmp_path / ".local/bin/node")
    assert languages.installed(str(tmp_path / "bin/java")) == (f"{jdk}/bin/java", jdk)
    assert languages.installed(node) == (node, node)  # not the rest of ~/.local
    assert languages.installed(str(tmp_path / "bin/go"))[1] == str(tmp_path / "bin/go")  # nor all of the home
    assert languages.installed(str(tmp_path / "tools/node"))[1] == str(tmp_path / "tools/node")
    assert languages.installed("/usr/bin/env") == ("/usr/bin/env", "")


def test_a_runtime_that_cannot_be_started_is_an_internal_error_of_the_run(added):
    gone = Language(name="gone", source="main.gone", run=("gone", "{source}"), hello="")
    register(replace(gone, locate=lambda: {"gone": "/usr/bin/is-not-there"}, version=()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(languages.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, "1", ""))
        toolchain("gone")
    result = run_once(RunRequest(program=Program(source="x", language="gone")), "auto")
    assert result.case.outcome is Outcome.IE and "is-not-there" in result.case.detail


def test_a_runtime_in_a_folder_of_its_own_runs_in_the_jail(added):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        shell = Path(folder) / "own" / "bin" / "ownshell"
        shell.parent.mkdir(parents=True)
        shutil.copy("/bin/bash", shell)
        own = Language(name="ownshell", source="main.own", run=("ownshell", "{source}"), hello="read x; echo ${x^^}\n")
        register(replace(own, locate=lambda: {"ownshell": str(shell)}))
        with Grader(workers=1) as grader:
            verdict = judge(grader, "ownshell", own.hello, "a\n", "A\n")
        assert verdict.outcome is Outcome.AC, verdict


@pytest.mark.parametrize("backend", ["jail", "landlock"])
def test_a_runtime_in_an_environment_brings_no_packages_of_others(added, backend):
    """Those of benchmarks ship their answers."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        shell = Path(folder) / "own" / "bin" / "ownshell"
        answers = shell.parents[1] / "lib" / "python3.12" / "site-packages" / "answers"
        for place in (shell, answers, answers.parents[1] / "library"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("here\n")
        shutil.copy("/bin/bash", shell)
        own = Language(name="ownshell", source="main.own", run=("ownshell", "{source}"), hello="read x; echo ${x^^}\n")
        register(replace(own, locate=lambda: {"ownshell": str(shell)}))
        try:
            grader = Grader(backend=backend, workers=1)
        except SandboxUnavailable as error:
            pytest.skip(str(error))
        with grader:
            program = f"cat {answers} 2>/dev/null; cat {answers.parents[1]}/library\n"
            assert judge(grader, "ownshell", program, "", "here\n").outcome is Outcome.AC


@cpp
@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o666), lambda path: path.write_bytes(b"junk")])
def test_a_header_that_others_could_write_or_that_is_none_is_not_used(cache, spoil):
    tools = toolchain("cpp")
    made = Prebuilds()
    calls = []

    def run(role, binds, job):
        calls.append(role)
        gch = Fetched(name="header.gch", data=b"compiled")
        return RunExit(cpu_ms=0, wall_ms=0, memory_bytes=0, exit_code=0, fetched=(gch,)), Seen()

    folder = made.folder(tools, b"#include <bits/stdc++.h>", run)
    place = next(cache.rglob("stdc++.h.gch"))
    assert folder and place.read_bytes() == b"compiled" and made.folder(tools, b"#include <map>", run) == ""
    spoil(place)
    assert Prebuilds().folder(tools, b"#include <bits/stdc++.h>", run) == folder
    assert calls == ["prebuild cpp"] * (2 if place.read_bytes() == b"compiled" else 1)
    with Grader(workers=1) as grader:  # junk is refused by the compiler, which then reads the header itself
        assert judge(grader, "cpp", get("cpp").hello, "a\n", "A\n").outcome is Outcome.AC


@cpp
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as another user")
def test_a_header_that_the_user_of_the_programs_cannot_reach_is_not_used(cache):
    """Under Landlock as root nothing is bound: g++ would refuse every program that names the folder."""
    made = RunExit(cpu_ms=0, wall_ms=0, memory_bytes=0, exit_code=0, fetched=(Fetched(name="header.gch", data=b"x"),))
    source = b"#include <bits/stdc++.h>"
    cache.chmod(0o700)
    assert Prebuilds().folder(toolchain("cpp"), source, lambda *_: (made, Seen())) == ""
    cache.chmod(0o711)
    assert Prebuilds().folder(toolchain("cpp"), source, lambda *_: (made, Seen())) != ""


PACKAGE = {
    "pkg/__init__.py": "from pkg.inner import f\n",
    "pkg/inner.py": "from . import data\ndef f(): return data.X\n",
}


def test_a_program_of_several_files_imports_packages_as_a_script_and_as_a_module(grader):
    program = Program(
        source="import pkg\ndef g(): return pkg.f()\nprint(g())", files=PACKAGE | {"pkg/data.py": "X = 7\n"}
    )
    cases = (StdioCase(stdin="", stdout="7\n"), CallCase(function="g", expected=7))
    verdict = grader.grade([GradeRequest(program=program, cases=cases)])[0]
    assert [case.outcome for case in verdict.cases] == [Outcome.AC, Outcome.AC], verdict


def test_files_lie_beside_a_program(grader):
    program = Program(
        source="import helper\nprint(helper.f(), open('data/x.txt').read())",
        files={"helper.py": "def f():\n    return 1\n", "data/x.txt": "two"},
    )
    verdict = grader.grade([GradeRequest(program=program, cases=(StdioCase(stdin="", stdout="1 two\n"),))])[0]
    assert verdict.outcome is Outcome.AC, verdict


@cpp
def test_headers_and_further_sources_are_compiled_with_a_program(grader):
    program = Program(
        source='#include "f.h"\n#include <cstdio>\nint main() { printf("%d\\n", f()); }',
        language="cpp",
        files={"f.h": "int f();", "f.cpp": "int f() { return 7; }"},
    )
    verdict = grader.grade([GradeRequest(program=program, cases=(StdioCase(stdin="", stdout="7\n"),))])[0]
    assert verdict.outcome is Outcome.AC, verdict


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../b", "a//b", "x\ny", "x\0y", "\ud800", "n" * 300, ""])
def test_a_file_name_that_is_no_name_is_the_tasks_fault(grader, name):
    program = Program(source="print(1)", files={name: "x"})
    verdict = grader.grade([GradeRequest(program=program, cases=(StdioCase(stdin="", stdout="1\n"),))])[0]
    assert verdict.outcome is Outcome.JE
    assert "file name" in verdict.detail


def test_an_unknown_language_is_the_tasks_fault_and_the_known_ones_are_named(grader):
    verdict = judge(grader, "cobol", "x")
    assert verdict.outcome is Outcome.JE
    assert "python" in verdict.detail


@pytest.fixture
def added(monkeypatch):
    """Languages registered in a test are gone after it."""
    monkeypatch.setattr(languages, "_added", {})
    yield
    languages._table.cache_clear()
    toolchain.cache_clear()


def test_a_language_without_its_toolchain_is_no_verdict_on_the_program(grader, added):
    register(Language(name="absent", source="x", run=("no-such-tool-xyz", "{source}"), hello="", install="get it"))
    verdict = judge(grader, "absent", "x")
    assert verdict.status is Status.UNSCORABLE
    assert "get it" in verdict.detail


def test_a_language_is_added_by_one_record(grader, added):
    program = "BEGIN { getline; print toupper($0) }\n"
    register(
        Language(name="awk", source="main.awk", run=("awk", "-f", "{source}"), hello=program, version=("-W", "version"))
    )
    if fault("awk"):
        pytest.skip(fault("awk"))
    assert judge(grader, "awk", program, "abc\n", "ABC\n").outcome is Outcome.AC


def test_the_language_of_the_docs_is_added_as_written_there(grader, added):
    text = (Path(__file__).parents[1] / "docs" / "sandbox.md").read_text()
    code = next(part for part in re.findall(r"```python\n(.*?)```", text, re.S) if "register(" in part)
    exec(code, {})
    if fault("perl"):
        pytest.skip(fault("perl"))
    assert judge(grader, "perl", get("perl").hello, "abc\n", "ABC\n").outcome is Outcome.AC
    assert languages.of_file("x.pl") == "perl"


def test_a_call_needs_python(grader):
    request = GradeRequest(
        program=Program(source="int main() {}", language="cpp"), cases=(CallCase(function="f", expected=1),)
    )
    verdict = grader.grade([request])[0]
    assert verdict.outcome is Outcome.JE
    assert "python" in verdict.detail


# Test code in the program's own language: (program, test code, programs that are wrong or cheat)
CPP_TEST = "#include <cassert>\nint main() {\n    assert(add(1, 2) == 3);\n    return 0;\n}\n"
JAVA_TEST = (
    "class Main {\n    public static void main(String[] a) {\n        if (new Solution().add(1, 2) != 3)\n"
    "            throw new AssertionError();\n    }\n}\n"
)
SUITES = {
    "c": ("int add(int a, int b) { return a + b; }", CPP_TEST.replace("cassert", "assert.h"), {
        "wrong": "int add(int a, int b) { return a; }",
        "exit": "#include <stdlib.h>\nint add(int a, int b) { exit(0); }",
    }),
    "cpp": ("int add(int a, int b) { return a + b; }", CPP_TEST, {
        "wrong": "int add(int a, int b) { return a; }",
        "exit": "#include <cstdlib>\nint add(int a, int b) { std::quick_exit(0); }",
        "early": "#include <cstdlib>\nstruct X { X() { _Exit(0); } } x;\nint add(int a, int b) { return 0; }",
        "print": '#include <cstdlib>\nint add(int a, int b) { puts("\\nok\\n"); fflush(stdout); _Exit(0); }',
    }),
    "java": ("class Solution { int add(int a, int b) { return a + b; } }", JAVA_TEST, {
        "wrong": "class Solution { int add(int a, int b) { return a; } }",
        "halt": "class Solution { int add(int a, int b) { Runtime.getRuntime().halt(0); return 0; } }",
    }),
    "javascript": ("const add = (a, b) => a + b;", "console.assert(add(1, 2) === 3);", {
        "wrong": "const add = (a, b) => a;",
        "exit": "const add = (a, b) => process.exit(0);",
        "hook": "process.on('exit', () => { console.log('ok'); process.exitCode = 0; }); const add = () => { throw 1 };",
    }),
    "python": ("def add(a, b):\n    return a + b\n", "assert add(1, 2) == 3", {
        "wrong": "def add(a, b):\n    return a\n",
        "exit": "import sys\ndef add(a, b):\n    sys.exit(0)\n",
        "_exit": "import os\ndef add(a, b):\n    os._exit(0)\n",
    }),
    "rust": (
        "fn add(a: i32, b: i32) -> i32 { a + b }\nfn main() {}",
        "#[cfg(test)]\nmod tests {\n  use super::*;\n  #[test]\n  fn t() {\n    assert_eq!(add(1, 2), 3);\n  }\n}\n",
        {
            "wrong": "fn add(a: i32, _b: i32) -> i32 { a }\nfn main() {}",
            "exit": "fn add(_a: i32, _b: i32) -> i32 { std::process::exit(0) }\nfn main() {}",
        },
    ),
    "bash": ("add() { echo $(($1 + $2)); }", '[[ $(add 1 2) == 3 ]] || exit 1', {
        "wrong": "add() { echo $1; }",
        "exit": "exit 0",
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param("python"), *OTHERS])
def test_a_test_program_passes_only_if_it_runs_to_its_end(grader, name):
    if name not in SUITES:
        pytest.skip("no test program for this language here")
    right, after, wrong = SUITES[name]
    sources = {"right": right, **wrong}
    requests = [
        GradeRequest(program=Program(source=s, language=name), cases=(ProgramCase(after=after),), limits=LIMITS)
        for s in sources.values()
    ]
    verdicts = dict(zip(sources, grader.grade(requests), strict=True))
    assert verdicts.pop("right").outcome is Outcome.AC
    assert {cheat: v.status for cheat, v in verdicts.items()} == dict.fromkeys(verdicts, Status.FAIL)
    assert {v.integrity for v in verdicts.values()} == {Integrity.COOPERATIVE}


def test_every_language_has_what_the_others_have():
    for name in names():
        language = get(name)
        assert language.hello and language.source, name
        assert language.in_process or language.install, name
        assert language.harness is None or isinstance(language.harness, Harness)
    assert languages.of_file("x.cpp") == "cpp"
    assert [languages.of_file(name) for name in ("x.cc", "x.py", "x.unknown", "x")] == ["cpp", "python", "", ""]
