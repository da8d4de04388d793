"""A trainer that collapses by formula: with coupled decay it is stuck, until a second stage lifts the decay."""

import difflib

from lrtune.errors import InputError
from lrtune.trainer.trial import Trial

ENTROPY, VOCABULARY = 6.0, 8192
KNOWN = ("optimizer", "stages", "smoothing")
column_titles = {"distinct": "Distinct answers", "never": "A column that it does not report"}


def check(study) -> None:
    for name in study.arms:
        for key in study.arm(name).options:
            if key not in KNOWN:
                near = difflib.get_close_matches(key, KNOWN, n=1)
                raise InputError(f"arms.{name}: options: unknown key {key!r}; did you mean {near[0]!r}?")


def train(trial: Trial) -> None:
    """Stuck at 7.0 with one answer, or from 9.0 to about 5.0 with many; smoothing changes nothing but noise."""
    half = trial.steps // 2
    stages = bool(trial.options.get("stages"))
    trial.describe(
        parameters=1000,
        tokens_per_step=10,
        vocabulary_size=VOCABULARY,
        unigram_entropy=ENTROPY,
        regime_changes=[half] if stages else [],
    )
    noise = 0.01 * (trial.seed % 3 - 1) * (1.3 if trial.options.get("smoothing") else 1.0)
    for step in range(0, trial.steps + 1, trial.report_every):
        stuck = trial.options.get("optimizer") == "l2" and not (stages and step > half)
        loss = 7.0 if stuck else 9.0 - 4.0 * step / trial.steps
        value = 0.02 if stuck else 0.5
        if not trial.report(step, loss=loss + noise, diversity=value + noise / 10, distinct=2 if stuck else 14):
            return
    trial.attach("sample", "the the the the" if stuck else "def main(): return 0")
