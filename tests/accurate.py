"""A trainer that reports accuracy: a formula of which more is better."""

import math

from lrtune.trainer.trial import Trial


def train(trial: Trial) -> None:
    """Rises to 0.9 less 0.02 for each squared octave from the best rate, 0.3 / hidden_size."""
    octaves = math.log2(trial.learning_rate * trial.hidden_size / 0.3)
    best = 0.9 / (1 + 0.02 * octaves**2) + 0.0003 * math.sin(1e4 * trial.learning_rate)
    for step in range(0, trial.steps + 1, trial.report_every):
        if not trial.report(step, loss=best * (0.1 + 0.9 * step / trial.steps)):
            return
