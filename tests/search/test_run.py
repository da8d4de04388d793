"""A search from the outside: real workers, real storage, a trainer whose answer is known."""

import errno
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from lrtune.errors import InputError, NoActiveRuleError, RunFailedError
from lrtune.law.fit import fit_run
from lrtune.law.no_rule import NoRule
from lrtune.records.identity import fitted_to
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule import load_rule, recommend
from lrtune.search.ending import Ending, StopReason
from lrtune.search.events import Event, Note, TrialEnded
from lrtune.search.optuna_study import Trials
from lrtune.search.plan import plan, shortfall
from lrtune.search.run import run_fixed, run_search
from lrtune.search.status import status
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine
from lrtune.study.study import Budget, Study
from lrtune.study.task import Task
from lrtune.study.toml import parse_study

pytestmark = pytest.mark.slow


def study(**changes: Any) -> Study:
    settings = {"widths": (32, 64, 128), "trainer": "analytic:train", "design": "grid", "steps": 100}
    return Study(**{**settings, "report_every": 10, **changes})


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("search") / "run"
    events: list[object] = []
    result = run_search(study(), out, workers=2, on_event=events.append, write_rule=False)
    return result, events


def test_the_best_rate_of_each_width_is_within_half_an_octave(searched):
    result, _ = searched
    for width in (32, 64, 128):
        done = [r for r in result.records if r.hidden_size == width and r.status == "finished"]
        best = min(done, key=lambda record: record.loss)
        assert abs(math.log2(best.learning_rate * width / 0.3)) < 0.6


def test_records_jsonl_equals_the_result_and_each_record_is_one_event(searched):
    result, events = searched
    file = read_records(result.out / "records.jsonl")
    assert file.records == result.records
    assert not file.bad_lines
    told = [event.record.trial for event in events if isinstance(event, TrialEnded)]
    assert sorted(told) == [record.trial for record in result.records]


def test_the_same_folder_again_repeats_nothing(searched):
    result, _ = searched
    events: list[object] = []
    again = run_search(study(), result.out, engine="inline", on_event=events.append, write_rule=False)
    assert again.records == result.records
    assert not [event for event in events if isinstance(event, TrialEnded)]


def test_wider_widths_continue_in_the_same_folder(searched, tmp_path: Path):
    task = Task(hidden_size=48, learning_rate=0.01)
    first = run_fixed(study(), [task], tmp_path / "run", engine="inline")
    both = run_fixed(
        study(widths=(48, 96)), [task, Task(hidden_size=96, learning_rate=0.01)], tmp_path / "run", workers=1
    )
    assert [record.hidden_size for record in both.records] == [48, 96]
    assert both.records[0] == first.records[0]


