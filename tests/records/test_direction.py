"""A loss that rises in training is probably no loss."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from builders import finished_run

from lrtune.records.columns import Columns
from lrtune.records.importers import read_sources
from lrtune.records.record import Status, TrialRecord
from lrtune.records.tally import goes_wrong


def run(curve: Sequence[float | None], status: Status = "finished", *, maximize: bool = False) -> TrialRecord:
    sign = -1 if maximize else 1
    losses = [None if loss is None else sign * loss for loss in curve]
    columns = {"step": list(range(len(losses))), "loss": losses}
    return finished_run(64, 0.01, losses[-1], status=status, maximize=maximize, curve=columns)


UP, DOWN, FLAT = run([0.1, 0.3, 0.9]), run([3.0, 2.0]), run([0.1, 0.12, 0.095])
CUT, BLOWN = run([0.1, 0.4, 0.5], "beaten"), run([0.1, 4.0, 5.0, None], "diverged")


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([UP] * 3, "the loss rises in 3 of 3 runs and falls in none: report a loss, or pass --maximize"),
        ([UP, UP, CUT, *[FLAT] * 9], "the loss rises in 3 of 12 runs"),
        ([UP, UP, UP, DOWN], ""),
        ([UP, UP, FLAT], ""),
        ([UP, UP, UP, *[BLOWN] * 3], ""),
        ([run([0.1, 0.9], maximize=True)] * 4, ""),
        ([run([9.0, 2.0], "diverged", maximize=True)] * 3, "the measure falls in 3 of 3 runs and rises in none: leave"),
        ([run([0.3])] * 3, ""),
        ([], ""),
    ],
)
def test_a_loss_that_rises_in_some_runs_and_falls_in_none_is_named(records: list[TrialRecord], text: str) -> None:
    assert text in goes_wrong(records) and bool(text) == bool(goes_wrong(records))


@pytest.mark.parametrize("maximize", [False, True])
def test_the_histories_of_a_table_tell_it_too(tmp_path: Path, maximize: bool) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{n},64,{2.0**-n},{step},{0.1 + 0.1 * step / n}" for n in (4, 5, 6) for step in (0, 1, 2, 3)]
    path.write_text("\n".join(["run_id,width,lr,step,accuracy", *rows]) + "\n")
    summary = read_sources([path], Columns(loss="accuracy", maximize=maximize)).summary
    assert any("the loss rises in 3 of 3 runs" in line for line in summary) != maximize


@pytest.mark.parametrize(
    ("name", "doubted"), [("val/acc", True), ("f1_score", True), ("acc_loss", False), ("m", False)]
)
def test_a_measure_with_the_name_of_an_accuracy_is_doubted_without_its_flag(name: str, doubted: bool) -> None:
    rows = [{"width": 64, "lr": 2.0**-n, name: 0.1 * n} for n in (4, 5, 6)]
    summary = read_sources([rows], Columns(loss=name)).summary
    assert (f"--loss: the least {name!r} counts as best; if more is better, pass --maximize" in summary) == doubted
    assert not any(
        "pass --maximize" in line for line in read_sources([rows], Columns(loss=name, maximize=True)).summary
    )
