"""The arguments of `lrtune.run_search`: a study, or a trainer with the study's settings as keywords."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from lrtune.errors import InputError
from lrtune.fields import unknown_key
from lrtune.search.options import SearchOptions
from lrtune.study.study import Budget, Study
from lrtune.study.task import rates_of_one_size
from lrtune.study.toml import parse_seconds
from lrtune.trainer.function import PREFIX, register, target_of

Subject = Study | str | Callable[..., object]  # what to search: a study, ``module:function``, a function

_STUDY = {field.name for field in fields(Study)} - {"trainer", "budget", "pruning"}
_BUDGET = {field.name for field in fields(Budget)}
_SETTINGS = _STUDY | _BUDGET | {"budget", "target"}
_OPTIONS = {field.name for field in fields(SearchOptions)}


def settle(subject: Subject, settings: Mapping[str, Any]) -> tuple[Study, SearchOptions]:
    """The study and the options of a call.

    Raises:
        InputError: a keyword is unknown, or belongs to the study that was given whole; a value is invalid.
    """
    options = {name: value for name, value in settings.items() if name in _OPTIONS}
    others = {name: value for name, value in settings.items() if name not in _OPTIONS}
    if isinstance(subject, Study):
        if others:
            raise InputError(f"{next(iter(others))}: expected in the study, but got it beside the study")
        return subject, SearchOptions(**options)
    for name in others:
        if name not in _SETTINGS:
            raise InputError(unknown_key("run_search", name, sorted(_SETTINGS | _OPTIONS)))
    if "target" in others:
        target = others.pop("target")
        others["targets"] = (target if isinstance(target, Mapping) else {"hidden_size": target},)
    study = Study(
        trainer=_trainer(subject),
        budget=_budget(others),
        **{"name": _name(subject), **{name: value for name, value in others.items() if name in _STUDY}},
    )
    study = replace(study, **rates_of_one_size(study.widths, others))
    if study.trainer.startswith(PREFIX):  # no worker can import it, so it trains here unless told otherwise
        options.setdefault("engine", "inline")
    return study, SearchOptions(**options)


def _trainer(subject: str | Callable[..., object]) -> str:
    if isinstance(subject, str):
        return subject
    if not callable(subject):
        raise InputError(f"trainer: expected a function, module:function or a Study, but got {subject!r:.60}")
    target = target_of(subject)
    return register(subject) if target.startswith(PREFIX) else target


def _name(subject: str | Callable[..., object]) -> str:
    name = subject if isinstance(subject, str) else target_of(subject)
    return name.rpartition(":")[2].strip("<>") or "study"


def _budget(settings: Mapping[str, Any]) -> Budget:
    """From ``budget="10m"`` and the fields of `Budget`."""
    values = {name: value for name, value in settings.items() if name in _BUDGET}
    if "budget" not in settings:
        return Budget(**values)
    budget = settings["budget"]
    if isinstance(budget, Budget) and not values:
        return budget
    if "seconds" in values or isinstance(budget, Budget):
        raise InputError("budget: expected once, but got it as budget and by its parts")
    return Budget(seconds=parse_seconds(budget, field="budget"), **values)
