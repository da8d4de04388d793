"""The running trials: the progress of each, and how long its worker has been silent.

A worker's silence is the time without a renewal of its lease, by the search's clock, since a database's clock may
change. A pause of the search adds little to it, since the workers may have paused too.
"""

from collections.abc import Callable, Sequence

from lrtune.search.events import OnEvent, TrialReported, TrialStarted
from lrtune.search.workers.leases import Lease
from lrtune.study.study import Study
from lrtune.study.task import steps_of

_LONGEST_LOOK = 5.0  # the most seconds of silence to count between two looks


class RunningTrials:
    """Emits the changes at each look; `leases` are those of the last look.

    Args:
        on_begin: called with a trial's number when it first runs.
    """

    def __init__(self, study: Study, emit: OnEvent, on_begin: Callable[[int], None]) -> None:
        self.study, self.emit, self.on_begin = study, emit, on_begin
        self.leases: Sequence[Lease] = ()
        self._emitted: dict[int, tuple[int, int]] = {}
        self._silences: dict[int, tuple[object, float]] = {}
        self._looked: float | None = None

    def look(self, leases: Sequence[Lease], now: float) -> None:
        """Update from the current leases; `now` is the time in seconds of a monotonic clock."""
        passed = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_LOOK)
        self.leases, self._looked = leases, now
        self._note_silences(passed)
        for lease in leases:
            step = lease.last.step if lease.last else -1
            before = self._emitted.get(lease.trial)
            if before is None or before[0] != lease.attempt:
                self._emit_start(lease)
            if (last := lease.last) and before != (lease.attempt, step):
                steps = steps_of(lease.task, self.study)
                loss = -last.loss if self.study.maximize else last.loss
                self.emit(TrialReported(trial=lease.trial, step=step, steps=steps, loss=loss, diversity=last.diversity))
            self._emitted[lease.trial] = (lease.attempt, step)

    def silence(self, lease: Lease) -> float:
        """Seconds since the search saw this lease renewed."""
        return self._silences.get(lease.trial, (None, 0.0))[1]

    def _note_silences(self, passed: float) -> None:
        before, self._silences = self._silences, {}
        for lease in self.leases:
            sign = (lease.owner, lease.attempt, lease.renewed)
            last, silent = before.get(lease.trial, (None, 0.0))
            self._silences[lease.trial] = sign, silent + passed if sign == last else 0.0

    def _emit_start(self, lease: Lease) -> None:
        task = lease.task
        if lease.trial not in self._emitted:
            self.on_begin(lease.trial)
        self.emit(
            TrialStarted(
                trial=lease.trial,
                hidden_size=task.hidden_size,
                learning_rate=task.learning_rate,
                seed=task.seed,
                scales=task.scales,
                knobs=task.knobs,
                arm=task.arm,
                steps=steps_of(task, self.study),
                worker=lease.owner,
                attempt=lease.attempt,
            )
        )
