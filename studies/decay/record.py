"""Weight decay × rate at two widths, AdamW: does the best decay move with the rate, and the best rate with the decay?

    python -m studies.decay.record --tokens .tokens --out OUT --device cpu --members 1

Decoupled decay, the same over the whole run (schedule wsd). Decays 4 apart and none, rates 2 apart, two seeds; models
and runs are those of studies/muon. Decay is a knob.
"""

from pathlib import Path

from studies.muon.record import REPORTS, STEPS
from studies.mup.record import BASE
from studies.pruning.record import rate
from studies.recording import Run, arguments, main

SEEDS = (0, 1)
DECAYS = (0.0, 0.025, 0.1, 0.4, 1.6, 6.4)
# Where each width's rates are centred, in half octaves from 0.01: the best rate with decay 0.1 in studies/mup.
CENTRES = {32: 4, 128: -1}
RATES = range(-4, 5, 2)


def runs(tokens: Path) -> list[Run]:
    """All runs, one seed first."""
    return [
        Run(
            arm="decay",
            hidden_size=hidden_size,
            learning_rate=rate(centre + n),
            seed=seed,
            steps=STEPS,
            report_every=STEPS // REPORTS,
            tokens=tokens / "stdlib-1024",
            options=BASE,
            base=BASE,
            knobs={"weight_decay": decay},
        )
        for seed in SEEDS
        for hidden_size, centre in CENTRES.items()
        for decay in DECAYS
        for n in RATES
    ]


if __name__ == "__main__":
    flags = arguments("Record weight decay × rate.").parse_args()
    main(runs(flags.tokens), flags)
