"""What all tests share: in CI, a test that wants a server or a browser may not be skipped."""

import os
from collections.abc import Generator
from typing import Any

import pytest

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
