"""One session of a search: from the lock on its folder, through its loop, to the rule.

The search is one process. It queues tasks and reads records back through the storage; workers, wherever they run,
meet it only there. So it can be killed at any moment: what was handed in stays handed in, and the same command
goes on from it.
"""

import contextlib
import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lrtune.errors import InputError, RunFailedError, redact
from lrtune.records.folder import RunFolder
from lrtune.records.record import TrialRecord
from lrtune.search.conclusion import fit_rule, hopeless, shortfall, write_rule
from lrtune.search.designs import Design
from lrtune.search.events import Event, LawChanged, OnEvent
from lrtune.search.optuna_study import Trials
from lrtune.search.queue import TaskQueue
from lrtune.search.workers.leases import Leases, is_gone, new_owner
from lrtune.search.workers.signals import Stopping
from lrtune.search.workers.storage import normalise, open_engine, sqlite_url
from lrtune.study.study import Study, fingerprint
from lrtune.study.toml import to_toml
from lrtune.trainer.find import resolve_trainer
from lrtune.trainer.trial import Trainer

if TYPE_CHECKING:
    from lrtune.rule.ask import Rule

_POLL = 0.05
_HOLD_SECONDS = 5.0
_SILENCE = 60.0
_GRACE = 30.0
_FAILURES_IN_A_ROW = 5
_GPU_AT_ONCE = 8
_LAW_SHARE = 0.01
_ENGINES = ("local", "ray")


