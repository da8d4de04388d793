"""Whether runs are of the setting that a rule was fitted to: the trainer must be the same, the rest may differ."""

import shlex
from collections.abc import Sequence

from lrtune.errors import InputError
from lrtune.law.conditions import conditions
from lrtune.records.record import TrialRecord
from lrtune.rule.data import Rule
from lrtune.study.study import Study
from lrtune.study.toml import parse_study

_SHOWN = 60  # characters of a value


def study_of(rule: Rule) -> Study | None:
    """The study of a rule's runs; None if they are not of lrtune."""
    return parse_study(rule.study, source="the rule's study") if rule.study else None


def study_differences(rule: Rule, study: Study) -> list[str]:
    """The options and steps in which `study` differs from the rule's, one line each; seed and pruner do not count.

    Raises:
        InputError: another trainer or command: the rule says nothing about those runs.
    """
    own = study_of(rule)
    if own is None:
        return []
    if (own.trainer, own.command) != (study.trainer, study.command):
        raise InputError(f"rule: fitted to runs of {_trainer(own)}, but these are of {_trainer(study)}")
    names = sorted({*own.options, *study.options})
    pairs = [(name, own.options.get(name), study.options.get(name)) for name in names]
    if "steps" not in rule.scales:
        pairs.append(("steps", own.steps, study.steps))
    return [_line(*pair) for pair in pairs if pair[1] != pair[2]]


def run_differences(rule: Rule, records: Sequence[TrialRecord]) -> list[str]:
    """The conditions (data, optimizer, …) that `records` report otherwise than the rule's runs, one line each."""
    here = conditions(records, tuple(rule.scales))
    return [_line(name, value, here[name]) for name, value in rule.conditions.items() if here.get(name, value) != value]


def _trainer(study: Study) -> str:
    return shlex.join(study.command) if study.command else study.trainer


def _line(name: str, rules: object, here: object) -> str:
    there, this = ("not set" if value is None else f"{value}"[:_SHOWN] for value in (rules, here))
    return f"{name}: {there} in the rule's runs, {this} here"
