"""Runs of several knobs, taken apart: truth is a surface that is known exactly."""

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import finished_run

from lrtune.law.backfit import separated
from lrtune.law.couplings import Along
from lrtune.law.knobs import apart, coordinate
from lrtune.law.observations import Measure
from lrtune.records.record import TrialRecord
from lrtune.rule.knob import Coordinate

RATIO = {"adam_lr": Coordinate(times="learning_rate")}
BEST = {"learning_rate": -6.0, "adam_lr": -2.0}  # log2, the second of the ratio
HEIGHT = {"learning_rate": 0.02, "adam_lr": 0.01}


def run(x: float, ratio: float | None, *, coupling: float = 0.0, status: str = "finished") -> TrialRecord:
    """A run at log2 rate x and log2 ratio; None is a second rate of zero, which costs 5%."""
    u, v = x - BEST["learning_rate"], 0.0 if ratio is None else ratio - BEST["adam_lr"]
    y = HEIGHT["learning_rate"] * u**2 + HEIGHT["adam_lr"] * v**2 + coupling * bend(u) * bend(v)
    loss = 3 * math.exp(y + 0.05 * (ratio is None)) if status == "finished" else None
    return finished_run(64, 2.0**x, loss, {"adam_lr": 0.0 if ratio is None else 2.0 ** (x + ratio)}, status=status)


def bend(u: float) -> float:
    return 3 * math.tanh(u / 3)


def known(record: TrialRecord, name: str) -> Along:
    """The truth of one knob."""
    distance = math.log2(coordinate(record, name, RATIO)) - BEST[name]
    return Along(HEIGHT[name] * distance**2, distance)


def square(coupling: float = 0.0) -> list[TrialRecord]:
    return [run(x, r, coupling=coupling) for x in np.linspace(-8, -4, 5) for r in np.linspace(-4.5, -0.5, 5)]


def test_what_is_left_along_a_knob_is_its_own_rise() -> None:
    found = apart(square(), RATIO, known, Measure(), ("hidden_size",))
    for record in found.records["adam_lr"]:
        rise = HEIGHT["adam_lr"] * (math.log2(record.learning_rate) - BEST["adam_lr"]) ** 2
        assert record.loss == pytest.approx(3 * math.exp(rise), rel=1e-6)


@pytest.mark.parametrize("coupling", [0.008, -0.008])
def test_a_coupling_is_found_and_taken_out(coupling: float) -> None:
    rng = np.random.default_rng(1)
    noisy = [replace(r, loss=(r.loss or 0) * math.exp(rng.normal(0, 0.001))) for r in square(coupling)]
    found = apart(noisy, RATIO, known, Measure(), ("hidden_size",))
    assert found.couplings == {("learning_rate", "adam_lr"): pytest.approx(coupling, rel=0.2)}
    for record in found.records["learning_rate"]:
        rise = HEIGHT["learning_rate"] * (math.log2(record.learning_rate) - BEST["learning_rate"]) ** 2
        assert record.loss == pytest.approx(3 * math.exp(rise), rel=0.01)


def test_noise_is_no_coupling() -> None:
    kept = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noisy = [replace(r, loss=(r.loss or 0) * math.exp(rng.normal(0, 0.005))) for r in square()]
        kept += bool(apart(noisy, RATIO, known, Measure(), ("hidden_size",)).couplings)
    assert kept <= 4  # two standard errors: one in twenty


def test_runs_at_zero_lie_on_the_other_axis_alone() -> None:
    found = apart([*square(), run(-6, None), run(-5, None)], RATIO, known, Measure(), ("hidden_size",))
    assert len(found.records["adam_lr"]) == 25
    assert found.zeros["adam_lr"][0] == pytest.approx(0.05, abs=1e-3)
    assert [r.loss for r in found.records["learning_rate"][-2:]] == pytest.approx([3, 3 * math.exp(0.02)], rel=2e-3)


def test_an_early_end_counts_for_the_knob_that_caused_it() -> None:
    """The furthest too high for a collapse; the greater rise for a beaten run."""
    early = [run(-5, 1, status="collapsed"), run(-3, -2, status="diverged"), run(-6, -6, status="beaten")]
    found = apart([*square(), *early], RATIO, known, Measure(), ("hidden_size",))
    assert [r.status for r in found.records["learning_rate"][25:]] == ["diverged"]
    assert [r.status for r in found.records["adam_lr"][25:]] == ["collapsed", "beaten"]


def test_optima_of_two_knobs_are_found_by_turns() -> None:
    rng = np.random.default_rng(3)
    runs = [run(rng.uniform(-8, -4), rng.uniform(-4, 0)) for _ in range(24)]
    noisy = [replace(r, loss=(r.loss or 0) * math.exp(rng.normal(0, 0.001))) for r in runs]
    found = separated(noisy, ("hidden_size",), RATIO, 0.01, Measure())
    for name, records in found.records.items():
        x = np.array([math.log2(r.learning_rate) for r in records])
        y = np.log([r.loss or 0.0 for r in records])
        a, b, _ = np.polyfit(x, y, 2, w=1 / np.sqrt(1e-6 + np.array([r.variance for r in records])))
        assert -b / (2 * a) == pytest.approx(BEST[name], abs=0.15)


def test_a_knob_varied_at_one_value_of_another_leaves_its_optimum_in_doubt() -> None:
    """The other stands an octave off: a coupling κ shifts the optimum by κ / 2h; its prior sd is ½ √(hh'): 0.18."""
    cross = [run(x, -1) for x in np.linspace(-8, -4, 9)] + [run(-6, r) for r in np.linspace(-4, 0, 9)]
    rng = np.random.default_rng(2)
    errors = []
    for runs in (cross, square()):
        noisy = [replace(r, loss=(r.loss or 0) * math.exp(rng.normal(0, 0.001))) for r in runs]
        found = apart(noisy, RATIO, known, Measure(), ("hidden_size",)).errors
        errors.append(found["learning_rate"][(64.0,)])
    assert errors[0] > 0.08 > 0.03 > errors[1]


def test_runs_at_zero_that_all_ended_early_say_nothing_of_the_loss_there() -> None:
    early = replace(run(-5, None), status="diverged", loss=None)
    found = apart([*square(), early], RATIO, known, Measure(), ("hidden_size",))
    assert not found.zeros and found.records["learning_rate"][-1].status == "diverged"
