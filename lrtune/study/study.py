"""study.toml → checked, frozen dataclasses, and the fingerprint of what changes a record."""

import dataclasses
import difflib
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lrtune.errors import InputError

Pruner = Literal["collapse", "none"]
Design = Literal["scale-aware", "grid"]

_LEAST_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class PruningPolicy:
    """When a run may be cut; `lrtune.search.pruning.verdict` says what each constant means to a verdict.

    Attributes:
        floor: diversity below it is low (ratio of entropies, see `lrtune.diversity`).
        patience: reports in a row that must be low and flat, at least 2.
        span: share of the planned steps that these reports must cover, however dense they are.
        least_steps: optimizer steps that they must cover at the least, however short the run: healthy runs dip too.
        grace: share of the planned steps before which nothing is called collapsed.
        divergence: nats above ln(vocabulary) (or above the first reported loss) at which a run has diverged.
        beaten: whether runs may be cut because their peers leave them no way back.
        beaten_grace: share of the planned steps before which nothing is called beaten.
        peers: finished runs of the same width that *beaten* asks for.
        margin: how much more than a peer a run may be trusted to gain from here, as a share.
        margin_per_octave: how much less that is for each halving of the rate below the peer's, down to none.
        regret: relative loss above a peer's that still counts as no worse.
    """

    floor: float = 0.15
    patience: int = 3
    span: float = 0.1
    least_steps: int = 50
    grace: float = 0.25
    divergence: float = 2.0
    beaten: bool = True
    beaten_grace: float = 0.2
    peers: int = 1
    margin: float = 0.5
    margin_per_octave: float = 0.1
    regret: float = 0.02


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a search may spend; None means no limit. Never part of the fingerprint.

    Attributes:
        seconds: wall time.
        trials: training runs, those that ended early included.
        tokens: training tokens over all runs.
        tolerance: relative loss; the search ends when the predicted regret at every target width is below it.
    """

    seconds: float | None = None
    trials: int | None = None
    tokens: float | None = None
    tolerance: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training that ``lrtune compare`` sets beside others; what it does not say is its study's.

    Attributes:
        name: as in study.toml.
        learning_rate, hidden_size, steps, seeds: of its runs. The rate is the peak, after warm-up.
        options: the trainer's settings: the study's, with the arm's laid over them.
        departures: the arm's own entries in `options`.
    """

    name: str
    learning_rate: float
    hidden_size: int
    steps: int
    seeds: int
    options: Mapping[str, Any]
    departures: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One question put to training runs.

    Attributes:
        name: shown in reports and stored with the Optuna study.
        widths: hidden sizes to train.
        lr_min, lr_max: the range searched first; a best rate at its edge widens it.
        steps: optimizer steps of one run, unless ``steps`` is itself a swept scale.
        report_every: steps between two reports.
        seed: the first seed; further seeds count up from it.
        seeds: seeds per (width, rate) of a grid design; an adaptive design repeats where it matters.
        scales: further swept scales by name, each with its values (``steps`` and ``depth``, say).
        trainer, command: the training function, or the command line that trains.
        options: the trainer's own settings.
        arms: named sets of options that depart from `options` (for ``lrtune compare``).
        design: ``scale-aware`` (adaptive) or ``grid`` (fixed, refined around the best).
        points: learning rates per width of the grid design.
        pruner, pruning: whether runs may be cut, and by which policy.
        budget: what may be spent.
    """

    name: str = "study"
    widths: tuple[int, ...] = (48, 64, 96, 128)
    lr_min: float = 1e-3
    lr_max: float = 0.3
    steps: int = 300
    report_every: int = 25
    seed: int = 0
    seeds: int = 1
    scales: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    trainer: str = "default"
    command: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    design: Design = "scale-aware"
    points: int = 5
    pruner: Pruner = "collapse"
    pruning: PruningPolicy = field(default_factory=PruningPolicy)
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        _check(self)

    def arm(self, name: str) -> Arm:
        """One of `arms`, complete.

        Raises:
            InputError: there is no such arm, it names no learning rate, or a value is not accepted.
        """
        if name not in self.arms:
            raise InputError(unknown_key("arms", name, self.arms))
        entries = dict(self.arms[name])
        if "learning_rate" not in entries:
            raise InputError(f"arms.{name}: expected a learning_rate, but there is none")
        own: dict[str, Any] = {"hidden_size": self.widths[0], "steps": self.steps, "seeds": self.seeds}
        for key in ("learning_rate", *own):
            if key not in entries:
                continue
            value = entries.pop(key)
            kind = "number" if key == "learning_rate" else "integer"
            own[key] = _value(f"arms.{name}.{key}", kind, value)
            if not (math.isfinite(own[key]) and own[key] > 0):
                raise InputError(f"arms.{name}.{key}: expected a positive number, but got {value!r:.60}")
        return Arm(name=name, **own, options={**self.options, **entries}, departures=entries)


# One row per key of study.toml: (table, key) → (field, kind). The reader, the writer and the
# complaint about an unknown key all go by this table.
_KEYS: dict[tuple[str, str], tuple[str, str]] = {
    ("study", "name"): ("name", "string"),
    ("study", "trainer"): ("trainer", "string"),
    ("study", "command"): ("command", "strings"),
    ("study", "design"): ("design", "string"),
    ("study", "points"): ("points", "integer"),
    ("study", "seed"): ("seed", "integer"),
    ("study", "seeds"): ("seeds", "integer"),
    ("study", "steps"): ("steps", "integer"),
    ("study", "report_every"): ("report_every", "integer"),
    ("learning_rate", "min"): ("lr_min", "number"),
    ("learning_rate", "max"): ("lr_max", "number"),
    ("scales", "hidden_size"): ("widths", "integers"),
    ("pruning", "pruner"): ("pruner", "string"),
}
_TABLES = ("study", "learning_rate", "scales", "options", "arms", "pruning", "budget")
_BUDGET_KEYS = {"time": "seconds", "trials": "trials", "tokens": "tokens", "tolerance": "tolerance"}
_LONGEST = 400  # characters of a complaint: names in a file can be of any length


def load_study(path: Path) -> Study:
    """Read and check a study.toml.

    Raises:
        InputError: the file is missing, no TOML, or has a key or value that is not understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a study.toml, but it cannot be read ({_reason(error)})") from error
    return parse_study(text, source=str(path))


