"""The trials of an Optuna study as records."""

import math
from collections.abc import Mapping, Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lrtune.records.record import STATUSES, Status, TrialRecord
from lrtune.trainer.trial import Facts


class Trials:
    """The trials of a study, read at most once: each read costs the storage seven statements."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._read: list[FrozenTrial] | None = None

    def read(self) -> list[FrozenTrial]:
        """All of them, not to be changed."""
        if self._read is None:
            self._read = self.study.get_trials(deepcopy=False)
        return self._read


def record_of(trial: FrozenTrial, names: Sequence[str], sign: float) -> TrialRecord | None:
    """An ended trial as a record; None for other parameters, an arm, or a failed run of lrtune's search.

    `names` are those of width, learning rate and further knobs; `sign` is -1 where the study maximizes.
    """
    width, rate, *knobs = (trial.params.get(name) for name in names)
    if width is None or rate is None or rate <= 0 or None in knobs or trial.user_attrs.get("arm") is not None:
        return None
    status, loss = _ended(trial, sign)
    facts = trial.user_attrs.get("facts")
    parameters = facts.get("parameters") if isinstance(facts, Mapping) else None
    return TrialRecord(
        trial=trial.number,
        hidden_size=int(width),
        learning_rate=rate,
        knobs={name: value for name, value in zip(names[2:], knobs, strict=True) if value is not None},
        seed=int(trial.user_attrs.get("seed", 0)),
        status=status,
        steps=1,
        steps_done=1,
        loss=loss,
        facts=Facts(parameters=parameters if isinstance(parameters, int) else None),
    )


def _ended(trial: FrozenTrial, sign: float) -> tuple[Status, float | None]:
    """How a trial ended, and its final loss."""
    stored = trial.user_attrs.get("status")
    if stored in STATUSES and stored != "finished":
        return stored, None
    if trial.state == TrialState.COMPLETE:
        value = sign * float((trial.values or [math.nan])[0])
        if not math.isfinite(value):
            return ("diverged" if value > 0 else "collapsed"), None
        return ("collapsed", None) if any(excess > 0 for excess in trial.constraints.values()) else ("finished", value)
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    return ("diverged" if last is not None and not math.isfinite(last) else "beaten"), None
