"""Dense sweeps beside the reference study: what its rule is held against, and how the optimum moves.

    python -m studies.reference.record --tokens .tokens --out OUT --seconds 500

None of these runs is seen by the fit. ``width`` blocks are sweeps at the study's horizon, √2 apart, at widths between
and beyond those of studies/pruning (which holds 32, 64, 128 and 256 under the same settings); ``horizon`` blocks have
four times the tokens; ``prose`` blocks have another corpus.
"""

from pathlib import Path

from studies.pruning.record import OPTIONS, rate
from studies.recording import Run, arguments, main

SEEDS = (0, 1)
STEPS, REPORTS = 800, 20
# arm: (hidden size, lowest and highest rate as half octaves from 0.01, steps, token folder)
BLOCKS = {
    "width": [
        (512, -10, -1, STEPS, "stdlib-1024"),
        (1024, -12, -4, STEPS, "stdlib-1024"),
        (384, -9, 0, STEPS, "stdlib-1024"),
        (192, -7, 3, STEPS, "stdlib-1024"),
        (96, -4, 5, STEPS, "stdlib-1024"),
        (48, -2, 8, STEPS, "stdlib-1024"),
    ],
    "horizon": [
        (32, -1, 8, 4 * STEPS, "stdlib-1024"),
        (64, -4, 5, 4 * STEPS, "stdlib-1024"),
        (128, -7, 2, 4 * STEPS, "stdlib-1024"),
        (256, -9, 0, 4 * STEPS, "stdlib-1024"),
        (512, -11, -3, 4 * STEPS, "stdlib-1024"),
    ],
    "prose": [
        (64, -4, 5, STEPS, "prose-1024"),
        (128, -6, 3, STEPS, "prose-1024"),
        (256, -8, 0, STEPS, "prose-1024"),
    ],
}
_ORDER = ("width", "prose", "horizon")


def runs(tokens: Path) -> list[Run]:
    """All runs, the most telling blocks first."""
    return [
        Run(
            arm=arm,
            hidden_size=hidden_size,
            learning_rate=rate(half_octaves),
            seed=seed,
            steps=steps,
            report_every=steps // REPORTS,
            tokens=tokens / corpus,
            options=OPTIONS,
        )
        for arm in _ORDER
        for hidden_size, low, high, steps, corpus in BLOCKS[arm]
        for seed in SEEDS
        for half_octaves in range(low, high + 1)
    ]


if __name__ == "__main__":
    flags = arguments("Record dense sweeps to hold the reference rule against.").parse_args()
    main(runs(flags.tokens), flags)