def test_another_studys_folder_is_refused_and_left_as_it_was(searched):
    result, _ = searched
    before = (result.out / "study.toml").read_bytes()
    with pytest.raises(InputError, match="steps was 100"):
        run_search(study(steps=200), result.out, engine="inline")
    assert (result.out / "study.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers: expected a positive whole number, but got 0"),
        ({"trial_timeout": 0.0}, "trial_timeout: expected a positive"),
        ({"engine": "inline", "workers": 2}, "workers: expected 1 with --engine inline, but got 2"),
        ({"engine": "slurm"}, "engine: expected one of local, inline, ray"),
        ({"storage": "redis://x"}, "storage: expected postgresql://"),
        ({"storage": "sqlite://"}, "storage: expected a file"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_written(options, message, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        run_search(study(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_second_search_of_a_study_is_refused_and_changes_nothing(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    task = Task(hidden_size=32, learning_rate=0.01)
    run_fixed(study(), [task], tmp_path / "run", engine="inline", storage=url)
    first = Leases(open_engine(url), "study")
    first.open(StudySpec(study="as the first says", fingerprint="f"))
    first.report_members("group", 3)
    assert first.hold("another machine:1:2:3", 60.0) is None
    with pytest.raises(InputError, match="another machine:1:2:3"):
        run_fixed(study(), [task], tmp_path / "other", engine="inline", storage=url)
    assert first.spec() == StudySpec(study="as the first says", fingerprint="f") and first.members() == [3]
    assert first.state()[0] == "open"
    assert not (tmp_path / "other").exists()
    first.close()


def test_a_study_of_another_program_is_not_taken_over(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'mine.db'}"
    accuracy = optuna.create_study(study_name="study", storage=url, direction="maximize")
    accuracy.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=1)
    with pytest.raises(InputError, match="already has a study named 'study' from another program; choose another name"):
        run_fixed(study(), [Task(hidden_size=32, learning_rate=0.01)], tmp_path / "run", engine="inline", storage=url)
    assert len(accuracy.trials) == 1


def test_a_file_system_without_locks_is_not_taken_for_another_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    seen: list[Event] = []
    tasks = [Task(hidden_size=32, learning_rate=0.01)]
    run_fixed(study(), tasks, tmp_path / "run", engine="inline", on_event=seen.append)
    assert any(isinstance(event, Note) and "cannot lock" in event.text for event in seen)


def test_a_rule_that_cannot_be_written_is_named_and_still_returned(searched, tmp_path: Path, monkeypatch):
    result, _ = searched
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lrtune-rule.json").mkdir()
    again = run_search(study(), result.out, engine="inline")
    assert again.rule is not None and again.ending is Ending.COMPLETE
    [note] = again.notes
    assert note.startswith("lrtune-rule.json: cannot write the rule: ")
    assert (result.out / "rule.json").is_file()


def test_a_search_leaves_the_rule_of_another_one_active(searched, tmp_path: Path, monkeypatch):
    result, _ = searched
    monkeypatch.chdir(tmp_path)
    active = tmp_path / "lrtune-rule.json"
    run_search(study(), result.out, engine="inline")
    first = active.read_bytes()
    own = load_rule(active)
    assert parse_study(own.study) == study() and fitted_to(own.runs, result.records) == result.records
    other = study(widths=(32, 64), steps=20)
    kept = run_search(other, tmp_path / "other", engine="inline")
    assert kept.notes[0].startswith("active rule: unchanged, lrtune-rule.json, fitted to ")
    assert kept.notes[0].endswith(f"; to use this one: lrtune use {tmp_path / 'other'}")
    assert active.read_bytes() == first
    again = run_search(other, tmp_path / "other", engine="inline", activate=True)
    assert again.notes[0].startswith("active rule: lrtune-rule.json; the former one, fitted to ")
    assert load_rule(active).provenance["fitted to"] == "other"


def test_a_search_without_a_rule_makes_asking_fail(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_search(study(budget=Budget(seconds=0.01)), tmp_path / "run", engine="inline")
    assert result.rule is None
    with pytest.raises(NoActiveRuleError, match=r"no rule: the budget of 0\.01 s is spent"):
        recommend(64)
    with pytest.raises(RunFailedError):
        run_search(study(trainer="test_bad_trainers:raises"), tmp_path / "bad", engine="inline")
    with pytest.raises(NoActiveRuleError, match=r"no rule: trainer: .* runs in a row failed"):
        recommend(64)


def test_a_trainer_that_cannot_be_imported_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(InputError, match="no_such_module"):
        run_search(study(trainer="no_such_module:train"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_adaptive_design_finds_the_law_where_the_grid_does(tmp_path: Path):
    result = run_search(study(design="scale-aware", steps=20), tmp_path / "run", engine="inline", write_rule=False)
    assert result.rule is not None, result.why_no_rule
    for width in (32, 64, 128, 256):
        rate = recommend(width, rule=result.rule).learning_rate
        assert abs(math.log2(rate * width / 0.3)) < 0.35, f"hidden {width}: {rate}"
    assert {record.hidden_size for record in result.records} == {32, 64, 128}
    assert result.ending is Ending.ENOUGH


def test_the_grid_finds_the_law_of_the_analytic_trainer(searched):
    result, _ = searched
    for width in (32, 64, 128, 256):
        rate = recommend(width, rule=result.rule).learning_rate
        assert abs(math.log2(rate * width / 0.3)) < 0.35, f"hidden {width}: {rate}"
    assert (result.out / "rule.json").is_file()


class Wavering:
    """Knows enough after two runs; asked again, only after five."""

    has_said, asked = False, 0

    def propose(self, records: Sequence[TrialRecord], pending: Sequence[Task], at_once: int) -> list[Task]:
        if pending or len(records) == 5:  # also where a run ends between the verdict and the proposal
            return []
        return [Task(hidden_size=32, learning_rate=0.002 * 1.5 ** len(records), seed=0)]

    def verdict(self, records: Sequence[TrialRecord], pending: Sequence[Task]) -> StopReason | None:
        is_enough = len(records) >= (5 if self.has_said else 2)
        self.has_said, self.asked = self.has_said or is_enough, self.asked + 1
        return StopReason(Ending.ENOUGH, f"enough, by answer {self.asked}") if is_enough else None


def test_a_run_that_ends_with_the_search_and_changes_its_rule_makes_it_go_on(tmp_path: Path, monkeypatch):
    design = Wavering()
    monkeypatch.setattr("lrtune.search.run.design_of", lambda study: design)
    result = run_search(study(widths=(32,)), tmp_path / "run", engine="inline", write_rule=False)
    assert result.ending is Ending.ENOUGH
    assert len(result.records) == 5
    assert result.fit is not None and result.fit.rule.cells[0].trials == 5
    assert result.stop_reason == f"enough, by answer {design.asked}", "of all runs, also those that ended last"


def test_a_budget_of_trials_is_kept_and_named(tmp_path: Path):
    result = run_search(study(budget=Budget(trials=4)), tmp_path / "run", engine="inline", write_rule=False)
    assert len(result.records) == 4
    assert result.ending is Ending.TRIALS_SPENT
    assert "4 trials" in result.stop_reason


def test_a_budget_below_one_run_per_width_names_the_least_budget(tmp_path: Path):
    with pytest.raises(InputError, match="expected at least 3, one per size, but got 2"):
        run_search(study(budget=Budget(trials=2)), tmp_path / "run")


def test_a_time_too_short_for_any_run_names_the_least_budget(tmp_path: Path):
    result = run_search(study(budget=Budget(seconds=0.01)), tmp_path / "run", engine="inline", write_rule=False)
    assert result.records == [] and result.rule is None and result.no_rule is NoRule.NO_RUN
    assert result.why_no_rule == (
        "the budget of 0.01 s is spent; 3 of 3 sizes have no completed run. Allow at least one run per size"
    )


def test_a_budget_too_small_for_every_size_names_one_that_is_not(searched):
    result, _ = searched
    one = [record for record in result.records if record.hidden_size == 32][:1]
    assert shortfall(study(budget=Budget(tokens=100.0)), one, 1).endswith(
        "; 2 of 3 sizes have no completed run. Allow at least one run per size: 30,000 tokens; 90,000 recommended"
    )
    slow = [replace(record, seconds=4.0) for record in one]
    assert shortfall(study(budget=Budget(seconds=5.0)), slow, 2).endswith(
        "6 s at the slowest run's speed; 18 s recommended"
    )
    assert shortfall(study(budget=Budget(seconds=5.0)), result.records, 2) == ""


def test_status_finds_and_mends_what_records_jsonl_lacks(searched, tmp_path: Path):
    result, _ = searched
    out = tmp_path / "run"
    shutil.copytree(result.out, out)
    lines = (out / "records.jsonl").read_text().splitlines(keepends=True)
    (out / "records.jsonl").write_text("".join(lines[1:]) + '{"trial": 99, "hid')
    found = status(out)
    assert found.missing == (0,)
    assert found.bad_lines[0][0] == len(lines)
    assert found.repaired and not found.searching
    assert read_records(out / "records.jsonl").records == result.records
    assert status(out).is_whole


def test_a_torn_last_line_is_repaired_and_reported_by_the_next_search(searched, tmp_path: Path):
    result, _ = searched
    out = tmp_path / "run"
    shutil.copytree(result.out, out)
    whole = (out / "records.jsonl").read_bytes()
    (out / "records.jsonl").write_bytes(whole[:-40])
    notes: list[object] = []
    again = run_search(study(), out, on_event=notes.append, write_rule=False)
    assert again.records == result.records
    assert (out / "records.jsonl").read_bytes() == whole
    assert any("torn last line" in note.text for note in notes if isinstance(note, Note))


def test_records_outlive_their_storage(searched, tmp_path: Path):
    result, _ = searched
    out = tmp_path / "run"
    out.mkdir()
    for name in ("records.jsonl", "study.toml", ".fingerprint"):
        shutil.copy(result.out / name, out / name)
    again = run_search(study(), out, engine="inline", write_rule=False)
    assert again.records == result.records
    assert status(out).is_whole


def test_a_plan_counts_the_runs_and_what_is_done(searched):
    result, _ = searched
    fresh = plan(study(), workers=2)
    assert fresh.runs == 21 and fresh.done == 0 and fresh.seconds is None
    assert fresh.compute == 7 * 100 * (32**2 + 64**2 + 128**2)
    begun = plan(study(), result.out, workers=2)
    assert begun.done == 21 and begun.compute == 0.0
    assert plan(study(design="scale-aware")).least < 21


def test_optuna_sees_every_trial_as_it_ended(searched):
    result, _ = searched
    loaded = optuna.load_study(study_name="study", storage=f"sqlite:///{result.out / 'study.db'}")
    trials = {trial.number: trial for trial in loaded.get_trials(deepcopy=False)}
    assert trials.keys() == {record.trial for record in result.records}
    for record in result.records:
        trial = trials[record.trial]
        assert trial.params == {"hidden_size": record.hidden_size, "learning_rate": record.learning_rate}
        assert trial.state.name == {"finished": "COMPLETE"}.get(record.status, "PRUNED")
        assert trial.value == record.loss
        assert trial.user_attrs["curve"]["loss"] == list(record.curve["loss"])
        assert trial.user_attrs["status"] == record.status


def test_low_diversity_makes_a_trial_infeasible_to_optuna(tmp_path: Path):
    told = Trials(f"sqlite:///{tmp_path / 'study.db'}", "study")
    for diversity in (0.05, 0.5):
        number = told.add(Task(hidden_size=32, learning_rate=0.01))
        fate: dict[str, Any] = {
            "status": "finished",
            "loss": 3.0,
            "diversity": diversity,
            "steps": 10,
            "steps_done": 10,
        }
        record = TrialRecord(trial=number, hidden_size=32, learning_rate=0.01, seed=0, **fate)
        told.tell(record, floor=0.1)
        told.tell(record, floor=0.1)
    low, high = told.study.trials
    assert low.constraints == {"diversity": pytest.approx(0.05)}
    assert high.constraints == {"diversity": pytest.approx(-0.4)}
    assert told.study.best_trial.number == high.number
    told.close()


def test_a_measure_to_maximise(tmp_path: Path):
    asked = study(widths=(32, 64), trainer="accurate:train", maximize=True, lr_min=1e-3, lr_max=0.1, pruner="collapse")
    done = run_search(asked, tmp_path / "run", engine="inline", write_rule=False)
    assert done.rule is not None
    told = done.rule.recommend(64)
    assert abs(math.log2(told.learning_rate * 64 / 0.3)) < 0.5
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert all(0 < json.loads(line)["loss"] < 1 for line in lines) and (done.records[0].loss or 0) < 0
    best = max(json.loads(line)["loss"] for line in lines)
    assert status(tmp_path / "run").best[-1].measure == pytest.approx(best, abs=0.02)
    loaded = read_records(tmp_path / "run" / "records.jsonl").records
    assert loaded == done.records and fit_run(loaded, tolerance=0.01).rule.cells == done.rule.cells
    again = run_search(asked, tmp_path / "run", engine="inline", write_rule=False)
    assert again.records == done.records
    with pytest.raises(InputError, match=r"holds another study \(maximize was True"):
        run_search(replace(asked, maximize=False), tmp_path / "run", engine="inline", write_rule=False)


def test_a_measure_that_is_taken_for_a_loss_is_named(tmp_path: Path):
    few = Budget(trials=4)
    asked = study(widths=(32, 64), trainer="accurate:train", lr_min=1e-3, lr_max=0.1, pruner="collapse", budget=few)
    done = run_search(asked, tmp_path / "run", engine="inline", write_rule=False)
    assert sum("and falls in none: report a loss, or pass --maximize" in note for note in done.notes) == 1


def test_a_scale_that_the_trainer_ignores_ends_the_search_and_keeps_its_runs(tmp_path: Path):
    asked = study(widths=(32,), scales={"depth": (2, 4)}, lr_min=1e-3, lr_max=0.1)
    with pytest.raises(RunFailedError, match=r"scales\.depth: the trainer seems to ignore it: runs at 2 and 4"):
        run_search(asked, tmp_path / "run", engine="inline", write_rule=False)
    kept = read_records(tmp_path / "run" / "records.jsonl").records
    assert len(kept) >= 2
    done = run_search(replace(asked, allow_inert_scale=True), tmp_path / "run", engine="inline", write_rule=False)
    assert done.ending is Ending.COMPLETE and done.records[: len(kept)] == kept
