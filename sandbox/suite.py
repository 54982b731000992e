"""How does a unittest or pytest file run without the candidate in its process?

Part of the referee: the file is trusted, and imports a module whose names are plain values of the candidate or handles to
it, as in an assert case. So nothing the candidate does to `unittest`, `assert`, conftest files, plugins, entry
points, `sitecustomize` or its own exit code is anywhere near the tests. What decides is what this process saw: every test
ran and passed. A file that holds no test, or skips all, is faulty.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Generator
from typing import Any, Protocol

LIBRARY, FILE = "library.zip", "test_suite.py"


class Blame(Protocol):
    """Whose fault is this exception of a test?"""

    def __call__(self, error: BaseException, failures: tuple[type[BaseException], ...]) -> dict[str, str]: ...


def install_library(archive: bytes) -> None:
    """Make the packages in `archive` importable."""
    with open(LIBRARY, "wb") as stream:
        stream.write(archive)
    sys.path.append(os.path.abspath(LIBRARY))


def run_suite(message: Any, bound: dict[str, Any], blame: Blame) -> dict[str, str]:
    """How the suite ended, as in `sandbox.referee.Bench.run`; or empty: no test ran."""
    missing = [name for name in message["names"] if name not in bound]
    if missing:
        return {"end": "undefined", "detail": missing[0]}
    module = types.ModuleType(message["module"])
    module.__dict__.update(bound)
    sys.modules[message["module"]] = module
    tally = Tally(blame)
    try:
        _RUNNERS[message["suite"]](message["code"], tally)
    except BaseException as error:
        return blame(error, ())
    return tally.end()


class Tally:
    """What became of the tests."""

    def __init__(self, blame: Blame):
        self._blame = blame
        self._first: dict[str, str] | None = None
        self.num_passed = self.num_failed = 0

    def fail(self, error: BaseException | None, failures: tuple[type[BaseException], ...] = ()) -> None:
        self.num_failed += 1
        if self._first is None:
            self._first = {"end": "failed", "detail": ""} if error is None else self._blame(error, failures)

    def end(self) -> dict[str, str]:
        if self._first is not None:
            if self._first["end"] == "failed":
                total = self.num_failed + self.num_passed
                return {"end": "failed", "detail": f"{self.num_failed} of {total} tests failed"}
            return self._first
        if not self.num_passed:
            return {"end": "empty", "detail": ""}
        return {"end": "passed", "detail": ""}


def run_unittest(code: str, tally: Tally) -> None:
    import unittest

    class Result(unittest.TestResult):
        def addSuccess(self, test: Any) -> None:
            tally.num_passed += 1

        def addExpectedFailure(self, test: Any, err: Any) -> None:
            tally.num_passed += 1

        def addUnexpectedSuccess(self, test: Any) -> None:
            tally.fail(None)

        def addFailure(self, test: Any, err: Any) -> None:
            tally.fail(err[1])

        def addError(self, test: Any, err: Any) -> None:
            tally.fail(err[1])

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                tally.fail(err[1])

    module = types.ModuleType("test_suite")  # not __main__: `unittest.main()` at the end is for people
    sys.modules["test_suite"] = module
    exec(compile(code, FILE, "exec", dont_inherit=True), module.__dict__)
    unittest.defaultTestLoader.loadTestsFromModule(module).run(Result())


def run_pytest(code: str, tally: Tally) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with open(FILE, "w", encoding="utf-8") as stream:
        stream.write(code)
    import pytest

    failures = (pytest.fail.Exception,)

    class Recorder:
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, Any]:
            report = yield
            if report.failed:
                tally.fail(call.excinfo.value if call.excinfo else None, failures)
            elif (report.passed and report.when == "call") or hasattr(report, "wasxfail"):
                tally.num_passed += 1
            return report

        def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
            if report.when == "collect":
                tally.fail(call.excinfo.value, failures)

    options = ["--noconftest", "-c", os.devnull, "--rootdir=.", "--assert=plain", "-p", "no:cacheprovider", "-q"]
    ended = pytest.main([*options, FILE], plugins=[Recorder()])
    if ended in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED):
        tally.fail(SyntaxError(f"pytest ended with {ended!r}"))


_RUNNERS: dict[str, Callable[[str, Tally], None]] = {"unittest": run_unittest, "pytest": run_pytest}
