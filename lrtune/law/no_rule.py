"""Why records yield no rule: `NoRule` for programs, a line of text for people."""

from enum import Enum

from lrtune.errors import RunFailedError


class NoRule(Enum):
    """Why there is no rule. The value tells the user what to do."""

    NO_RUN = "run the same command again to resume"
    ALL_FAILED = "`why` in records.jsonl names the error to fix"
    NONE_FINISHED = "search lower rates or longer runs"
    ONE_RATE = "run at least two, better five"
    EQUAL_LOSSES = "check that the trainer uses the learning rate, with check-trainer"
    TOO_MANY_SIZES = "fit fewer sizes or scales"


class NoRuleError(RunFailedError):
    """The records yield no rule, because of `no_rule`."""

    def __init__(self, no_rule: NoRule, text: str) -> None:
        super().__init__(f"{text}; {no_rule.value}")
        self.no_rule, self.text = no_rule, text
