"""Flag > environment > study.toml > default: the study that a command line means, and where each setting came from."""

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import typer

from lrtune.errors import InputError
from lrtune.study.study import Study, load_study, parse_seconds, parse_study


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A study, and for each setting that is no default: its value and where it came from."""

    study: Study
    origins: Mapping[str, tuple[Any, str]]

    def lines(self) -> list[str]:
        """One line per setting that is no default, for people."""
        width = max((len(name) for name in self.origins), default=0)
        return [f"{name:{width}}  {_shown(value)}  ({where})" for name, (value, where) in self.origins.items()]


def parse_widths(text: str, *, flag: str = "--widths") -> tuple[int, ...]:
    """Hidden sizes from ``32,64,128``."""
    try:
        widths = tuple(int(part) for part in text.replace(" ", "").split(","))
    except ValueError:
        raise InputError(f"{flag}: expected hidden sizes such as 32,64,128, but got {text!r:.60}") from None
    return widths


def parse_pairs(pairs: list[str], *, flag: str) -> dict[str, str]:
    """``NAME=VALUE`` items as a mapping."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise InputError(f"{flag}: expected NAME=VALUE, but got {pair!r:.60}")
        found[name.strip()] = value.strip()
    return found


def parse_scales(pairs: list[str], *, flag: str = "--scale") -> dict[str, tuple[float, ...]]:
    """Values of further scales from ``NAME=V1,V2`` items."""
    scales = {}
    for name, text in parse_pairs(pairs, flag=flag).items():
        try:
            scales[name] = tuple(float(part) for part in text.split(","))
        except ValueError:
            raise InputError(f"{flag}: expected numbers such as {name}=1,2,4, but got {text!r:.60}") from None
    return scales


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Settings of a trainer from ``NAME=VALUE`` items: JSON where it is JSON (4, true, [0.9, 0.95]), else a string."""
    options: dict[str, Any] = {}
    for name, text in parse_pairs(pairs, flag="--option").items():
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def _command(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"--command: expected a command line, but {str(error).lower()} in {text!r:.60}") from None


# flag → (path of the field in the study, how its value is read)
_FLAGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "name": ("name", str),
    "widths": ("widths", parse_widths),
    "lr_min": ("lr_min", float),
    "lr_max": ("lr_max", float),
    "steps": ("steps", int),
    "report_every": ("report_every", int),
    "seed": ("seed", int),
    "seeds": ("seeds", int),
    "design": ("design", str),
    "points": ("points", int),
    "pruner": ("pruner", str),
    "trainer": ("trainer", str),
    "command": ("command", _command),
    "scale": ("scales", parse_scales),
    "budget": ("budget.seconds", lambda text: parse_seconds(text, field="--budget")),
    "trials": ("budget.trials", int),
    "tolerance": ("budget.tolerance", float),
    "dataset": ("options.dataset", str),
    "option": ("options", parse_options),
}


def quick_study() -> Study:
    """The built-in quick study."""
    text = resources.files("lrtune.study").joinpath("quick.toml").read_text(encoding="utf-8")
    return parse_study(text, source="quick.toml")


def settle(context: typer.Context, study_file: Path | None) -> Settings:
    """The study that `context`'s flags, the environment and `study_file` describe together.

    Raises:
        InputError: the file or a value is not usable.
    """
    study = load_study(study_file) if study_file is not None else quick_study()
    params = {name.rstrip("_"): value for name, value in context.params.items()}  # command_, whose name was taken
    given = {name: value for name, value in params.items() if name in _FLAGS and value not in (None, [], ())}
    if study_file is None and ("trainer" in given or "command" in given):
        # The quick study's options are settings of the bundled trainer; another one does not know them.
        study = dataclasses.replace(study, options={}, name="own")
    origins = _non_defaults(study, str(study_file)) if study_file is not None else {}
    changes: dict[str, Any] = {}
    for name, value in given.items():
        path, read = _FLAGS[name]
        parsed = read(value)
        changes[path] = parsed
        named = {f"{path}.{key}": item for key, item in parsed.items()} if isinstance(parsed, dict) else {path: parsed}
        origins.update({key: (item, _origin(context, name)) for key, item in named.items()})
    derived = "steps" in changes and (study_file is None or study.report_every > changes["steps"])
    if derived and "report_every" not in changes:
        changes["report_every"] = default_report_every(changes["steps"])
        origins["report_every"] = (changes["report_every"], "about a twelfth of the steps")
    return Settings(study=_replace(study, changes), origins=origins)


def default_report_every(steps: int) -> int:
    """About a twelfth of the steps, and where it can be one that divides them: the last step wants a report too."""
    counts = sorted(range(8, 19), key=lambda count: abs(count - 12))
    return next((steps // count for count in counts if steps % count == 0), max(1, steps // 12))


def _origin(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name) or context.get_parameter_source(f"{name}_")
    return f"LRTUNE_{name.upper()}" if getattr(source, "name", "") == "ENVIRONMENT" else "--" + name.replace("_", "-")


def _non_defaults(study: Study, source: str) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    default = Study()
    for field in dataclasses.fields(Study):
        value, usual = getattr(study, field.name), getattr(default, field.name)
        if value == usual:
            continue
        if dataclasses.is_dataclass(value):
            for part in dataclasses.fields(value):
                if getattr(value, part.name) != getattr(usual, part.name):
                    found[f"{field.name}.{part.name}"] = (getattr(value, part.name), source)
        elif isinstance(value, Mapping):
            found.update({f"{field.name}.{key}": (item, source) for key, item in value.items()})
        else:
            found[field.name] = (value, source)
    return found


def _replace(study: Study, changes: Mapping[str, Any]) -> Study:
    """The study with the fields at these paths changed; mappings are updated, not replaced."""
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
