"""What a search foresees and refuses from its records."""

from dataclasses import replace

import pytest

from lrtune.records.record import TrialRecord
from lrtune.search.plan import inert_scale
from lrtune.study.study import Study

STUDY = Study(widths=(32, 64), scales={"depth": (2, 4), "steps": (100, 200)})


def run(number, *, depth=2.0, steps=100, loss=3.25, **changes):
    return TrialRecord(
        **{
            "trial": number,
            "hidden_size": 32,
            "learning_rate": 0.01,
            "seed": 0,
            "status": "finished",
            "steps": steps,
            "steps_done": steps,
            "loss": loss,
            "scales": {"depth": depth, "steps": float(steps)},
            "curve": {"step": [50.0, float(steps)], "loss": [5.0, loss]},
            **changes,
        }
    )


def test_a_scale_without_effect_is_named():
    message = inert_scale([run(0, loss=4.0), run(3), run(5, depth=4.0)], STUDY)
    assert message is not None
    assert message.startswith("scales.depth: the trainer ignores it: runs at 2 and 4 have the same losses")
    assert "trials 3 and 5" in message and "--allow-inert-scale" in message
    said = inert_scale([run(3), run(5, hidden_size=64)], STUDY)
    assert said is not None and said.startswith("scales.hidden_size: the trainer ignores it")
    assert inert_scale([run(3), run(5, depth=4.0)], replace(STUDY, allow_inert_scale=True)) is None


@pytest.mark.parametrize(
    "other",
    [
        run(5, depth=4.0, loss=3.2500000000000004),
        run(5, depth=4.0, learning_rate=0.02),
        run(5, depth=4.0, seed=1),
        run(5, depth=4.0, hidden_size=64),
        run(5, depth=4.0, status="diverged"),
        run(5),  # trained twice
        run(5, steps=200),  # both reached the least loss
        run(5, depth=4.0, curve={"step": [50.0, 100.0], "loss": [6.0, 3.25]}),
    ],
)
def test_runs_that_differ_in_more_than_a_scale_show_no_inert_one(other):
    assert inert_scale([run(3), other], STUDY) is None
