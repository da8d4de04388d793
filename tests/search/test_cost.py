"""What a step costs at sizes that were not run."""

import pytest
from builders import finished_run

from lrtune.records.record import TrialRecord
from lrtune.search.cost import span, step_cost


def run(width: int, seconds: float, steps: int = 100, status: str = "finished", **scales: float) -> TrialRecord:
    return finished_run(width, 0.1, 3.0, steps=steps, seconds=seconds, status=status, scales=scales)


def test_two_sizes_give_the_power_of_a_third() -> None:
    cost = step_cost([run(64, 1.0), run(64, 1.2), run(64, 99.0), run(128, 3.4), run(128, 9.0, status="failed")])
    assert cost is not None and cost.exponents["hidden_size"] == pytest.approx(1.5, abs=0.01)  # 1.2 → 3.4
    assert cost.at({"hidden_size": 256}) == pytest.approx(0.034 * 2**1.5, rel=0.01)


def test_more_steps_cost_nothing_more_a_step() -> None:
    cost = step_cost([run(64, 1.0), run(64, 4.0, 400), run(128, 2.0)])
    assert cost is not None and cost.at({"hidden_size": 64, "steps": 20_000}) == pytest.approx(0.01)


def test_a_scale_that_did_not_vary_leaves_the_cost_unknown() -> None:
    cost = step_cost([run(64, 1.0, depth=2.0), run(128, 2.0, depth=2.0)])
    assert cost is not None and cost.at({"hidden_size": 256, "depth": 2}) == pytest.approx(0.04)
    assert cost.at({"hidden_size": 256, "depth": 4}) is None
    one = step_cost([run(64, 1.0)])
    assert one is not None and one.at({"hidden_size": 64}) == pytest.approx(0.01)
    assert one.at({"hidden_size": 128}) is None
    assert step_cost([run(64, 0.0)]) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.034, "0.034 s"), (100, "100 s"), (600, "10 min"), (9000, "2.5 h"), (9e6, "2,500.0 h")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text
