"""lrtune verify: two rates side by side, written beside the rule that was verified."""

import json
import re
from dataclasses import replace

import pytest
from builders import finished_run, knob_rule, power_rule

from lrtune.compare import verify as module
from lrtune.compare.arms import ArmResult
from lrtune.compare.effects import ArmsComparison
from lrtune.compare.run import tasks
from lrtune.compare.verify import Verification, rows, run_verification, texts, verdict_line, verification_study
from lrtune.errors import InputError
from lrtune.law.fit import fit_law
from lrtune.rule import Scale, load_rule, save_rule
from lrtune.study.study import Study
from lrtune.study.toml import parse_study
from lrtune.trainer.complete import complete
from lrtune.trainer.find import trainer_of

# At 64 the packaged rule says about 0.03; the analytic optimum is 0.3 / 64 = 0.005.
STUDY = Study(widths=(999,), steps=40, report_every=10, seeds=2, trainer="analytic:train", pruner="collapse")
STUCK = Study(widths=(64,), steps=40, report_every=2, trainer="collapsing:train", options={"optimizer": "l2"})


@pytest.fixture
def rule_file(tmp_path):
    save_rule(load_rule(), tmp_path / "rule.json")
    return tmp_path / "rule.json"


def test_a_study_that_verified_its_target_can_be_verified_again(rule_file):
    study = replace(STUDY, targets=({"hidden_size": 64.0},), verify_at_target=True)
    planned = verification_study(64, study, load_rule(rule_file))
    assert complete(planned, trainer_of(planned)).widths == (64,)


@pytest.mark.slow
def test_a_verification_is_written_beside_its_rule_and_keeps_what_is_there(tmp_path, rule_file):
    beside = tmp_path / "verification.json"
    beside.write_text('{"schema": 1, "check": {"regret": 0.01}, "verify": {"32": {"holds": true}}}')
    before = rule_file.read_bytes()
    done = run_verification(64, STUDY, tmp_path / "run", rule=rule_file, baseline=0.2, engine="inline")
    written = json.loads(beside.read_text())
    assert rule_file.read_bytes() == before
    assert done.path == beside
    assert written["check"] == {"regret": 0.01}
    assert set(written["verify"]) == {"32", "64"}
    mine = written["verify"]["64"]
    assert mine["gain"] == pytest.approx(done.gain) and mine["gain"] > 0 and mine["holds"]
    assert [run["seed"] for run in mine["arms"]["recommended"]["runs"]] == [1000, 1001]
    assert mine["arms"]["baseline"]["runs"][0]["curve"]["step"] == [0, 10, 20, 30, 40]
    # Another baseline in the same folder: the former one's runs do not mix in.
    other = run_verification(64, STUDY, tmp_path / "run", rule=rule_file, baseline=0.005, engine="inline")
    assert other.gain is not None and other.gain < 0 and not other.holds
    assert verdict_line(other).startswith("no: baseline, 0.005, is better than the advice; baseline ends ")


@pytest.mark.slow
def test_a_collapsed_run_does_not_hold_and_its_text_is_shown(tmp_path, rule_file):
    done = run_verification(64, STUCK, tmp_path / "run", rule=rule_file, engine="inline")
    assert not done.holds
    assert any("the the the the" in text for text in texts(done).values())
    assert [row[-1] for row in rows(done)[1]] == ["collapsed"] * 3
    assert verdict_line(done).startswith("no: runs at the recommended rate 0.0")
    assert " ended collapsed; " in verdict_line(done)


def test_what_was_interrupted_is_not_written(tmp_path, rule_file, monkeypatch):
    stopped = ArmsComparison(arms=[], effects=[], stop_reason="interrupted", interrupted=2)
    monkeypatch.setattr(module, "train_arms", lambda *arguments, **options: stopped)
    assert run_verification(64, STUDY, tmp_path / "run", rule=rule_file).interrupted == 2
    assert not (tmp_path / "verification.json").exists()


