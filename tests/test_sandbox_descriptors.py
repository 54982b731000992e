"""Does a slot that runs out of descriptors while it opens, or while files come back, give everything back and say so?"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.backend import Job, SandboxUnavailable, open_backend
from sandbox.limits import Limits
from sandbox.selftest import _belongings

MOST = 96  # descriptors: enough for any backend's slot


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """No descriptor from number `count` on can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("name", ["jail", "landlock", "plain"])
def test_a_slot_that_cannot_open_leaves_nothing_at_whatever_step_it_fails(name: str) -> None:
    try:
        open_backend(name).close()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    left, opened = {}, False
    for count in range(MOST):
        before = _belongings()
        with at_most(count):
            try:
                backend = open_backend(name)
                try:
                    backend.open_slot()
                    opened = True
                finally:
                    backend.close()
            except (OSError, SandboxUnavailable):
                pass
        if found := _belongings() - before:
            left[count] = sorted(found)
        if opened:
            break
    assert left == {}
    assert opened


def test_files_that_find_no_descriptor_are_the_infrastructure_s_fault_and_not_missing() -> None:
    backend = open_backend("jail")
    try:
        slot = backend.open_slot()
        source = b"for name in 'abcd': open(name, 'w').write(name)"
        job = Job(driver="script", source=source, limits=Limits(), fetch=("a", "b", "c", "d"))
        assert [file.data for file in slot.start(job).finish().fetched] == [b"a", b"b", b"c", b"d"]
        run = slot.start(job)
        with at_most(4):
            ended = run.finish()
        assert (ended.lost, ended.fetched) == (True, ())
        assert "descriptors" in ended.detail
        assert [file.data for file in slot.start(job).finish().fetched] == [b"a", b"b", b"c", b"d"]
    finally:
        backend.close()
