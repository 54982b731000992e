"""How does a Go test file become a program? Its tests run from a `main`, with a stand-in for `*testing.T`.

`go test` needs a module and makes a binary that leaves by itself; the end of this one shows that the tests were reached.
"""

from __future__ import annotations

import re

IMPORTS = ("bufio", "fmt", "os")  # what `with_main` and the sandbox's end of the tests need
_TEST = re.compile(r"^func (Test\w+)\(\w+ \*testing\.T\)", re.M)
_TYPE = re.compile(r"\*testing\.T\b")
_T = """
type testT struct{ failed bool }

func (t *testT) Helper()                              {}
func (t *testT) Log(args ...interface{})              { fmt.Fprintln(os.Stderr, args...) }
func (t *testT) Logf(form string, args ...interface{}) { t.Log(fmt.Sprintf(form, args...)) }
func (t *testT) Fail()                                { t.failed = true }
func (t *testT) FailNow()                             { panic("assertion failed") }
func (t *testT) Error(args ...interface{})            { t.Log(args...); t.Fail() }
func (t *testT) Errorf(form string, args ...interface{}) { t.Error(fmt.Sprintf(form, args...)) }
func (t *testT) Fatal(args ...interface{})            { t.Log(args...); t.FailNow() }
func (t *testT) Fatalf(form string, args ...interface{}) { t.Fatal(fmt.Sprintf(form, args...)) }
func (t *testT) Run(name string, f func(*testT)) bool {
	inner := &testT{}
	f(inner)
	t.failed = t.failed || inner.failed
	return !inner.failed
}
"""
_IMPORTED = re.compile(r'^import\s*(?:\(([^)]*)\)|("[^"]+"))', re.M)


def imported(code: str) -> list[str]:
    """The packages that `code` imports, in order.

    >>> imported('package main\\nimport (\\n  "fmt"\\n  "math/rand"\\n)\\nimport "os"\\n')
    ['fmt', 'math/rand', 'os']
    """
    return [name for found in _IMPORTED.finditer(code) for name in re.findall(r'"([^"]+)"', found[0])]


def imports(names: tuple[str, ...], *, without: list[str]) -> str:
    wanted = [name for name in dict.fromkeys(names) if name not in without]
    return "".join(["import (\n", *(f'\t"{name}"\n' for name in wanted), ")\n"]) if wanted else ""


def with_main(tests: str) -> str:
    """The tests and a main that runs them all. Raises ValueError where there is none."""
    names = _TEST.findall(tests)
    if not names:
        raise ValueError("there is no func Test..(t *testing.T)")
    body = _TYPE.sub("*testT", tests)
    calls = "".join(f'\tt.Run("{name}", {name})\n' for name in names)
    return f"{_T}\n{body}\n\nfunc main() {{\n\tt := &testT{{}}\n{calls}\tif t.failed {{\n\t\tos.Exit(1)\n\t}}\n}}\n"
