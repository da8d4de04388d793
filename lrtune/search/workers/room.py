"""How many trials of one group a worker takes at once: what the trainer says, else what the device suggests."""

import sys

from lrtune.errors import redact
from lrtune.trainer.trial import Trainer, Trial

GPU_MEMBERS = 16


def usual_room(device: str) -> int:
    """Without word from the trainer: a GPU trains many small models in the time of one, a core does not."""
    return GPU_MEMBERS if device.startswith("cuda") else 1


def said_room(trainer: Trainer, trial: Trial) -> int | None:
    """What the trainer's `members_at_once` says for the group of `trial`; None without it, or where it cannot say."""
    if trainer.train_population is None or trainer.members_at_once is None:
        return None
    try:
        count: object = trainer.members_at_once(trial)
    except (Exception, SystemExit) as error:
        reason = redact(f"{type(error).__name__}: {error}").splitlines()[0][:200]
    else:
        if type(count) is int and count >= 1:
            return count
        reason = f"expected a whole number of at least 1, but got {count!r:.60}"
    print(f"trainer: members_at_once: {reason}; training {usual_room(trial.device)} at once", file=sys.stderr)
    return None