class Engine(Protocol):
    """Where workers run. Made by ``make(url=…, study=…, workers=…, device=…, …)`` of a module in
    `lrtune.search.workers`."""

    count: int
    is_gpu: bool

    def start(self) -> None: ...

    def dead(self) -> list[tuple[str, str]]:
        """(mark, how it ended) of workers that ended badly since the last call; the mark is part of their names."""
        ...

    def ask_to_stop(self) -> None: ...

    def wait(self, seconds: float) -> bool: ...

    def kill(self) -> None: ...

    def alive(self) -> int: ...

    def tail(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a search is run; nothing of it changes what a trial finds, except through the execution plan.

    Attributes:
        workers: how many at once; None for what the machine has.
        engine, address: ``local`` or ``ray``, and the Ray cluster's address.
        storage: a URL that workers on other machines can reach; None for a file in the run folder.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        members: trials of one width that a population trainer gets at once; None for what the trainer says is worth
            it, and else for what the device suggests (see `lrtune.trainer.trial`).
        trial_timeout: seconds after which a run is taken for hanging.
        attempts: how often a trial may take its worker down with it before it is given up.
        lease_seconds: silence after which a worker is taken for dead.
        checkpoint_seconds: between two checkpoints of a trainer that makes them.
        write_rule: whether to write ./lrtune-rule.json too.
    """

    workers: int | None = None
    engine: str = "local"
    address: str | None = None
    storage: str | None = None
    device: str = "auto"
    members: int | None = None
    trial_timeout: float | None = None
    attempts: int = 5
    lease_seconds: float = 60.0
    checkpoint_seconds: float = 30.0
    write_rule: bool = True

    def __post_init__(self) -> None:
        for name in ("workers", "members", "attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected a positive whole number, but got {value}")
        for name in ("trial_timeout", "lease_seconds", "checkpoint_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}: expected a positive number of seconds, but got {value:g}")
        if self.engine not in _ENGINES:
            raise InputError(f"engine: expected one of {', '.join(_ENGINES)}, but got {self.engine!r}")


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search gave.

    Attributes:
        records: of all trials of the folder, in order of trial number.
        rule: the law through them; None where they do not support one, and `why_no_rule` says why.
        stop_reason: one line.
        interrupted: the signal that stopped it, or None.
        out: the run folder.
    """

    records: list[TrialRecord]
    rule: "Rule | None"
    stop_reason: str
    out: Path
    interrupted: int | None = None
    why_no_rule: str = ""


def study_fingerprint(study: Study, trainer: Trainer) -> str:
    """The fingerprint with the trainer's data, which its ``prepare`` gets ready; its ``check`` runs first."""
    if trainer.check is not None:
        trainer.check(study)
    data = trainer.prepare(study) if trainer.prepare is not None else None
    return fingerprint(study, data)


class Session:
    """One run of a search, from the lock on its folder to the rule."""

    def __init__(
        self,
        study: Study,
        out: Path,
        design: Design,
        options: Options,
        on_event: OnEvent | None,
        *,
        is_search: bool = True,
    ) -> None:
        self.study, self.design, self.options, self.is_search = study, design, options, is_search
        self.folder = RunFolder(Path(out))
        self.emit: OnEvent = on_event or _ignore
        self.began = time.monotonic()
        self.me = new_owner()
        self._law_seconds = 0.0
        self._rooms: list[int] = []
        self.url = normalise(options.storage) if options.storage else sqlite_url(self.folder.out)

    def run(self) -> SearchResult:
        """See `lrtune.search.run.run_search`."""
        self.trainer = resolve_trainer(self.study.trainer, self.study.command)
        mark = study_fingerprint(self.study, self.trainer)
        self.folder.open(self.study, mark)
        try:
            with Stopping() as stopping:
                self._open_storage(mark)
                self.folder.settle(self.study, mark)
                try:
                    reason = self._work(stopping)
                finally:
                    self._let_go()
                return self._conclude(reason, stopping)
        except RunFailedError as error:
            raise RunFailedError(redact(error)) from error.__cause__
        finally:
            self.folder.close()

    # Opening

    def _open_storage(self, mark: str) -> None:
        """The study in the storage, held by this search alone, and records.jsonl as its projection."""
        self.leases = Leases(open_engine(self.url), self.study.name)
        known = self.leases.fingerprint()
        if known is not None and known != mark:
            raise InputError(
                f"storage: expected no other study named {self.study.name!r} in {redact(self.url)}, but there is one; "
                "choose another with --name"
            )
        self.leases.create(self._spec(mark), mark)
        holder = self.leases.hold(self.me, _SILENCE)
        if holder is not None:
            raise InputError(
                f"storage: another search ({holder}) is at work on study {self.study.name!r}; "
                f"join it with `lrtune worker --study {self.study.name}`, or choose another with --name"
            )
        self.held = time.monotonic()
        self.trials = Trials(self.url, self.study.name)
        self.queue = TaskQueue(self.leases, self.trials, self.folder, self.study, self.options.attempts, self.emit)
        self.queue.restore()

    def _spec(self, mark: str) -> dict[str, Any]:
        """What workers are told through the storage; no password is in it."""
        return {
            "study": to_toml(self.study),
            "fingerprint": mark,
            "checkpoints": str(self.folder.checkpoints.resolve()),
            "members": self.options.members,
            "trial_timeout": self.options.trial_timeout,
            "lease_seconds": self.options.lease_seconds,
            "checkpoint_seconds": self.options.checkpoint_seconds,
        }

    # Working

    def _work(self, stopping: Stopping) -> str:
        """Have tasks trained until there is a reason to stop; returns it. No worker is left when this returns."""
        self._fill(1)
        if (over := self._why_over()) is not None:
            self.queue.cancel()
            return over
        engine = self._engine()
        try:
            engine.start()
            reason = self._loop(engine, stopping)
            self._stop(engine, stopping, reason)
            return reason
        except BaseException:
            engine.kill()
            raise

    def _engine(self) -> Engine:
        module = importlib.import_module(f"lrtune.search.workers.{self.options.engine}")
        engine: Engine = module.make(
            url=self.url,
            study=self.study.name,
            workers=self.options.workers,
            device=self.options.device,
            address=self.options.address,
            logs=self.folder.logs,
        )
        return engine

    def _loop(self, engine: Engine, stopping: Stopping) -> str:
        stillborn, is_to_fill = 0, True
        while True:
            ended = self.queue.collect()
            for mark, how in engine.dead():
                held = self.queue.take_back(mark, how)
                stillborn = 0 if held or ended else stillborn + 1
                if stillborn > 2 * engine.count:
                    raise RunFailedError(f"workers: they end before they train ({how}): {engine.tail()}")
            self.queue.take_back_silent(self.options.lease_seconds)
            if ended:
                stillborn = 0
                self._hear_rooms()
                self._show_law()
            reason = self._reason_to_stop(stopping, engine.count)
            if reason is not None:
                return reason
            if ended or is_to_fill:  # what the design wants depends on nothing else
                self._fill(engine.count * self._at_once(engine))
                is_to_fill = False
            if (over := self._why_over()) is not None:
                return over
            if time.monotonic() - self.held > _HOLD_SECONDS:
                self._hold()
            if not ended:
                time.sleep(_POLL)

    def _why_over(self) -> str | None:
        """Why the search is over by its design, or None."""
        return self.design.enough or (None if self.queue.pending else self.design.why_ended)

    def _fill(self, room: int) -> None:
        """Queue what the design wants next, a little ahead of the workers where it is known long before."""
        ahead = max(32, 2 * room)
        waiting = len(self.queue.pending)
        if self.study.budget.trials is not None:
            ahead = min(ahead, self.study.budget.trials - len(self.folder.records))
        if waiting < ahead:
            tasks = self.design.propose(self.queue.known(), list(self.queue.pending.values()), room)
            self.queue.add(tasks[: ahead - waiting])

    def _at_once(self, engine: Engine) -> int:
        """Trials that one worker trains together; half of what it could, for a design that learns from each."""
        if self.trainer.train_population is None:
            return 1
        if self.options.members:
            return self.options.members
        if self._rooms:  # what workers said, a number a group: the middle one
            return max(1, self._rooms[len(self._rooms) // 2] // 2)
        return _GPU_AT_ONCE if engine.is_gpu else 1

    def _hear_rooms(self) -> None:
        """How many trials workers train at once by now, where their trainer says; each asks as it meets a group."""
        if self.trainer.members_at_once is not None and self.options.members is None:
            self._rooms = self.leases.rooms()

    def _hold(self) -> None:
        holder = self.leases.hold(self.me, _SILENCE)
        if holder is not None:
            raise RunFailedError(f"storage: another search ({holder}) took the study over while this one was silent")
        self.held = time.monotonic()

    def _let_go(self) -> None:
        """Let another search in, and workers elsewhere go home; where the storage is lost they do so by themselves."""
        with contextlib.suppress(RunFailedError):
            self.leases.let_go(self.me, "stopping")
        self.trials.close()
        self.leases.close()

    def _reason_to_stop(self, stopping: Stopping, workers: int) -> str | None:
        budget, records = self.study.budget, self.folder.records
        if stopping.is_asked:
            return "interrupted; nothing recorded is lost, and the same command goes on from here"
        failed = self.queue.failures_in_a_row()
        if len(failed) >= _FAILURES_IN_A_ROW:
            raise RunFailedError(
                f"trainer: {len(failed)} runs in a row failed, the last (trial {failed[-1].trial}, hidden size "
                f"{failed[-1].hidden_size}) with: {failed[-1].reason or 'no reason given'}; "
                f"see `why` in {self.folder.records_path}"
            )
        if (why := hopeless(list(records.values()))) is not None:
            raise RunFailedError(why)
        if budget.seconds is not None and time.monotonic() - self.began > budget.seconds:
            return f"the budget of {budget.seconds:g} s is spent{self._shortfall(workers)}"
        if budget.trials is not None and len(records) >= budget.trials:
            return f"the budget of {budget.trials} trials is spent"
        if budget.tokens is not None and self.queue.tokens() >= budget.tokens:
            return f"the budget of {budget.tokens:g} tokens is spent{self._shortfall(workers)}"
        return None

    def _shortfall(self, workers: int) -> str:
        return shortfall(self.study, list(self.folder.records.values()), workers) if self.is_search else ""

    def _stop(self, engine: Engine, stopping: Stopping, reason: str) -> None:
        """End the workers: at their next report, or now if asked twice or when they do not come to one."""
        self.leases.set_state("stopping")
        engine.ask_to_stop()
        deadline = time.monotonic() + _GRACE
        while not engine.wait(0.1):
            if stopping.is_now or time.monotonic() > deadline:
                break
        engine.kill()
        self.queue.collect()
        for lease in self.leases.running():
            if is_gone(lease.owner):
                self.leases.release(lease)
        if self.design.enough is not None:
            self.queue.cancel()
            self.folder.forget_checkpoints()

    # Concluding

    def _show_law(self) -> None:
        """Tell whoever watches how the law stands, as long as that costs little beside the training."""
        now = time.monotonic()
        if not self.is_search or self.emit is _ignore or self._law_seconds > _LAW_SHARE * (now - self.began):
            return
        rule, _ = fit_rule(self.queue.known(), self.study)
        self._law_seconds += time.monotonic() - now
        if rule is not None:
            self.emit(LawChanged(rule=rule))

    def _conclude(self, reason: str, stopping: Stopping) -> SearchResult:
        self.folder.write_records()
        records = [self.folder.records[number] for number in sorted(self.folder.records)]
        rule, why = None, ""
        if self.is_search:
            rule, why = fit_rule(records, self.study) if records else (None, reason)
            if rule is not None:
                write_rule(rule, self.folder.out, everywhere=self.options.write_rule)
                self.emit(LawChanged(rule=rule))
        return SearchResult(
            records=records,
            rule=rule,
            stop_reason=reason,
            out=self.folder.out,
            interrupted=stopping.signum,
            why_no_rule=why,
        )


def _ignore(event: Event) -> None:
    """Nobody watches."""
