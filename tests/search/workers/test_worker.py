"""One worker in this process: what becomes of trials that fail, hang, run out of memory or lose their lease."""

import asyncio
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lrtune.errors import InputError
from lrtune.records.jsonl import from_json
from lrtune.records.record import TrialRecord
from lrtune.search.pruning.verdict import verdict
from lrtune.search.workers import attempt
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine, sqlite_url
from lrtune.search.workers.worker import Worker, WorkerSpec, check_here
from lrtune.study.study import PruningPolicy, Study
from lrtune.study.task import Task
from lrtune.study.toml import to_toml
from lrtune.trainer.trial import Interrupted, Trial, population

RATES = (0.01, 0.02, 0.04)


class Desk:
    """A study with its leases, and a worker to work them off."""

    def __init__(self, folder: Path, trainer: str, **changes: Any) -> None:
        self.study = Study(**{"trainer": trainer, "steps": 10, "report_every": 2, "widths": (32,), **changes})
        self.url = sqlite_url(folder)
        self.leases = Leases(open_engine(self.url), "study")
        self.spec = {"study": to_toml(self.study), "fingerprint": "f", "checkpoints": str(folder / "checkpoints")}

    def queue(self, *rates: float, **more: Any) -> None:
        self.leases.create(StudySpec(**{**self.spec, **more}))
        for number, rate in enumerate(rates or RATES):
            self.leases.add(number, Task(hidden_size=32, learning_rate=rate))

    def steps(self, trial: int) -> list[int]:
        """The steps of the reports that its workers stored."""
        return [report.step for part, _ in self.leases.appended(trial) for report in part]

    def work(self) -> dict[int, TrialRecord]:
        """Work until nothing waits; the records by trial."""
        self.leases.set_state("done")
        Worker(WorkerSpec(url=self.url, study="study")).run()
        return {trial: from_json(result) for trial, result in self.leases.ended()}


def worked_off(folder: Path, trainer: str, **changes: Any) -> TrialRecord:
    """The record of one trial that a worker trained."""
    desk = Desk(folder, trainer, **changes)
    desk.queue(RATES[0])
    return desk.work()[0]


def good(trial: Trial) -> None:
    trial.describe(parameters=100, tokens_per_step=7, batch_size=16, vocabulary_size=50)
    for step in range(0, trial.steps + 1, trial.report_every):
        if not trial.report(step, loss=4 - 0.1 * step + trial.learning_rate, extra=step):
            return


def bad_at_the_second_rate(trial: Trial) -> None:
    if trial.learning_rate == RATES[1]:
        raise ValueError("the weights are not square")
    good(trial)


def returns_early(trial: Trial) -> None:
    trial.report(4, loss=3.0)


def silent(trial: Trial) -> None:
    pass


def diverges(trial: Trial) -> None:
    for step in range(0, trial.steps + 1, trial.report_every):
        if not trial.report(step, loss=3.0 if step < 4 else math.nan):
            return


def exits(trial: Trial) -> None:
    raise SystemExit("usage: train.py")


def exits_when_done(trial: Trial) -> None:
    good(trial)
    sys.exit(0)


def exits_early(trial: Trial) -> None:
    trial.report(4, loss=3.0)
    sys.exit()


def is_cancelled(trial: Trial) -> None:
    raise asyncio.CancelledError("the loop was closed")


def is_interrupted(trial: Trial) -> None:
    raise KeyboardInterrupt


