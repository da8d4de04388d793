"""Why a search ended: `Ending` for programs, a line of text for people."""

from dataclasses import dataclass
from enum import Enum


class Ending(Enum):
    """Why a search ended. The value tells the user how to continue."""

    ENOUGH = "the rule reached the requested tolerance"
    EXHAUSTED = "more runs of this kind do not help: allow a larger tolerance, or train more steps"
    COMPLETE = "every run of the design is done"
    SECONDS_SPENT = "to continue, run the same command again with more time"
    TRIALS_SPENT = "to continue, run the same command again with more trials"
    TOKENS_SPENT = "to continue, run the same command again with more tokens"
    INTERRUPTED = "all records are kept; run the same command again to resume"

    @property
    def is_final(self) -> bool:
        """Whether the same command would run nothing more."""
        return self in (Ending.ENOUGH, Ending.EXHAUSTED, Ending.COMPLETE)


@dataclass(frozen=True)
class StopReason:
    """An ending, and its line of text for this search."""

    ending: Ending
    text: str

    def __str__(self) -> str:
        return self.text
