"""The replay trainer: surfaces smoothed from records, and runs that follow them."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from builders import finished_run

from lrtune.errors import InputError
from lrtune.records.jsonl import write_records
from lrtune.records.record import TrialRecord
from lrtune.records.replay import check, replay_records, train
from lrtune.records.surface import smooth
from lrtune.study.study import Study
from lrtune.study.toml import parse_study
from lrtune.trainer.find import resolve_trainer
from lrtune.trainer.trial import Facts, Trial

RATES = [2.0 ** (-k / 2) for k in range(4, 24)]


def true_loss(width, rate):
    z = math.log2(rate * width / 2)
    return 4.0 * math.exp(0.01 * z * z)


def make_records(noise=0.003, widths=(32, 64), seeds=(0, 1)):
    rng = np.random.default_rng(0)
    records: list[TrialRecord] = []
    for width in widths:
        for seed in seeds:
            for rate in RATES:
                final = true_loss(width, rate) * math.exp(noise * rng.standard_normal())
                dead = rate > 0.2
                losses = [7.0, None, None] if dead else [7.0, final * 1.1, final]
                records.append(
                    finished_run(
                        width,
                        rate,
                        None if dead else final,
                        trial=len(records),
                        seed=seed,
                        status="diverged" if dead else "finished",
                        curve={"step": [0, 50, 100], "loss": losses},
                        facts=Facts(parameters=width * width, tokens_per_step=8),
                    )
                )
    return records


def test_smoothing_takes_noise_away_and_keeps_the_optimum():
    noise, rng = 0.004, np.random.default_rng(1)
    table = [[true_loss(64, rate) * math.exp(noise * rng.standard_normal()) for _ in range(6)] for rate in RATES]
    surface = smooth(RATES, table)
    assert surface.best_x == pytest.approx(math.log2(2 / 64), abs=0.5)
    x = np.log2([rate for rate in RATES if abs(math.log2(rate * 32)) < 3])
    errors = surface.log_loss(x) - np.log([true_loss(64, 2**at) for at in x])
    assert float(np.abs(errors).max()) < noise
    assert noise / 2 < math.hypot(surface.own, surface.shared) < 2 * noise
    assert surface.regret(2 / 64) < 0.002
    assert surface.regret(8 / 64) == pytest.approx(math.expm1(0.04), rel=0.25)


def run(tmp_path, width, rate, seed, **options):
    path = tmp_path / "records.jsonl"
    if not path.exists():
        write_records(path, make_records())
    reports = []
    trial = Trial(
        hidden_size=width,
        learning_rate=rate,
        seed=seed,
        steps=50,
        report_every=25,
        options={"records": str(path), **options},
        on_report=lambda report: reports.append((report.step, report.loss)) or True,
    )
    train(trial)
    return reports


def test_a_run_follows_the_surface_and_is_a_function_of_width_rate_and_seed(tmp_path):
    reports = run(tmp_path, 64, 0.03, 0)
    assert [step for step, _ in reports] == [0, 25, 50]
    assert reports[-1][1] == pytest.approx(true_loss(64, 0.03), rel=0.02)
    assert reports[0][1] > reports[-1][1]
    assert run(tmp_path, 64, 0.03, 0) == reports
    assert run(tmp_path, 64, 0.03, 1)[-1][1] != reports[-1][1]
    assert math.isnan(run(tmp_path, 64, 0.3, 0)[-1][1])


def test_the_arm_with_most_records_is_replayed_unless_one_is_named():
    few = [replace(record, arm="few", loss=record.loss and 2 * record.loss) for record in make_records(seeds=(0,))]
    many = [replace(record, arm="many") for record in make_records()]
    best = math.log(4.0)
    assert replay_records(few + many).surfaces[32].best_y == pytest.approx(best, abs=0.01)
    assert replay_records(few + many, "few").surfaces[32].best_y == pytest.approx(best + math.log(2), abs=0.01)


@pytest.mark.parametrize(
    ("options", "widths", "message"),
    [
        ({}, (32,), "options.records"),
        ({"records": "R", "arms": "x"}, (32,), "did you mean 'arm'"),
        ({"records": "R"}, (32, 48), r"\[48\]"),
        ({"records": "missing.jsonl"}, (32,), "missing.jsonl"),
    ],
)
def test_bad_studies_are_refused_before_anything_runs(tmp_path, options, widths, message):
    write_records(tmp_path / "R", make_records())
    if options.get("records") == "R":
        options = {**options, "records": str(tmp_path / "R")}
    with pytest.raises(InputError, match=message):
        check(Study(widths=widths, trainer="replay", options=options))


def test_records_without_enough_rates_are_refused():
    with pytest.raises(InputError, match="4 rates"):
        replay_records(make_records()[:3])


def test_the_trainer_is_found_by_its_name():
    assert resolve_trainer("replay").train is train


def with_knobs(widths=(32, 64)):
    """Best at 2 / width and a ratio of 1/4; a decay of zero costs 1%; two seeds of each run."""
    records: list[TrialRecord] = []
    for width in widths:
        for x, r, decay, seed in itertools.product(range(-3, 4), range(-2, 3), (0.0, 0.1), (0, 1)):
            rate = 2.0 / width * 2.0**x
            loss = 4 * math.exp(0.02 * x * x + 0.01 * r * r + 0.01 * (decay == 0) + 0.002 * seed)
            changed = replace(
                make_records()[0], trial=len(records), hidden_size=width, learning_rate=rate, seed=seed, loss=loss
            )
            curve = {"step": [0, 50, 100], "loss": [7.0, loss * (1.1 + 0.1 * r), loss]}
            knobs = {"adam_lr": rate / 4 * 2.0**r, "decay": decay}
            records.append(replace(changed, status="finished", curve=curve, knobs=knobs))
    return records


def test_runs_with_knobs_follow_the_nearest_recorded_ones(tmp_path):
    replay = replay_records(with_knobs())
    best, off = 2 / 32, {"adam_lr": 2 / 32, "decay": 0.1}  # the ratio is two octaves off
    at_best = replay.final(32, best, 0, {"adam_lr": best / 4, "decay": 0.1})
    assert at_best == pytest.approx(4, rel=0.02)
    assert replay.final(32, best, 0, off) == pytest.approx(at_best * math.exp(0.04), rel=0.01)
    assert replay.final(32, best, 0, {"adam_lr": best / 4, "decay": 0.0}) == pytest.approx(at_best * 1.01, rel=0.005)
    assert replay.clouds[32].noise == pytest.approx(0.002 / math.sqrt(2), rel=1e-6)
    reports = replay.course(32, best, 0, [0, 50, 100], 100, off)
    assert reports[1]["loss"] / reports[2]["loss"] == pytest.approx(1.3, rel=0.02)
    assert reports[2]["loss"] == pytest.approx(replay.final(32, best, 0, off))


def test_a_study_needs_the_recorded_knobs(tmp_path):
    write_records(tmp_path / "records.jsonl", with_knobs())
    study = Study(trainer="replay", widths=(32, 64), options={"records": str(tmp_path / "records.jsonl")})
    with pytest.raises(InputError, match="expected those of the recorded runs, adam_lr, decay, but got none"):
        check(study)
    knobs = parse_study("[knobs]\nadam_lr = '0.1..1*learning_rate'\ndecay = '0,0.1..1'").knobs
    check(replace(study, knobs=knobs))
    with pytest.raises(InputError, match="expected the same knobs in all runs"):
        replay_records([*with_knobs((32,)), *make_records(widths=(64,))])
