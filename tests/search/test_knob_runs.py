"""A knob on its way: from a task through the storage and a worker to the trainer, and back in a record."""

import math
import sys
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from builders import run_of

from lrtune.errors import InputError
from lrtune.law.fit import fit_law
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule import Rule
from lrtune.rule.knob import Coordinate
from lrtune.search.designs import FixedDesign
from lrtune.search.events import Event, Note, TrialEnded, TrialStarted
from lrtune.search.inert import inert_knobs, inert_scale
from lrtune.search.paired import PairedDesign
from lrtune.search.plan import check_budget
from lrtune.search.run import run_fixed, run_search
from lrtune.search.target import verification
from lrtune.study.study import Budget, Study
from lrtune.study.task import Task
from lrtune.study.toml import parse_study
from lrtune.trainer.trial import Trial, population

STUDY = parse_study("""
[study]
trainer = "TRAINER"
steps = 20
report_every = 10
[scales]
hidden_size = [32]
[knobs]
adam_lr = "0.02..2*learning_rate"
weight_decay = "0,1e-5..1e-2/learning_rate"
""")
VALUES = [{"adam_lr": 1 / 3, "weight_decay": 0.1}, {"adam_lr": 1 / 3, "weight_decay": 0.0}]
TASKS = [Task(hidden_size=32, learning_rate=0.01, knobs=knobs) for knobs in VALUES]


def sum_of_knobs(trial: Trial) -> None:
    """The loss is the sum of the knobs."""
    for step in (0, 10, 20):
        if not trial.report(step, loss=1 + sum(trial.knobs.values())):
            return


@population
def sums_of_knobs(trials: list[Trial]) -> None:
    """The same for several at once."""
    for trial in trials:
        sum_of_knobs(trial)


def study(trainer: str = f"{__name__}:sum_of_knobs", **changes: object) -> Study:
    return replace(STUDY, trainer=trainer, **changes)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["sum_of_knobs", "sums_of_knobs"])
def test_the_trainer_gets_the_values_and_the_records_keep_them(trainer: str, tmp_path: Path) -> None:
    events: list[Event] = []
    own = study(f"{__name__}:{trainer}")
    done = run_fixed(own, TASKS, tmp_path, engine="inline", members=2, on_event=events.append)
    assert [dict(record.knobs) for record in done.records] == VALUES
    assert [record.loss for record in done.records] == [1 + 1 / 3 + 0.1, 1 + 1 / 3]
    assert [record.knobs for record in read_records(tmp_path / "records.jsonl").records] == VALUES
    assert all(event.knobs in VALUES for event in events if isinstance(event, TrialStarted))
    if trainer == "sums_of_knobs":
        assert [record.plan["members"] for record in done.records] == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["study.db", "records.jsonl"])
def test_a_restarted_search_finds_the_runs_that_differ_in_a_knob_alone(lost: str, tmp_path: Path) -> None:
    run_fixed(study(), TASKS, tmp_path, engine="inline")
    for file in tmp_path.glob(f"{lost}*"):
        file.unlink()
    events: list[Event] = []
    done = run_fixed(study(), TASKS, tmp_path, engine="inline", on_event=events.append)
    assert [dict(record.knobs) for record in done.records] == VALUES
    assert not any(isinstance(event, TrialEnded) for event in events)


@pytest.mark.slow
def test_a_program_gets_them_as_arguments(tmp_path: Path) -> None:
    script = "import json, sys; print(json.dumps({'step': 20, 'loss': float(sys.argv[2]) + 10 * float(sys.argv[3])}))"
    places = ("{learning_rate}", "{adam_lr}", "{weight_decay}")
    own = study(command=(sys.executable, "-c", script, *places))
    done = run_fixed(own, TASKS, tmp_path, engine="inline")
    assert [record.loss for record in done.records] == [1 / 3 + 1.0, 1 / 3]


def test_a_program_that_takes_no_such_argument_is_refused() -> None:
    own = study(command=("train.sh", "{learning_rate}", "{adam_lr}"))
    with pytest.raises(InputError, match=r"knobs\.weight_decay: expected \{weight_decay\} in the command"):
        run_fixed(own, TASKS, Path("unused"), engine="inline")
    assert not Path("unused").exists()


def test_each_knob_gets_a_pair_of_runs_that_differ_in_it_alone() -> None:
    own = study(allow_inert_scale=True)
    done = [run_of(TASKS[0], 0, 4.0), run_of(replace(TASKS[0], learning_rate=0.02, seed=3), 1, 3.0)]
    wanted = [
        Task(hidden_size=32, learning_rate=0.04, knobs={"adam_lr": 0.02, "weight_decay": 0.5}),
        Task(hidden_size=32, learning_rate=0.08, knobs={"adam_lr": 0.02, "weight_decay": 0.0}),
        Task(hidden_size=32, learning_rate=0.09, knobs={"adam_lr": 0.02, "weight_decay": 0.0}),
    ]
    one, other, third = PairedDesign(FixedDesign(wanted), own).propose(done, [], 3)
    assert (one.learning_rate, one.seed, dict(one.knobs)) == (0.02, 3, {"adam_lr": 0.01, "weight_decay": 0.1})
    assert (other.learning_rate, other.seed, dict(other.knobs)) == (0.02, 3, {"adam_lr": 1 / 3, "weight_decay": 0.0})
    assert third == wanted[2]


