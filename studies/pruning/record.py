"""Full curves, nothing pruned: four widths, two seeds, rates from too low to diverging, two optimizers, two schedules.

    python -m studies.pruning.record --tokens .tokens --out OUT --seconds 400 --jobs 4

The first block (AdamW, two-stage) is a dense grid, √2 apart and at least three octaves to either side of each
width's best rate: searches are replayed on it. The other three are twice as coarse: pruners are judged on all four.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.recording import Run, arguments, main

# Best rate of AdamW, two-stage, at 600 steps, as first measured at 32, 64 and 128; at 256 extrapolated.
BEST = {32: 0.08, 64: 0.032, 128: 0.014, 256: 0.007}
SEEDS = (0, 1)
STEPS, REPORTS = 800, 40
OPTIONS = {"optimizer": "adamw", "schedule": "two-stage", "weight_decay": 0.1, "weight_decay_stage2": 0.0}
# The same line of learning rates without the jump at half time: stage 2 is stage 1.
ONE_STAGE = {"stage2_ratio": 1.0, "weight_decay_stage2": 0.1}
BLOCKS: dict[str, dict[str, Any]] = {
    "adamw-two-stage": {},
    "adam-l2-two-stage": {"optimizer": "adam-l2"},
    "adamw-one-stage": ONE_STAGE,
    "adam-l2-one-stage": {"optimizer": "adam-l2", **ONE_STAGE},
}


def rate(half_octaves: int) -> float:
    """The rate on one grid for all widths, √2 apart: 0.01 · 2^(n/2)."""
    return float(f"{0.01 * 2 ** (half_octaves / 2):.4g}")


def rates(hidden_size: int, *, below: float, above: float, every: int) -> list[float]:
    """Grid rates from `below` octaves under the width's best to `above` over it, every so many half octaves."""
    centre = round(2 * math.log2(BEST[hidden_size] / 0.01))
    return [rate(centre + n) for n in range(round(-2 * below), round(2 * above) + 1) if n % every == 0]


def runs(tokens: Path, seeds: Sequence[int] = SEEDS, widths: Sequence[int] = tuple(BEST)) -> list[Run]:
    """All runs, the dense grid first, then seed by seed."""
    found = []
    for block, (arm, change) in enumerate(BLOCKS.items()):
        reach = {"below": 5, "above": 4.5, "every": 1} if block == 0 else {"below": 6, "above": 4, "every": 2}
        found += [
            Run(
                arm=arm,
                hidden_size=hidden_size,
                learning_rate=one,
                seed=seed,
                steps=STEPS,
                report_every=STEPS // REPORTS,
                tokens=tokens / "stdlib-1024",
                options={**OPTIONS, **change},
            )
            for seed in seeds
            for hidden_size in widths
            for one in rates(hidden_size, **reach)
        ]
    return found


if __name__ == "__main__":
    parser = arguments("Record full curves for the comparison of pruners.")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--widths", type=int, nargs="*", default=tuple(BEST), choices=tuple(BEST))
    flags = parser.parse_args()
    main(runs(flags.tokens, flags.seeds, flags.widths), flags)
