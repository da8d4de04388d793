"""What people see: the page of a run, its charts, and the views of a terminal."""

from lrtune.report.findings import findings
from lrtune.report.page import write_report
from lrtune.report.run import Run, read_run

__all__ = ["Run", "findings", "read_run", "write_report"]
