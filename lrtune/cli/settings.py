"""Resolve a command line to a study, with each setting's origin: flag > environment > study.toml > default."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import typer

from lrtune.cli.flags import Sets
from lrtune.cli.values import disagreement, flag_of
from lrtune.errors import InputError
from lrtune.study.study import Budget, Study
from lrtune.study.task import default_report_every, rates_of_one_size
from lrtune.study.toml import load_study, parse_study


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A study, and the value and origin of each setting that differs from the default."""

    study: Study
    origins: Mapping[str, tuple[Any, str]]

    def lines(self) -> list[str]:
        """One line per setting that differs from the default, for people."""
        width = max((len(name) for name in self.origins), default=0)
        return [f"{name:{width}}  {_shown(value)}  ({where})" for name, (value, where) in self.origins.items()]


def quick_study() -> Study:
    """The built-in quick study."""
    text = resources.files("lrtune.study").joinpath("quick.toml").read_text(encoding="utf-8")
    return parse_study(text, source="quick.toml")


def settle(context: typer.Context, study_file: Path | None, *groups: Any) -> Settings:
    """The study from the flags in `groups`, the environment and `study_file`.

    Raises:
        InputError: the file or a value is invalid.
    """
    study = load_study(study_file) if study_file is not None else quick_study()
    given = list(_given(groups))
    _check_once(context, given)
    counts_tokens = "tokens" in study.scales or any(path == "scales.tokens" for _, path, _ in given)
    is_own = study_file is None and any(name in ("trainer", "command") for name, _, _ in given)
    if is_own:  # the quick study's options and budget belong to the bundled trainer
        study = dataclasses.replace(study, options={}, name="own", budget=Budget())
    origins = _non_defaults(study, str(study_file)) if study_file is not None else {}
    changes: dict[str, Any] = {}
    for name, path, value in given:
        if path == "scales.steps" and len(value) == 1 and not counts_tokens:
            path, value = "steps", _whole("--steps", *value)
            others = {scale: values for scale, values in study.scales.items() if scale != "steps"}
            study = dataclasses.replace(study, scales=others)
        changes[path] = value
        parts = {f"{path}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {path: value}
        origins.update({key: (item, _origin(context, name)) for key, item in parts.items()})
    steps = changes.get("steps") or int(min(changes.get("scales.steps", (0,))))
    if steps and "report_every" not in changes and (study_file is None or study.report_every > steps):
        changes["report_every"] = default_report_every(steps)
        origins["report_every"] = (changes["report_every"], "about a twelfth of the steps")
    if is_own:
        first = rates_of_one_size(changes.get("widths", study.widths), changes)
        changes |= first
        origins |= {name: (value, "default; fine-tuning too") for name, value in first.items()}
        origins |= {each: (getattr(study, each), "default") for each in ("lr_min", "lr_max") if each not in changes}
    return Settings(study=_replace(study, changes), origins=origins)


def _given(groups: tuple[Any, ...]) -> Iterator[tuple[str, str, Any]]:
    """(flag, field of the study, value) of each given flag."""
    for group in groups:
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            sets = next((item for item in get_args(field.type) if isinstance(item, Sets)), None)
            if sets is not None and value not in (None, [], ()):
                yield field.name, sets.path, sets.read(value)


def _check_once(context: typer.Context, given: list[tuple[str, str, Any]]) -> None:
    """Raise an `InputError` for a scale that ``--scale`` and a flag of its own set to other values."""
    swept: Mapping[str, Any] = next((value for _, path, value in given if path == "scales"), {})
    for name, path, value in given:
        scale = path.removeprefix("scales.")
        if scale != path and swept.get(scale, value) != value and _origin(context, name).startswith("--"):
            shown, other = (",".join(f"{each:g}" for each in values) for values in (value, swept[scale]))
            raise disagreement(flag_of(name), scale, shown, other)


def _whole(flag: str, value: float) -> int:
    if not value.is_integer():
        raise InputError(f"{flag}: expected a whole number, but got {value:g}")
    return int(value)


def typed(context: typer.Context, *groups: Any, of_study: bool = True) -> list[str]:
    """The flags of these groups that were typed, as words of a command line; if not `of_study`, without the study's."""
    words = []
    for group in groups:
        for field in dataclasses.fields(group):
            is_wanted = of_study or not any(isinstance(part, Sets) for part in get_args(field.type))
            value = getattr(group, field.name)
            if is_wanted and _source(context, field.name) == "COMMANDLINE":
                for each in value if isinstance(value, list) else [value]:
                    words += [flag_of(field.name), *([] if each is True else [str(each)])]
    return words


def _source(context: typer.Context, name: str) -> str:
    return getattr(context.get_parameter_source(name), "name", "")


def _origin(context: typer.Context, name: str) -> str:
    return f"LRTUNE_{name.upper()}" if _source(context, name) == "ENVIRONMENT" else flag_of(name)


def _non_defaults(study: Study, source: str) -> dict[str, tuple[Any, str]]:
    changed: dict[str, tuple[Any, str]] = {}
    default = Study()
    for field in dataclasses.fields(Study):
        value, usual = getattr(study, field.name), getattr(default, field.name)
        if value == usual or field.name == "step_tokens":  # not a setting, but what the trainer declares
            continue
        if dataclasses.is_dataclass(value):
            for part in dataclasses.fields(value):
                if getattr(value, part.name) != getattr(usual, part.name):
                    changed[f"{field.name}.{part.name}"] = (getattr(value, part.name), source)
        elif isinstance(value, Mapping):
            changed.update({f"{field.name}.{key}": (item, source) for key, item in value.items()})
        else:
            changed[field.name] = (value, source)
    return changed


def _replace(study: Study, changes: Mapping[str, Any]) -> Study:
    """The study with the fields at these paths changed; mappings are merged."""
    fields: dict[str, Any] = {}
    for path, value in changes.items():
        name, _, part = path.partition(".")
        former = fields.get(name, getattr(study, name))
        if part and dataclasses.is_dataclass(former):
            fields[name] = dataclasses.replace(former, **{part: value})  # type: ignore[type-var]
        elif part:
            fields[name] = {**former, part: value}
        elif isinstance(former, Mapping):
            fields[name] = {**former, **value}
        else:
            fields[name] = value
    return dataclasses.replace(study, **fields)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(_shown(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
