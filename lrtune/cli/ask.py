"""Verbs that ask a rule: `lr` for a rate, `export` for the whole of it in another form."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrtune.cli import options as flag
from lrtune.cli.settings import parse_pairs
from lrtune.cli.terminal import rate, result, result_json, say, write_out
from lrtune.errors import InputError
from lrtune.rule.file import PACKAGED

if TYPE_CHECKING:
    from lrtune.rule.ask import Recommendation, Rule, Transfer

Tokens = Annotated[float | None, typer.Option("--tokens", help="Training tokens of your run (2e9, say).")]
Given = Annotated[
    str | None,
    typer.Option("--given", metavar="SIZE=LR", help="A rate that you tuned at another size, carried over by the law."),
]
At = Annotated[
    list[str] | None, typer.Option("--scale", metavar="NAME=VALUE", help="Another scale of the rule: depth=12.")
]
Format = Annotated[str, typer.Option("--format", metavar="python|json|yaml|toml", help="What to write.")]

_PUBLISHED_ASK = ("depth", "parameters")
_OWN = "search for your own model: lrtune search"


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: python train.py --lr $(lrtune lr 256 --plain)")(lr)
    app.command(epilog="Example: lrtune export --format python -o learning_rate.py")(export)


def lr(
    hidden: flag.Hidden,
    tokens: Tokens = None,
    scale: At = None,
    given: Given = None,
    rule: flag.Rule = None,
    plain: Annotated[bool, typer.Option("--plain", help="The number alone, for scripts.")] = False,
    json_: flag.Json = False,
    compare: Annotated[bool, typer.Option("--compare", help="Beside it, what published rules say.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where the data do not support an answer.")] = False,
) -> None:
    """The learning rate for a hidden size, with its interval and what it rests on."""
    from lrtune.rule.ask import load_rule, recommend, transfer_learning_rate

    if plain and json_:
        raise InputError("--plain: expected alone, but --json is there too; take one")
    scales = _scales(scale, tokens)
    loaded = load_rule(rule)
    advice: Recommendation | Transfer
    if given is not None:
        size, tuned = _given(given)
        advice = transfer_learning_rate(tuned, size, hidden, rule=loaded, **scales)
    else:
        # What only published rules ask for (depth, parameters) is no question to ours.
        theirs = set(_PUBLISHED_ASK) - {*loaded.scales, *loaded.conditions} if compare else set()
        advice = recommend(hidden, rule=loaded, **{k: v for k, v in scales.items() if k not in theirs})
    if strict and not advice.supported:
        say(f"lrtune: not supported by the data: {advice.why}")
        raise typer.Exit(1)
    if plain:
        result(rate(advice.learning_rate))
    elif json_:
        result_json(_advice_as_data(advice))
    else:
        result(_advice_as_text(hidden, advice, loaded))
    if compare:
        result(_published(hidden, advice.learning_rate, loaded, scales))


def _scales(pairs: list[str] | None, tokens: float | None) -> dict[str, float]:
    scales = {}
    for name, text in parse_pairs(pairs or [], flag="--scale").items():
        try:
            scales[name] = float(text)
        except ValueError:
            raise InputError(f"--scale: expected a number for {name}, but got {text!r:.40}") from None
    if tokens is not None:
        scales["tokens"] = tokens
    return scales


def _given(text: str) -> tuple[int, float]:
    size, _, tuned = text.partition("=")
    try:
        return int(size), float(tuned)
    except ValueError:
        raise InputError(f"--given: expected SIZE=LR such as 128=0.003, but got {text!r:.40}") from None


def export(
    format_: Format,
    rule: flag.Rule = None,
    output: flag.Output = None,
) -> None:
    """Write the rule in the form that your configuration reads."""
    from lrtune.rule.ask import load_rule
    from lrtune.rule.export import export_rule

    text = export_rule(load_rule(rule), format_)
    if output is None:
        result(text.rstrip("\n"))
    else:
        write_out(output, text)
        say(f"wrote {output}")


def _advice_as_data(advice: "Recommendation | Transfer") -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in advice._asdict().items()}


def _advice_as_text(hidden: float, advice: "Recommendation | Transfer", rule: "Rule") -> str:
    """The number with its interval and what it rests on in one line, what it holds for in the next, then the rest."""
    from lrtune.rule.ask import Recommendation

    rows: list[tuple[str, str]] = []
    if isinstance(advice, Recommendation):
        rows += _more_advice(advice)
    else:
        rows.append(("ratio", f"{advice.ratio:.3g} ({advice.ratio_low:.3g} … {advice.ratio_high:.3g})"))
    rows.append(("why", advice.why))
    if advice.source:
        rows.append(("rule", advice.source))
    rows += [("note" if index == 0 else "", text) for index, text in enumerate(advice.warnings)]
    interval = f"{rate(advice.low)} … {rate(advice.high)}, {advice.level:.0%} interval"
    lines = [f"{rate(advice.learning_rate)} at hidden {hidden:g} ({interval}), {_basis(advice, rule)}"]
    holds_for = [_setting(advice, rule), *([_OWN] if os.path.samefile(rule.source, PACKAGED) else [])]
    lines.append("; ".join(part for part in holds_for if part))
    return "\n".join([*filter(None, lines), *(f"  {name:14}{text}" for name, text in rows)])


def _basis(advice: "Recommendation | Transfer", rule: "Rule") -> str:
    """``measured``, ``interpolated``, or how far beyond what was measured."""
    text = advice.basis
    if advice.basis == "extrapolated":
        text = f"extrapolated {advice.extrapolation:.3g}×"
        sizes = rule.scales.get("hidden_size")
        if sizes:
            text = f"measured from {sizes.low:g} to {sizes.high:g}, {text}"
    return text if advice.supported else f"{text}, not supported by the data"


def _setting(advice: "Recommendation | Transfer", rule: "Rule") -> str:
    """What the answer holds for: the horizon, and the conditions that move the best rate most."""
    told = [
        str(rule.conditions[name]) for name in ("model", "optimizer", "schedule", "data") if name in rule.conditions
    ]
    batch = rule.conditions.get("batch_tokens")
    if isinstance(batch, int | float):
        told.append(f"batches of {batch:,.0f} tokens")
    tokens, steps = getattr(advice, "horizon_tokens", None), getattr(advice, "horizon_steps", None)
    length = [f"{value:,.0f} {unit}" for value, unit in ((tokens, "tokens"), (steps, "steps")) if value is not None]
    told = [" in ".join(length), *told] if length else told
    return f"for {', '.join(told)}" if told else ""


def _more_advice(advice: "Recommendation") -> list[tuple[str, str]]:
    rows = []
    if advice.safe_low is not None and advice.safe_high is not None:
        rows.append(("safe range", f"{rate(advice.safe_low)} … {rate(advice.safe_high)}"))
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


def _published(hidden: float, ours: float, rule: "Rule", scales: dict[str, float]) -> str:
    """What published rules say of this size; what they ask beside it is taken from the rule's own conditions."""
    from lrtune.rule.published import compare

    depth = rule.conditions.get("depth")
    known = {"depth": float(depth)} if isinstance(depth, int | float) else {}
    if tokens := rule.horizon.get("tokens"):
        known["tokens"] = tokens
    asked = {name: value for name, value in scales.items() if name in ("tokens", *_PUBLISHED_ASK)}
    return str(compare(hidden, ours=ours, **{**known, **asked}))
