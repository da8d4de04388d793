"""The lead of a report: the rate to use, the law, its certainty, why the search ended, and the next command."""

import shlex
from typing import NamedTuple

from lrtune.errors import InputError
from lrtune.law.no_rule import NoRule
from lrtune.records.tally import counts, goes_wrong
from lrtune.report.advice import sentence
from lrtune.report.outlook import Outlook, again, more, nearer, outlook, verify_words
from lrtune.report.run import Run
from lrtune.rule import Recommendation, Rule, recommend
from lrtune.rule.display import basis_text, knob_text, law_lines
from lrtune.rule.question import number
from lrtune.search.ending import Ending
from lrtune.search.target import in_scales_of
from lrtune.study.study import Study
from lrtune.study.task import targets
from lrtune.trainer.direction import remedy
from lrtune.trainer.function import PREFIX


class Use(NamedTuple):
    """A rate to use: the rate, its place, its interval and basis, the other knobs, and whether the data support it."""

    rate: str
    place: str
    certainty: str
    supported: bool
    knobs: tuple[tuple[str, str], ...] = ()


class Findings(NamedTuple):
    """What a run found.

    Attributes:
        uses: the rate at each target, or at the largest measured place; empty without a rule.
        warning: that the loss goes the wrong way, or empty.
        formulas: the law of the rate and of each further knob.
        sentences: what was trained, how sure the law is, why the search ended.
        advice: the next step; `command` is its command line, or empty.
    """

    uses: tuple[Use, ...]
    warning: str
    formulas: tuple[str, ...]
    sentences: tuple[str, ...]
    advice: str
    command: str


def findings(run: Run) -> Findings:
    """The result, its certainty, the next step."""
    number = len(run.records)
    trained = f"{number} run{'s were' if number > 1 else ' was'} trained ({counts(run.records)})."
    trained = trained if number else "No run has ended."
    ended = [f"Ended: {run.ended.text}."] if run.ended else []
    warning = goes_wrong(run.records)
    upright = (sentence(remedy(maximize=run.records[0].maximize)), _check_trainer(run)) if warning else None
    if run.rule is None:
        advice, command = upright or _to_fix(run)
        return Findings((), warning, (), (f"No rule was found: {run.why_no_rule}.", trained, *ended), advice, command)
    answers = _answers(run, run.rule)
    head, _, rest = run.rule.reason.partition("; ")
    is_formula = head.startswith("lr ")
    certainty = rest if is_formula else run.rule.reason
    advice, command = upright or _next(run, run.rule, answers)
    return Findings(
        uses=tuple(map(_use, answers)),
        warning=warning,
        formulas=(
            *([head] if "·" in head and is_formula else []),
            *(law.partition("; ")[0] for law in law_lines(run.rule)[1:] if " ≈ " in law),
        ),
        sentences=(trained, *([sentence(certainty)] if certainty else []), *ended),
        advice=advice,
        command=command,
    )


def places(run: Run) -> list[dict[str, float]]:
    """The targets of the study in the law's scales; empty if it names none."""
    if run.study is None or run.rule is None or not run.study.targets:
        return []
    try:
        wanted = targets(run.study)
        told = [recommend(rule=run.rule, **in_scales_of(run.rule, run.records, place)) for place in wanted]
        return [{name: answer.scales[name] for name in run.rule.scales} for answer in told]
    except (InputError, KeyError):
        return []


def _answers(run: Run, rule: Rule) -> list[Recommendation]:
    """At each target; without targets, at the largest measured place."""
    wanted = places(run) or [{name: scale.high for name, scale in rule.scales.items()}]
    return [recommend(rule=rule, **place) for place in wanted]


def _use(answer: Recommendation) -> Use:
    return Use(
        rate=f"{answer.learning_rate:.3g}",
        place=", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in answer.scales.items()),
        certainty=f"{answer.low:.3g} … {answer.high:.3g}, {answer.level:.0%} interval; {basis_text(answer)}",
        supported=answer.supported,
        knobs=tuple((name, knob_text(one)) for name, one in answer.knobs.items()),
    )


def _next(run: Run, rule: Rule, answers: list[Recommendation]) -> tuple[str, str]:
    """The next step and its command."""
    if run.ended and is_fault_of_trainer(run.ended.ending, None):
        return sentence(run.ended.ending.value), _check_trainer(run)
    doubtful = next((answer for answer in answers if answer.doubt is not None), None)
    if doubtful is None or doubtful.doubt is None:
        if run.study is None:
            return "Ask for the rate in your training script.", ""
        largest = rule.scales["hidden_size"].high if "hidden_size" in rule.scales else run.study.widths[-1]
        words = verify_words(rule, largest, run.folder / "study.toml")
        return "Check the answer on full-length runs.", _line(*words, "--rule", str(run.folder))
    command, found = _resumed(run), _outlook(run)
    beyond = nearer(run.study, doubtful) if run.study is not None else None
    if beyond is not None:
        name, value = beyond[0].replace("_", " "), beyond[1][-1]
        return f"Measure {name} {value:g} too: the rate there rests on extrapolation.", command
    if run.ended and run.ended.ending is Ending.EXHAUSTED:
        return sentence(run.ended.ending.value), ""
    return sentence((found and more(found, 1)) or doubtful.doubt.value), command


def _resumed(run: Run) -> str:
    """The command that resumes the search; empty if there is none."""
    if run.study is None:
        return ""
    ending = None if run.ended is None else run.ended.ending
    words = again(run.study, run.folder, run.records, ending, _outlook(run))
    return _line(*words) if words else ""


def _outlook(run: Run) -> Outlook | None:
    return None if run.rule is None or run.study is None else outlook(run.rule, run.study, run.records, 1)


def _to_fix(run: Run) -> tuple[str, str]:
    """The next step if there is no rule."""
    if run.no_rule is NoRule.EQUAL_LOSSES:
        return sentence(run.no_rule.value), _check_trainer(run)
    if run.no_rule not in (NoRule.ALL_FAILED, NoRule.NONE_FINISHED):
        return "Run the search again in the same folder to resume it.", _resumed(run)
    last = run.records[-1]
    reason = f" ({last.reason})" if last.reason else ""
    advice = (
        f"The last run {last.status}{reason}: test the trainer, fix it or search lower rates, and resume the search."
    )
    return advice, _check_trainer(run)


def is_fault_of_trainer(ending: Ending | None, no_rule: NoRule | None) -> bool:
    """Whether no rate is best, which is for the trainer to explain and not for further runs."""
    return ending in (Ending.NO_SIGNAL, Ending.NO_OPTIMUM) or no_rule is NoRule.EQUAL_LOSSES


def trainer_to_check(study: Study) -> str:
    """The trainer as `lrtune check-trainer` takes it; empty if it cannot be named."""
    return "" if study.trainer.startswith(PREFIX) else shlex.join(study.command) or study.trainer


def _check_trainer(run: Run) -> str:
    """The command that tests the trainer; empty if it cannot be named."""
    trainer = "" if run.study is None else trainer_to_check(run.study)
    return _line("check-trainer", trainer) if trainer else ""


def _line(*words: str) -> str:
    return shlex.join(["lrtune", *words])
