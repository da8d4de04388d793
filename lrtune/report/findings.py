"""The first sentences of a report: the result, its certainty, the next step."""

from lrtune.law.no_rule import NoRule
from lrtune.records.tally import counts
from lrtune.report.advice import sentence
from lrtune.report.run import Run
from lrtune.rule import Rule, recommend
from lrtune.rule.display import sizes


def findings(run: Run) -> list[str]:
    """Three sentences: the result, its certainty, the next step."""
    ended = f"{len(run.records)} runs were trained ({counts(run.records)})"
    if run.rule is None:
        done = f"{sentence(ended)}" if run.records else "No run has ended."
        return [f"No rule was found: {run.why_no_rule}.", done, _what_to_fix(run)]
    if not sizes(run.rule):
        return [
            f"A law over {', '.join(run.rule.scales)} was fitted; {ended}.",
            sentence(run.rule.reason),
            "Ask it with lrtune lr, giving every scale.",
        ]
    return _of_sizes(run.rule, ended)


def _of_sizes(rule: Rule, ended: str) -> list[str]:
    measured = sizes(rule)
    largest = measured[-1]
    first, last, beyond = (recommend(size, rule=rule) for size in (measured[0], largest, largest * 2))
    slope = "" if len(measured) < 2 else f", from {first.learning_rate:.3g} at {measured[0]:g}"
    sure = (
        f"At {largest * 2:g} the rule says {beyond.learning_rate:.3g} with a {beyond.level:.0%} interval of "
        f"{beyond.low:.3g} to {beyond.high:.3g}"
    )
    if beyond.supported:
        todo = f"Train with lrtune lr SIZE; lrtune verify {largest:g} checks the answer on fresh seeds."
    else:
        sure += ", which the data do not support"
        todo = f"Measure a size near {largest * 2:g} before you rely on the law there: add it to --widths."
    return [
        f"The best peak learning rate at hidden size {largest:g} is {last.learning_rate:.3g} "
        f"({last.low:.3g} to {last.high:.3g}){slope}; {ended}.",
        f"{sentence(rule.reason)} {sure}.",
        todo,
    ]


def _what_to_fix(run: Run) -> str:
    """The next step if there is no rule."""
    again = "run the search again in the same folder to resume it."
    if run.no_rule not in (NoRule.ALL_FAILED, NoRule.NONE_FINISHED):
        return sentence(again)
    last = run.records[-1]
    reason = f" ({last.reason})" if last.reason else ""
    return (
        f"The last run {last.status}{reason}: test the trainer with lrtune check-trainer, fix it or search lower "
        f"rates, and {again}"
    )
