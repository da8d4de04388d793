"""The rule file and its answers. Only the standard library is imported, so that reading is fast."""

from lrtune.rule.advice import Recommendation, Transfer
from lrtune.rule.ask import (
    ExtrapolationWarning,
    PackagedRuleWarning,
    get_learning_rate,
    recommend,
    transfer_learning_rate,
)
from lrtune.rule.data import Boundary, Polynomial, Rule, RuleCell, Scale, Step
from lrtune.rule.doubt import Doubt
from lrtune.rule.file import find_rule, load_rule, rule_to_json, save_rule
from lrtune.rule.parse import parse_rule

__all__ = [
    "Boundary",
    "Doubt",
    "ExtrapolationWarning",
    "PackagedRuleWarning",
    "Polynomial",
    "Recommendation",
    "Rule",
    "RuleCell",
    "Scale",
    "Step",
    "Transfer",
    "find_rule",
    "get_learning_rate",
    "load_rule",
    "parse_rule",
    "recommend",
    "rule_to_json",
    "save_rule",
    "transfer_learning_rate",
]
