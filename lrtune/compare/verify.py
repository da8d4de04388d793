"""`lrtune verify`: is the recommended rate better than its half and its double, beyond the noise of the seeds?"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lrtune.compare.arms import ArmResult
from lrtune.compare.run import tasks, train_arms
from lrtune.compare.verification import keep, path_beside
from lrtune.errors import InputError
from lrtune.records.identity import fitted_to
from lrtune.records.jsonl import read_records
from lrtune.records.record import negated
from lrtune.rule import Recommendation, Rule, load_rule, recommend
from lrtune.rule.knobs import values_at
from lrtune.search.events import OnEvent
from lrtune.study.study import Study
from lrtune.study.task import default_report_every
from lrtune.trainer.complete import batch_in_own_unit
from lrtune.trainer.find import trainer_of

RECOMMENDED = "recommended"
_SEEDS = 2  # at least: without noise there is no verdict
_LENGTHS = {"steps", "tokens"}
_OWN = ("hidden_size", "steps", "tokens")  # scales that a study has fields for
FRESH = 1000  # added to the study's first seed, so that no search has trained these seeds
_SOUND = {"healthy", "recovered"}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of a verification.

    Attributes:
        hidden_size: of the trained models.
        advice: the rule's answer.
        tolerance: relative loss that counts as zero, from the rule.
        arms: the recommended rate and the others, without those of which no run ended.
        known: how many of the runs the rule was fitted to: with any, there is no verdict.
        path: of verification.json.
        interrupted: the signal that stopped it, or None.
    """

    hidden_size: int
    advice: Recommendation
    tolerance: float
    arms: Sequence[ArmResult]
    known: int
    path: Path
    interrupted: int | None = None

    @property
    def recommended(self) -> ArmResult | None:
        """The runs at the recommended rate; None if none ended."""
        return next((arm for arm in self.arms if arm.name == RECOMMENDED), None)

    @property
    def best_other(self) -> ArmResult | None:
        """The other rate with the lowest mean loss; None if none has a loss."""
        losses = {arm.name: arm.loss.mean for arm in self.arms if arm.name != RECOMMENDED}
        others = [arm for arm in self.arms if losses.get(arm.name) is not None]
        return min(others, key=lambda arm: losses[arm.name] or 0.0, default=None)

    @property
    def gain(self) -> float | None:
        """Relative reduction of the mean final loss from the best other rate; None if either has no loss."""
        return self.gain_over(self.best_other) if self.best_other else None

    def gain_over(self, other: ArmResult) -> float | None:
        """Relative reduction of the mean final loss from another rate; None if either has no loss."""
        ours, theirs = self.recommended.loss.mean if self.recommended else None, other.loss.mean
        return None if ours is None or not theirs else (theirs - ours) / abs(theirs)

    @property
    def noise(self) -> float | None:
        """Two standard errors of a difference of two means, relative to the loss, from all rates' seeds together."""
        spreads = [arm.loss for arm in self.arms if arm.loss.deviation is not None and arm.loss.mean]
        if not spreads:
            return None
        variance = statistics.fmean(((s.deviation or 0.0) / (s.mean or 1.0)) ** 2 for s in spreads)
        return 2 * math.sqrt(variance * 2 / min(spread.count for spread in spreads))

    @property
    def holds(self) -> bool:
        """Whether the runs at the recommended rate ended well and no other beats it beyond tolerance and noise."""
        ended = set(self.recommended.outcomes.values()) if self.recommended else {"failed"}
        return ended <= _SOUND and (self.gain is None or self.gain >= -max(self.tolerance, self.noise or 0.0))


