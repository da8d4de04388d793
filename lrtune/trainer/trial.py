"""The contract with a training function: what it is given, what it reports, how it is found.

The simple form::

    def train(trial: lrtune.Trial) -> None:
        model = build(trial.hidden_size)
        optimizer = AdamW(model.parameters(), lr=trial.learning_rate)
        for step in range(trial.steps + 1):
            if step % trial.report_every == 0:
                if not trial.report(step, loss=validation_loss(model), diversity=share_in_use(model)):
                    return
            train_one_step(model, optimizer)

The last report, at ``step == trial.steps``, gives the final loss. A module with a trainer may also offer
``check(study)`` (raise `InputError` before anything trains), ``prepare(study)`` (run once before the workers;
may return a mapping of strings that identify the data, which become part of the study's fingerprint) and a
population trainer (see `population`). Beside a population trainer it may offer ``members_at_once(trial)``: how many
trials of the width, scales and options of `trial` are worth training at once on ``trial.device``, a whole number of
at least 1. A worker asks it once for each such group, before it takes them; without it, or where it raises, a GPU
gets 16 at once and a CPU one. What the user asks for with ``members`` comes before either.

For the verbs around a search it may offer ``column_titles`` (a mapping: column of its reports → title of that column's
table in ``lrtune compare``), ``verification_options(study)`` (the options of a whole run for ``lrtune verify``, where
those of the study leave something out) and ``doctor()`` (what it needs on this machine, as lines of name, state and
text for ``lrtune doctor``; a state is ok, missing or problem).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lrtune.errors import InputError, plain

Scalar = str | int | float | bool
LARGEST = 1e300  # of the numbers in a record; beyond, they count as infinite
_LONGEST = 500
_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., object])


class Interrupted(BaseException):
    """Raised by `Trial.report` when the search is being stopped; let it pass through the trainer."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a trainer says of itself, once. Every field is optional and has a stated fallback.

    Attributes:
        parameters: number of trained parameters (fallback: cost ∝ hidden_size²).
        tokens_per_step: tokens in one optimizer step (fallback: horizons are counted in steps).
        batch_size: sequences in one step; lets the search retry with a smaller micro-batch after out-of-memory.
        vocabulary_size: size of the output (fallback: divergence is judged against the first reported loss).
        unigram_entropy: entropy of the reference token distribution, in nats (fallback: no collapse verdict
            by loss; only by the loss not falling).
        regime_changes: steps at which the schedule changes (learning-rate or weight-decay stages).
        conditions: what the result holds for (depth, optimizer, schedule, weight_decay, …), kept in the rule.
            ``model``, ``optimizer``, ``schedule`` and ``data`` are printed with each answer.
            Known keys that the rule turns into advice: ``stage2_ratio`` (stage-2 peak ÷ stage-1 peak),
            ``weight_decay``, ``weight_decay_stage2``, ``warmup_steps``.
        plan: how it is run where that can change bits (members of a population, precision, compiled or not); joins
            the record's execution plan.
    """

    parameters: int | None = None
    tokens_per_step: int | None = None
    batch_size: int | None = None
    vocabulary_size: int | None = None
    unigram_entropy: float | None = None
    regime_changes: tuple[int, ...] = ()
    conditions: Mapping[str, Scalar] = field(default_factory=dict)
    plan: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """One call of `Trial.report`: the step, the validation loss in nats, the diversity, any other numbers."""

    step: int
    loss: float
    diversity: float | None
    numbers: Mapping[str, float]


@dataclass(kw_only=True)
class Trial:
    """One training run as its trainer sees it.

    Attributes:
        hidden_size: the model's width.
        learning_rate: the peak learning rate, after warm-up.
        seed: seeds data order and initial weights. Runs that share it share both, whatever their rate.
        steps: optimizer steps to train for.
        report_every: report at multiples of it, at 0 if cheap, and at `steps`.
        options: the trainer's own settings, from ``[options]`` of study.toml.
        scales: the other swept scales (``depth``, ``batch``, …) by name.
        device: ``cpu``, ``cuda:0``, ``mps``.
        threads: threads this worker may use on a CPU, or None for the library's default.
        micro_batch: sequences per forward pass; None for the whole batch at once. The gradient is that of
            the whole batch either way.
        checkpoint_dir: a folder of this trial's own that survives a restart, or None. A trainer that finds its
            checkpoint there resumes from it; one that does not use it starts again from step 0.
    """

    hidden_size: int
    learning_rate: float
    steps: int
    report_every: int = 1
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    device: str = "cpu"
    threads: int | None = None
    micro_batch: int | None = None
    checkpoint_dir: Path | None = None
    on_report: Callable[[Report], bool] = field(default=lambda report: True, repr=False)
    on_describe: Callable[[Facts], None] = field(default=lambda facts: None, repr=False)
    on_attach: Callable[[str, str], None] = field(default=lambda name, text: None, repr=False)
    is_checkpoint_due: Callable[[], bool] = field(default=lambda: False, repr=False)

    def report(self, step: int, *, loss: float, diversity: float | None = None, **numbers: float) -> bool:
        """Hand over the measures of one step; returns whether to go on training.

        Args:
            step: optimizer steps done, 0 … `steps`.
            loss: validation loss, nats per token. NaN, inf and 1e300 or more are taken as divergence.
            diversity: share of the reference's variety that the model's answers have (see `lrtune.diversity`),
                0 when one token is always the answer, about 1 when they vary as the text does.
            **numbers: anything else worth keeping in the record's curves.

        Raises:
            InputError: a value is not a number, or the step is outside 0 … `steps`.
            Interrupted: the search is being stopped.
        """
        at = _number("report", "step", step)
        if not 0 <= at <= self.steps:
            raise InputError(f"report: expected a step within 0 … {self.steps}, but got {step}")
        value = None if diversity is None else _number("report", "diversity", diversity)
        extra = {_line(name): _number("report", name, number) for name, number in numbers.items()}
        return self.on_report(Report(int(at), _number("report", "loss", loss), value, extra))

    def describe(
        self,
        *,
        parameters: int | None = None,
        tokens_per_step: int | None = None,
        batch_size: int | None = None,
        vocabulary_size: int | None = None,
        unigram_entropy: float | None = None,
        regime_changes: Sequence[int] = (),
        conditions: Mapping[str, Scalar] | None = None,
        plan: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Say once what this run is; see `Facts` for the fields and their fallbacks. numpy and torch scalars count.

        Raises:
            InputError: a value is not what its field holds.
        """
        if isinstance(regime_changes, str) or not isinstance(regime_changes, Iterable):
            raise InputError(f"describe: expected a list of steps for regime_changes, but got {regime_changes!r:.60}")
        self.on_describe(
            Facts(
                parameters=_optional(_whole, "parameters", parameters),
                tokens_per_step=_optional(_whole, "tokens_per_step", tokens_per_step),
                batch_size=_optional(_whole, "batch_size", batch_size),
                vocabulary_size=_optional(_whole, "vocabulary_size", vocabulary_size),
                unigram_entropy=_optional(_finite, "unigram_entropy", unigram_entropy),
                regime_changes=tuple(_whole("regime_changes", step) for step in regime_changes),
                conditions=_scalars("conditions", conditions or {}),
                plan=_scalars("plan", plan or {}),
            )
        )

    def attach(self, name: str, text: str) -> None:
        """Keep a text with the record: a sample of what the model writes, say. Cut at 4,000 characters."""
        self.on_attach(_line(name), str(text)[:4000])

    @property
    def checkpoint_due(self) -> bool:
        """True when a checkpoint is worth its time now: a while has passed, or the search is being stopped.

        Ask for it at a report step, *before* measuring and reporting. A checkpoint then holds the state before
        the report of its step, and a resumed run begins by making that report again; the search drops doubles.
        """
        return self.checkpoint_dir is not None and self.is_checkpoint_due()


