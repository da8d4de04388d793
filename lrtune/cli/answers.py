"""The text of a rule's answers: one size with everything that is known, or several as a table."""

from collections.abc import Mapping

from lrtune.cli.rates import rate
from lrtune.cli.terminal import table
from lrtune.rule import Doubt, Recommendation, Rule, Transfer
from lrtune.rule.display import basis_text, knob_text, law_lines
from lrtune.rule.doubt import cost_text
from lrtune.rule.question import EXTRAPOLATED, span

Answer = Recommendation | Transfer
_COLUMNS = 80
# Conditions, by their names in the trainer's contract, that move the best rate most.
_HEADLINE = ("model", "optimizer", "schedule", "data")


def one(hidden: float, advice: Answer, rule: Rule) -> str:
    """The rate, interval and basis in one line, the conditions in the next, then the rest."""
    rows = _rest(advice, rule)
    if advice.basis != "extrapolated" or len(rule.scales) > 1 or isinstance(advice, Transfer):
        rows.append(("why", advice.why.partition("; ")[0]))
    rows += [("" if index else "law", text) for index, text in enumerate(_law(rule.reason))]
    rows.append(("rests on", _measured(rule)))
    if advice.source:
        rows.append(("rule", advice.source))
    notes = [text for text in advice.warnings if not text.startswith(EXTRAPOLATED)]  # the first line says it
    rows += [("note" if index == 0 else "", text) for index, text in enumerate(notes)]
    first = f"{rate(advice.learning_rate)} at hidden {hidden:g} ({_interval(advice)}, {advice.level:.0%} interval)"
    lines = [f"{first}, {basis_text(advice)}", _holds_for(advice, rule)]
    width = max(14, *(len(name) + 2 for name, _ in rows))
    return "\n".join([*filter(None, lines), *(f"  {name:{width}}{text}" for name, text in rows)])


def several(answers: Mapping[int, Answer], rule: Rule) -> str:
    """One row per size, then what holds for all of them, then the doubts."""
    some = next(iter(answers.values()))
    knobs = tuple(some.knobs) if isinstance(some, Recommendation) else ()
    header = ["hidden", "LR" if knobs else "learning rate", f"{some.level:.0%} interval"]
    header += knobs or ["safe range" if isinstance(some, Recommendation) else "ratio"]
    at = some.at if isinstance(some, Recommendation) else None
    header += [*([] if at is None else [f"cost of {rate(at)}"]), ""]
    rows = []
    for hidden, advice in answers.items():
        row = [f"{hidden}", rate(advice.learning_rate), _interval(advice)]
        if isinstance(advice, Recommendation):
            row += [f"{one.value:.3g}" for one in advice.knobs.values()] or [_safe(advice) or "–"]
            row += [] if at is None else ["unknown" if advice.at_regret is None else f"{advice.at_regret:.2%}"]
        else:
            row.append(f"{advice.ratio:.3g} ({advice.ratio_low:.3g} … {advice.ratio_high:.3g})")
        rows.append([*row, _short_basis(advice)])
    if knobs and max(map(len, table(rows, header).splitlines())) > _COLUMNS:
        header, *rows = ([*line[:2], *line[3:]] for line in (header, *rows))  # without the interval
    lines = [table(rows, header), _holds_for(some, rule)]
    laws = [text for law in law_lines(rule) for text in _law(law)]
    lines += [f"  {'' if index else 'law':14}{text}" for index, text in enumerate(laws)]
    lines += [f"  {'rule':14}{some.source}"] if some.source else []
    notes = [f"{hidden}: {advice.warnings[0]}" for hidden, advice in answers.items() if not advice.supported]
    unsure = [hidden for hidden, advice in answers.items() if _lacks_safe_range(advice, rule)]
    notes += [f"{hidden}: {_none_safe(rule)}" for hidden in unsure]
    if len(rule.scales) > 1:  # the table does not say which scale a factor is of
        far = ((size, text) for size, advice in answers.items() for text in advice.warnings)
        notes += [f"{size}: {text}" for size, text in far if text.startswith(EXTRAPOLATED)]
    lines += [f"  {'note' if index == 0 else '':14}{text}" for index, text in enumerate(notes)]
    return "\n".join(filter(None, lines))


def _interval(advice: Answer) -> str:
    return f"{rate(advice.low)} … {rate(advice.high)}"


def _lacks_safe_range(advice: Answer, rule: Rule) -> bool:
    """Whether a rate is supported, since it is good enough on average, and none surely is."""
    if rule.draws is None or not isinstance(advice, Recommendation):
        return False
    return advice.supported and not advice.knobs and not _safe(advice)


