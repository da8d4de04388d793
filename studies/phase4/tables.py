"""All figures of README.md, from records.jsonl alone; prints Markdown.

python -m studies.phase4.tables > studies/phase4/tables.md
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lrtune.compare.arms import Spread, gather_arms, outcome, value_at
from lrtune.compare.effects import compare_records
from lrtune.compare.tables import effect_table, markdown, table
from lrtune.errors import RunFailedError
from lrtune.law.fit import LawFit, fit_law
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule import recommend
from lrtune.study.study import PruningPolicy
from lrtune.study.toml import load_study
from studies.phase4.record import AT_50K, OPTIMIZERS, STUDY

RECORDS = Path(__file__).with_name("records.jsonl")
POLICY = PruningPolicy()
LARGE = "-50k"
# What the write-up counted after 1k, 2k, 3k and 4k steps.
WRITE_UP = {"base": (19, 9, 4, 2), "lower-rate": (3, 10, 14, 18), "smoothing": (20, 12, 2, 2), "clip": (12, 6, 2, 2)}
WEIGHTS = {"flipped_share": "flipped", "zero_share": "zero", "update_ratio": "update", "weight_rms": "RMS"}
LOOKED_AT = ("base", "lower-rate", "clip", "little-decay", "no-decay", "adamw", "adamw-lower-rate", "two-stage")


def load() -> list[TrialRecord]:
    """All records of the study."""
    return list(read_records(RECORDS).records)


def judged(record: TrialRecord) -> TrialRecord:
    """The record as a search would have it: a run that ends above the unigram entropy has failed."""
    ended = outcome(record, POLICY)
    failed = ended in ("collapsed", "unlearned", "diverged")
    return replace(
        record, arm=None, status=("diverged" if ended == "diverged" else "collapsed") if failed else "finished"
    )


def sweep(records: Iterable[TrialRecord], arm: str) -> list[TrialRecord]:
    """The runs of one sweep over rates, judged."""
    return [judged(record) for record in records if record.arm == arm]


def counts(records: Sequence[TrialRecord]) -> str:
    """The write-up's count at 1k to 4k beside those of our runs, and the loss there."""
    header = [
        "arm",
        "write-up",
        "here, of 20 random prompts",
        "here, of 20 real contexts",
        "loss here",
        "loss at the end",
    ]
    rows = []
    for suffix in ("", LARGE):
        for name, theirs in WRITE_UP.items():
            runs = [record for record in records if record.arm == name + suffix]
            if runs:
                rows.append([name + suffix, _row(theirs), *_course(runs), str(Spread.of(run.loss for run in runs))])
    return markdown(header, rows)


def _course(runs: Sequence[TrialRecord]) -> list[str]:
    """Means over seeds at 1k, 2k, 3k and 4k steps."""
    shares = [step / runs[0].steps for step in (1000, 2000, 3000, 4000)]
    columns = ("distinct_random", "distinct", "loss")
    means = [[Spread.of(value_at(run, column, share) for run in runs).mean for share in shares] for column in columns]
    return [_row(values) for values in means]


def _row(values: Iterable[float | None]) -> str:
    return ", ".join("–" if value is None else f"{value:.3g}" for value in values)


def weights(records: Sequence[TrialRecord]) -> str:
    """What the ternary weights do at the middle and at the end: the test of "locked in"."""
    header = ["arm", *(f"{title} at {share:.0%}" for title in WEIGHTS.values() for share in (0.5, 1.0)), "ended"]
    rows = []
    for arm in gather_arms(records, POLICY):
        if arm.name.removesuffix(LARGE) in LOOKED_AT:
            cells = [_short(arm.at(column, share).mean) for column in WEIGHTS for share in (0.5, 1.0)]
            rows.append([arm.name, *cells, ", ".join(dict.fromkeys(arm.outcomes.values()))])
    return markdown(header, rows)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def boundaries(records: Sequence[TrialRecord]) -> Iterator[str]:
    """For either optimizer: at which rates runs learn, by width, and the boundary with its interval."""
    for optimizer in OPTIMIZERS:
        runs = sweep(records, f"threshold-{optimizer}")
        widths = sorted({run.hidden_size for run in runs})
        yield f"### {optimizer}, {len(runs)} runs\n"
        try:
            fit = fit_law(runs)
        except RunFailedError as error:
            yield f"No law: {error}\n"
            fit = None
        header = [
            "hidden",
            "runs",
            "learned",
            "best loss",
            "at",
            "all learn up to",
            "none learns from",
            "10%",
            "50%",
            "best",
        ]
        yield markdown(header, [_width(fit, [run for run in runs if run.hidden_size == width]) for width in widths])
        if fit and fit.rule.boundary:
            line = fit.rule.boundary.line
            slope, spread = line.coefficients[1], fit.rule.quantile * math.sqrt(line.covariance[1][1])
            yield f"The boundary moves with hidden size to the power {slope:.2f} ± {spread:.2f} (90%);"
            yield f"the best rate: {fit.rule.reason}."
            yield ""