def _number(where: str, name: str, value: object) -> float:
    """`value` as a float, infinite where it is larger than a record holds; strings and booleans are no numbers."""
    if isinstance(value, str | bytes | bool) or value is None:
        raise InputError(f"{where}: expected a number for {name}, but got {value!r:.60}")
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected a number for {name}, but got {type(value).__name__}") from error
    return math.copysign(math.inf, number) if abs(number) >= LARGEST else number


def _optional(read: Callable[[str, object], _T], name: str, value: object) -> _T | None:
    return None if value is None else read(name, value)


def _finite(name: str, value: object) -> float:
    number = _number("describe", name, value)
    if not math.isfinite(number):
        raise InputError(f"describe: expected a finite number for {name}, but got {value!r:.60}")
    return number


def _whole(name: str, value: object) -> int:
    number = _finite(name, value)
    if not number.is_integer() or number < 0:
        raise InputError(f"describe: expected a whole number for {name}, but got {value!r:.60}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def _scalars(name: str, values: object) -> dict[str, Scalar]:
    """Named texts, numbers and booleans, each text a line."""
    if not isinstance(values, Mapping):
        raise InputError(f"describe: expected a mapping for {name}, but got {values!r:.60}")
    return {_line(key): _scalar(f"{name}[{key!r:.60}]", value) for key, value in values.items()}


def _scalar(name: str, value: object) -> Scalar:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str):
        return _line(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < LARGEST):
        return value
    return _finite(name, value)


def _line(text: object) -> str:
    """Text of a trainer in one line of at most 500 characters."""
    return " ".join(plain(text).split())[:_LONGEST]


Train = Callable[[Trial], object]
PopulationTrain = Callable[[Sequence[Trial]], object]


def population(function: _F) -> _F:
    """Mark a function as a population trainer: it gets K trials of one width at once.

    It trains them side by side and drops those whose `report` returned False.
    """
    function.__lrtune_population__ = True  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A resolved trainer: at least one of `train` and `train_population` is there."""

    target: str
    train: Train | None
    train_population: PopulationTrain | None = None
    check: Callable[[Any], None] | None = None
    prepare: Callable[[Any], Mapping[str, str] | None] | None = None
    members_at_once: Callable[[Trial], int] | None = None
    column_titles: Mapping[str, str] = field(default_factory=dict)
    verification_options: Callable[[Any], Mapping[str, Any]] | None = None
    doctor: Callable[[], Iterable[tuple[str, str, str]]] | None = None
    source: str = ""  # hash of its source, empty where that is not known


def is_finite(value: float | None) -> bool:
    """True for a number that is neither missing, NaN nor infinite."""
    return value is not None and math.isfinite(value)
