"""A study as checked, frozen dataclasses, and the fingerprint of the settings that affect a record."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from lrtune.errors import InputError
from lrtune.fields import Kind, check, choice, flag, mapping, number, optional, sequence, text, unexpected, unknown_key
from lrtune.study.knob import KNOBS, Knob, check_knobs, coordinates
from lrtune.study.log import Log

Pruner = Literal["collapse", "none"]
Design = Literal["scale-aware", "grid"]

_MOST_PLACES = 10_000  # combinations of hidden sizes and scales
_MOST_RUNS = 100_000  # of a grid
_POSITIVE = number(0, 2**40, above=True, whole=True)


@dataclass(frozen=True, kw_only=True)
class PruningPolicy:
    """When to stop a run early; `lrtune.search.pruning.verdict` applies these constants.

    Attributes:
        floor: diversity below it is low (ratio of entropies, see `lrtune.diversity`).
        patience: number of consecutive reports that must be low and flat, at least 2.
        span: share of the planned steps that these reports must cover.
        least_steps: optimizer steps that these reports must cover, even in a short run: healthy runs dip too.
        grace: share of the planned steps before which no run counts as collapsed.
        divergence: nats above ln(vocabulary), or without a vocabulary above the first reported loss (a fifth of that
            loss, if this is more), at which a run has diverged.
        beaten: whether to stop runs that cannot catch up with their peers.
        beaten_grace: share of the planned steps before which no run counts as beaten.
        peers: finished runs of the same width that *beaten* needs.
        margin: additional gain over a peer that a run may still make, as a share.
        margin_per_octave: reduction of `margin` for each halving of the rate below the peer's, down to 0.
        regret: relative loss above a peer's that still counts as equal.
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

    def __post_init__(self) -> None:
        check(self, "pruning", {f.name: _KIND_OF[type(f.default)] for f in fields(self)})


