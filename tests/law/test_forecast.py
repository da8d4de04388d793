"""What a run that was cut short was heading for, on curves whose end is known."""

import math
from dataclasses import replace

import pytest
from builders import finished_run

from lrtune.law.forecast import forecast
from lrtune.law.observations import gather
from lrtune.records.record import Status, TrialRecord


def run(rate: float, losses: list[float | None], *, seed: int = 0, status: Status = "finished") -> TrialRecord:
    """A run of 100 steps that reports every 25."""
    steps, loss = [25 * i for i in range(len(losses))], losses[-1] if status == "finished" else None
    curve = {"step": steps, "loss": losses}
    return finished_run(64, rate, loss, seed=seed, status=status, steps_done=steps[-1], curve=curve)


PEER = run(0.01, [7.0, 5.0, 4.0, 3.5, 3.0])


def test_below_its_peer_a_run_keeps_its_distance() -> None:
    assert forecast(run(0.005, [7.0, 5.5, 4.4], status="beaten"), [PEER]) == pytest.approx(3.4)


@pytest.mark.parametrize(("reports", "share"), [(2, 1 - 0.75**2), (3, 1 - 0.5**2), (4, 1 - 0.25**2)])
def test_above_its_peer_a_run_loses_what_the_decay_takes(reports: int, share: float) -> None:
    losses: list[float | None] = [7.0, 5.8, 4.8, 4.3]
    assert forecast(run(0.02, losses[:reports], status="beaten"), [PEER]) == pytest.approx(3.0 + 0.8 * share)


def test_the_nearest_rate_of_the_same_seed_counts() -> None:
    cut = run(0.02, [7.0, 5.8, 4.8], status="beaten")
    other_seed, farther = run(0.02, [7.0, 5.0, 4.8, 4.0, 3.9], seed=1), run(0.001, [7.0, 6.0, 5.0, 4.5, 4.2])
    assert forecast(cut, [farther, other_seed, PEER]) == forecast(cut, [PEER])
    assert forecast(cut, [other_seed]) == pytest.approx(3.9)


@pytest.mark.parametrize("losses", [[], [None], [math.nan]])
def test_without_a_curve_there_is_no_forecast(losses: list[float | None]) -> None:
    cut = replace(run(0.02, [7.0], status="beaten"), curve={"step": [0] * len(losses), "loss": losses})
    assert forecast(cut, [PEER]) is None
    assert forecast(run(0.02, [7.0, 5.8], status="beaten"), []) is None
    bare = replace(PEER, curve={})
    assert forecast(run(0.02, [7.0, 5.8], status="beaten"), [bare]) is None
    shorter = replace(PEER, steps=50)
    assert forecast(run(0.02, [7.0, 5.8], status="beaten"), [shorter]) is None


def test_a_beaten_run_is_known_to_be_half_as_far_above_the_best_as_it_was_heading_for() -> None:
    """Heading for 3.8 − 0.2 = 3.6, so half of ln(3.6 / 3.0) above; a hair above its peer, at least the tolerance."""
    records = [PEER, run(0.02, [7.0, 5.0, 4.8], status="beaten"), run(0.005, [7.0, 5.0, 4.01], status="beaten")]
    (cell,) = gather(records, ("hidden_size",), 0.01).cells
    assert cell.data.early_above == pytest.approx([math.log(1.2) / 2, 0.01])
