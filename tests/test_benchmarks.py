"""The benchmarks still find what they import, and judge as they say."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest

from lrtune.records.record import TrialRecord

FOLDER = Path(__file__).parents[1] / "studies" / "benchmarks"
EXTRA = {"exact": "numpyro"}


@pytest.fixture(autouse=True)
def _benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_benchmark_finds_what_it_imports(name: str) -> None:
    if name in EXTRA:
        pytest.importorskip(EXTRA[name], reason=f"{name}.py is for whoever installs {EXTRA[name]}")
    importlib.import_module(name)


def cell(best: float, *, failed_from: float = math.inf) -> list[TrialRecord]:
    """Runs an octave apart of a square curve, 3% an octave from its best."""
    make_record = importlib.import_module("drawn").make_record
    runs: list[TrialRecord] = []
    for x in np.arange(-3.0, 3.5):
        lost = x >= failed_from
        loss = None if lost else 3 * math.exp(0.03 * (x - best) ** 2)
        runs.append(make_record(len(runs), 64, 2.0**x, 0, "diverged" if lost else "finished", loss))
    return runs


def test_the_truth_of_a_cell_is_its_own_optimum() -> None:
    read_truth = importlib.import_module("sweeps").read_truth
    found = read_truth(cell(0.3))
    assert found.best == pytest.approx(0.3, abs=1e-6)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.curve.regret(1.3) == pytest.approx(math.expm1(0.03), rel=1e-6)


@pytest.mark.parametrize(
    ("best", "failed_from", "low", "high"),
    [
        (9.0, math.inf, 2.5, math.inf),  # best at the highest rate: beyond the middle to its neighbour
        (-9.0, math.inf, -math.inf, -2.5),
        (1.2, 2.0, 0.5, 2.0),  # the next rate failed: below it
    ],
)
def test_a_best_rate_without_finite_neighbours_is_a_bound(
    best: float, failed_from: float, low: float, high: float
) -> None:
    found = importlib.import_module("sweeps").read_truth(cell(best, failed_from=failed_from))
    assert not found.is_interior
    assert (found.low, found.high) == (low, high)


def test_a_whole_size_left_out_of_a_power_law_is_on_the_line() -> None:
    sweeps = importlib.import_module("sweeps")
    truths = {
        (float(s), t): sweeps.read_truth(cell(-math.log2(s / 64) + 0.5 * math.log2(t)))
        for s in (32, 64, 128)
        for t in (1.0, 2.0)
    }
    for line in sweeps.LINES:
        assert line.predict(truths, (256.0, 4.0)) == pytest.approx(-2 + 1, abs=1e-6)


def test_the_score_of_an_interval_is_its_width_and_twenty_times_its_miss() -> None:
    row = importlib.import_module("law").Row(0, "2x", 64.0, ("all",), truth=1.5, rate=0.5, low=0.0, high=1.0)
    assert row.score == pytest.approx(1.0 + 20 * 0.5)
    assert row._replace(truth=0.5).score == pytest.approx(1.0)


def test_ranks_are_even_where_the_posterior_is_right_and_not_where_it_is_too_narrow() -> None:
    calibration = importlib.import_module("calibration")
    right = np.array([calibration.ranks(seed, "calibration:Straight")["slope"] for seed in range(400)])
    assert "passes" in calibration.row("slope", right, 13)
    assert "fails" in calibration.row("slope", 0.5 + 1.3 * (right - 0.5).clip(-0.38, 0.38), 13)
