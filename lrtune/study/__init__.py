"""A study: what to train, which rates and sizes to search, and what one run is."""

from lrtune.study.study import Arm, Budget, PruningPolicy, Study, fingerprint
from lrtune.study.task import Task
from lrtune.study.toml import load_study, parse_seconds, parse_study, to_toml

__all__ = [
    "Arm",
    "Budget",
    "PruningPolicy",
    "Study",
    "Task",
    "fingerprint",
    "load_study",
    "parse_seconds",
    "parse_study",
    "to_toml",
]
