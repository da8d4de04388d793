"""The loop of a search: collect results, queue tasks and replace dead workers, until there is a reason to stop."""

import time
from collections.abc import Sequence

from lrtune.errors import RunFailedError
from lrtune.search.designs import Design
from lrtune.search.ending import Ending, StopReason
from lrtune.search.events import Note
from lrtune.search.inert import inert_knobs, inert_scale
from lrtune.search.options import SearchOptions
from lrtune.search.plan import hopeless
from lrtune.search.queue import TaskQueue
from lrtune.search.waiting import Waiting
from lrtune.search.workers.engine import Engine, make_engine
from lrtune.search.workers.owner import is_gone
from lrtune.search.workers.signals import Stopping
from lrtune.study.task import place_name
from lrtune.trainer.trial import TOO_LONG, Trainer

_POLL = 0.05
_HOLD_SECONDS = 5.0
SILENCE = 60.0  # seconds without a heartbeat after which another search may take over
_GRACE = 30.0
_FAILURES_IN_A_ROW = 5
_GPU_MEMBERS = 8


class Loop:
    """Runs the tasks of a design on workers. `run` ends all workers and returns the stop reason.

    Args:
        queue: the restored trials.
        me: this search's owner name.
        url: the storage.
    """

    def __init__(
        self,
        queue: TaskQueue,
        design: Design,
        trainer: Trainer,
        options: SearchOptions,
        stopping: Stopping,
        *,
        me: str,
        url: str,
    ) -> None:
        self.queue, self.design, self.trainer, self.options, self.stopping = queue, design, trainer, options, stopping
        self.study, self.leases = queue.study, queue.leases
        self.me, self.url = me, url
        self.began = self.held = time.monotonic()
        self.workers = options.workers or 1
        self._waiting = Waiting()
        self._inert: set[str] = set()

    def run(self) -> StopReason:
        """Run tasks until there is a reason to stop.

        Raises:
            RunFailedError: several runs in a row failed, a run is longer than the study's, no rate works, workers do
                not start, the storage is lost.
        """
        reason = self._spent() or self._fill(1)
        if reason is not None:
            self._clear(reason)
            return reason
        engine = make_engine(
            self.options.engine,
            url=self.url,
            study=self.study.name,
            workers=self.options.workers,
            device=self.options.device,
            address=self.options.address,
            logs=self.queue.folder.logs,
        )
        self.workers = engine.count
        try:
            engine.start()
            reason = self._work(engine)
            self._stop(engine)
        except BaseException:
            engine.kill()
            raise
        self._clear(reason)
        return reason

    def _work(self, engine: Engine) -> StopReason:
        stillborn, has_begun, is_to_fill = 0, False, True
        while True:
            ended = self.queue.collect()
            has_begun = has_begun or bool(self.queue.running.leases)
            for mark, how in engine.replace_dead():
                held = self.queue.take_back(mark, how)
                stillborn = 0 if held or ended or has_begun else stillborn + 1
                has_begun = False
                if stillborn > 2 * engine.count:
                    raise RunFailedError(f"workers: they end before training ({how}): {engine.tail()}")
            for owner in self.queue.take_back_silent(self.options.lease_seconds):
                engine.end(owner)
            reason = self._spent()
            if reason is None and (ended or is_to_fill):  # the design's proposals change only with new records
                reason, is_to_fill = self._fill(engine.count * self._members(engine)), False
            if reason is not None:
                return reason
            if time.monotonic() - self.held > _HOLD_SECONDS:
                self._hold()
            self._note_waiting(engine)
            if ended:
                stillborn = 0
                self._note_inert_knobs()
            else:
                time.sleep(_POLL)

    def _note_waiting(self, engine: Engine) -> None:
        running, records = self.queue.running.leases, self.queue.folder.records
        waiting = len(self.queue.pending) - len(running)
        text = self._waiting.look(
            running, waiting=waiting, ended=len(records), workers=engine.alive(), now=time.monotonic()
        )
        if text is not None:
            self.queue.emit(Note(text=text))

    def _note_inert_knobs(self) -> None:
        found = inert_knobs(list(self.queue.folder.records.values())) if self.study.knobs else {}
        for name in found.keys() - self._inert:
            self._inert.add(name)
            self.queue.emit(Note(text=found[name]))

    def _fill(self, at_once: int) -> StopReason | None:
        """Queue the design's next tasks, some ahead of the workers; returns the design's stop reason, if any."""
        ahead = max(32, 2 * at_once)
        waiting = len(self.queue.pending)
        if self.study.budget.trials is not None:
            ahead = min(ahead, self.study.budget.trials - len(self.queue.folder.records))
        records = self.queue.usable()
        if waiting < ahead:
            tasks = self.design.propose(records, list(self.queue.pending.values()), at_once)
            self.queue.add(tasks[: ahead - waiting])
        return self.design.verdict(records, list(self.queue.pending.values()))

    def _members(self, engine: Engine) -> int:
        """How many trials one worker trains together."""
        if self.trainer.train_population is None:
            return 1
        asks = self.options.members is None and self.trainer.members_at_once is not None
        return members_wanted(self.options.members, self.leases.members() if asks else (), is_gpu=engine.is_gpu)

    def _hold(self) -> None:
        holder = self.leases.hold(self.me, SILENCE)
        if holder is not None:
            raise RunFailedError(f"storage: another search ({holder}) took over the study while this one was silent")
        self.held = time.monotonic()

    def _spent(self) -> StopReason | None:
        """A reason to stop before the design is complete: a signal or a spent budget."""
        budget, records = self.study.budget, self.queue.folder.records
        if self.stopping.is_asked:
            return StopReason(Ending.INTERRUPTED, f"interrupted; {Ending.INTERRUPTED.value}")
        failed = self.queue.failures
        if failed and failed[-1].why.startswith(TOO_LONG):
            raise RunFailedError(f"trainer: {failed[-1].why}")
        if len(failed) >= _FAILURES_IN_A_ROW:
            raise RunFailedError(
                f"trainer: {len(failed)} runs in a row failed, the last (trial {failed[-1].trial}, "
                f"{place_name(failed[-1].place)}): {failed[-1].reason or 'no reason given'}; "
                f"see `why` in {self.queue.folder.records_path}"
            )
        done = list(records.values())
        if (why := hopeless(done) or inert_scale(done, self.study)) is not None:
            raise RunFailedError(why)
        if budget.seconds is not None and time.monotonic() - self.began > budget.seconds:
            return StopReason(Ending.SECONDS_SPENT, f"the budget of {budget.seconds:g} s is spent")
        if budget.trials is not None and len(records) >= budget.trials:
            return StopReason(Ending.TRIALS_SPENT, f"the budget of {budget.trials} trials is spent")
        if budget.tokens is not None and self.queue.tokens >= budget.tokens:
            return StopReason(Ending.TOKENS_SPENT, f"the budget of {budget.tokens:g} tokens is spent")
        return None

    def _stop(self, engine: Engine) -> None:
        """End the workers at their next report; at once after a second signal or after the grace period."""
        self.leases.set_state("stopping")
        engine.ask_to_stop()
        deadline = time.monotonic() + _GRACE
        while not engine.wait(0.1):
            if self.stopping.is_now or time.monotonic() > deadline:
                break
        engine.kill()
        self.queue.collect()
        for lease in self.leases.running():
            if is_gone(lease.owner):
                self.leases.release(lease)

    def _clear(self, reason: StopReason) -> None:
        """After a final ending, cancel the waiting trials and remove all checkpoints."""
        if reason.ending.is_final:
            self.queue.cancel()
            self.queue.folder.forget_checkpoints()


def members_wanted(given: int | None, reported: Sequence[int], *, is_gpu: bool) -> int:
    """How many trials to plan for one worker at once.

    Args:
        given: the user's number.
        reported: how many trials workers train at once, one number per group, ascending; the result is half the median.
        is_gpu: whether workers train on a GPU; decides if both others are missing.
    """
    if given is not None:
        return given
    if reported:
        return max(1, reported[len(reported) // 2] // 2)
    return _GPU_MEMBERS if is_gpu else 1
