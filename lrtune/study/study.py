"""The question put to training runs: checked, frozen dataclasses, and the fingerprint of what changes a record."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from lrtune.errors import InputError
from lrtune.fields import Kind, check, choice, flag, mapping, number, optional, sequence, text, unexpected, unknown_key

Pruner = Literal["collapse", "none"]
Design = Literal["scale-aware", "grid"]

_MOST_PLACES = 10_000  # combinations of hidden sizes and scales
_MOST_RUNS = 100_000  # of a grid
_POSITIVE = number(0, 2**40, above=True, whole=True)


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

    def __post_init__(self) -> None:
        check(self, "pruning", {f.name: _KIND_OF[type(f.default)] for f in fields(self)})


_KIND_OF: dict[type, Kind] = {bool: flag, int: number(0, 2**40, whole=True), float: number(0, as_given=True)}


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
    """One way of training that ``lrtune compare`` measures against others. Its study supplies what it leaves out.

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
        for name, (where, kind) in FIELDS.items():
            object.__setattr__(self, name, kind(where, getattr(self, name)))
        _check_whole(self)

    def arm(self, name: str) -> Arm:
        """One of `arms`, complete.

        Raises:
            InputError: the study has no such arm, or the arm lacks a learning rate or has a value that is not accepted.
        """
        if name not in self.arms:
            raise InputError(unknown_key("arms", name, self.arms))
        options = dict(self.arms[name])
        if "learning_rate" not in options:
            raise InputError(f"arms.{name}: expected a learning_rate, but it is missing")
        usual = {"learning_rate": None, "hidden_size": self.widths[0], "steps": self.steps, "seeds": self.seeds}
        own = {key: _ARM[key](f"arms.{name}.{key}", options.pop(key, value)) for key, value in usual.items()}
        return Arm(name=name, **own, options={**self.options, **options}, departures=options)


_HIDDEN_SIZE = number(0, 2**20, above=True, whole=True)
_RATE = number(0, 1e6, above=True, what="a positive learning rate of at most 1e6")
_COUNT = number(0, 1000, above=True, whole=True)
_ARM = {"learning_rate": _RATE, "hidden_size": _HIDDEN_SIZE, "steps": _POSITIVE, "seeds": _COUNT}

# field of a study → its place in study.toml, and what it may hold
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
    "scales": ("scales", mapping(sequence(number(0, 1e30, above=True), 500, least=1, what="a list of numbers"), 7)),
    "options": ("options", mapping(lambda where, value: value, 1000)),
    "arms": ("arms", mapping(mapping(lambda where, value: value, 1000), 1000)),
    "pruner": ("pruning.pruner", choice("collapse", "none")),
}


def _check_whole(study: Study) -> None:
    """What no field shows by itself."""
    if len(set(study.widths)) < len(study.widths):
        raise InputError(f"scales.hidden_size: expected each hidden size once, but got {list(study.widths)!s:.100}")
    if not study.lr_min < study.lr_max:
        raise InputError(
            f"learning_rate: expected min below max, but got min {study.lr_min:g} and max {study.lr_max:g}; swap them"
        )
    if "learning_rate" in study.scales:
        raise InputError("scales.learning_rate: the learning rate is searched; set [learning_rate] min and max")
    places = len(study.widths) * math.prod(len(values) for values in study.scales.values())
    if places > _MOST_PLACES:
        raise unexpected("scales", f"at most {_MOST_PLACES:,} combinations of hidden sizes and scales", places)
    runs = places * study.points * study.seeds
    if study.design == "grid" and runs > _MOST_RUNS:
        raise unexpected("study", f"at most {_MOST_RUNS:,} runs of a grid (combinations × points × seeds)", runs)


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
        "pruning": asdict(study.pruning) if study.pruner != "none" else None,
        "data": dict(data or {}),
    }
    text = json.dumps(covered, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
