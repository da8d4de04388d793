"""What all tests share: which tests are slow, and that in CI none that wants a server or a browser is skipped."""

import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest_plugins = ("postgres_server",)  # in tests/faults
# Tests share few cores: threads that wait for each other spin. Set before numpy and torch are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# marker → the variable under which a skip of such a test is a failure (set by .ci/run, which installs them)
_REQUIRED = {"server": "LRTUNE_REQUIRE_SERVERS", "browser": "LRTUNE_REQUIRE_BROWSER"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        for marker, variable in _REQUIRED.items():
            if os.environ.get(variable) and item.get_closest_marker(marker):
                report.outcome = "failed"
                report.longrepr = f"skipped although {variable} is set: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _folders_of_tests_are_a_project(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A rule file in a folder above theirs is not theirs."""
    (tmp_path_factory.getbasetemp() / ".git").mkdir()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test without the mark `slow` may not start a process, nor may its fixtures: that keeps `make check` fast."""
    with _no_process(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    with _no_process(item):
        return (yield)


@contextmanager
def _no_process(item: pytest.Item) -> Iterator[None]:
    """Not while a test is torn down: the last one of a session stops the servers of others."""
    with pytest.MonkeyPatch.context() as patched:
        if not item.get_closest_marker("slow"):
            patched.setattr(subprocess.Popen, "__init__", _refuse)
            patched.setattr(os, "fork", _refuse)
        yield


def _refuse(*arguments: object, **more: object) -> None:
    pytest.fail("a test that starts a process needs @pytest.mark.slow")
