"""`lrtune verify`: whole runs at the recommended rate and at other rates, with a text from each model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lrtune.compare.arms import QUARTERS, ArmResult
from lrtune.compare.run import train_arms
from lrtune.compare.tables import markdown
from lrtune.compare.verification import keep, path_beside
from lrtune.errors import InputError
from lrtune.rule import Recommendation, Rule, load_rule, recommend
from lrtune.search.events import OnEvent
from lrtune.study.study import Study
from lrtune.trainer.find import trainer_of

RECOMMENDED = "recommended"
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
        path: of verification.json.
        interrupted: the signal that stopped it, or None.
    """

    hidden_size: int
    advice: Recommendation
    tolerance: float
    arms: Sequence[ArmResult]
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
        ours = self.recommended.loss.mean if self.recommended else None
        other = self.best_other.loss.mean if self.best_other else None
        return None if ours is None or not other else (other - ours) / abs(other)

    @property
    def holds(self) -> bool:
        """Whether each run at the recommended rate ended well and no other is better by more than the tolerance."""
        ended = set(self.recommended.outcomes.values()) if self.recommended else {"failed"}
        return ended <= _SOUND and (self.gain is None or self.gain >= -self.tolerance)


def verification_study(
    hidden_size: int, study: Study, rule: Rule, baseline: float | None = None, seed: int | None = None
) -> Study:
    """The rates as arms of a study: whole runs on fresh seeds, no pruning, the trainer's options for verification.

    The recommended rate is compared with `baseline`, or with half and double the rate.

    Raises:
        InputError: the hidden size or the baseline is not positive, or the rule cannot answer for the size.
    """
    if hidden_size < 1:
        raise InputError(f"hidden_size: expected a positive whole number, but got {hidden_size}")
    if baseline is not None and not (math.isfinite(baseline) and baseline > 0):
        raise InputError(f"baseline: expected a positive learning rate, but got {baseline:g}")
    rate = recommend(hidden_size, rule=rule).learning_rate
    others = {"half": rate / 2, "double": rate * 2} if baseline is None else {"baseline": baseline}
    whole = trainer_of(study).verification_options
    return replace(
        study,
        name=f"verify-{hidden_size}",
        seed=study.seed + FRESH if seed is None else seed,
        widths=(hidden_size,),
        scales={},
        options=dict(study.options if whole is None else whole(study)),
        arms={name: {"learning_rate": value} for name, value in {RECOMMENDED: rate, **others}.items()},
        pruner="none",
    )


def run_verification(
    hidden_size: int,
    study: Study,
    out: Path,
    *,
    rule: Rule | str | Path | None = None,
    baseline: float | None = None,
    seed: int | None = None,
    on_event: OnEvent | None = None,
    **options: Any,
) -> Verification:
    """Train each rate for `study.steps` and `study.seeds`, and write verification.json next to the rule.

    For the packaged rule, the file is written to `out`.

    Args:
        hidden_size: of the models to train.
        study: how to train them; its widths, range and arms are ignored.
        out: the run folder; an existing verification is resumed.
        rule: a rule, its file, or None for the one that `lrtune.rule.find_rule` finds.
        baseline: the rate to compare with; None for half and double the recommended one.
        seed: the first of `study.seeds`; None for one that the study's search has not trained.
        on_event, **options: as of `lrtune.search.run.run_search`.

    Raises:
        InputError: no such rule, or an invalid study; nothing was started.
        RunFailedError: no run ended.
    """
    loaded = rule if isinstance(rule, Rule) else load_rule(rule)
    planned = verification_study(hidden_size, study, loaded, baseline, seed)
    comparison = train_arms(planned, out, on_event=on_event, **options)
    done = Verification(
        hidden_size=hidden_size,
        advice=recommend(hidden_size, rule=loaded),
        tolerance=loaded.tolerance,
        arms=comparison.arms,
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
        "holds": done.holds,
        "gain": done.gain,
        "arms": {arm.name: _arm(arm) for arm in done.arms},
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
    """A table of the rates: loss and diversity over the steps, outcomes, and the models' texts."""
    header = ["", *(f"{arm.name}, {arm.learning_rate:.3g}" for arm in done.arms)]
    rows = [
        [f"{column} at {share:.0%}", *(str(arm.at(column, share)) for arm in done.arms)]
        for column in ("loss", "diversity")
        if any(column in record.curve for arm in done.arms for record in arm.records.values())
        for share in QUARTERS
    ]
    rows.append(["ended", *(", ".join(dict.fromkeys(arm.outcomes.values())) for arm in done.arms)])
    parts = [f"# Hidden size {done.hidden_size}: {_sentence(done)}\n", markdown(header, rows)]
    for arm in done.arms:
        for name, text in _texts(arm).items():
            quoted = "".join(f"    {line}\n" for line in text.splitlines() or [""])
            parts.append(f"## {name}, {arm.name} ({arm.learning_rate:.3g})\n\n{quoted}")
    return "\n".join(parts)


def _sentence(done: Verification) -> str:
    if done.recommended is None or done.best_other is None:
        return "a rate has no run with a final loss"
    if done.gain is None:
        return "a run has no final loss"
    than = {"half": "half of it", "double": "its double"}.get(done.best_other.name, "the baseline")
    word = "below" if done.gain >= 0 else "above"
    sentence = f"the recommended rate ends {abs(done.gain):.1%} of loss {word} {than}"
    if unsound := set(done.recommended.outcomes.values()) - _SOUND:
        return f"{sentence}, but does not hold: its runs ended {', '.join(sorted(unsound))}"
    return sentence


def _texts(arm: ArmResult) -> Mapping[str, str]:
    """The texts of the arm's first run."""
    first = next(iter(arm.records.values()), None)
    return first.texts if first else {}