def _none_safe(rule: Rule) -> str:
    return f"no rate is within {rule.tolerance * 100:g}% of loss in nine cases of ten"


def _safe(advice: Recommendation) -> str:
    if advice.safe_low is None or advice.safe_high is None:
        return ""
    return f"{rate(advice.safe_low)} … {rate(advice.safe_high)}"


def _short_basis(advice: Answer) -> str:
    text = advice.basis + (f" {advice.extrapolation:.3g}×" if advice.basis == "extrapolated" else "")
    return text if advice.supported else f"{text}, not supported"


def _law(reason: str) -> list[str]:
    """A law and the remarks on it, a line each; of several scales, a line for each factor."""
    law, *remarks = reason.split("; ")
    level, *factors = law.split(" · ")
    if len(factors) < 2:
        return [law, *remarks]
    return [f"{level} · {factors[0]}", *(f"· {factor}" for factor in factors[1:]), *remarks]


def _measured(rule: Rule) -> str:
    """The runs of a rule, and the range of each scale."""
    spans = (f"{name} {span(scale.low, scale.high)}" for name, scale in rule.scales.items())
    runs, cells = sum(cell.trials for cell in rule.cells), len(rule.cells)
    many = f"{runs:,} run{'s' if runs != 1 else ''}"
    return f"{many} at {', '.join(spans)}" + (f" ({cells} combinations)" if len(rule.scales) > 1 else "")


def _holds_for(advice: Answer, rule: Rule) -> str:
    """The horizon, and the conditions that move the best rate most."""
    conditions = [str(rule.conditions[name]) for name in _HEADLINE if name in rule.conditions]
    asked = advice.scales if isinstance(advice, Recommendation) else {}
    batch = asked.get("batch_tokens", rule.conditions.get("tokens_per_step"))
    if isinstance(batch, int | float):
        conditions.append(f"batches of {batch:,.0f} tokens")
    tokens, steps = getattr(advice, "horizon_tokens", None), getattr(advice, "horizon_steps", None)
    length = [f"{value:,.0f} {unit}" for value, unit in ((tokens, "tokens"), (steps, "steps")) if value is not None]
    conditions = [" in ".join(length), *conditions] if length else conditions
    return f"for {', '.join(conditions)}" if conditions else ""


def _cost(mean: float | None, worst: float | None) -> str:
    """A regret and its 90% quantile in words."""
    return "an unknown share of loss" if mean is None or worst is None else cost_text(mean, worst)


def _rest(advice: Answer, rule: Rule) -> list[tuple[str, str]]:
    """The rest of an answer, as names and texts."""
    rows = []
    if isinstance(advice, Recommendation) and _safe(advice):
        rows.append(("safe range", f"{_safe(advice)}, within {rule.tolerance * 100:g}% of loss"))
    elif _lacks_safe_range(advice, rule):
        rows.append(("safe range", f"none: {_none_safe(rule)}"))
    if rule.draws is not None and advice.doubt is not Doubt.COSTLY:
        rows.append(("may cost", _cost(advice.regret, advice.regret_90)))
    if isinstance(advice, Transfer):
        return [("ratio", f"{advice.ratio:.3g} ({advice.ratio_low:.3g} … {advice.ratio_high:.3g})"), *rows]
    for name, one in advice.knobs.items():
        rows += [(name, knob_text(one)), *(("", text) for text in (_law(one.law) if one.matters else ()))]
    if advice.at is not None:
        rows.append(("asked about", f"{rate(advice.at)} would cost {_cost(advice.at_regret, advice.at_regret_90)}"))
    if advice.collapse_10 is not None and advice.collapse_50 is not None:
        rows.append(("collapse", f"1 run in 10 at {rate(advice.collapse_10)}, 1 in 2 at {rate(advice.collapse_50)}"))
    if advice.stage2_learning_rate not in (None, advice.learning_rate):
        rows.append(("stage 2", rate(advice.stage2_learning_rate)))
    if advice.weight_decay is not None and "weight_decay" not in advice.knobs:
        later = advice.weight_decay_stage2
        rows.append(
            (
                "weight decay",
                f"{advice.weight_decay:g}" + (f", then {later:g}" if later not in (None, advice.weight_decay) else ""),
            )
        )
    if advice.warmup_steps is not None:
        rows.append(("warm-up", f"{advice.warmup_steps:,.10g} steps"))
    return rows