@pytest.mark.slow
def test_without_a_baseline_half_and_double_are_tried(tmp_path, rule_file):
    """The analytic optimum at 64 is near 0.005; the packaged rule says 0.03, whose half is nearer."""
    done = run_verification(64, STUDY, tmp_path / "run", rule=rule_file, engine="inline")
    rates = {arm.name: arm.learning_rate for arm in done.arms}
    assert rates["half"] == pytest.approx(rates["recommended"] / 2) == pytest.approx(rates["double"] / 4)
    assert done.best_other is not None and done.best_other.name == "half"
    assert not done.holds and verdict_line(done).startswith("no: half, 0.0")
    assert re.search(r"half ends \d+\.\d+% below, double ends \d+\.\d+% above \(noise of 2 seeds: ", verdict_line(done))


@pytest.mark.slow
def test_the_packaged_rule_is_not_written_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_verification(64, STUDY, tmp_path / "run", engine="inline")
    assert done.path == tmp_path / "run" / "verification.json"


def test_the_bundled_trainer_runs_both_stages_and_writes_a_sample():
    study = verification_study(64, Study(options={"schedule": "constant", "depth": 2}), load_rule())
    assert study.options == {"sample_tokens": 80, "schedule": "two-stage", "depth": 2}
    assert (study.widths, study.pruner, list(study.arms)) == ((64,), "none", ["recommended", "half", "double"])


def test_scales_and_length_are_those_of_the_rule_and_there_are_two_seeds():
    runs = [
        finished_run(
            width,
            0.3 / width * 2.0**octave,
            4 + 0.1 * octave**2,
            steps=int(steps),
            scales={"steps": steps, "rank": rank},
        )
        for width in (32, 64)
        for steps, rank in ((100.0, 4.0), (200.0, 4.0), (200.0, 8.0))
        for octave in (-1, 0, 1)
    ]
    rule = fit_law(runs, scales=("hidden_size", "steps", "rank")).rule
    plain = Study(trainer="analytic:train", seeds=1, scales={"steps": (100.0, 200.0), "rank": (4.0, 8.0)})
    study = verification_study(64, plain, rule, scales={"rank": 8.0})
    assert (study.steps, study.seeds, dict(study.scales)) == (200, 2, {"rank": (8.0,)})
    assert {task.scales["rank"] for task in tasks(study)} == {8.0}
    assert verification_study(64, plain, rule, scales={"rank": 8.0, "steps": 150.0}).steps == 150
    assert verification_study(64, replace(plain, scales={}, steps=120), rule, scales={"rank": 8.0}).steps == 120
    with pytest.raises(InputError, match="rank: expected a value, since this rule was measured over"):
        verification_study(64, plain, rule)


def test_runs_of_equal_tokens_are_verified_with_the_steps_of_their_batch():
    """Those of a study with one count of tokens and several batches: 100 steps at 1,000 tokens, 25 at 4,000."""
    base = power_rule()
    assert base.law is not None
    line = base.law._replace(exponents=((0, 0), (1, 0), (0, 1)))
    cells = tuple(cell._replace(scales={**cell.scales, "batch_tokens": 4000.0}) for cell in base.cells)
    scales = {**base.scales, "batch_tokens": Scale(1000.0, 4000.0, 2000.0)}
    horizon = {"tokens": 1e5, "steps": 100.0}
    rule = base._replace(law=line, cells=cells, scales=scales, conditions={"tokens": 1e5}, horizon=horizon)
    study = replace(STUDY, steps=100, scales={"tokens": (1e5,), "batch_tokens": (1000.0, 4000.0)})
    assert verification_study(64, study, rule, scales={"batch_tokens": 4000.0}).steps == 25
    assert verification_study(64, study, rule, scales={"batch_tokens": 4000.0, "steps": 50.0}).steps == 50


