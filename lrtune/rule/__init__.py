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
from lrtune.rule.file import find_rule, load_rule

TYPE_CHECKING = False  # `typing` is not imported: see `lrtune.named`
if TYPE_CHECKING:
    from lrtune.rule.parse import parse_rule
    from lrtune.rule.written import rule_to_json, save_rule

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


def __getattr__(name: str) -> object:
    """What reads and writes JSON, imported when first used."""
    home = {"parse_rule": "parse", "rule_to_json": "written", "save_rule": "written"}.get(name)
    if home is None:
        raise AttributeError(f"module 'lrtune.rule' has no attribute {name!r}")
    return getattr(__import__(f"lrtune.rule.{home}", fromlist=[name]), name)
