"""Coordinate check: how large are the logits at the start, and how far do three updates move them, at five widths?

    python -m studies.mup.coordinates

Models of two layers on random tokens, learning rate 0.01, mean of two seeds; under Muon, AdamW's rate is 0.003.
"""

from typing import get_args

import numpy as np
import torch

from bitnet.model.decoder import hidden_states, logits
from bitnet.settings.config import ModelConfig
from bitnet.settings.options import Optimizer
from bitnet.settings.parametrization import BASE_WIDTH, Kind, factors
from bitnet.settings.schedule import Schedule
from bitnet.training.population import Member, Population
from bitnet.training.steppers import stepper_for

WIDTHS = (32, 64, 128, 256, 512)
VOCABULARY, STEPS = 64, 3
DATA = np.random.default_rng(0).integers(0, VOCABULARY, (8, 16, 33))


def sizes(width: int, kind: Kind, optimizer: Optimizer, seed: int) -> tuple[float, float]:
    """RMS of the logits at the start, and of their change."""
    config = ModelConfig(hidden_size=width, vocabulary_size=VOCABULARY, depth=2)
    member = Member(seed=seed, schedule=Schedule(peak=0.01, steps=1000), optimizer=optimizer, adam_ratio=0.3, clip=1.0)
    stepper = stepper_for("cpu", muon=optimizer == "muon")
    own = factors(kind, width, BASE_WIDTH)
    one = Population(config, [member], lambda seed, step: DATA[step % 8], stepper=stepper, factors=own)
    ids = torch.from_numpy(DATA[0])[None, :, :-1]
    seen = []
    for steps in (0, STEPS):
        one.make_steps(steps)
        states = hidden_states(one.parameters, ids, config, arithmetic=one.arithmetic)
        seen.append(logits(states, one.parameters["head"]))
    return seen[0].square().mean().sqrt().item(), (seen[1] - seen[0]).square().mean().sqrt().item()


def main() -> None:
    torch.set_num_threads(1)
    print(f"| optimizer | parametrization | {' | '.join(f'hidden {width}' for width in WIDTHS)} |")
    print("|---" * (len(WIDTHS) + 2) + "|")
    optimizers: tuple[Optimizer, ...] = ("adamw", "muon")
    for optimizer in optimizers:
        for kind in get_args(Kind):
            pairs = [np.mean([sizes(width, kind, optimizer, seed) for seed in (0, 1)], axis=0) for width in WIDTHS]
            cells = [f"{start:.3f}, {change:.3f}" for start, change in pairs]
            print(f"| {optimizer} | {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
