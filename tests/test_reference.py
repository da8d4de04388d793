"""The reference study can be repeated: two of its smallest runs are made again, one of them twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule.file import PACKAGED
from lrtune.search.run import run_fixed
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.study.toml import load_study

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "studies" / "reference"
# Another processor rounds another way, and one flipped ternary weight is enough for two runs to part. Two seeds at
# one rate differ by about 1% here: more than this share of the loss is another result, not another rounding.
TOLERANCE = 0.03


@pytest.fixture(scope="module")
def recorded() -> list[TrialRecord]:
    """The two smallest runs that were finished."""
    ended = [r for r in read_records(FOLDER / "search-800.jsonl").records if r.status == "finished"]
    return sorted(ended, key=lambda record: (record.hidden_size, record.trial))[:2]


def _again(study: Study, records: list[TrialRecord], out: Path) -> list[TrialRecord]:
    tasks = [Task(hidden_size=r.hidden_size, learning_rate=r.learning_rate, seed=r.seed) for r in records]
    return run_fixed(replace(study, pruner="none"), tasks, out, workers=2).records  # one thread each


@pytest.mark.timeout(600)
def test_two_small_runs_of_the_study_come_out_again(recorded: list[TrialRecord], tmp_path: Path) -> None:
    study = load_study(FOLDER / "study.toml")
    again = _again(study, recorded, tmp_path / "both")
    if again[0].facts.conditions["data_fingerprint"] != recorded[0].facts.conditions["data_fingerprint"]:
        pytest.skip("the study's text is another Python's standard library")
    for then, now in zip(recorded, again, strict=True):
        assert now.loss == pytest.approx(then.loss, rel=TOLERANCE)
        assert (now.status, now.steps_done) == ("finished", then.steps_done)
    [alone] = _again(study, recorded[:1], tmp_path / "alone")
    assert (alone.curve, alone.loss) == (again[0].curve, again[0].loss), "two runs of one machine part in no bit"


def test_the_packaged_rule_is_the_studys() -> None:
    assert Path(PACKAGED).read_bytes() == (FOLDER / "rule.json").read_bytes()
