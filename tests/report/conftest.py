"""A run with its report."""

from pathlib import Path

import pytest
from reports import records, write_run

from lrtune.report.page import write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its report, named so that it would be a script if it could."""
    folder = write_run(tmp_path_factory.mktemp("run") / "run", records(), name="<script>alert(1)</script>{{LIBRARY}}")
    write_report(folder)
    return folder