_KIND_OF: dict[type, Kind] = {bool: flag, int: number(0, 2**40, whole=True), float: number(0, as_given=True)}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of a search; None means no limit. Not part of the fingerprint.

    Attributes:
        seconds: wall time.
        trials: training runs, including those stopped early.
        tokens: training tokens over all runs.
        tolerance: relative loss; the search ends when the rate at every target costs less, in nine cases of ten.
    """

    seconds: float | None = None
    trials: int | None = None
    tokens: float | None = None
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        check(self, "budget", _BUDGET)


_BUDGET: dict[str, Kind] = {
    "seconds": optional(number(0, above=True)),
    "trials": optional(_POSITIVE),
    "tokens": optional(number(0, above=True)),
    "tolerance": number(1e-6, 0.999, what="a share of loss such as 0.01, below 1 and at least 1e-06"),
}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One training variant that ``lrtune compare`` measures. Its study supplies the defaults.

    Attributes:
        name: the name in study.toml.
        learning_rate, hidden_size, steps, seeds: settings of its runs. The rate is the peak, after warm-up.
        knobs: values of the study's knobs.
        options: the trainer's settings: those of the study, overridden by those of the arm.
        departures: the entries of `options` that the arm sets.
    """

    name: str
    learning_rate: float
    hidden_size: int
    steps: int
    seeds: int
    knobs: Mapping[str, float]
    options: Mapping[str, Any]
    departures: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Study:
    """The settings of one search or comparison.

    Attributes:
        name: shown in reports and stored with the Optuna study.
        widths: hidden sizes to train.
        lr_min, lr_max: the range searched first; the search widens it if the best rate is at an edge.
        steps: optimizer steps of one run, unless ``steps`` is a swept scale.
        report_every: steps between two reports.
        seed: the first seed; further seeds count up from it.
        seeds: seeds per (width, rate) of a grid design; an adaptive design chooses its repeats.
        scales: further swept scales and their values (``steps`` or ``depth``, for example).
        knobs: what the search chooses beside the learning rate, by name.
        step_tokens: where tokens are swept and a step's tokens vary, those at each combination of the other scales, by
            `lrtune.study.task.step_name`; `lrtune.trainer.complete` fills it in. Not part of the fingerprint.
        trainer, command: the training function, or the command line of a training program.
        log: where that program writes its measurements.
        options: the trainer's settings.
        arms: named sets of options that override `options` (for ``lrtune compare``).
        design: ``scale-aware`` (adaptive) or ``grid`` (fixed, refined around the best).
        points: learning rates per width of the grid design.
        pruner, pruning: whether to stop runs early, and the policy.
        budget: the limits of the search.
        targets: combinations of scales that the rule is for, by scale name; empty: every combination that is trained.
            `lrtune.study.task.targets` completes them. Not part of the fingerprint.
        verify_at_target: whether to train at the targets' rates in the end, if the remaining budget is enough.
        maximize: whether the trainer reports a measure of which more is better, such as accuracy, as its loss.
        allow_inert_scale: whether to continue although the trainer ignores a scale. Not part of the fingerprint.
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
    knobs: Mapping[str, Knob] = field(default_factory=dict)
    step_tokens: Mapping[str, float] = field(default_factory=dict)
    trainer: str = "default"
    command: tuple[str, ...] = ()
    log: Log = field(default_factory=Log)
    options: Mapping[str, Any] = field(default_factory=dict)
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    design: Design = "scale-aware"
    points: int = 5
    pruner: Pruner = "collapse"
    pruning: PruningPolicy = field(default_factory=PruningPolicy)
    budget: Budget = field(default_factory=Budget)
    targets: tuple[Mapping[str, float], ...] = ()
    verify_at_target: bool = False
    allow_inert_scale: bool = False
    maximize: bool = False

    def __post_init__(self) -> None:
        for name, (where, kind) in FIELDS.items():
            object.__setattr__(self, name, kind(where, getattr(self, name)))
        _check_whole(self)

    def arm(self, name: str) -> Arm:
        """One of `arms`, completed from the study.

        Raises:
            InputError: the study has no such arm, or the arm has no learning rate or knob, or an invalid value.
        """
        if name not in self.arms:
            raise InputError(unknown_key("arms", name, self.arms))
        options = dict(self.arms[name])
        for needed in ("learning_rate", *self.knobs):
            if needed not in options:
                raise InputError(f"arms.{name}: expected a {needed}, but it is missing")
        usual = {"learning_rate": None, "hidden_size": self.widths[0], "steps": self.steps, "seeds": self.seeds}
        own = {key: _ARM[key](f"arms.{name}.{key}", options.pop(key, value)) for key, value in usual.items()}
        knobs = {key: _VALUE(f"arms.{name}.{key}", options.pop(key)) for key in self.knobs}
        return Arm(name=name, **own, knobs=knobs, options={**self.options, **options}, departures=options)


_HIDDEN_SIZE = number(0, 2**20, above=True, whole=True)
_RATE = number(0, 1e6, above=True, what="a positive learning rate of at most 1e6")
_COUNT = number(0, 1000, above=True, whole=True)
_SCALE = number(0, 1e30, above=True)
_VALUE = number(0, 1e30)
_ARM = {"learning_rate": _RATE, "hidden_size": _HIDDEN_SIZE, "steps": _POSITIVE, "seeds": _COUNT}

# field of `Study` → its key in study.toml and the kind of its value
FIELDS: dict[str, tuple[str, Kind]] = {
    "name": ("study.name", text(200, printable=True, least=1)),
    "trainer": ("study.trainer", text(1000, printable=True)),
    "command": ("study.command", sequence(text(100_000), 1000, what="a list of strings")),
    "design": ("study.design", choice("scale-aware", "grid")),
    "points": ("study.points", _COUNT),
    "seed": ("study.seed", number(0, 2**31 - 1, whole=True)),
    "seeds": ("study.seeds", _COUNT),
    "steps": ("study.steps", _POSITIVE),
    "report_every": ("study.report_every", _POSITIVE),
    "lr_min": ("learning_rate.min", _RATE),
    "lr_max": ("learning_rate.max", _RATE),
    "widths": ("scales.hidden_size", sequence(_HIDDEN_SIZE, 500, least=1, what="a list of whole numbers")),
    "scales": ("scales", mapping(sequence(_SCALE, 500, least=1, what="a list of numbers"), 7)),
    "knobs": ("knobs", KNOBS),
    "step_tokens": ("step_tokens", mapping(_SCALE, _MOST_PLACES)),
    "options": ("options", mapping(lambda where, value: value, 1000)),
    "arms": ("arms", mapping(mapping(lambda where, value: value, 1000), 1000)),
    "pruner": ("pruning.pruner", choice("collapse", "none")),
    "targets": ("target", sequence(mapping(_SCALE, 9), 500, what="a list of tables")),
    "verify_at_target": ("study.verify_at_target", flag),
    "allow_inert_scale": ("study.allow_inert_scale", flag),
    "maximize": ("study.maximize", flag),
}


# Names that a knob cannot have: they are settings of a trial, and placeholders of a command.
_TAKEN = ("hidden_size", "learning_rate", "seed", "steps", "tokens", "report_every", "device", "id", "output")


def _check_whole(study: Study) -> None:
    """Check constraints between fields."""
    if len(set(study.widths)) < len(study.widths):
        raise InputError(f"scales.hidden_size: expected each hidden size once, but got {list(study.widths)!s:.100}")
    if not study.lr_min < study.lr_max:
        raise InputError(
            f"learning_rate: expected min below max, but got min {study.lr_min:g} and max {study.lr_max:g}; swap them"
        )
    if study.log != Log() and not study.command:
        raise InputError(
            "log: expected a command with it, but got none; a training function calls trial.report(step, loss=…)"
        )
    if "hidden_size" in study.scales:
        raise InputError("scales.hidden_size: expected the hidden sizes in widths (--widths), not in another scale")
    for size in (target.get("hidden_size", 1.0) for target in study.targets):
        if not size.is_integer():
            raise InputError(f"target.hidden_size: expected a whole number, but got {size:g}")
    if "learning_rate" in study.scales:
        raise InputError("scales.learning_rate: the learning rate is searched; set [learning_rate] min and max")
    zeros = [name for name, knob in study.knobs.items() if knob.zero]
    check_knobs(coordinates(study.knobs), {*study.scales, *_TAKEN}, zeros)
    if study.knobs and study.design == "grid":
        raise InputError(
            f"knobs.{next(iter(study.knobs))}: a grid searches the learning rate alone; use the adaptive design "
            "(without --design grid) for knobs, or --scale for given values"
        )
    places = len(study.widths) * math.prod(len(values) for values in study.scales.values())
    if places > _MOST_PLACES:
        raise unexpected("scales", f"at most {_MOST_PLACES:,} combinations of hidden sizes and scales", places)
    runs = places * study.points * study.seeds
    if study.design == "grid" and runs > _MOST_RUNS:
        raise unexpected("study", f"at most {_MOST_RUNS:,} runs of a grid (combinations × points × seeds)", runs)


def fingerprint(study: Study, data: Mapping[str, str] | None = None) -> str:
    """Hash of the settings that affect a record, as sixteen hex digits.

    Covered: trainer, command and its log, options, names and coordinates of knobs, steps, report interval, seed,
    pruner, policy, and the data identity that the trainer's ``prepare`` returned. Not covered: budget, design, workers,
    ranges, widths, other scales' values, targets and arms: those may change in the same folder.
    """
    covered = {
        "trainer": study.trainer,
        "command": study.command,
        "options": dict(study.options),
        "steps": study.steps,
        "report_every": study.report_every,
        "seed": study.seed,
        "pruner": study.pruner,
        "pruning": asdict(study.pruning) if study.pruner != "none" else None,
        "data": dict(data or {}),
    }
    if study.log != Log():
        covered["log"] = asdict(study.log)
    if study.maximize:
        covered["maximize"] = True
    if study.knobs:
        covered["knobs"] = {name: str(each) for name, each in coordinates(study.knobs).items()}
    text = json.dumps(covered, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
