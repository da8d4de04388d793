"""Dense sweeps over width, steps and batch: the surface that joint searches and joint laws are tried on.

    python -m studies.joint.record --tokens .tokens --out OUT --seconds 500 --jobs 2

Settings are those of studies/pruning (AdamW, two-stage), so that its sweeps and those of studies/reference at batches
of 1,024 tokens and 800 or 3,200 steps belong to the same grid; they are not made again. Rates are √2 apart, two seeds
each.
"""

import math
from pathlib import Path

from studies.pruning.record import OPTIONS, rate
from studies.recording import Run, arguments, main

CONTEXT = 64
SEEDS = (0, 1)
REPORTS = 20
# Best rate at 800 steps of 1,024 tokens, as measured before; √batch and tokens^-0.3 place the other sweeps.
BEST = {32: 0.062, 64: 0.018, 128: 0.0068, 256: 0.0029}
# (batch in tokens, steps), the most telling first; half octaves to either side of the guessed best
BLOCKS = [
    (1024, 400, 4),
    (1024, 1600, 4),
    (256, 400, 5),
    (256, 800, 5),
    (256, 1600, 5),
    (4096, 800, 5),
    (256, 3200, 5),
    (4096, 400, 5),
    (4096, 1600, 5),
    (4096, 3200, 5),
]


def centre(hidden_size: int, batch_tokens: int, steps: int) -> int:
    """The half octave from 0.01 at which a sweep is centred."""
    guess = BEST[hidden_size] * math.sqrt(batch_tokens / 1024) * (steps / 800) ** -0.3
    return round(2 * math.log2(guess / 0.01))


def runs(tokens: Path) -> list[Run]:
    """All runs, block by block."""
    return [
        Run(
            arm="joint",
            hidden_size=hidden_size,
            learning_rate=rate(centre(hidden_size, batch_tokens, steps) + n),
            seed=seed,
            steps=steps,
            report_every=steps // REPORTS,
            tokens=tokens / "stdlib-1024",
            options={**OPTIONS, "batch": batch_tokens // CONTEXT},
        )
        for batch_tokens, steps, reach in BLOCKS
        for hidden_size in BEST
        for seed in SEEDS
        for n in range(-reach, reach + 1)
    ]


if __name__ == "__main__":
    flags = arguments("Record dense sweeps over width, steps and batch.").parse_args()
    main(runs(flags.tokens), flags)
