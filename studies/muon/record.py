"""Muon's rate × AdamW's rate at three widths: what is the best pair, and how does each rate move with the width?

    python -m studies.muon.record --tokens .tokens --out OUT --device cpu --members 1

A grid of both rates, a factor of 2 apart, with seed 0; around the best pair of each width seed 1 as well. AdamW's rate
is a knob of its own, not a ratio. Runs are short, so that the whole study takes a quarter of an hour of one core.
"""

from pathlib import Path
from typing import Any

from studies.recording import Run, arguments, key_of, main

OPTIONS: dict[str, Any] = {
    "depth": 2,
    "context": 32,
    "batch": 8,
    "schedule": "wsd",
    "weight_decay": 0.1,
    "final_tokens": 32_768,
}
STEPS, REPORTS = 300, 6
WIDTHS = (32, 64, 128)
MUON = range(-3, 4)  # doublings from 0.16
ADAM = range(-3, 4)  # doublings from 0.02
# The best pair of each width with seed 0, in these doublings: seed 1 is recorded within one doubling of it.
BEST: dict[int, tuple[int, int]] = {}


def pair(muon: int, adam: int) -> tuple[float, float]:
    """Muon's and AdamW's rate."""
    return 0.16 * 2.0**muon, 0.02 * 2.0**adam


def run(tokens: Path, hidden_size: int, muon: int, adam: int, seed: int) -> Run:
    """One run."""
    rate, adam_lr = pair(muon, adam)
    return Run(
        arm="muon",
        hidden_size=hidden_size,
        learning_rate=rate,
        seed=seed,
        steps=STEPS,
        report_every=STEPS // REPORTS,
        tokens=tokens / "stdlib-1024",
        options={**OPTIONS, "optimizer": "muon"},
        base=OPTIONS,
        knobs={"adam_lr": adam_lr},
    )


def runs(tokens: Path) -> list[Run]:
    """All runs: every other rate of every width first, then what is near the best, then the rest of the grid."""
    coarse = [run(tokens, width, m, a, 0) for width in WIDTHS for m in MUON[::2] for a in ADAM[::2]]
    near = [
        run(tokens, width, best[0] + m, best[1] + a, seed)
        for seed in (0, 1)
        for width, best in BEST.items()
        for m in (-1, 0, 1)
        for a in (-1, 0, 1)
    ]
    rest = [run(tokens, width, m, a, 0) for width in WIDTHS for m in MUON for a in ADAM]
    return list({key_of(one): one for one in coarse + near + rest}.values())


if __name__ == "__main__":
    flags = arguments("Record a grid of Muon's and AdamW's rate.").parse_args()
    main(runs(flags.tokens), flags)