def result(learning_rate, losses):
    records = {
        seed: finished_run(64, learning_rate, loss, trial=seed, seed=seed, steps=10) for seed, loss in enumerate(losses)
    }
    return ArmResult(
        name={0.01: "recommended", 0.005: "half", 0.02: "double"}[learning_rate],
        learning_rate=learning_rate,
        hidden_size=64,
        steps=10,
        departures={},
        records=records,
        outcomes=dict.fromkeys(records, "healthy"),
        phases={},
    )


@pytest.mark.parametrize(
    ("middle", "half", "holds", "words"),
    [
        ((3.00, 3.01), (3.10, 3.11), True, "yes: the recommended rate 0.01 is the best of those tried"),
        ((3.00, 3.01), (2.99, 3.00), True, "yes, as far as the noise and the tolerance of 1.00% tell"),
        ((3.00, 3.40), (2.80, 3.20), True, "yes, as far as the noise"),
        ((3.00, 3.01), (2.80, 2.81), False, "no: half, 0.005, is better than the advice"),
    ],
)
def test_the_verdict_weighs_the_noise_of_the_seeds(tmp_path, middle, half, holds, words):
    arms = [result(0.01, middle), result(0.005, half), result(0.02, (3.5, 3.51))]
    done = Verification(
        hidden_size=64,
        advice=load_rule("packaged").recommend(64, tokens=1e6),
        tolerance=0.01,
        arms=arms,
        known=0,
        path=tmp_path / "v.json",
    )
    assert done.holds is holds and verdict_line(done).startswith(words)
    assert verdict_line(replace(done, known=2)).startswith("no verdict: the rule was fitted to 2 of these runs")


def test_a_measure_to_maximise_is_shown_as_the_trainer_reported_it(tmp_path):
    arms = [result(0.01, (-0.9, -0.91)), result(0.005, (-0.8, -0.81)), result(0.02, (-0.7, -0.71))]
    arms = [replace(arm, records={n: replace(run, maximize=True) for n, run in arm.records.items()}) for arm in arms]
    advice = load_rule("packaged").recommend(64, tokens=1e6)
    done = Verification(hidden_size=64, advice=advice, tolerance=0.01, arms=arms, known=0, path=tmp_path / "v.json")
    assert "half ends 12.42% below, double ends 28.37% below" in verdict_line(done) and done.holds
    header, lines = rows(done)
    assert header[2] == "final measure" and lines[1][:3] == ["recommended", "0.01", "0.905 ± 0.0071"]


def test_the_seeds_are_not_those_of_the_search_unless_asked_for():
    assert verification_study(64, STUDY, load_rule()).seed == 1000
    assert verification_study(64, STUDY, load_rule(), seed=0).seed == 0


@pytest.mark.parametrize(
    ("hidden_size", "arguments", "words"),
    [
        (64, {"rule": "no-such-rule.json"}, "no-such-rule.json: cannot read the rule"),
        (64, {"baseline": 0.0}, "baseline: expected a positive learning rate"),
        (64, {"baseline": float("nan")}, "baseline: expected a positive learning rate"),
        (0, {}, "hidden_size: expected a positive whole number"),
    ],
)
def test_bad_input_starts_nothing(tmp_path, hidden_size, arguments, words):
    with pytest.raises(InputError, match=words):
        run_verification(hidden_size, STUDY, tmp_path / "run", engine="inline", **arguments)
    assert not (tmp_path / "run").exists()


def test_a_second_rate_keeps_its_best_ratio_in_each_arm() -> None:
    knobs = parse_study('[knobs]\nadam_lr = "0.01..4*learning_rate"').knobs
    planned = tasks(verification_study(64, replace(STUDY, knobs=knobs), knob_rule()))
    assert {task.arm for task in planned} == {"recommended", "half", "double"}
    for task in planned:
        assert task.knobs["adam_lr"] / task.learning_rate == pytest.approx(0.25, rel=0.1)