class Speechless(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("no words")


def is_speechless(trial: Trial) -> None:
    raise Speechless


def says_nan(trial: Trial) -> None:
    trial.describe(unigram_entropy=math.nan)


def drives_the_terminal(trial: Trial) -> None:
    raise ValueError("\x1b]52;c;YQ==\x07postgresql://me:secret@db is no file")


def hungry(trial: Trial) -> None:
    trial.describe(batch_size=16)
    if trial.micro_batch is None or trial.micro_batch > 4:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    good(trial)


def starving(trial: Trial) -> None:
    trial.describe(batch_size=16)
    raise MemoryError


@population
def train_many(trials: list[Trial]) -> None:
    sizes.append(len(trials))
    if len(trials) > 2:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    for trial in trials:
        good(trial)


@population
def train_bad_many(trials: list[Trial]) -> None:
    for trial in trials:
        bad_at_the_second_rate(trial)


sizes: list[Any] = []


def test_records_hold_the_task_the_reports_and_the_texts(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:good")
    desk.queue()
    found = desk.work()
    assert sorted(found) == [0, 1, 2]
    record = found[1]
    assert (record.status, record.learning_rate, record.loss, record.steps_done) == ("finished", 0.02, 3.02, 10)
    assert record.tokens == 70 and record.facts.parameters == 100 and record.fingerprint == "f"
    assert record.curve["step"] == [0, 2, 4, 6, 8, 10] == record.curve["extra"]
    assert record.attempt == 1 and record.worker


def test_an_exception_fails_its_trial_with_the_traceback_and_the_others_continue(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:bad_at_the_second_rate")
    desk.queue()
    found = desk.work()
    assert [found[number].status for number in range(3)] == ["finished", "failed", "finished"]
    assert "in bad_at_the_second_rate" in found[1].why
    assert found[1].why.rstrip().endswith("ValueError: the weights are not square")


@pytest.mark.parametrize(
    ("trainer", "status", "why"),
    [
        (
            "returns_early",
            "failed",
            "the trainer returned after reporting step 4 of 10, though no report had returned False",
        ),
        ("silent", "failed", "the trainer returned without calling trial.report"),
        ("diverges", "diverged", "loss is not finite at step 4"),
        ("exits", "failed", "SystemExit: usage: train.py"),
        ("exits_when_done", "finished", ""),
        ("exits_early", "failed", "the trainer returned after reporting step 4 of 10"),
        ("is_cancelled", "failed", "in is_cancelled"),
        ("is_interrupted", "failed", "KeyboardInterrupt"),
        ("is_speechless", "failed", "in is_speechless"),
        ("says_nan", "failed", "describe: expected a finite number for unigram_entropy, but got nan"),
        ("drives_the_terminal", "failed", "ValueError: ]52;c;YQ==postgresql://me:***@db is no file"),
        ("starving", "failed", "out of memory also in micro-batches of 4"),
    ],
)
def test_how_a_trial_ended_is_printed(trainer, status, why, tmp_path: Path):
    record = worked_off(tmp_path, f"test_worker:{trainer}")
    assert record.status == status
    assert why in record.why


def test_without_a_pruner_a_nan_is_trained_to_its_end(tmp_path: Path):
    record = worked_off(tmp_path, "test_worker:diverges", pruner="none")
    assert (record.status, record.steps_done, record.loss) == ("diverged", 10, None)
    assert record.curve["loss"] == [3.0, 3.0, None, None, None, None]


def test_out_of_memory_is_tried_once_more_in_smaller_pieces(tmp_path: Path):
    record = worked_off(tmp_path, "test_worker:hungry")
    assert record.status == "finished"
    assert record.plan["micro_batch"] == 4


def test_a_population_that_does_not_fit_is_halved(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    sizes.clear()
    desk = Desk(tmp_path, "test_worker:train_many")
    desk.queue(0.01, 0.02, 0.03, 0.04, members=4)
    found = desk.work()
    assert sizes == [4, 2, 2]
    assert [record.status for record in found.values()] == ["finished"] * 4
    assert all(record.plan["members"] == 2 for record in found.values())
    assert "trying halves" in capfd.readouterr().err


@population
def train_any(trials: list[Trial]) -> None:
    sizes.append((trials[0].hidden_size, len(trials)))
    for trial in trials:
        good(trial)


@population
def train_few_wide(trials: list[Trial]) -> None:
    sizes.append((trials[0].hidden_size, len(trials)))
    if trials[0].hidden_size == 64 and len(trials) > 2:
        raise MemoryError
    for trial in trials:
        good(trial)


class Crowd(Desk):
    """Six trials at width 32 and six at 64, for one worker."""

    def work_off(self, device: str = "cpu", **more: Any) -> list[tuple[int, int]]:
        """The (width, members) of each call of the trainer."""
        self.leases.create(StudySpec(**{**self.spec, **more}))
        for number in range(12):
            task = Task(hidden_size=32 if number < 6 else 64, learning_rate=0.01 + 0.001 * number)
            self.leases.add(number, task)
        self.leases.set_state("done")
        sizes.clear()
        Worker(WorkerSpec(url=self.url, study="study", device=device)).run()
        assert {from_json(result).status for _, result in self.leases.ended()} == {"finished"}
        assert len(self.leases.ended()) == 12
        return list(sizes)


def test_a_trainer_decides_for_each_width_how_many_to_train_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def members_at_once(trial: Trial) -> int:
        asked.append((trial.hidden_size, trial.device))
        return {32: 4, 64: 2}[trial.hidden_size]

    monkeypatch.setitem(globals(), "members_at_once", members_at_once)
    crowd = Crowd(tmp_path, "test_worker:train_any")
    assert crowd.work_off() == [(32, 4), (32, 2), (64, 2), (64, 2), (64, 2)]
    assert asked == [(32, "cpu"), (64, "cpu")], "once a group"
    assert crowd.leases.members() == [2, 4], "the search hears of it"


def test_the_members_that_the_user_asks_for_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(globals(), "members_at_once", lambda trial: pytest.fail("asked for nothing"))
    assert Crowd(tmp_path, "test_worker:train_any").work_off(members=3) == [(32, 3), (32, 3), (64, 3), (64, 3)]


@pytest.mark.parametrize(("device", "most"), [("cpu", 1), ("cuda:0", 6)])
def test_without_word_from_the_trainer_the_device_decides(tmp_path: Path, device: str, most: int):
    assert max(count for _, count in Crowd(tmp_path, "test_worker:train_any").work_off(device)) == most


@pytest.mark.parametrize("answer", [0, 2.0, True, None, ValueError("no idea")])
def test_an_error_of_the_trainer_in_choosing_members_is_one_line(
    answer: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def members_at_once(trial: Trial) -> object:
        if isinstance(answer, ValueError):
            raise answer
        return answer

    monkeypatch.setitem(globals(), "members_at_once", members_at_once)
    assert Crowd(tmp_path, "test_worker:train_any").work_off("cuda:0") == [(32, 6), (64, 6)]
    lines = [line for line in capfd.readouterr().err.splitlines() if "members_at_once" in line]
    reason = "ValueError: no idea" if isinstance(answer, ValueError) else f"at least 1, but got {answer!r}"
    assert len(lines) == 2 and all(reason in line and line.endswith("training 16 at once") for line in lines)


def test_memory_that_ran_out_at_one_width_does_not_limit_another(tmp_path: Path):
    crowd = Crowd(tmp_path, "test_worker:train_few_wide")
    crowd.work_off(members=4)
    # At 64 four do not fit; neither do they the next time, so two are taken. At 32 it stays at four.
    assert sizes == [(32, 4), (32, 2), (64, 4), (64, 2), (64, 2), (64, 2)]


def test_an_exception_in_a_population_fails_only_the_member_that_raises_it(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:train_bad_many")
    desk.queue(members=3)
    assert [record.status for record in desk.work().values()] == ["finished", "failed", "finished"]


def test_a_worker_that_was_taken_for_dead_can_no_longer_write(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    desk = Desk(tmp_path, "test_worker:good")
    desk.queue(0.01)
    late = desk.leases.claim("late")[0]
    assert desk.leases.release(late, counted=True)
    assert desk.work()[0].attempt == 2
    assert not desk.leases.finish(late, "{}")
    assert not desk.leases.append(late, [], {})
    assert not desk.leases.release(late)
    assert from_json(desk.leases.ended()[0][1]).status == "finished"


def test_a_record_whose_receipt_was_lost_counts_as_handed_in(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:good")
    desk.queue(0.01)
    lease = desk.leases.claim("me")[0]
    assert desk.leases.finish(lease, "{}")
    assert desk.leases.finish(lease, "{}"), "the same record again is no second one"
    assert len(desk.leases.done()) == 1


def test_each_waiting_trial_is_claimed_by_one_of_many(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:good")
    desk.queue(*(0.001 * number for number in range(1, 41)))
    claimed: list[int] = []

    def take(owner: str) -> None:
        own = Leases(open_engine(desk.url), "study")
        while found := own.claim(owner):
            claimed.extend(lease.trial for lease in found)

    threads = [threading.Thread(target=take, args=(f"owner{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(40))


def test_a_stopped_worker_keeps_the_curve_and_the_next_one_continues_it(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:resumes", pruning=PruningPolicy(beaten=False))
    desk.queue(0.01)
    stop = threading.Event()
    seen.clear()
    seen["stop_at"] = (6, stop)
    Worker(WorkerSpec(url=desk.url, study="study"), stop).run()
    (waiting,) = desk.leases.waiting()
    assert waiting.attempt == 0 and desk.steps(waiting.trial) == [0, 2, 4, 6]
    seen.pop("stop_at")
    record = desk.work()[0]
    assert seen["began"] == 6, "it began at its checkpoint"
    assert record.curve["step"] == [0, 2, 4, 6, 8, 10]
    assert record.curve["loss"] == [4.0, 3.8, 3.6, 3.4, 3.2, 3.0]
    assert not (tmp_path / "checkpoints" / "0").exists()


def behind_until_late(trial: Trial) -> None:
    """The rate 0.04 is far behind the others until its last two reports; a measure to maximise is minus the loss."""
    for step in range(0, trial.steps + 1, trial.report_every):
        behind = 2.0 if trial.learning_rate == 0.04 and step < 80 else 0.0
        loss = 4 - 0.01 * step + behind
        if not trial.report(step, loss=-loss if trial.maximize else loss):
            return


@pytest.mark.parametrize("first", [0.01, 0.08])
def test_a_lenient_run_ends_early_by_peers_above_its_rate_only_and_keeps_the_verdict(first: float, tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:behind_until_late", steps=100, report_every=10)
    desk.queue(first)
    task = Task(hidden_size=32, learning_rate=0.04, lenient=True)
    desk.leases.add(1, task)
    record = desk.work()[1]
    assert record.beaten == {"step": 40.0, "loss": pytest.approx(3 * 1.02), "peer": first}
    if first > task.learning_rate:
        assert (record.status, record.steps_done, record.defies) == ("beaten", 40, False)
    else:
        assert (record.status, record.loss, record.defies) == ("finished", 3.0, True)


def test_why_a_measure_ended_early_has_the_sign_of_the_trainer(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "test_worker:behind_until_late", steps=100, report_every=10, maximize=True)
    desk.queue(0.01, 0.04)
    assert desk.work()[1].why == (
        "measure -5.6 at step 40; it could reach -4.412 at best, judged by its peer at 0.01, which ended at -3"
    )


def reports_often(trial: Trial) -> None:
    """At every step, with a checkpoint due at each."""
    trial.attach("note", "x" * 100)
    for step in range(trial.steps + 1):
        assert trial.checkpoint_due
        if not trial.report(step, loss=3.0 - step / 1e6, diversity=0.5, number=step):
            return


def test_reports_are_appended_not_rewritten_and_a_run_is_judged_at_most_256_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written, judged = [], []
    monkeypatch.setattr(Leases, "append", lambda self, lease, reports, texts: not written.append((reports, texts)))
    monkeypatch.setattr(attempt, "verdict", lambda curve, *more: judged.append(curve.steps) or verdict(curve, *more))
    desk = Desk(tmp_path, "test_worker:reports_often", steps=2000, report_every=1)
    desk.queue(0.01, checkpoint_seconds=0.0)
    record = desk.work()[0]
    assert (record.status, record.curve["step"]) == ("finished", list(range(2001)))
    assert [report.step for reports, _ in written for report in reports] == list(range(2000))
    assert [texts for _, texts in written if texts] == [{"note": "x" * 100}]
    assert len(judged) == 257 and max(map(len, judged)) == 257 and judged[-1][-1] == 2000


def attaches_often(trial: Trial) -> None:
    for number in range(501):
        trial.attach(f"note {number}", "x")


def names_at_length(trial: Trial) -> None:
    trial.attach("n" * 1000, "x")
    trial.describe(conditions={"c" * 1000: "x"})
    for step in range(0, trial.steps + 1, trial.report_every):
        trial.report(step, loss=3.0, **{"x" * 1000: 1.0})


@pytest.mark.parametrize(("trainer", "why"), [("attaches_often", "at most 500 texts"), ("names_at_length", "")])
def test_what_a_record_cannot_hold_is_refused_at_once_and_long_names_are_cut(trainer: str, why: str, tmp_path: Path):
    record = worked_off(tmp_path, f"test_worker:{trainer}")
    assert why in record.why and (record.status == "failed") == bool(why)
    if not why:
        assert [len(max(names, key=len)) for names in (record.texts, record.facts.conditions, record.curve)] == [
            200
        ] * 3


def test_a_curve_of_very_many_reports_is_thinned_to_fit_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attempt, "_MOST_VALUES", 40)
    record = worked_off(tmp_path, "test_worker:good", steps=200)
    assert (record.status, record.steps_done) == ("finished", 200)
    steps = record.curve["step"]
    assert len(steps) == 10 and (steps[0], steps[-1]) == (0, 200)
    assert {name: len(column) for name, column in record.curve.items()} == dict.fromkeys(("step", "loss", "extra"), 10)


def deaf(trial: Trial) -> None:
    """Swallows the interruption, and returns as if all were well."""
    for step in range(0, trial.steps, trial.report_every):
        if step == 4:
            seen["stop"].set()
        try:
            trial.report(step, loss=3.0)
        except:  # noqa: E722
            return


def rude(trial: Trial) -> None:
    """Makes another error of the interruption."""
    for step in range(0, trial.steps, trial.report_every):
        if step == 4:
            seen["stop"].set()
        try:
            trial.report(step, loss=3.0)
        except BaseException as error:
            raise RuntimeError("the run was cut off") from error


@pytest.mark.parametrize("trainer", ["deaf", "rude"])
def test_an_interruption_that_the_trainer_swallows_is_not_a_failure(trainer: str, tmp_path: Path):
    desk = Desk(tmp_path, f"test_worker:{trainer}")
    desk.queue(0.01)
    seen["stop"] = stop = threading.Event()
    Worker(WorkerSpec(url=desk.url, study="study"), stop).run()
    assert not desk.leases.ended()
    (waiting,) = desk.leases.waiting()
    assert waiting.attempt == 0 and desk.steps(waiting.trial) == [0, 2, 4]


def forks(trial: Trial) -> None:
    """Four children, which fail, return, exit and report; the parent's run is a good one."""
    codes = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            if number == 0:
                raise ValueError("a child's own")
            if number == 1:
                return
            if number == 2:
                sys.exit(7)
            trial.report(trial.steps, loss=0.0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert codes == [1, 0, 7, 1]
    good(trial)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_hand_in_for_its_parent(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    record = worked_off(tmp_path, "test_worker:forks")
    assert (record.status, record.why, record.loss) == ("finished", "", 3.01)
    said = capfd.readouterr().err
    assert "ValueError: a child's own" in said and "report: expected a call in the trainer's process" in said


def test_a_joined_worker_goes_home_when_the_search_is_silent_by_its_own_clock(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:good")
    desk.queue(0.01)
    desk.leases.hold("a search", 60)
    # The database's clock was set back since the last heartbeat.
    with desk.leases.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lrtune_studies SET planner_renewed = planner_renewed + 1e8")
    assert Worker(WorkerSpec(url=desk.url, study="study", patience=0.3)).run()
    assert len(desk.leases.ended()) == 1, "it trained what was there first"


def test_a_worker_of_the_search_itself_waits_however_long_that_is_stopped(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:good")
    desk.queue(0.01)
    desk.leases.hold("a search", 60)
    with desk.leases.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lrtune_studies SET planner_renewed = planner_renewed - 1e8")
    worker = threading.Thread(target=Worker(WorkerSpec(url=desk.url, study="study")).run, daemon=True)
    worker.start()
    deadline = time.monotonic() + 20
    for number in range(3):
        desk.leases.add(9 + number, Task(hidden_size=32, learning_rate=0.1 + number))
        while len(desk.leases.ended()) < 2 + number:
            assert worker.is_alive() and time.monotonic() < deadline, "it went home"
            time.sleep(0.01)
    desk.leases.set_state("stopping")
    worker.join(20)
    assert not worker.is_alive()


def test_a_worker_with_a_named_trainer_runs_no_other(tmp_path: Path):
    desk = Desk(tmp_path, "test_worker:good")
    desk.queue(0.01)
    Worker(WorkerSpec(url=desk.url, study="study", trainer="test_worker:good")).leases.close()
    with pytest.raises(InputError, match=r"expected 'mine:train' \(--trainer\), but study 'study' names 'test_wo"):
        Worker(WorkerSpec(url=desk.url, study="study", trainer="mine:train"))
    (tmp_path / "function").mkdir()
    function = Desk(tmp_path / "function", "test_worker:good")
    function.queue(0.01, function="code of whoever wrote to the storage")
    with pytest.raises(InputError, match="names a function of its own"):
        check_here(WorkerSpec(url=function.url, study="study", trainer="test_worker:good"))
    (tmp_path / "program").mkdir()
    program = Desk(tmp_path / "program", "test_worker:good", command=("rm", "{learning_rate}"))
    program.queue(0.01)
    with pytest.raises(InputError, match="names a command line"):
        check_here(WorkerSpec(url=program.url, study="study", trainer="test_worker:good"))


seen: dict[str, Any] = {}


def resumes(trial: Trial) -> None:
    assert trial.checkpoint_dir is not None
    kept = trial.checkpoint_dir / "step"
    seen["began"] = first = int(kept.read_text()) if kept.exists() else 0
    for step in range(first, trial.steps + 1, trial.report_every):
        if "stop_at" in seen and step == seen["stop_at"][0]:
            seen["stop_at"][1].set()
        if trial.checkpoint_due:
            kept.write_text(str(step))
        try:
            trial.report(step, loss=round(4 - 0.1 * step, 6))
        except Interrupted:
            assert kept.read_text() == str(step), "a checkpoint is due when the search stops"
            raise
