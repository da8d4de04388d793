"""What all tests share: which tests are slow, and that in CI none that wants a server or a browser is skipped."""

import os
import subprocess
from collections.abc import Generator
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


@pytest.fixture(autouse=True)
def _fast_tests_start_no_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is not marked `slow` may not start a process: `make check` stays fast because of that."""
    if request.node.get_closest_marker("slow"):
        return

    def refuse(*arguments: object, **more: object) -> None:
        pytest.fail("a test that starts a process needs @pytest.mark.slow")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(os, "fork", refuse)
