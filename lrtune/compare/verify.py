"""`lrtune verify`: a whole run at the recommended rate beside one at a baseline, and what either of them writes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lrtune.compare.arms import QUARTERS, ArmResult
from lrtune.compare.run import Comparison, markdown, train_arms
from lrtune.compare.verification import keep, path_beside
from lrtune.errors import InputError
from lrtune.records.record import TrialRecord
from lrtune.rule.ask import Recommendation, Rule, load_rule, recommend
from lrtune.search.events import OnEvent
from lrtune.study.study import Study

BASELINE = 0.0015
RECOMMENDED, BASE = "recommended", "baseline"
FRESH = 1000  # added to the study's first seed: a search does not get so far
_SAMPLE = 80  # tokens that the bundled trainer writes at the end


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a verification found; `path` is the verification.json that was written.

    Attributes:
        hidden_size: of the models trained.
        advice: what the rule said.
        baseline: the rate it was set beside.
        recommended, base: the two arms; None where no run of it ended.
        gain: relative fall of the mean final loss against the baseline, positive where the rule's rate is better;
            None where either has no loss.
        path: of verification.json.
        interrupted: the signal that stopped it, or None.
    """

    hidden_size: int
    advice: Recommendation
    baseline: float
    recommended: ArmResult | None
    base: ArmResult | None
    gain: float | None
    path: Path
    interrupted: int | None = None

    @property
    def holds(self) -> bool:
        """Whether every run at the recommended rate ended sound, and none better at the baseline on the mean."""
        ended = set(self.recommended.outcomes.values()) if self.recommended else {"failed"}
        return ended <= {"healthy", "recovered"} and (self.gain is None or self.gain >= 0)


def verification_study(
    hidden_size: int, study: Study, rule: Rule, baseline: float = BASELINE, seed: int | None = None
) -> Study:
    """The two arms as a study: whole runs on seeds of their own, nothing pruned, both stages, with a sample of text.

    Raises:
        InputError: a hidden size or a baseline that is not positive, or one that the rule cannot answer.
    """
    if hidden_size < 1:
        raise InputError(f"hidden_size: expected a positive whole number, but got {hidden_size}")
    if not (math.isfinite(baseline) and baseline > 0):
        raise InputError(f"baseline: expected a positive learning rate, but got {baseline:g}")
    rate = recommend(hidden_size, rule=rule).learning_rate
    options = dict(study.options)
    if study.trainer == "default" and not study.command:
        options = {"sample_tokens": _SAMPLE, **options, "schedule": "two-stage"}
    arms = {RECOMMENDED: {"learning_rate": rate}, BASE: {"learning_rate": baseline}}
    name = f"verify-{hidden_size}"
    first = study.seed + FRESH if seed is None else seed
    return replace(
        study, name=name, seed=first, widths=(hidden_size,), scales={}, options=options, arms=arms, pruner="none"
    )


def run_verification(
    hidden_size: int,
    study: Study,
    out: Path,
    *,
    rule: Rule | str | Path | None = None,
    baseline: float = BASELINE,
    seed: int | None = None,
    on_event: OnEvent | None = None,
    **options: Any,
) -> Verification:
    """Train both rates for `study.steps` and `study.seeds`, and write verification.json beside the rule.

    A rule that comes with the package is not written beside; its verification goes into `out`.

    Args:
        hidden_size: of the models to train.
        study: how to train them; its own widths, range and arms do not count.
        out: the run folder; one that holds this verification is continued.
        rule: a rule, its file, or None for the one that `lrtune.rule.find_rule` finds.
        baseline: the rate to set beside it.
        seed: the first of `study.seeds`; None for one that the study's own search has not trained.
        on_event, **options: as of `lrtune.search.run.run_search`.

    Raises:
        InputError: no such rule, or something that cannot be trained; nothing was started.
        RunFailedError: no run ended.
    """
    found = rule if isinstance(rule, Rule) else load_rule(rule)
    planned = verification_study(hidden_size, study, found, baseline, seed)
    comparison = train_arms(planned, out, on_event=on_event, **options)
    advice = recommend(hidden_size, rule=found)
    done = _verification(hidden_size, advice, baseline, comparison, path_beside(found, out))
    if done.interrupted is None:
        keep(done.path, "verify", {str(hidden_size): _summary(done, planned)})
    return done


def _verification(
    hidden_size: int, advice: Recommendation, baseline: float, comparison: Comparison, path: Path
) -> Verification:
    arms = {arm.name: arm for arm in comparison.arms}
    ours, base = arms.get(RECOMMENDED), arms.get(BASE)
    losses = [arm.loss.mean if arm else None for arm in (ours, base)]
    gain = None if losses[0] is None or losses[1] is None else 1 - losses[0] / losses[1]
    return Verification(
        hidden_size=hidden_size,
        advice=advice,
        baseline=baseline,
        recommended=ours,
        base=base,
        gain=gain,
        path=path,
        interrupted=comparison.interrupted,
    )


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
        "baseline": done.baseline,
        "steps": study.steps,
        "holds": done.holds,
        "gain": done.gain,
        "arms": {arm.name: _arm(arm) for arm in (done.recommended, done.base) if arm is not None},
    }


def _arm(arm: ArmResult) -> dict[str, Any]:
    runs = [
        {
            "seed": seed,
            "loss": record.loss,
            "diversity": record.diversity,
            "ended": arm.outcomes[seed],
            "tokens": record.tokens,
            "texts": dict(record.texts),
            "curve": {name: list(record.curve.get(name, ())) for name in ("step", "loss", "diversity")},
        }
        for seed, record in arm.records.items()
    ]
    return {"learning_rate": arm.learning_rate, "loss": arm.loss.mean, "diversity": arm.diversity.mean, "runs": runs}


def to_markdown(done: Verification) -> str:
    """Both arms side by side: the course of loss and diversity, how they ended, and the text that they write."""
    arms = [arm for arm in (done.recommended, done.base) if arm is not None]
    header = ["", *(f"{arm.name}, {arm.learning_rate:.3g}" for arm in arms)]
    rows = [
        [f"{column} at {share:.0%}", *(str(arm.at(column, share)) for arm in arms)]
        for column in ("loss", "diversity")
        for share in QUARTERS
    ]
    rows.append(["ended", *(", ".join(dict.fromkeys(arm.outcomes.values())) for arm in arms)])
    parts = [f"# Hidden size {done.hidden_size}: {_sentence(done)}\n", markdown(header, rows)]
    for arm in arms:
        for name, text in _texts(arm).items():
            quoted = "".join(f"    {line}\n" for line in text.splitlines() or [""])
            parts.append(f"## {name}, {arm.name} ({arm.learning_rate:.3g})\n\n{quoted}")
    return "\n".join(parts)


def _sentence(done: Verification) -> str:
    if done.recommended is None or done.base is None:
        return "not all runs ended"
    if done.gain is None:
        return "a run has no final loss"
    word = "below" if done.gain >= 0 else "above"
    sentence = f"the recommended rate ends {abs(done.gain):.1%} of loss {word} the baseline"
    unsound = set(done.recommended.outcomes.values()) - {"healthy", "recovered"}
    return sentence + (f", but does not hold: its runs ended {', '.join(sorted(unsound))}" if unsound else "")


def _texts(arm: ArmResult) -> Mapping[str, str]:
    """The texts of the arm's first run."""
    first: TrialRecord | None = next(iter(arm.records.values()), None)
    return first.texts if first else {}
