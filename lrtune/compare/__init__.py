"""Comparisons: between arms, of a rule with a baseline, of a rule with measurements."""

from lrtune.compare.check import Check, check_rule
from lrtune.compare.effects import ArmsComparison, compare_records
from lrtune.compare.run import run_comparison
from lrtune.compare.verify import Verification, run_verification

__all__ = [
    "ArmsComparison",
    "Check",
    "Verification",
    "check_rule",
    "compare_records",
    "run_comparison",
    "run_verification",
]