def parse_study(text: str, *, source: str = "study.toml") -> Study:
    """The study that a TOML text describes; `source` names it in errors."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: no TOML, or a number of thousands of digits
        raise InputError(f"{source}: expected TOML, but {error!s:.{_LONGEST}}") from error
    try:
        return _from_tables(data)
    except InputError as error:
        raise InputError(f"{source}: {error!s:.{_LONGEST}}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _from_tables(data: Mapping[str, Any]) -> Study:
    values: dict[str, Any] = {}
    for table, content in data.items():
        if table not in _TABLES:
            raise InputError(unknown_key("table", table, _TABLES))
        if not isinstance(content, dict):
            raise InputError(f"{table}: expected a table, but got {content!r:.60}")
    for table in ("study", "learning_rate"):
        for key, value in data.get(table, {}).items():
            if (table, key) not in _KEYS:
                raise InputError(unknown_key(f"[{table}]", key, [k for t, k in _KEYS if t == table]))
            name, kind = _KEYS[table, key]
            values[name] = _value(f"{table}.{key}", kind, value)
    scales = dict(data.get("scales", {}))
    if "hidden_size" in scales:
        values["widths"] = _value("scales.hidden_size", "integers", scales.pop("hidden_size"))
    values["scales"] = {name: _value(f"scales.{name}", "numbers", column) for name, column in scales.items()}
    values["options"] = dict(data.get("options", {}))
    arms = data.get("arms", {})
    for name, arm in arms.items():
        if not isinstance(arm, dict):
            raise InputError(f"arms.{name}: expected a table of options, but got {arm!r:.60}")
    values["arms"] = dict(arms)
    pruning = dict(data.get("pruning", {}))
    if "pruner" in pruning:
        values["pruner"] = _value("pruning.pruner", "string", pruning.pop("pruner"))
    values["pruning"] = _table("pruning", pruning, PruningPolicy)
    budget = dict(data.get("budget", {}))
    for key in budget:
        if key not in _BUDGET_KEYS:
            raise InputError(unknown_key("[budget]", key, _BUDGET_KEYS))
    if "time" in budget:
        budget["time"] = parse_seconds(budget["time"], field="budget.time")
    values["budget"] = _table("budget", {_BUDGET_KEYS[key]: value for key, value in budget.items()}, Budget)
    return Study(**values)


def unknown_key(where: str, key: str, known: Any) -> str:
    """One line about an unknown key, with the nearest known one."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    return f"{where}: unknown key {key!r:.60}; {hint}"


def _value(where: str, kind: str, value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and isinstance(value, int)
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "integer" and whole:
        return value
    if kind == "number" and number:
        return float(value)
    if kind in ("integers", "numbers", "strings") and isinstance(value, list) and value:
        return tuple(_value(where, kind[:-1], item) for item in value)
    raise InputError(f"{where}: expected {_KINDS[kind]}, but got {value!r:.60}")


_KINDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "integers": "a list of whole numbers",
    "numbers": "a list of numbers",
    "strings": "a list of strings",
}


