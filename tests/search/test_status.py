"""What the status of a run says."""

from pathlib import Path

from builders import finished_run

from lrtune.search.status import Status
from lrtune.study.study import Study


def test_one_record_is_not_several() -> None:
    status = Status(out=Path("run"), study=Study(), records={}, missing=(20,), changed=(1, 2))
    assert status.problems()[:2] == [
        "1 record in the storage only: trial 20",
        "2 records other than in the storage: trials 1, 2",
    ]


def test_the_best_run_of_each_combination_of_scales_has_a_line() -> None:
    places = [(32, 100.0), (32, 200.0), (64, 100.0), (32, 100.0)]
    records = {
        number: finished_run(width, 0.01, 5.0 - number, trial=number, steps=int(steps), scales={"steps": steps})
        for number, (width, steps) in enumerate(places)
    }
    lines = str(Status(out=Path("run"), study=Study(), records=records)).splitlines()
    assert [line.strip() for line in lines if "best so far" in line] == [
        "hidden 32, steps 100: best so far 0.01 (loss 2)",
        "hidden 32, steps 200: best so far 0.01 (loss 4)",
        "hidden 64, steps 100: best so far 0.01 (loss 3)",
    ]
