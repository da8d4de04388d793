"""Best rate by width, as set and under µP: how well does the smallest width's rate do at the largest?

    python -m studies.mup.record --tokens .tokens --out OUT --device cpu --members 1

AdamW. Both parametrizations are the same at hidden 32, the base width. Rates √2 apart, two seeds; models and runs are
those of studies/muon.
"""

from pathlib import Path

from studies.muon.record import OPTIONS, REPORTS, STEPS
from studies.pruning.record import rate
from studies.recording import Run, arguments, main

BASE = {**OPTIONS, "optimizer": "adamw"}
SEEDS = (0, 1)
# Where each sweep is centred: the rate with the lowest loss, in half octaves from 0.01.
CENTRES = {
    ("standard", 32): 4,
    ("standard", 64): 2,
    ("standard", 128): -1,
    ("standard", 256): -3,
    ("mup", 64): 4,
    ("mup", 128): 4,
    ("mup", 256): 4,
}
REACH = 4  # half octaves to either side


def runs(tokens: Path) -> list[Run]:
    """All runs: every other rate with one seed, then with the other, then the rates between them.

    Every sweep also has the best rate of hidden size 32, which is to be carried.
    """
    carried = CENTRES["standard", 32]
    every_other, between = range(-REACH, REACH + 1, 2), range(1 - REACH, REACH, 2)
    return [
        Run(
            arm=kind,
            hidden_size=hidden_size,
            learning_rate=rate(n),
            seed=seed,
            steps=STEPS,
            report_every=STEPS // REPORTS,
            tokens=tokens / "stdlib-1024",
            options={**BASE, **({"parametrization": "mup"} if kind == "mup" else {})},
            base=BASE,
        )
        for some in (every_other, between)
        for seed in SEEDS
        for (kind, hidden_size), centre in CENTRES.items()
        for n in sorted({*(centre + off for off in some), *([carried] if some is every_other else [])})
    ]


if __name__ == "__main__":
    flags = arguments("Record sweeps of the rate under both parametrizations.").parse_args()
    main(runs(flags.tokens), flags)
