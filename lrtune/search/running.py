"""The trials that workers have now: how far each is, and how long its worker was silent.

A worker is silent for as long as the search has seen the time at which it renewed its lease not change: by the search's
own clock, since a database's clock may be set. A pause of the search counts for little, since its workers may have
paused with it.
"""

from collections.abc import Callable, Sequence

from lrtune.search.events import OnEvent, TrialReported, TrialStarted
from lrtune.search.workers.leases import Lease
from lrtune.study.study import Study
from lrtune.study.task import Task, steps_of

_LONGEST_LOOK = 5.0  # seconds that count at the most between two looks


class RunningTrials:
    """Emits what has changed at each look; `leases` are those of the last one.

    Args:
        on_begin: called with the number of a trial when it is first seen to be trained.
    """

    def __init__(self, study: Study, emit: OnEvent, on_begin: Callable[[int], None]) -> None:
        self.study, self.emit, self.on_begin = study, emit, on_begin
        self.leases: Sequence[Lease] = ()
        self._emitted: dict[int, tuple[int, int]] = {}
        self._silences: dict[int, tuple[object, float]] = {}
        self._looked: float | None = None

    def look(self, leases: Sequence[Lease], now: float) -> None:
        """Take in the leases as they are `now`, in seconds of a clock that only goes forward."""
        passed = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_LOOK)
        self.leases, self._looked = leases, now
        self._note_silences(passed)
        for lease in leases:
            step = lease.progress["reports"][-1][0] if lease.progress.get("reports") else -1
            before = self._emitted.get(lease.trial)
            if before is None or before[0] != lease.attempt:
                self._emit_start(lease)
            if step >= 0 and before != (lease.attempt, step):
                self._emit_report(lease)
            self._emitted[lease.trial] = (lease.attempt, step)

    def silence(self, lease: Lease) -> float:
        """Seconds for which this lease was seen not to be renewed."""
        return self._silences.get(lease.trial, (None, 0.0))[1]

    def _note_silences(self, passed: float) -> None:
        before, self._silences = self._silences, {}
        for lease in self.leases:
            sign = (lease.owner, lease.attempt, lease.renewed)
            last, silent = before.get(lease.trial, (None, 0.0))
            self._silences[lease.trial] = sign, silent + passed if sign == last else 0.0

    def _emit_start(self, lease: Lease) -> None:
        task = Task(**lease.task)
        if lease.trial not in self._emitted:
            self.on_begin(lease.trial)
        self.emit(
            TrialStarted(
                trial=lease.trial,
                hidden_size=task.hidden_size,
                learning_rate=task.learning_rate,
                seed=task.seed,
                scales=task.scales,
                arm=task.arm,
                steps=steps_of(task, self.study),
                worker=lease.owner,
                attempt=lease.attempt,
            )
        )

    def _emit_report(self, lease: Lease) -> None:
        step, loss, diversity, _ = lease.progress["reports"][-1]
        steps = int(lease.progress.get("steps", self.study.steps))
        self.emit(TrialReported(trial=lease.trial, step=step, steps=steps, loss=loss, diversity=diversity))
