"""Runs a trainer for a few steps at two sizes and lists what is right, missing or wrong."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from lrtune.study.log import Log
from lrtune.study.study import Study
from lrtune.trainer.acting import check_acting
from lrtune.trainer.direction import remedy
from lrtune.trainer.discover import discover
from lrtune.trainer.find import trainer_of
from lrtune.trainer.finding import Finding
from lrtune.trainer.short_run import ShortRun, short_run, trial_of
from lrtune.trainer.trial import Facts, Trainer


def check_trainer(study: Study, search: Study | None = None) -> Iterator[Finding]:
    """Run the study's trainer at its two smallest widths and yield findings as they come.

    Short runs: at the smaller width, two with the same seed, one with another learning rate, one with another value of
    each knob and scale, one stopped at its second report; one at the larger width; and at each, runs up to their first
    update (see `lrtune.trainer.acting`). If the first run is wrong, the others are skipped. A program that prints no
    reports is run once more to find its log. The last finding is the cost of `search`.

    Raises:
        InputError: the trainer was not found, or refuses the study.
    """
    trainer = trainer_of(study)
    if trainer.check is not None:
        trainer.check(study)
    if trainer.prepare is not None:
        trainer.prepare(study)
    yield Finding("right", f"found {trainer.target}" + (" (a population trainer)" if trainer.train is None else ""))
    small, *_ = widths = sorted(study.widths)[:2]
    first = short_run(trainer, study, small)
    if first.error and not first.reports and study.command and study.log == Log():
        found = discover(study.command, trial_of(study, small))
        if found is not None:
            every = max(1, study.steps // found.uncounted) if found.uncounted else study.report_every
            flags = ("--report-every", str(every)) if found.uncounted else ()
            yield Finding("right", f"log: {found.text}", (*_flags(found.log), *flags))
            study = replace(study, log=found.log, report_every=every)
            trainer = trainer_of(study)
            first = short_run(trainer, study, small)
    if first.error:
        yield Finding("wrong", f"hidden {small}: {first.error}")
        return
    reports = list(_check_reports(first, study))
    yield from reports
    if any(finding.level == "wrong" for finding in reports):
        return
    yield from _check_facts(first, trainer)
    repeat = _check_repeat(first, short_run(trainer, study, small))
    yield repeat
    quarter = short_run(trainer, study, small, learning_rate=first.trial.learning_rate / 4)
    yield _check_reads("learning rate", "trial.learning_rate", first, quarter)
    for name, value in first.trial.knobs.items():
        other = short_run(trainer, study, small, knobs={**first.trial.knobs, name: value / 4})
        yield _check_reads(name, f'trial.knobs["{name}"]', first, other)
    for name, values in study.scales.items():
        for value in values[1:2]:
            other = short_run(trainer, study, small, scales={name: value})
            yield _check_reads(name, f'trial.scales["{name}"]', first, other, f"{value:g}")
    yield from _check_direction((first, quarter), maximize=study.maximize)
    yield _check_stop(short_run(trainer, study, small, keep=2), study)
    runs = [first]
    if len(widths) == 2:
        large = short_run(trainer, study, widths[1])
        if large.error:
            yield Finding("wrong", f"hidden {widths[1]}: {large.error}")
            return
        runs.append(large)
        if first.losses == large.losses:
            yield Finding("wrong", "hidden size: both sizes gave the same losses; is trial.hidden_size used?")
        else:
            yield Finding("right", "hidden size: another one gives another loss")
    if repeat.level == "right":
        yield from check_acting(trainer, study, widths)
    for run in runs:
        apart = f", {_seconds(run.other_seconds)} besides" if run.other_seconds > 1 else ""
        yield Finding("right", f"hidden {run.trial.hidden_size}: {_seconds(run.step_seconds)} per step{apart}")
    yield Finding("right", _estimate(runs[-1], search or Study()))


def _flags(log: Log) -> tuple[str, ...]:
    """The flags that name a log."""
    named = ((f"--{name.replace('_', '-')}", value) for name, value in asdict(log).items() if value)
    return tuple(word for pair in named for word in pair)


_FEW = 8


def _check_reports(run: ShortRun, study: Study) -> Iterator[Finding]:
    if not run.reports:
        ignored = f"; lrtune ignores its return value {run.returned!r:.40}" if run.returned is not None else ""
        yield Finding("wrong", f"reports: the trainer never called trial.report(step, loss=…){ignored}")
        return
    bad = next((report for report in run.reports if not math.isfinite(report.loss)), None)
    if bad is not None:
        at = f"at step {bad.step} (rate {run.trial.learning_rate:.3g})"
        yield Finding("wrong", f"loss: expected a finite number, but got {bad.loss} {at}")
        return
    last = run.reports[-1].step
    if last == study.steps:
        yield Finding("right", f"reports: {len(run.reports)}, the last one at step {last} of {study.steps}")
    else:
        yield Finding("wrong", f"reports: expected the last one at step {study.steps}, but got it at step {last}")
    expected = study.steps // study.report_every
    if study.command and len(run.reports) < _FEW:
        yield Finding("optional", f"reports: more than {len(run.reports)} in a run let lrtune stop bad runs earlier")
    elif not study.command and len(run.reports) < expected:
        yield Finding(
            "missing", f"reports: expected {expected} by trial.report_every, but got {len(run.reports)}; late pruning"
        )
    steps = [report.step for report in run.reports]
    if steps != sorted(set(steps)):
        yield Finding("wrong", f"reports: expected each step once and in order, but got {steps[:8]}")
    if run.returned is not None:
        yield Finding("missing", f"lrtune ignores the return value {run.returned!r:.40}; only reports count")
    diversities = [report.diversity for report in run.reports if report.diversity is not None]
    if not diversities:
        yield Finding("optional", "diversity: not given; lrtune stops diverged runs, but not collapsed ones")
    elif not all(0 <= value <= 2 for value in diversities):
        worst = max(diversities, key=abs)
        yield Finding(
            "wrong", f"diversity: expected a share from 0 to about 1, but got {worst:g}; see lrtune.diversity"
        )
    else:
        yield Finding("right", f"diversity: given, {diversities[0]:.2f} → {diversities[-1]:.2f}")


_FALLBACKS = {
    "parameters": "cost is taken as hidden size² × steps",
    "tokens_per_step": "horizons are counted in steps, not tokens",
    "vocabulary_size": "divergence is judged against the first reported loss",
    "unigram_entropy": "collapse is judged by a loss that does not improve",
}


def _check_facts(run: ShortRun, trainer: Trainer) -> Iterator[Finding]:
    facts = run.facts or Facts()
    given = [name for name in _FALLBACKS if getattr(facts, name) is not None or getattr(trainer, name, None)]
    if given:
        yield Finding("right", f"described: {', '.join(given)}")
    others = [f"{name} ({fallback})" for name, fallback in _FALLBACKS.items() if name not in given]
    if others:
        yield Finding("optional", f"trial.describe: without {', '.join(others)}")


def _check_repeat(first: ShortRun, second: ShortRun) -> Finding:
    if second.error:
        return Finding("wrong", f"the same run again: {second.error}")
    one, two = first.reports[-1].loss, second.reports[-1].loss if second.reports else math.nan
    if one == two:
        return Finding("right", f"same seed, same loss: {one:.6g} twice")
    return Finding(
        "missing", f"same seed, another loss: {one:.6g} and {two:.6g}; seed data order and weights from trial.seed"
    )


def _check_reads(name: str, field: str, first: ShortRun, other: ShortRun, value: str = "a quarter of it") -> Finding:
    """Whether another value of the rate, a knob or a scale, in `field` of the trial, gave other losses."""
    if other.error:
        return Finding("wrong", f"{name}: at {value}: {other.error}")
    if other.losses == first.losses:
        return Finding("wrong", f"{name}: {value} gave the same losses; is {field} used?")
    return Finding("right", f"{name}: another one gives another loss")


def _check_direction(runs: Sequence[ShortRun], *, maximize: bool) -> Iterator[Finding]:
    """Whether the loss falls, or the measure rises; wrong if it does the opposite at every rate."""
    ends = [(run.reports[0].loss, run.reports[-1].loss) for run in runs if len(run.reports) > 1]
    gains = [after - before if maximize else before - after for before, after in ends]
    if not gains:
        return
    good, bad = ("rising", "falling") if maximize else ("falling", "rising")
    shown = f"{'measure' if maximize else 'loss'}: {ends[0][0]:.4g} → {ends[0][1]:.4g}"
    if gains[0] > 0:
        yield Finding("right", f"{shown}, finite and {good}")
    elif len(gains) > 1 and max(gains) < 0:
        yield Finding("wrong", f"{shown}, {bad} at every rate tried; {remedy(maximize=maximize)}")
    else:
        yield Finding("missing", f"{shown}, finite but not {good} in so few steps")


def _check_stop(run: ShortRun, study: Study) -> Finding:
    if run.error:
        return Finding("wrong", f"stopped at its second report: {run.error}")
    if run.after_stop:
        return Finding(
            "wrong",
            f"keep: expected the trainer to return when report gives False, but it reported {run.after_stop} more "
            "times; pruned runs would cost as much as full ones",
        )
    if len(run.reports) < 2:
        return Finding("missing", f"keep: not tested, with {len(run.reports)} report in {study.steps} steps")
    return Finding("right", "keep: stops when report gives False")


def _estimate(largest: ShortRun, search: Study) -> str:
    """The cost of a search, from the times of the largest run."""
    width, runs = largest.trial.hidden_size, 6
    steps = sum(search.steps * largest.step_seconds * max(1.0, (w / width) ** 2) for w in search.widths)
    total = runs * (steps + len(search.widths) * largest.other_seconds)
    sizes = ", ".join(map(str, search.widths))
    return (
        f"a search at hidden {sizes} with {runs} runs of {search.steps} steps each: "
        f"about {_seconds(total)} on one worker (cost taken ∝ size² above {width})"
    )


def _seconds(value: float) -> str:
    if value < 0.001:
        return "under 1 ms"
    if value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s" if value < 120 else f"{value / 60:.0f} min"