def verification_study(
    hidden_size: int,
    study: Study,
    rule: Rule,
    baseline: float | None = None,
    seed: int | None = None,
    scales: Mapping[str, float] | None = None,
) -> Study:
    """The rates as arms of a study: whole runs on at least two fresh seeds, without pruning, with the trainer's options
    for verification. Of the lengths that the study sweeps, the longest is trained, unless `scales` names one.

    The recommended rate is compared with `baseline`, or with half and double the rate; other knobs are at their best
    for each.

    Raises:
        InputError: the hidden size or the baseline is not positive, or the rule cannot answer for the size.
    """
    if hidden_size < 1:
        raise InputError(f"hidden_size: expected a positive whole number, but got {hidden_size}")
    if baseline is not None and not (math.isfinite(baseline) and baseline > 0):
        raise InputError(f"baseline: expected a positive learning rate, but got {baseline:g}")
    advice = recommend(hidden_size, rule=rule, **_asked(study, rule, scales or {}))
    rate, steps = advice.learning_rate, study.steps
    if advice.horizon_steps and _LENGTHS & {*rule.scales, *study.scales}:
        steps = round(advice.horizon_steps)
    others = {"half": rate / 2, "double": rate * 2} if baseline is None else {"baseline": baseline}
    trainer = trainer_of(study)
    whole = trainer.verification_options
    own = {name: advice.scales[name] for name in rule.scales if name not in _OWN}
    own = batch_in_own_unit(study, trainer, own)
    return replace(
        study,
        name=f"verify-{hidden_size}",
        seed=study.seed + FRESH if seed is None else seed,
        seeds=max(_SEEDS, study.seeds),
        widths=(hidden_size,),
        steps=steps,
        report_every=study.report_every if steps == study.steps else default_report_every(steps),
        scales={name: (value,) for name, value in own.items()},
        targets=(),
        verify_at_target=False,
        options=dict(study.options if whole is None else whole(study)),
        arms={
            name: {"learning_rate": value, **_knobs(study, rule, advice, value)}
            for name, value in {RECOMMENDED: rate, **others}.items()
        },
        pruner="none",
    )


def _knobs(study: Study, rule: Rule, advice: Recommendation, rate: float) -> dict[str, float]:
    return {name: value for name, value in values_at(rule, advice.scales, rate).items() if name in study.knobs}


def cost(planned: Study, rule: Rule) -> str:
    """One line: the runs of a verification and their time, from the steps of the runs next to the rule."""
    from lrtune.search.target import Remaining, affordable

    path = Path(rule.source).parent / "records.jsonl" if rule.source else None
    records = read_records(path).records if path is not None and path.is_file() else []
    return f"{affordable(planned, tasks(planned), records, Remaining(), 1)[1]} ({planned.steps:,} steps each)"


def _asked(study: Study, rule: Rule, scales: Mapping[str, float]) -> dict[str, float]:
    """The scales of the question: the study's length, unless it sweeps lengths; then the longest by default."""
    has_length = bool(_LENGTHS & (set(scales) | set(study.scales)))
    length = {} if has_length or not _LENGTHS & set(rule.scales) else {"steps": float(study.steps)}
    return {**length, **scales}


def run_verification(
    hidden_size: int,
    study: Study,
    out: Path,
    *,
    rule: Rule | str | Path | None = None,
    baseline: float | None = None,
    seed: int | None = None,
    scales: Mapping[str, float] | None = None,
    on_event: OnEvent | None = None,
    **options: Any,
) -> Verification:
    """Train each rate over at least two seeds, and write verification.json next to the rule.

    For the packaged rule, the file is written to `out`.

    Args:
        hidden_size: of the models to train.
        study: how to train them; its widths, range and arms are ignored.
        out: the run folder; an existing verification is resumed.
        rule: a rule, its file, or None for the one that `lrtune.rule.find_rule` finds.
        baseline: the rate to compare with; None for half and double the recommended one.
        seed: the first of `study.seeds`; None for one that the study's search has not trained.
        scales: the rule's other scales; a length by default that of the study.
        on_event, **options: as of `lrtune.search.run.run_search`.

    Raises:
        InputError: no such rule, or an invalid study; nothing was started.
        RunFailedError: no run ended.
    """
    loaded = rule if isinstance(rule, Rule) else load_rule(rule)
    planned = verification_study(hidden_size, study, loaded, baseline, seed, scales)
    comparison = train_arms(planned, out, on_event=on_event, **options)
    done = Verification(
        hidden_size=hidden_size,
        advice=recommend(hidden_size, rule=loaded, **_asked(study, loaded, scales or {})),
        tolerance=loaded.tolerance,
        arms=comparison.arms,
        known=len(fitted_to(loaded.runs, [record for arm in comparison.arms for record in arm.records.values()])),
        path=path_beside(loaded, out),
        interrupted=comparison.interrupted,
    )
    if done.interrupted is None:
        keep(done.path, "verify", {str(hidden_size): _summary(done, planned)})
    return done


