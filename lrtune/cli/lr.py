"""`lrtune lr`: ask a rule for a learning rate."""

from typing import TYPE_CHECKING, Annotated

import typer

from lrtune.cli.flags import Json, Rule
from lrtune.cli.rates import print_rate
from lrtune.cli.terminal import result, result_json, say
from lrtune.cli.values import parse_numbers, parse_tuned
from lrtune.errors import InputError

if TYPE_CHECKING:
    from lrtune import rule as rules

    _Answer = rules.Recommendation | rules.Transfer

_PUBLISHED_ASK = ("depth", "parameters")


def lr(
    hidden: Annotated[list[int], typer.Argument(metavar="HIDDEN…", help="One hidden size, or several for a table.")],
    steps: Annotated[float | None, typer.Option("--steps", help="Optimizer steps of your run.")] = None,
    tokens: Annotated[float | None, typer.Option("--tokens", help="Training tokens of your run (2e9, say).")] = None,
    batch_tokens: Annotated[float | None, typer.Option("--batch-tokens", help="Tokens of one step of it.")] = None,
    scale: Annotated[
        list[str] | None, typer.Option("--scale", metavar="NAME=VALUE", help="Another scale of the rule: depth=12.")
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(
            "--given",
            metavar="SIZE=LR",
            help="A rate that you tuned at SIZE, or at NAME=V,NAME=V:LR; the law's slope carries it to HIDDEN.",
        ),
    ] = None,
    at: Annotated[float | None, typer.Option("--at", metavar="RATE", help="Another rate; print its cost.")] = None,
    rule: Rule = None,
    plain: Annotated[bool, typer.Option("--plain", help="The number alone, for scripts.")] = False,
    knob: Annotated[
        str | None, typer.Option("--knob", metavar="NAME", help="With --plain: another knob of the rule.")
    ] = None,
    json_: Json = False,
    compare: Annotated[bool, typer.Option("--compare", help="Also show what published rules say.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where the data do not support an answer.")] = False,
) -> None:
    """The learning rate for a hidden size, with its interval and basis."""
    from lrtune.cli import answers
    from lrtune.rule.ask import NOT_YOURS, read_rule
    from lrtune.rule.knobs import plain_data

    for flag, other, is_wrong in (
        ("--plain", "--json", plain and json_),
        ("--at", "--given", at is not None and given is not None),
        ("--compare", "several sizes", compare and len(hidden) > 1),
        ("--knob", "--given", knob is not None and given is not None),
    ):
        if is_wrong:
            raise InputError(f"{flag}: cannot be combined with {other}")
    if knob is not None and not plain:
        raise InputError("--knob: expected --plain with it; without it every knob is printed")
    lengths = {"steps": steps, "tokens": tokens, "batch_tokens": batch_tokens}
    scales = parse_numbers(scale or [], flag="--scale")
    scales |= {name: value for name, value in lengths.items() if value is not None}
    loaded, is_default = read_rule(rule)
    # Depth and parameters may be meant for published rules only.
    theirs = set(_PUBLISHED_ASK) - {*loaded.scales, *loaded.conditions} if compare else set()
    asked = {name: value for name, value in scales.items() if name not in theirs}
    found = {size: _answer(size, asked, given, at, loaded) for size in hidden}
    doubtful = [advice.warnings[0] for advice in found.values() if not advice.supported]
    if strict and (is_default or doubtful):
        say(f"lrtune: {NOT_YOURS if is_default else doubtful[0]}")
        raise typer.Exit(1)
    if plain:
        for advice in found.values():
            print_rate(_with_origin(advice, is_default), knob)
    elif json_:
        told = [_with_origin(advice, is_default) for advice in found.values()]
        every = [advice._asdict() | plain_data(advice) for advice in told]
        result_json(every if len(hidden) > 1 else every[0])
    else:
        if is_default:
            result(f"{NOT_YOURS}: measure yours with `lrtune search`")
        several = len(found) > 1
        result(answers.several(found, loaded) if several else answers.one(hidden[0], found[hidden[0]], loaded))
    if compare:
        result(_published(hidden[0], found[hidden[0]].learning_rate, loaded, scales))


def _answer(
    hidden: int, scales: dict[str, float], given: str | None, at: float | None, rule: "rules.Rule"
) -> "_Answer":
    from lrtune.rule import recommend, transfer_learning_rate

    if given is None:
        return recommend(hidden, rule=rule, at=at, **scales)
    place, tuned = parse_tuned(given)
    size = place.pop("hidden_size", hidden)
    return transfer_learning_rate(tuned, size, hidden, rule=rule, from_scales=place, **scales)


def _with_origin(advice: "_Answer", is_default: bool) -> "_Answer":
    """The answer, whose first warning says that the rule is the packaged one."""
    from lrtune.rule.ask import NOT_YOURS

    return advice._replace(warnings=(NOT_YOURS, *advice.warnings)) if is_default else advice


def _published(hidden: float, ours: float, rule: "rules.Rule", scales: dict[str, float]) -> str:
    """The published rules' rates at this size; the rule's conditions fill in what they need."""
    from lrtune.report.advice import asked_of_published
    from lrtune.rule.opinions import family, published_rates

    asked = {name: value for name, value in scales.items() if name in ("tokens", "batch_tokens", *_PUBLISHED_ASK)}
    own = family(rule.conditions)
    return str(published_rates(hidden, ours=ours, own=own, **{**asked_of_published(rule), **asked}))
