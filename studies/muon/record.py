"""Muon's rate × AdamW's rate at three widths: what is the best pair, and how does each rate move with the width?

    python -m studies.muon.record --tokens .tokens --out OUT --device cpu --members 1

A grid of both rates, a factor of 4 apart, with seed 0; around the best pair of each width a factor of 2 apart, with two
seeds. AdamW's rate is a knob of its own, not a ratio. With --held-out instead: two further widths around the pair
that a rule of the others says, to judge that rule by (`studies.muon.check`).
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
# Doublings of Muon's rate from 0.04 and of AdamW's from 0.02, in steps of two.
COARSE = {
    32: (range(-11, 6, 2), range(-3, 4, 2)),
    64: (range(-11, 2, 2), range(-3, 2, 2)),
    128: (range(-11, 2, 2), range(-3, 2, 2)),
}
# Width and pair, in these doublings, around which two seeds are recorded, one doubling to either side: the best of the
# coarse grid, and the best of a first, shorter one.
NEAR = ((32, -1, 1), (32, -5, 1), (64, -5, -1), (128, -5, -1))
# The pairs that the rule of the three widths answers, rounded; recorded to a factor of 4 and 2 either side.
HELD_OUT = {256: (0.0007, 0.006), 96: (0.001, 0.0125)}


def pair(muon: int, adam: int) -> tuple[float, float]:
    """Muon's and AdamW's rate."""
    return 0.04 * 2.0**muon, 0.02 * 2.0**adam


def run(tokens: Path, hidden_size: int, rate: float, adam_lr: float, seed: int) -> Run:
    """One run."""
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
    """All runs, those of the coarse grid first."""
    coarse = [run(tokens, width, *pair(m, a), 0) for width, (muon, adam) in COARSE.items() for m in muon for a in adam]
    near = [
        run(tokens, width, *pair(muon + m, adam + a), seed)
        for width, muon, adam in NEAR
        for seed in (0, 1)
        for m in (-1, 0, 1)
        for a in (-1, 0, 1)
    ]
    return list({key_of(one): one for one in coarse + near}.values())


def held_out(tokens: Path) -> list[Run]:
    """Nine pairs at each width of `HELD_OUT`, with a seed that the others do not have."""
    return [
        run(tokens, width, rate * 4.0**m, adam_lr * 2.0**a, 2)
        for width, (rate, adam_lr) in HELD_OUT.items()
        for m in (0, -1, 1)
        for a in (0, -1, 1)
    ]


if __name__ == "__main__":
    parser = arguments("Record a grid of Muon's and AdamW's rate.")
    parser.add_argument("--held-out", action="store_true", help="the widths that the rule is judged by")
    flags = parser.parse_args()
    main((held_out if flags.held_out else runs)(flags.tokens), flags)
