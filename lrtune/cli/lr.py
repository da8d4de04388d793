"""`lrtune lr`: ask a rule for a learning rate."""

from typing import TYPE_CHECKING, Annotated

import typer

from lrtune.cli.flags import Hidden, Json, Rule
from lrtune.cli.rates import print_rate, rate
from lrtune.cli.terminal import result, result_json, say
from lrtune.cli.values import parse_numbers, parse_tuned
from lrtune.errors import InputError

if TYPE_CHECKING:
    from lrtune import rule as rules

_PUBLISHED_ASK = ("depth", "parameters")
# Conditions, by their names in the trainer's contract, that move the best rate most.
_HEADLINE = ("model", "optimizer", "schedule", "data")


def lr(
    hidden: Hidden,
    tokens: Annotated[float | None, typer.Option("--tokens", help="Training tokens of your run (2e9, say).")] = None,
    scale: Annotated[
        list[str] | None, typer.Option("--scale", metavar="NAME=VALUE", help="Another scale of the rule: depth=12.")
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(
            "--given", metavar="SIZE=LR", help="A rate that you tuned at SIZE; the law's slope carries it to HIDDEN."
        ),
    ] = None,
    at: Annotated[float | None, typer.Option("--at", metavar="RATE", help="Another rate; print its cost.")] = None,
    rule: Rule = None,
    plain: Annotated[bool, typer.Option("--plain", help="The number alone, for scripts.")] = False,
    json_: Json = False,
    compare: Annotated[bool, typer.Option("--compare", help="Also show what published rules say.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where the data do not support an answer.")] = False,
) -> None:
    """The learning rate for a hidden size, with its interval and basis."""
    from lrtune.rule import recommend, transfer_learning_rate
    from lrtune.rule.ask import NOT_YOURS, read_rule

    if plain and json_:
        raise InputError("--plain: cannot be combined with --json")
    scales = parse_numbers(scale or [], flag="--scale") | ({} if tokens is None else {"tokens": tokens})
    loaded, is_default = read_rule(rule)
    advice: rules.Recommendation | rules.Transfer
    if given is not None:
        size, tuned = parse_tuned(given)
        advice = transfer_learning_rate(tuned, size, hidden, rule=loaded, **scales)
    else:
        # Depth and parameters may be meant for published rules only.
        theirs = set(_PUBLISHED_ASK) - {*loaded.scales, *loaded.conditions} if compare else set()
        advice = recommend(hidden, rule=loaded, at=at, **{k: v for k, v in scales.items() if k not in theirs})
    if strict and (is_default or not advice.supported):
        say(f"lrtune: {NOT_YOURS if is_default else advice.warnings[0]}")
        raise typer.Exit(1)
    if is_default:
        advice = advice._replace(warnings=(NOT_YOURS, *advice.warnings))
    if plain:
        print_rate(advice)
    elif json_:
        result_json(advice._asdict() | {"doubt": advice.doubt and advice.doubt.name.lower()})
    else:
        result(_as_text(hidden, advice, loaded))
    if compare:
        result(_published(hidden, advice.learning_rate, loaded, scales))


def _as_text(hidden: float, advice: "rules.Recommendation | rules.Transfer", rule: "rules.Rule") -> str:
    """The rate, interval and basis in one line, the conditions in the next, then the rest."""
    from lrtune.rule import Recommendation
    from lrtune.rule.ask import NOT_YOURS

    rows: list[tuple[str, str]] = []
    if isinstance(advice, Recommendation):
        rows += _more_advice(advice)
    else:
        rows.append(("ratio", f"{advice.ratio:.3g} ({advice.ratio_low:.3g} … {advice.ratio_high:.3g})"))
    rows.append(("why", advice.why))
    if advice.source:
        rows.append(("rule", advice.source))
    notes = [text for text in advice.warnings if text != NOT_YOURS]
    rows += [("note" if index == 0 else "", text) for index, text in enumerate(notes)]
    interval = f"{rate(advice.low)} … {rate(advice.high)}, {advice.level:.0%} interval"
    lines = [f"{rate(advice.learning_rate)} at hidden {hidden:g} ({interval}), {_basis(advice, rule)}"]
    lines.append(_holds_for(advice, rule))
    if advice.warnings[:1] == (NOT_YOURS,):
        lines.insert(0, f"{NOT_YOURS}: measure yours with `lrtune search`")
    return "\n".join([*filter(None, lines), *(f"  {name:14}{text}" for name, text in rows)])


def _basis(advice: "rules.Recommendation | rules.Transfer", rule: "rules.Rule") -> str:
    """``measured``, ``interpolated``, or the factor beyond the measured range."""
    text = advice.basis
    if advice.basis == "extrapolated":
        text = f"extrapolated {advice.extrapolation:.3g}×"
        sizes = rule.scales.get("hidden_size")
        if sizes:
            text = f"measured from {sizes.low:g} to {sizes.high:g}, {text}"
    return text if advice.supported else f"{text}, not supported by the data"


def _holds_for(advice: "rules.Recommendation | rules.Transfer", rule: "rules.Rule") -> str:
    """The horizon, and the conditions that move the best rate most."""
    conditions = [str(rule.conditions[name]) for name in _HEADLINE if name in rule.conditions]
    batch = rule.conditions.get("tokens_per_step")
    if isinstance(batch, int | float):
        conditions.append(f"batches of {batch:,.0f} tokens")
    tokens, steps = getattr(advice, "horizon_tokens", None), getattr(advice, "horizon_steps", None)
    length = [f"{value:,.0f} {unit}" for value, unit in ((tokens, "tokens"), (steps, "steps")) if value is not None]
    conditions = [" in ".join(length), *conditions] if length else conditions
    return f"for {', '.join(conditions)}" if conditions else ""


def _more_advice(advice: "rules.Recommendation") -> list[tuple[str, str]]:
    rows = []
    if advice.safe_low is not None and advice.safe_high is not None:
        rows.append(("safe range", f"{rate(advice.safe_low)} … {rate(advice.safe_high)}"))
    if advice.regret is not None and advice.regret_90 is not None:
        rows.append(("may cost", f"{advice.regret:.2%} of loss, {advice.regret_90:.2%} in one case of ten"))
    if advice.at is not None and advice.at_regret is not None and advice.at_regret_90 is not None:
        cost = f"{advice.at_regret:.2%} of loss, {advice.at_regret_90:.2%} in one case of ten"
        rows.append(("asked about", f"{rate(advice.at)} would cost {cost}"))
    if advice.collapse_10 is not None and advice.collapse_50 is not None:
        rows.append(("collapse", f"1 run in 10 at {rate(advice.collapse_10)}, 1 in 2 at {rate(advice.collapse_50)}"))
    if advice.stage2_learning_rate is not None:
        rows.append(("stage 2", rate(advice.stage2_learning_rate)))
    if advice.weight_decay is not None:
        later = advice.weight_decay_stage2
        rows.append(("weight decay", f"{advice.weight_decay:g}" + (f", then {later:g}" if later is not None else "")))
    if advice.warmup_steps is not None:
        rows.append(("warm-up", f"{advice.warmup_steps:g} steps"))
    return rows


def _published(hidden: float, ours: float, rule: "rules.Rule", scales: dict[str, float]) -> str:
    """The published rules' rates at this size; the rule's conditions fill in what they need."""
    from lrtune.report.advice import asked_of_published
    from lrtune.rule.published import published_rates

    asked = {name: value for name, value in scales.items() if name in ("tokens", *_PUBLISHED_ASK)}
    return str(published_rates(hidden, ours=ours, **{**asked_of_published(rule), **asked}))
