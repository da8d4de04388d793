"""One attempt at one trial: the trainer's reports become a curve, a verdict and finally a record."""

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from lrtune.errors import InputError
from lrtune.records.jsonl import from_json, hand_in
from lrtune.records.record import Status, TrialRecord, record_of_task
from lrtune.search.pruning.check import as_numbers, first_beaten, judges
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import Verdict, verdict
from lrtune.search.workers.leases import Lease, Leases
from lrtune.study.study import Study
from lrtune.study.task import steps_of
from lrtune.trainer.complete import declared
from lrtune.trainer.trial import Facts, Interrupted, Report, Trainer, Trial, is_finite

_SAVE_SECONDS = 1.0
_VERDICTS = 256  # of more frequent reports, the first in each 256th of the steps is judged
_MOST_TEXTS = 500
_MOST_VALUES = 200_000  # in a record's curves; a record has at most 16 MiB


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How a worker runs its trials. These settings change a result only through the execution plan."""

    fingerprint: str
    owner: str
    source: str = ""
    device: str = "cpu"
    threads: int | None = None
    checkpoints: Path | None = None
    checkpoint_seconds: float = 30.0
    is_stopping: Callable[[], bool] = field(default=lambda: False)


class Attempt:
    """An attempt at a leased trial. The trainer gets `trial`; `finish` stores the record."""

    def __init__(
        self, lease: Lease, study: Study, leases: Leases, setting: WorkerSettings, micro_batch: int | None
    ) -> None:
        self.lease, self.study, self.leases, self.setting = lease, study, leases, setting
        self.task, self.steps = lease.task, steps_of(lease.task, study)
        self.micro_batch = micro_batch
        self.members = 1
        self.began = time.monotonic()
        self.process = os.getpid()
        self.is_lost = False
        self.is_interrupted = False
        self.verdict: Verdict | None = None
        self.facts = Facts()
        self.declared: int | None = None  # tokens of a step
        self.texts: dict[str, str] = {}
        self.rows: list[Report] = []
        self._judged: list[Report] = []
        for reports, texts in leases.appended(lease.trial):
            self.texts |= texts
            for report in reports:
                self._add(report)
        self._unsaved: tuple[list[Report], dict[str, str]] = ([], {})
        self._reported = False
        self._saved = self._kept = time.monotonic()
        self._peers: dict[int, Curve] = {}
        self._looked_for_peers = -math.inf
        self.folder = setting.checkpoints / str(lease.trial) if setting.checkpoints else None

    @property
    def trial(self) -> Trial:
        """The trial as its trainer sees it."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        return Trial(
            hidden_size=self.task.hidden_size,
            learning_rate=self.task.learning_rate,
            steps=self.steps,
            report_every=self.study.report_every,
            id=f"{self.lease.trial}-{self.lease.attempt}" if self.lease.attempt > 1 else str(self.lease.trial),
            seed=self.task.seed,
            options={**self.study.options, **self.task.options},
            scales=self.task.scales,
            knobs=self.task.knobs,
            device=self.setting.device,
            threads=self.setting.threads,
            micro_batch=self.micro_batch,
            checkpoint_dir=self.folder,
            on_report=self.on_report,
            on_describe=self.on_describe,
            on_attach=self.on_attach,
            is_checkpoint_due=self.is_checkpoint_due,
            maximize=self.study.maximize,
        )

    def declare(self, trainer: Trainer) -> None:
        """Take the tokens of a step from the trainer's module, for a run that does not describe them."""
        known = declared(self.study, trainer, self.task.scales) if trainer.tokens_per_step is not None else None
        self.declared = None if known is None else round(known)
        self.on_describe(self.facts)

    def on_describe(self, facts: Facts) -> None:
        self.facts = replace(facts, tokens_per_step=facts.tokens_per_step or self.declared)

    def on_attach(self, name: str, text: str) -> None:
        self.texts[name] = self._unsaved[1][name] = text
        if len(self.texts) > _MOST_TEXTS:
            raise InputError(f"attach: expected at most {_MOST_TEXTS} texts, but got more")

    def on_report(self, report: Report) -> bool:
        """Add a report; returns False to end the run.

        Raises:
            Interrupted: the search stops, or this worker lost the trial because it seemed dead.
            InputError: the call came from a process that the trainer forked.
        """
        if os.getpid() != self.process:
            raise InputError("report: expected a call in the trainer's process, but got one in its child process")
        if self.is_lost:
            self._interrupt("another worker has this trial")
        if self.verdict is not None:
            return False
        if self.study.maximize:
            report = replace(report, loss=-report.loss)
        is_due = self._add(report)
        self._unsaved[0].append(report)
        self._reported = True
        judged = self.judge() if is_due else None
        if judged is not None and judged.is_cut:
            self.verdict = judged
            return False
        if report.step < self.steps:
            if self.setting.is_stopping():
                self._interrupt("the search stops")
            if time.monotonic() - self._saved > _SAVE_SECONDS:
                self.save()
        return True

    def _add(self, report: Report) -> bool:
        """Add a report; returns whether to judge the run now.

        After a restart the trainer repeats the report of its checkpoint's step: the report replaces that one and all
        later ones.
        """
        for rows in (self.rows, self._judged):
            while rows and rows[-1].step >= report.step:
                rows.pop()
        self.rows.append(report)
        is_due = not self._judged or self._part(report) > self._part(self._judged[-1])
        is_due = is_due or report.step >= self.steps or not is_finite(report.loss)
        if is_due:
            self._judged.append(report)
        return is_due

    def _part(self, report: Report) -> int:
        most = max(_VERDICTS, 4 * self.study.pruning.patience)
        return report.step * most // self.steps

    def _interrupt(self, why: str) -> NoReturn:
        self.is_interrupted = True
        raise Interrupted(why)

    def judge(self) -> Verdict | None:
        """The verdict on the curve so far; None without a pruner."""
        if self.study.pruner == "none":
            return None
        peers = self.peers() if self.study.pruning.beaten else []
        return verdict(self._curve, self.study.pruning, judges(self._curve, peers) if self.task.lenient else peers)

    @property
    def _curve(self) -> Curve:
        return Curve.from_reports(
            self._judged,
            self.facts,
            planned_steps=self.steps,
            learning_rate=self.task.learning_rate,
            maximize=self.study.maximize,
        )

    def beaten(self, status: Status) -> Mapping[str, float]:
        """The *beaten* verdict on the run; on a lenient one that finished, the one that did not end it."""
        if self.verdict is not None:
            return as_numbers(self.verdict.beaten)
        is_check = self.task.lenient and status == "finished" and self.study.pruning.beaten
        return as_numbers(first_beaten(self._curve, self.study.pruning, self.peers()) if is_check else None)

    def peers(self) -> list[Curve]:
        """Curves of the finished runs of the same width and seed, refreshed at most once per save interval."""
        if time.monotonic() - self._looked_for_peers > _SAVE_SECONDS:
            self._looked_for_peers = time.monotonic()
            for trial, result in self.leases.results(self.lease.peers, list(self._peers)):
                with contextlib.suppress(InputError):  # the search fails the unreadable ones
                    record = from_json(result)
                    if record.seed == self.task.seed and record.status == "finished":
                        self._peers[trial] = Curve.from_record(record)
        return list(self._peers.values())

    def save(self) -> None:
        """Store the reports since the last call: a restarted attempt resumes from all, the live view shows the last."""
        self._saved = time.monotonic()
        unsaved, self._unsaved = self._unsaved, ([], {})
        self.is_lost = self.is_lost or not self.leases.append(self.lease, *unsaved)

    def is_checkpoint_due(self) -> bool:
        """True at intervals and when the search stops; saves the curve first, so that it covers the checkpoint."""
        due = time.monotonic() - self._kept > self.setting.checkpoint_seconds or self.setting.is_stopping()
        if due:
            self._kept = time.monotonic()
            self.save()
        return due

    @property
    def has_ended(self) -> bool:
        """Whether the run was pruned or has reported its last step."""
        return self.verdict is not None or (self._reported and self.rows[-1].step >= self.steps)

    def outcome(self) -> tuple[Status, str]:
        """The status and the reason after the trainer returned."""
        if self.verdict is not None:
            kind = self.verdict.kind
            assert kind in ("collapsed", "beaten", "diverged")
            return kind, self.verdict.reason
        if not self._reported:
            return "failed", "the trainer returned without calling trial.report(step, loss=…)"
        last = self.rows[-1]
        if last.step < self.steps:
            why = (
                f"the trainer returned after reporting step {last.step} of {self.steps}, though no report had returned "
                f"False; report step {self.steps} too"
            )
            return "failed", why
        if not is_finite(last.loss):
            return "diverged", f"the loss is not finite at step {last.step}"
        return "finished", ""

    def record(self, status: Status, why: str = "") -> TrialRecord:
        """The record of this attempt so far."""
        rows = list(self.rows)  # the trainer may report meanwhile, after a timeout
        last = rows[-1] if rows else None
        per_step = self.facts.tokens_per_step
        plan = {"threads": self.setting.threads, "members": self.members}
        if self.micro_batch is not None:
            plan["micro_batch"] = self.micro_batch
        return record_of_task(
            self.task,
            trial=self.lease.trial,
            status=status,
            why=why,
            steps=self.steps,
            steps_done=last.step if last else 0,
            tokens=per_step * self.steps if per_step else None,
            loss=last.loss if last and is_finite(last.loss) else None,
            diversity=last.diversity if last and is_finite(last.diversity) else None,
            curve=_columns(rows),
            facts=self.facts,
            beaten=self.beaten(status),
            plan={**plan, **self.facts.plan},
            texts=dict(self.texts),
            seconds=round(time.monotonic() - self.began, 3),
            device=self.setting.device,
            worker=self.setting.owner,
            attempt=self.lease.attempt,
            fingerprint=self.setting.fingerprint,
            source=self.setting.source,
            maximize=self.study.maximize,
        )

    def finish(self, status: Status, why: str = "") -> bool:
        """Store the record and remove the checkpoint; False if another worker has the trial."""
        is_stored = self.leases.finish(self.lease, hand_in(self.record(status, why)))
        if is_stored:
            self.forget_checkpoint()
        return is_stored

    def release(self) -> None:
        """Return the trial to the queue; the next worker resumes it."""
        if not self.is_lost:
            self.save()
            self.leases.release(self.lease)

    def forget_checkpoint(self) -> None:
        """Remove the checkpoint folder."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start_over(self, micro_batch: int) -> "Attempt":
        """A new attempt at the same lease from step 0, in micro-batches."""
        self.forget_checkpoint()
        self.leases.forget(self.lease)
        return Attempt(self.lease, self.study, self.leases, self.setting, micro_batch)


def _columns(rows: Sequence[Report]) -> dict[str, list[float | None]]:
    """Reports as columns of equal length; optional columns only if at least one report has a value.

    Of very many reports, an even selection with the first and the last.
    """
    names = sorted({name for row in rows for name in row.numbers})
    most = max(2, _MOST_VALUES // (3 + len(names)))
    if len(rows) > most:
        rows = [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]
    columns: dict[str, list[float | None]] = {
        "step": [row.step for row in rows],
        "loss": [row.loss if is_finite(row.loss) else None for row in rows],
    }
    if any(row.diversity is not None for row in rows):
        columns["diversity"] = [row.diversity if is_finite(row.diversity) else None for row in rows]
    for name in names:
        values: list[Any] = [row.numbers.get(name) for row in rows]
        columns[name] = [value if is_finite(value) else None for value in values]
    return columns
