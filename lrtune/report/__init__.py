"""The views: the report page of a run, its charts, and the terminal views."""

from lrtune.report.findings import findings
from lrtune.report.page import write_report
from lrtune.report.run import Run, load_run

__all__ = ["Run", "findings", "load_run", "write_report"]
