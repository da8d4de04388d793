"""The Phase 4 study: its arms train as they are written, and the README's claims hold in the records beside it."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="bitnet needs torch")
np = pytest.importorskip("numpy")

from lrtune.compare.arms import gather_arms  # noqa: E402
from lrtune.compare.effects import effects  # noqa: E402
from lrtune.compare.run import cost, run_comparison  # noqa: E402
from lrtune.law.fit import fit_law  # noqa: E402
from lrtune.rule import recommend  # noqa: E402
from lrtune.study.toml import load_study  # noqa: E402
from studies.phase4 import tables  # noqa: E402
from studies.phase4.record import STUDY  # noqa: E402

pytestmark = pytest.mark.slow

VOCABULARY = 32
# One arm for each kind of change.
KINDS = ("base", "smoothing", "clip", "adaptive-warmup", "adamw", "no-decay", "two-stage", "batch-equal-tokens")
SMALL = {"depth": 1, "head_size": 8, "ffn_size": 16, "context": 8, "warmup_steps": 2, "report_tokens": 160}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study at a thousandth of its size, on a text that counts upwards."""
    folder = tmp_path_factory.mktemp("tokens")
    meta = {"schema": 1, "vocabulary_size": VOCABULARY, "dtype": "<u2", "fingerprint": "f" * 16, "facts": {}}
    for name, count in (("train", 3000), ("validation", 900)):
        (np.arange(count) * 7 % VOCABULARY).astype("<u2").tofile(folder / f"{name}.bin")
        meta[name] = count
    (folder / "meta.json").write_text(json.dumps(meta))
    whole = load_study(STUDY)
    shorter = {"warmup_steps": 3, "steps": 4, "seeds": 1}
    arms = {name: {key: shorter.get(key, value) for key, value in arm.items()} for name, arm in whole.arms.items()}
    arms = {name: arms[name] for name in KINDS}
    options = {**whole.options, **SMALL, "tokens": str(folder), "final_tokens": 160}
    return replace(whole, widths=(16,), steps=4, report_every=2, seeds=1, options=options, arms=arms)


def test_every_kind_of_arm_trains_on_a_cpu(study, tmp_path):
    assert cost(load_study(STUDY)).startswith("57 runs of 24 arms at hidden size 256: 214,000 optimizer steps")
    assert cost(study) == "8 runs of 8 arms at hidden size 16: 32 optimizer steps in all"
    done = run_comparison(study, tmp_path / "run", engine="inline", device="cpu")
    assert [arm.name for arm in done.arms] == list(study.arms)
    assert all(record.status == "finished" for arm in done.arms for record in arm.records.values())
    two_stage = next(arm for arm in done.arms if arm.name == "two-stage")
    assert two_stage.records[0].facts.regime_changes == (2,)
    text = (tmp_path / "run" / "compare.md").read_text()
    assert "| weight_decay | 0.1 → 0.0 | base → no-decay | 1 | not repeated" in text


@pytest.fixture(scope="module")
def recorded():
    return tables.load()


def test_weight_decay_in_the_gradient_decides_and_the_rate_does_not(recorded):
    study = load_study(STUDY)
    arms = gather_arms([record for record in recorded if record.arm in study.arms])
    found = {(effect.before, effect.after): effect for effect in effects(arms, study.options)}
    for changed in ("no-decay", "adamw"):
        on_loss = found["base", changed].loss.counted
        assert on_loss is not None and on_loss < -3.5
    for pair in (("no-decay", "adamw-no-decay"), ("base", "smoothing"), ("base", "clip"), ("base", "adaptive-warmup")):
        assert found[pair].loss.counted is None
    ended = {arm.name: set(arm.outcomes.values()) for arm in arms}
    assert ended["lower-rate"] == {"collapsed"}
    assert ended["adamw"] == ended["adamw-lower-rate"] == {"healthy"}


def test_coupled_decay_learns_at_no_rate_and_adamw_up_to_its_boundary(recorded):
    coupled = tables.sweep(recorded, "threshold-adam-l2")
    assert len(coupled) >= 104 and all(run.status == "collapsed" for run in coupled)
    fit = fit_law(tables.sweep(recorded, "threshold-adamw"))
    assert fit.rule.boundary is not None and fit.rule.boundary.line.coefficients[1] < 0
    assert recommend(256, rule=fit.rule).learning_rate < recommend(64, rule=fit.rule).learning_rate
    cell = next(cell for cell in fit.cells if cell.scales["hidden_size"] == 256)
    assert 0.0004 < cell.learning_rate < 0.0008


def test_the_counts_are_listed_with_those_of_the_write_up(recorded):
    text = tables.counts(recorded)
    assert "| base | 19, 9, 4, 2 | 4.67, 4.67, 4, 4.67 |" in text
    assert "| lower-rate-50k | 3, 10, 14, 18 | 3, 2, 2, 4 |" in text
