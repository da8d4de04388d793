"""`lrtune lr`: ask a rule for a learning rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lrtune.cli.flags import Json, Rule
from lrtune.cli.rates import print_rate
from lrtune.cli.terminal import result, result_json, say
from lrtune.cli.values import parse_place, parse_tuned
from lrtune.errors import InputError

if TYPE_CHECKING:
    from lrtune import rule as rules

    _Answer = rules.Recommendation | rules.Transfer

_PUBLISHED_ASK = ("depth", "parameters")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The flags that ask: all but the hidden size."""

    steps: Annotated[float | None, typer.Option("--steps", help="Optimizer steps of your run.")] = None
    tokens: Annotated[float | None, typer.Option("--tokens", help="Training tokens of your run (2e9, say).")] = None
    batch_tokens: Annotated[float | None, typer.Option("--batch-tokens", help="Tokens of one step of it.")] = None
    scale: Annotated[
        list[str] | None, typer.Option("--scale", metavar="NAME=VALUE", help="Another scale of the rule: depth=12.")
    ] = None
    given: Annotated[
        str | None,
        typer.Option(
            "--given",
            metavar="SIZE=LR",
            help="A rate that you tuned at SIZE, or at NAME=V,NAME=V:LR; the law's slope carries it to HIDDEN.",
        ),
    ] = None
    at: Annotated[float | None, typer.Option("--at", metavar="RATE", help="Another rate; print its cost.")] = None
    rule: Rule = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How the answer is shown."""

    plain: Annotated[bool, typer.Option("--plain", help="The number alone, for scripts.")] = False
    knob: Annotated[
        str | None, typer.Option("--knob", metavar="NAME", help="With --plain: another knob of the rule.")
    ] = None
    json_: Json = False
    compare: Annotated[bool, typer.Option("--compare", help="Also show what published rules say.")] = False
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where the data do not support an answer.")] = False


def lr(
    hidden: Annotated[list[int], typer.Argument(metavar="HIDDEN…", help="One hidden size, or several for a table.")],
    asked: Asked,
    shown: Shown,
) -> None:
    """The learning rate for a hidden size, with its interval and basis."""
    from lrtune.rule.ask import NOT_YOURS, read_rule

    _check(hidden, asked, shown)
    scales = parse_place(asked.scale or [], steps=asked.steps, tokens=asked.tokens, batch_tokens=asked.batch_tokens)
    rule, is_default = read_rule(asked.rule)
    # Depth and parameters may be meant for published rules only.
    theirs = set(_PUBLISHED_ASK) - {*rule.scales, *rule.conditions} if shown.compare else set()
    ours = {name: value for name, value in scales.items() if name not in theirs}
    found = {size: _answer(size, ours, asked, rule) for size in hidden}
    doubtful = [f"{_of(size, found)}{advice.warnings[0]}" for size, advice in found.items() if not advice.supported]
    if shown.strict and (is_default or doubtful):
        for text in [NOT_YOURS] if is_default else doubtful:
            say(f"lrtune: {text}")
        raise typer.Exit(1)
    _show(found, rule, is_default, shown)
    if shown.compare:
        result(_published(hidden[0], found[hidden[0]].learning_rate, rule, scales))


def _check(hidden: list[int], asked: Asked, shown: Shown) -> None:
    """Raise an `InputError` for flags that cannot be combined."""
    for flag, other, is_wrong in (
        ("--plain", "--json", shown.plain and shown.json_),
        ("--at", "--given", asked.at is not None and asked.given is not None),
        ("--compare", "several sizes", shown.compare and len(hidden) > 1),
        ("--knob", "--given", shown.knob is not None and asked.given is not None),
    ):
        if is_wrong:
            raise InputError(f"{flag}: cannot be combined with {other}")
    if shown.knob is not None and not shown.plain:
        raise InputError("--knob: expected --plain with it; without it every knob is printed")


def _show(found: "Mapping[int, _Answer]", rule: "rules.Rule", is_default: bool, shown: Shown) -> None:
    """Print the answers by size in the form that was asked for."""
    from lrtune.cli import answers
    from lrtune.rule.ask import NOT_YOURS
    from lrtune.rule.knobs import plain_data

    own = (NOT_YOURS,) if is_default else ()  # the first warning says that the rule is the packaged one
    told = [advice._replace(warnings=(*own, *advice.warnings)) for advice in found.values()]
    if shown.plain:
        once = [told[0], *list(found.values())[1:]]
        for size, advice in zip(found, once, strict=True):
            print_rate(advice, shown.knob, _of(size, found))
    elif shown.json_:
        every = [advice._asdict() | plain_data(advice) for advice in told]
        result_json(every if len(every) > 1 else every[0])
    else:
        if is_default:
            result(f"{NOT_YOURS}: measure yours with `lrtune search`")
        [first, *others] = found.items()
        result(answers.several(found, rule) if others else answers.one(*first, rule))


def _of(size: int, found: "Mapping[int, _Answer]") -> str:
    """The size before a doubt, where there are others."""
    return f"hidden {size}: " if len(found) > 1 else ""


def _answer(hidden: int, scales: dict[str, float], asked: Asked, rule: "rules.Rule") -> "_Answer":
    from lrtune.rule import recommend, transfer_learning_rate

    if asked.given is None:
        return recommend(hidden, rule=rule, at=asked.at, **scales)
    place, tuned = parse_tuned(asked.given)
    size = place.pop("hidden_size", hidden)
    return transfer_learning_rate(tuned, size, hidden, rule=rule, from_scales=place, **scales)


def _published(hidden: float, ours: float, rule: "rules.Rule", scales: dict[str, float]) -> str:
    """The published rules' rates at this size; the rule's conditions fill in what they need."""
    from lrtune.report.advice import asked_of_published
    from lrtune.rule.opinions import family, published_rates

    asked = {name: value for name, value in scales.items() if name in ("tokens", "batch_tokens", *_PUBLISHED_ASK)}
    own = family(rule.conditions)
    return str(published_rates(hidden, ours=ours, own=own, **{**asked_of_published(rule), **asked}))