def _table(where: str, data: Mapping[str, Any], kind: type) -> Any:
    """A frozen dataclass of plain numbers and booleans from a table, its types checked by the defaults."""
    known = {f.name: f for f in dataclasses.fields(kind)}
    values = {}
    for key, value in data.items():
        if key not in known:
            raise InputError(unknown_key(f"[{where}]", key, known))
        default = known[key].default
        if isinstance(default, bool) != isinstance(value, bool) or not isinstance(value, int | float):
            kind_name = "true or false" if isinstance(default, bool) else "a number"
            raise InputError(f"{where}.{key}: expected {kind_name}, but got {value!r:.60}")
        if not math.isfinite(value) or value < 0:
            raise InputError(f"{where}.{key}: expected a number of at least 0, but got {value!r}")
        values[key] = value
    return kind(**values)


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(text: object, *, field: str = "budget") -> float:
    """Seconds in ``90``, ``90s``, ``10m``, ``1.5h``, ``1h30m`` or ``2d``."""
    if isinstance(text, int | float) and not isinstance(text, bool) and math.isfinite(text) and text > 0:
        return float(text)
    parts = _DURATION.findall(str(text)) if isinstance(text, str) else []
    if not parts or re.sub(_DURATION, "", str(text)).strip():
        raise InputError(f"{field}: expected a duration such as 90s, 10m or 1h30m, but got {text!r:.40}")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not seconds > 0:
        raise InputError(f"{field}: expected a positive duration, but got {text!r:.40}")
    return seconds


def _check(study: Study) -> None:
    if not study.widths:
        raise InputError("scales.hidden_size: expected at least one hidden size, but got none")
    for width in study.widths:
        if width <= 0:
            raise InputError(f"scales.hidden_size: expected positive whole numbers, but got {width}")
    if len(set(study.widths)) < len(study.widths):
        raise InputError(f"scales.hidden_size: expected each hidden size once, but got {list(study.widths)}")
    for name in ("steps", "report_every", "seeds", "points"):
        if getattr(study, name) < 1:
            raise InputError(f"{name}: expected a positive whole number, but got {getattr(study, name)}")
    for name in ("lr_min", "lr_max"):
        rate = getattr(study, name)
        if not (math.isfinite(rate) and rate > 0):
            raise InputError(f"{name}: expected a positive learning rate, but got {rate}")
    if not study.lr_min < study.lr_max:
        raise InputError(
            f"learning_rate: expected min below max, but got min {study.lr_min:g} and max {study.lr_max:g}; swap them"
        )
    if study.seed < 0:
        raise InputError(f"seed: expected a whole number of at least 0, but got {study.seed}")
    for name, values in study.scales.items():
        if not values or any(not (math.isfinite(value) and value > 0) for value in values):
            raise InputError(f"scales.{name}: expected positive numbers, but got {list(values)}")
        if name == "learning_rate":
            raise InputError("scales.learning_rate: the learning rate is searched; set [learning_rate] min and max")
    for name, choices in (("design", ("scale-aware", "grid")), ("pruner", ("collapse", "none"))):
        if getattr(study, name) not in choices:
            raise InputError(f"{name}: expected one of {', '.join(choices)}, but got {getattr(study, name)!r}")
    if not _LEAST_TOLERANCE <= study.budget.tolerance < 1:
        raise InputError(
            f"budget.tolerance: expected a share of loss such as 0.01, below 1 and at least {_LEAST_TOLERANCE:g}, "
            f"but got {study.budget.tolerance:g}"
        )


def to_toml(study: Study) -> str:
    """The study as a study.toml that reads back as the same study."""
    tables: dict[str, dict[str, Any]] = {table: {} for table in _TABLES}
    for (table, key), (name, _) in _KEYS.items():
        value = getattr(study, name)
        if not (name == "command" and not value):
            tables[table][key] = value
    tables["scales"].update(study.scales)
    tables["options"].update(study.options)
    tables["pruning"].update(dataclasses.asdict(study.pruning))
    for key, name in _BUDGET_KEYS.items():
        if (value := getattr(study.budget, name)) is not None:
            tables["budget"][key] = value
    blocks = [_toml_table(name, content) for name, content in tables.items() if content and name != "arms"]
    blocks += [_toml_table(f"arms.{_toml_key(name)}", arm) for name, arm in study.arms.items()]
    return "\n".join(blocks)


def _toml_table(name: str, content: Mapping[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{_toml_key(key)} = {_toml_value(value)}\n" for key, value in content.items())


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    return str(value)


def fingerprint(study: Study, data: Mapping[str, str] | None = None) -> str:
    """Sixteen hex digits over what changes a record, and nothing else.

    Covered: trainer, command, options, steps, report interval, seed, pruner, policy, and what the trainer's
    ``prepare`` said of its data. Not covered: budget, design, workers, range, widths, other scales' values
    and arms: those may grow in the same folder.
    """
    covered = {
        "trainer": study.trainer,
        "command": study.command,
        "options": dict(study.options),
        "steps": study.steps,
        "report_every": study.report_every,
        "seed": study.seed,
        "pruner": study.pruner,
        "pruning": dataclasses.asdict(study.pruning) if study.pruner != "none" else None,
        "data": dict(data or {}),
    }
    text = json.dumps(covered, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