def test_a_knob_that_the_trainer_ignores_is_named_once(tmp_path: Path) -> None:
    text = "knobs.weight_decay: the trainer seems to ignore it: runs at 0.1 and 0 have the same losses (trials 3 and 5)"
    done = [run_of(task, n, 4.0) for n, task in ((3, TASKS[0]), (5, TASKS[1]))]
    assert inert_knobs(done) == {"weight_decay": text}
    assert inert_scale(done, study()) is None
    both = replace(done[1], knobs={"adam_lr": 0.1, "weight_decay": 0.0})
    for other in (both, replace(done[1], learning_rate=0.02), replace(done[1], loss=4.1), replace(done[1], seed=1)):
        assert inert_knobs([done[0], other]) == {}


def blind(trial: Trial) -> None:
    """Reads the rate alone."""
    for step in (0, 10, 20):
        if not trial.report(step, loss=4 + math.log2(trial.learning_rate / 0.01) ** 2 / 10 + (20 - step) / 10):
            return


@pytest.mark.slow
def test_a_search_warns_of_a_knob_that_the_trainer_never_reads(tmp_path: Path) -> None:
    events: list[Event] = []
    own = study(f"{__name__}:blind", widths=(32, 64), budget=Budget(trials=9))
    done = run_search(own, tmp_path / "run", engine="inline", on_event=events.append, write_rule=False)
    for name in VALUES[0]:
        said = [event.text for event in events if isinstance(event, Note) and f"knobs.{name}: " in event.text]
        assert len(said) == 1 and said[0] in done.notes


@pytest.mark.parametrize(
    ("widths", "trials", "why"),
    [
        ((32,), 8, "expected at least 9, 3 for each of learning_rate, adam_lr, weight_decay, but got 8; 27 or more"),
        (tuple(range(32, 44)), 11, "expected at least 12, one per size, but got 11; 108 or more"),
    ],
)
def test_fewer_runs_than_the_knobs_need_are_refused(widths: tuple[int, ...], trials: int, why: str) -> None:
    with pytest.raises(InputError, match=why):
        check_budget(study(widths=widths, budget=Budget(trials=trials)))
    check_budget(study(widths=widths, budget=Budget(trials=trials + 1)))


@cache
def rule_of_two() -> Rule:
    """Best at a rate of 0.3 / width and a ratio of 0.2."""
    runs: list[TrialRecord] = []
    for width, x, r in product((32, 64, 128), (-2, -1, 0, 1, 2), (-2, -1, 0, 1, 2)):
        rate = 0.3 / width * 2.0**x
        knobs = {"adam_lr": 0.2 * rate * 2.0**r}
        task = Task(hidden_size=width, learning_rate=rate, knobs=knobs)
        runs.append(run_of(task, len(runs), 3 * math.exp(0.02 * x * x + 0.01 * r * r)))
    return fit_law(runs, knobs={"adam_lr": Coordinate(times="learning_rate")}).rule


def test_a_run_stands_for_one_at_the_target_if_its_knobs_are_near() -> None:
    one = {"adam_lr": STUDY.knobs["adam_lr"]}
    own = replace(STUDY, widths=(32, 64, 128), knobs=one, targets=({"hidden_size": 256},))
    wanted = verification(own, rule_of_two(), [])
    assert verification(own, rule_of_two(), [run_of(wanted[0], 0, 3.0)]) == wanted[1:]
    far = replace(wanted[0], knobs={"adam_lr": 2 * wanted[0].knobs["adam_lr"]})
    assert verification(own, rule_of_two(), [run_of(far, 0, 3.0)]) == wanted


def test_an_arm_needs_each_knob() -> None:
    with pytest.raises(InputError, match=r"arms\.a: expected a weight_decay, but it is missing"):
        study(arms={"a": {"learning_rate": 0.1, "adam_lr": 0.2}}).arm("a")
    whole = study(arms={"a": {"learning_rate": 0.1, "adam_lr": 0.2, "weight_decay": 0, "clip": 1.0}}).arm("a")
    assert (whole.knobs, whole.departures) == ({"adam_lr": 0.2, "weight_decay": 0}, {"clip": 1.0})


def test_a_pair_that_differs_in_a_scale_alone_shares_its_knobs() -> None:
    own = study(scales={"depth": (2.0, 4.0)})
    deep = Task(hidden_size=32, learning_rate=0.02, scales={"depth": 4.0}, knobs=VALUES[1])
    flat = Task(hidden_size=32, learning_rate=0.01, scales={"depth": 2.0}, knobs=VALUES[0])
    [paired] = PairedDesign(FixedDesign([deep]), own).propose([], [flat], 1)
    assert (paired.learning_rate, paired.knobs, paired.scales) == (0.01, VALUES[0], {"depth": 4.0})
