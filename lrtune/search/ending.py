"""Why a search ended: `Ending` for programs, a line of text for people."""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lrtune.files import read_text
from lrtune.law.no_rule import NoRule

FILE = "ending.json"  # in the run folder


class Ending(Enum):
    """Why a search ended. The value tells the user how to continue."""

    ENOUGH = "the rule reached the requested tolerance"
    EXHAUSTED = "more runs of this kind do not help: allow a larger tolerance, or train more steps"
    NO_SIGNAL = NoRule.EQUAL_LOSSES.value
    NO_OPTIMUM = "check the trainer's schedule, and the unit of its learning rate"
    COMPLETE = "every run of the design is done"
    SECONDS_SPENT = "to continue, run the same command again with more time"
    TRIALS_SPENT = "to continue, run the same command again with more trials"
    TOKENS_SPENT = "to continue, run the same command again with more tokens"
    INTERRUPTED = "all records are kept; run the same command again to resume"

    @property
    def is_final(self) -> bool:
        """Whether the same command would run nothing more."""
        return self in (Ending.ENOUGH, Ending.COMPLETE) or self.is_hopeless

    @property
    def is_hopeless(self) -> bool:
        """Whether more runs of this kind would not help."""
        return self in (Ending.EXHAUSTED, Ending.NO_SIGNAL, Ending.NO_OPTIMUM)


@dataclass(frozen=True)
class StopReason:
    """An ending, and its line of text for this search."""

    ending: Ending
    text: str

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> str:
        """The content of `FILE`."""
        return json.dumps({"ending": self.ending.name, "text": self.text}) + "\n"


def read_ending(folder: Path) -> StopReason | None:
    """Why the last search in a folder ended; None while one runs, after it was killed, or if the file is damaged."""
    try:
        found = json.loads(read_text(folder / FILE, within=folder, most=100_000))
        return StopReason(Ending[found["ending"]], str(found["text"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