def _width(fit: LawFit | None, runs: Sequence[TrialRecord]) -> list[str]:
    """One row: what was seen, then what is fitted to all widths (90% intervals)."""
    hidden = runs[0].hidden_size
    learned = [run for run in runs if run.status == "finished"]
    best = min(runs, key=lambda run: run.loss or math.inf)
    rates = sorted({run.learning_rate for run in runs})
    above = [rate for rate in rates if rate > best.learning_rate]
    bad = [rate for rate in above if any(run.status != "finished" for run in runs if run.learning_rate == rate)]
    dead = [rate for rate in above if not any(run.learning_rate >= rate for run in learned)]
    sound = [rate for rate in rates if rate < min(bad, default=math.inf)] if learned else []
    row = [str(hidden), str(len(runs)), str(len(learned)), f"{best.loss:.2f}", f"{best.learning_rate:.3g}"]
    row += [f"{max(sound):.3g}" if sound else "–", f"{min(dead if learned else rates, default=math.nan):.3g}"]
    if fit is None or fit.rule.boundary is None:
        return [*row, "–", "–", "–"]
    advice, boundary = recommend(hidden, rule=fit.rule), fit.rule.boundary
    terms = boundary.line.terms(fit.rule.scales, {"hidden_size": hidden})
    spread = math.exp(fit.rule.quantile * math.sqrt(boundary.line.at(terms)[1]))
    ten, half = advice.collapse_10 or math.nan, advice.collapse_50 or math.nan
    intervals = [f"{rate:.2g} [{rate / spread:.2g}, {rate * spread:.2g}]" for rate in (ten, half)]
    return [*row, *intervals, f"{advice.learning_rate:.2g} [{advice.low:.2g}, {advice.high:.2g}]"]


def best_rates(records: Sequence[TrialRecord]) -> str:
    """The best rate at 256 with AdamW and two stages, for each batch and horizon that was swept."""
    header = ["sweep", "batch", "steps", "runs", "best rate", "its loss", "at 0.0015"]
    rows = []
    for arm in dict.fromkeys(record.arm for record in records if (record.arm or "").startswith("rates-")):
        runs = sweep(records, str(arm))
        cell = fit_law(runs).cells[0]
        there = Spread.of(run.loss for run in runs if run.learning_rate == 0.0015)
        found = f"{cell.learning_rate:.2g} [{cell.low:.2g}, {cell.high:.2g}]"
        row = [str(arm), f"{runs[0].facts.batch_size:g}", str(runs[0].steps), str(len(runs)), found]
        rows.append([*row, f"{cell.loss_at(cell.learning_rate):.2f}", str(there)])
    return markdown(header, rows)


def main() -> None:
    study, records = load_study(STUDY), load()
    arms = [record for record in records if record.arm in study.arms]
    large = [record for record in records if (record.arm or "").removesuffix(LARGE) in AT_50K and record not in arms]
    print(f"# Tables of the Phase 4 study, from {len(records)} runs\n")
    print(f"Made by `python -m studies.phase4.tables`.\n\n## The write-up's counts\n\n{counts(records)}")
    for title, runs in (("8,192, 4,000 steps", arms), ("50,257, 10,000 steps", large)):
        comparison = compare_records(runs, study)
        print(f"## Arms at vocabulary {title}: distinct answers to 20 held-out contexts\n")
        print(markdown(*table(comparison.arms, "distinct")))
        print(f"## Which factor decides at vocabulary {title}\n\n{markdown(*effect_table(comparison.effects))}")
    print(f"## What the ternary weights do\n\n{weights(arms)}\n{weights(large)}")
    print("## Where runs stop learning (256 × 4 layers, and other widths; batch 4 × 32, constant rate)\n")
    print(*boundaries(records), sep="\n")
    print(f"## The best rate by batch and horizon (AdamW, two-stage, hidden 256)\n\n{best_rates(records)}")


if __name__ == "__main__":
    main()