def _summary(done: Verification, study: Study) -> dict[str, Any]:
    advice = done.advice
    return {
        "hidden_size": done.hidden_size,
        "rule": {
            "source": advice.source,
            "learning_rate": advice.learning_rate,
            "low": advice.low,
            "high": advice.high,
        },
        "steps": study.steps,
        "holds": None if done.known else done.holds,
        "gain": done.gain,
        "noise": done.noise,
        "arms": {arm.name: _arm(arm) for arm in done.arms},
    }


def _arm(arm: ArmResult) -> dict[str, Any]:
    runs = [
        {
            "seed": seed,
            "loss": record.measure,
            "diversity": record.diversity,
            "ended": arm.outcomes[seed],
            "tokens": record.tokens,
            "texts": dict(record.texts),
            "curve": {name: list(negated(record).curve.get(name, ())) for name in ("step", "loss", "diversity")},
        }
        for seed, record in arm.records.items()
    ]
    return {"learning_rate": arm.learning_rate, "loss": arm.measure.mean, "diversity": arm.diversity.mean, "runs": runs}


def verdict_line(done: Verification) -> str:
    """Whether the recommended rate is the best of those tried, with the differences and the noise."""
    if done.known:
        return f"no verdict: the rule was fitted to {done.known} of these runs; leave out --seed"
    ours = done.recommended
    if ours is None or done.best_other is None or done.gain is None:
        return "no verdict: a rate has no run with a final loss"
    gains = {arm.name: done.gain_over(arm) for arm in done.arms if arm is not ours}
    told = ours.words
    parts = [
        f"{name} ends {abs(gain):.2%} {told.worse if gain >= 0 else told.better}"
        for name, gain in gains.items()
        if gain
    ]
    noise = done.noise or 0.0
    against = f"{', '.join(parts)} (noise of {ours.loss.count} seeds: {noise:.2%} of {told.what})"
    if unsound := set(ours.outcomes.values()) - _SOUND:
        return (
            f"no: runs at the recommended rate {ours.learning_rate:.3g} ended {', '.join(sorted(unsound))}; {against}"
        )
    if not done.holds:
        return f"no: {done.best_other.name}, {done.best_other.learning_rate:.3g}, is better than the advice; {against}"
    if done.gain > noise:
        return f"yes: the recommended rate {ours.learning_rate:.3g} is the best of those tried; {against}"
    return f"yes, as far as the noise and the tolerance of {done.tolerance:.2%} tell; {against}"


def rows(done: Verification) -> tuple[list[str], list[list[str]]]:
    """A header and a row per rate: final loss over the seeds, and how its runs ended."""
    header = ["", "learning rate", f"final {done.arms[0].words.what}" if done.arms else "final loss", "ended"]
    return header, [
        [arm.name, f"{arm.learning_rate:.3g}", str(arm.measure), ", ".join(dict.fromkeys(arm.outcomes.values()))]
        for arm in sorted(done.arms, key=lambda arm: arm.learning_rate)
    ]


def texts(done: Verification) -> Mapping[str, str]:
    """The texts of the first run at the recommended rate."""
    runs = done.recommended.records.values() if done.recommended else ()
    return next((record.texts for record in runs), {})
