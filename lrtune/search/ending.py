"""Why a search ended, as data: `Ending` for programs, a line of text for people."""

from dataclasses import dataclass
from enum import Enum


class Ending(Enum):
    """Why a search ended. The value is what to do next."""

    ENOUGH = "the rule is as sure as was asked for"
    EXHAUSTED = "more runs of this kind do not help: ask for a larger tolerance, or train more steps"
    COMPLETE = "every run of the design is done"
    SECONDS_SPENT = "run the same command again with more time to go on"
    TRIALS_SPENT = "run the same command again with more trials to go on"
    TOKENS_SPENT = "run the same command again with more tokens to go on"
    INTERRUPTED = "nothing recorded is lost, and the same command goes on from here"

    @property
    def is_final(self) -> bool:
        """Whether the same command would find nothing left to run."""
        return self in (Ending.ENOUGH, Ending.EXHAUSTED, Ending.COMPLETE)


@dataclass(frozen=True)
class StopReason:
    """An ending, and the line that says what it was in this search."""

    ending: Ending
    text: str

    def __str__(self) -> str:
        return self.text
