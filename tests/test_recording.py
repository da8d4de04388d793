"""The recording scripts: what they would run, in which populations, and that a run is known by its record."""

import itertools
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="bitnet needs torch")

from lrtune.records.jsonl import from_json, to_json
from lrtune.study.toml import load_study
from lrtune.trainer.trial import Report
from studies import recording
from studies.phase4 import record as phase4
from studies.pruning import record as pruning

TOKENS = Path("tokens")


@pytest.fixture(scope="module")
def phase4_runs():
    blocks = phase4.blocks(load_study(phase4.STUDY), TOKENS)
    return [run for block in blocks.values() for run in block]


def test_the_curves_for_pruners_cover_what_is_asked_of_them():
    runs = pruning.runs(TOKENS)
    assert len({recording.key_of(run) for run in runs}) == len(runs) >= 150
    assert {run.arm for run in runs} == set(pruning.BLOCKS)
    for width in (32, 64, 128, 256):
        for seed in (0, 1):
            dense = sorted(
                run.learning_rate
                for run in runs
                if (run.hidden_size, run.seed, run.arm) == (width, seed, "adamw-two-stage")
            )
            assert len(dense) >= 12
            ratios = [b / a for a, b in itertools.pairwise(dense)]
            assert all(ratio == pytest.approx(2**0.5, rel=1e-3) for ratio in ratios)
            assert dense[0] * 8 < pruning.BEST[width] < dense[-1] / 8


def test_no_two_phase_4_runs_are_the_same(phase4_runs):
    assert len({recording.key_of(run) for run in phase4_runs}) == len(phase4_runs)
    arms = {run.arm for run in phase4_runs}
    assert {"base", "adaptive-warmup", "two-stage", "threshold-adamw", "threshold-adam-l2", "base-50k"} <= arms
    assert {run.hidden_size for run in phase4_runs} >= {64, 128, 192, 256, 512, 1024}


def test_populations_hold_runs_of_one_shape_and_no_run_twice(phase4_runs):
    plan = recording.groups(phase4_runs, members=64, memory=15e9, mixed=True)
    assert sorted(recording.key_of(run) for group in plan for run in group) == sorted(
        map(recording.key_of, phase4_runs)
    )
    for group in plan:
        assert len(group) <= 64
        assert len({(run.hidden_size, run.steps, run.tokens, run.options["batch"]) for run in group}) == 1
        assert recording.cost(group).memory <= 15e9
    assert plan[0][0].arm == "base", "the most important first"
    apart = recording.groups(phase4_runs, members=64, memory=15e9, mixed=False)
    assert all(len({(run.seed, str(run.options)) for run in group}) == 1 for group in apart)


def test_a_run_is_known_by_its_record():
    run = phase4.blocks(load_study(phase4.STUDY), TOKENS)["arms"][3]
    log = recording._Log(deadline=float("inf"))
    log.report(Report(100, 5.0, 0.3, {"distinct": 7.0}))
    log.report(Report(run.steps, 4.123456789, 0.4, {"distinct": 9.0}))
    record = recording._record(run, 3, log, 1.0, "cpu", 1)
    assert recording.key_of(from_json(to_json(record))) == recording.key_of(run)
    assert (record.status, record.loss, record.curve["distinct"]) == ("finished", 4.1235, [7.0, 9.0])
    assert record.options == {"clip": 0.1, "tokens": "stdlib-8192"}
