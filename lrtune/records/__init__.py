"""Records of runs: records.jsonl, the run folder, and imports from other tools."""

from lrtune.records.jsonl import RecordsFile, from_json, read_records, to_json, write_records
from lrtune.records.record import STATUSES, Status, TrialRecord, task_of

__all__ = [
    "STATUSES",
    "RecordsFile",
    "Status",
    "TrialRecord",
    "from_json",
    "read_records",
    "task_of",
    "to_json",
    "write_records",
]
