"""A trainer whose best rate falls as 1/width as set, and stays under µP."""

import math

from lrtune.trainer.trial import Trial


def best_rate(hidden_size: int, parametrization: str) -> float:
    return 0.3 / hidden_size if parametrization == "standard" else 0.3 / 32


def train(trial: Trial) -> None:
    """Falls to a parabola in log rate, 0.1 nats an octave."""
    kind = str(trial.options["parametrization"])
    octaves = math.log2(trial.learning_rate / best_rate(trial.hidden_size, kind))
    end = (
        4.0
        - 0.01 * math.log2(trial.hidden_size)
        + 0.1 * octaves**2
        + 0.0005 * math.sin(1e4 * trial.learning_rate + 37 * trial.seed)
    )
    trial.describe(parameters=12 * trial.hidden_size**2, tokens_per_step=100)
    for step in range(0, trial.steps + 1, trial.report_every):
        if not trial.report(step, loss=end + (7 - end) * (1 - step / trial.steps) ** 2):
            return
