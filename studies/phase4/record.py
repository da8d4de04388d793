"""The runs behind the answers to the write-up: arms, the threshold, its course over widths, the large vocabulary.

    python -m studies.phase4.record --tokens .tokens --out OUT --seconds 500 --jobs 4

The arms are those of study.toml (``lrtune compare`` runs the same ones on a CPU); `--only` picks blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrtune.study.study import Study
from lrtune.study.toml import load_study
from studies.recording import Run, arguments, main

STUDY = Path(__file__).with_name("study.toml")
# Factor 2 apart, from far below the write-up's rates to far above the best one.
RATES = tuple(float(f"{0.0015 * 2.0**n:.3g}") for n in range(-6, 7))
OPTIMIZERS = ("adam-l2", "adamw")
# Of the arms, those that the write-up's own vocabulary and horizon are worth their time for.
AT_50K = (
    "base", "lower-rate", "adamw", "adamw-lower-rate", "two-stage", "two-stage-lower-rate", "adamw-two-stage",
    "adamw-two-stage-lower-rate", "no-decay", "smoothing", "clip", "adaptive-warmup",
)  # fmt: skip


def arms(study: Study, tokens: Path) -> list[Run]:
    """Every arm over its seeds, all arms' first seeds first."""
    found = []
    for seed in range(max(study.arm(name).seeds for name in study.arms)):
        for name in study.arms:
            arm = study.arm(name)
            if seed < arm.seeds:
                found.append(_run(study, tokens / "stdlib-8192", name, seed, arm.learning_rate, arm.options, arm.steps))
    return found


def threshold(study: Study, tokens: Path, hidden_size: int, seeds: Sequence[int]) -> list[Run]:
    """The rates across both boundaries of collapse at one width, for either optimizer; the FFN is twice the width."""
    return [
        replace(
            _run(study, tokens / "stdlib-8192", f"threshold-{optimizer}", seed, rate, {"optimizer": optimizer}),
            hidden_size=hidden_size,
            options={**study.options, "optimizer": optimizer, "ffn_size": 2 * hidden_size},
        )
        for seed in seeds
        for optimizer in OPTIMIZERS
        for rate in RATES
    ]


def sweep(study: Study, tokens: Path, name: str, change: Mapping[str, Any], steps: int) -> list[Run]:
    """The rates at 256 with AdamW and the two-stage schedule: where is the best one, for this batch and horizon?"""
    options = {"optimizer": "adamw", "schedule": "two-stage", "weight_decay_stage2": 0.0, **change}
    return [_run(study, tokens / "stdlib-8192", name, 0, rate, options, steps) for rate in RATES]


def large_vocabulary(study: Study, tokens: Path, seed: int) -> list[Run]:
    """The write-up's vocabulary of 50,257 and 10,000 steps, where stage 2 begins at 5,000."""
    found = []
    for name in AT_50K:
        arm = study.arm(name)
        run = _run(study, tokens / "stdlib-50257", f"{name}-50k", seed, arm.learning_rate, arm.options, 10_000)
        found.append(replace(run, report_every=200))
    return found


def _run(
    study: Study, tokens: Path, arm: str, seed: int, rate: float, change: Mapping[str, Any], steps: int | None = None
) -> Run:
    steps = steps or study.steps
    return Run(
        arm=arm,
        hidden_size=study.widths[0],
        learning_rate=rate,
        seed=study.seed + seed,
        steps=steps,
        report_every=max(1, min(study.report_every, steps // 20)),
        tokens=tokens,
        options={**study.options, **change},
        base=study.options,
    )


def blocks(study: Study, tokens: Path) -> dict[str, list[Run]]:
    """All runs by the question that they are for, the most important first."""
    return {
        "arms": arms(study, tokens),
        "threshold": threshold(study, tokens, 256, (0, 1)),
        "vocabulary": large_vocabulary(study, tokens, 0),
        "widths": [run for width in (64, 128, 192, 512) for run in threshold(study, tokens, width, (0,))],
        "vocabulary-again": large_vocabulary(study, tokens, 1),
        "batch": [
            *sweep(study, tokens, "rates-batch-4", {}, study.steps),
            *sweep(study, tokens, "rates-batch-32", {"batch": 32}, study.steps),
            *sweep(study, tokens, "rates-batch-32-equal-tokens", {"batch": 32, "warmup_steps": 47}, study.steps // 8),
        ],
        "horizon": sweep(study, tokens, "rates-16k-steps", {}, 16_000),
        "widths-again": [run for width in (64, 128, 192, 512) for run in threshold(study, tokens, width, (1,))],
        "width-1024": threshold(study, tokens, 1024, (0,)),
    }


if __name__ == "__main__":
    parser = arguments("Record the runs of the Phase 4 study.")
    parser.add_argument("--only", nargs="*", help="blocks to record, instead of all")
    flags = parser.parse_args()
    found = blocks(load_study(STUDY), flags.tokens)
    if unknown := set(flags.only or ()) - set(found):
        parser.error(f"--only: expected blocks of {', '.join(found)}, but got {', '.join(sorted(unknown))}")
    wanted = [run for name, block in found.items() if not flags.only or name in flags.only for run in block]
    main(wanted, flags)
