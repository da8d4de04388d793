"""A search from the outside: real workers, real storage, a trainer whose answer is known."""

import math
from pathlib import Path

import pytest

from lrtune.design import Task
from lrtune.errors import InputError
from lrtune.events import TrialEnded
from lrtune.records import read_records
from lrtune.search import run_fixed, run_search
from lrtune.study import Study


def study(**changes: object) -> Study:
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


def test_records_jsonl_holds_what_was_returned_and_events_told_each_once(searched):
    result, events = searched
    file = read_records(result.out / "records.jsonl")
    assert file.records == result.records
    assert not file.bad_lines
    told = [event.record.trial for event in events if isinstance(event, TrialEnded)]
    assert sorted(told) == [record.trial for record in result.records]


def test_the_same_folder_again_repeats_nothing(searched):
    result, _ = searched
    events: list[object] = []
    again = run_search(study(), result.out, workers=1, on_event=events.append, write_rule=False)
    assert again.records == result.records
    assert not [event for event in events if isinstance(event, TrialEnded)]


def test_wider_widths_continue_in_the_same_folder(searched, tmp_path: Path):
    task = Task(hidden_size=48, learning_rate=0.01)
    first = run_fixed(study(), [task], tmp_path / "run", workers=1)
    both = run_fixed(
        study(widths=(48, 96)), [task, Task(hidden_size=96, learning_rate=0.01)], tmp_path / "run", workers=1
    )
    assert [record.hidden_size for record in both.records] == [48, 96]
    assert both.records[0] == first.records[0]


def test_another_studys_folder_is_refused_and_left_as_it_was(searched):
    result, _ = searched
    before = (result.out / "study.toml").read_bytes()
    with pytest.raises(InputError, match="steps was 100"):
        run_search(study(steps=200), result.out, workers=1)
    assert (result.out / "study.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers: expected a positive whole number, but got 0"),
        ({"trial_timeout": 0.0}, "trial_timeout: expected a positive"),
        ({"engine": "slurm"}, "engine: expected one of local, ray"),
        ({"storage": "redis://x"}, "storage: expected postgresql://"),
        ({"storage": "sqlite://"}, "storage: expected a file"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_written(options, message, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        run_search(study(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_trainer_that_cannot_be_imported_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(InputError, match="no_such_module"):
        run_search(study(trainer="no_such_module:train"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
