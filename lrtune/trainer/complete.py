"""Completes a study before its start: horizons in tokens become steps by the trainer's tokens per step."""

import math
from collections.abc import Mapping
from dataclasses import replace

from lrtune.errors import InputError
from lrtune.study.study import Study
from lrtune.study.task import default_report_every, place_name, scale_combinations, step_name, targets
from lrtune.trainer.trial import Trainer

_AGREE = 0.005  # relative difference of tokens that comes from rounding


def complete(study: Study, trainer: Trainer) -> Study:
    """The study with its horizons and targets in the unit of its scales; checks them and the trainer's settings.

    A scale of tokens becomes one of steps if every step has equally many tokens; else it stays, and so do the tokens of
    a step at each combination of scales (`lrtune.study.task.steps_of`).

    Raises:
        InputError: tokens contradict steps, the trainer does not declare its tokens per step, a target is unknown or
            incomplete, or the trainer refuses the study.
    """
    study = _counted_in_steps(study, trainer)
    study = replace(study, targets=tuple(_in_own_units(study, trainer, target) for target in study.targets))
    places = [{n: v for n, v in target.items() if n != "hidden_size"} for target in targets(study)]
    if study.step_tokens:
        there = {step_name(place): tokens_per_step(study, trainer, place) for place in places}
        study = replace(study, step_tokens={**study.step_tokens, **there})
    if study.verify_at_target and not study.targets:
        raise InputError("verify_at_target: expected a target (--target hidden_size=…), but the study names none")
    if trainer.check is not None:
        trainer.check(study)
    return study


def _counted_in_steps(study: Study, trainer: Trainer) -> Study:
    if "tokens" not in study.scales:
        return study
    tokens, steps = study.scales["tokens"], study.scales.get("steps")
    others = {name: values for name, values in study.scales.items() if name not in ("tokens", "steps")}
    combinations = scale_combinations(replace(study, scales=others))
    known = {step_name(scales): tokens_per_step(study, trainer, scales) for scales in combinations}
    rates = {*known.values()}
    if steps is not None:
        product = sorted(value * rate for value in steps for rate in rates)
        if len(rates) > 1 or len(product) != len(tokens) or not all(map(_agree, product, sorted(tokens))):
            shown, got = (", ".join(f"{value:g}" for value in values[:8]) for values in (product, tokens))
            raise InputError(
                f"tokens: expected steps or tokens, or both if they agree: the steps are {shown} tokens, not {got}"
            )
    steps = tuple(float(math.ceil(value / max(rates))) for value in tokens)
    every = study.report_every if min(steps) % study.report_every == 0 else default_report_every(int(min(steps)))
    if len(rates) > 1:
        known = {} if "batch_tokens" in others else known
        return replace(study, scales={**others, "tokens": tokens}, step_tokens=known, report_every=every)
    if len(steps) == 1:
        return replace(study, steps=int(steps[0]), scales=others, report_every=every)
    return replace(study, scales={**others, "steps": steps}, report_every=every)


def _in_own_units(study: Study, trainer: Trainer, target: Mapping[str, float]) -> Mapping[str, float]:
    """A target whose horizon and batch have the names of the study's scales."""
    place = batch_in_own_unit(study, trainer, target)
    single = {name: values[0] for name, values in study.scales.items() if len(values) == 1}
    own, other = ("tokens", "steps") if "tokens" in study.scales else ("steps", "tokens")
    if other in place:
        rate = tokens_per_step(study, trainer, {**single, **place})
        value = place[other] * rate if own == "tokens" else math.ceil(place[other] / rate)
        if not _agree(place.setdefault(own, value), value):
            raise InputError(f"target: expected steps or tokens, or both if they agree, but got {place_name(target)}")
        del place[other]
    return place


def batch_in_own_unit(study: Study, trainer: Trainer, place: Mapping[str, float]) -> dict[str, float]:
    """The place with ``batch`` for its ``batch_tokens`` if the study sweeps a batch in the trainer's own unit."""
    if "batch_tokens" not in place or "batch_tokens" in study.scales or "batch" not in study.scales:
        return dict(place)
    single = {name: values[0] for name, values in study.scales.items() if len(values) == 1}
    rest = {name: value for name, value in place.items() if name != "batch_tokens"}
    unit = study.scales["batch"][0]
    at_unit = tokens_per_step(study, trainer, {**single, **rest, "batch": unit})
    return {**rest, "batch": unit * place["batch_tokens"] / at_unit}


def tokens_per_step(study: Study, trainer: Trainer, scales: Mapping[str, float]) -> float:
    """Tokens of one optimizer step at these scales: ``batch_tokens``, or what the trainer declares.

    Raises:
        InputError: neither is there.
    """
    known = declared(study, trainer, scales)
    if known is not None:
        return known
    raise InputError(
        f"tokens: expected a trainer whose module has tokens_per_step(study, scales), but {trainer.target} has none; "
        "give --steps, or --batch-tokens if it is a scale of the trainer"
    )


def declared(study: Study, trainer: Trainer, scales: Mapping[str, float]) -> float | None:
    """Tokens of one optimizer step, as in `tokens_per_step`; None if unknown."""
    known = scales.get("batch_tokens", study.options.get("batch_tokens"))
    if known is None and trainer.tokens_per_step is not None:
        known = trainer.tokens_per_step(study, scales)
    return float(known) if isinstance(known, int | float) and known > 0 else None


def _agree(one: float, other: float) -> bool:
    return abs(one / other - 1) < _AGREE
