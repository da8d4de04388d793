"""The contract with a training function: its input, its reports, and the optional functions of its module.

The simple form::

    def train(trial: lrtune.Trial) -> None:
        model = build(trial.hidden_size)
        optimizer = AdamW(model.parameters(), lr=trial.learning_rate)
        for step in range(trial.steps + 1):
            if step % trial.report_every == 0:
                if not trial.report(step, loss=validation_loss(model), diversity=share_in_use(model)):
                    return
            train_one_step(model, optimizer)

The last report, at ``step == trial.steps``, gives the final loss. The trainer's module may also define:

- ``check(study)``: raises `InputError` or `ValueError` before anything trains.
- ``prepare(study)``: runs once before the workers. It may return strings that identify the data, as a mapping; they
  become part of the study's fingerprint.
- ``tokens_per_step(study, scales)``: tokens of one optimizer step at these scales, so that a search can count in tokens
  (``--tokens``). Each run also gives its own number to `Trial.describe`.
- a population trainer (see `population`), and with it ``members_at_once(trial)``: how many trials of the same width,
  scales and options to train at once on ``trial.device``, a whole number of at least 1. A worker calls it once per
  group, whose rates, knobs and seeds differ. Without it, or if it raises, the default is 16 on a GPU and 1 on a CPU.
  The option ``members`` overrides both.
- ``step_seconds(study)``: seconds of a step by width in one thread on this machine. The built-in study is fitted to
  the machine by it.
- ``column_titles``: a mapping from columns of its reports to the titles of their tables in ``lrtune compare``.
- ``verification_options(study)``: the options of a full run, for ``lrtune verify``.
- ``doctor()``: its requirements on this machine, for ``lrtune doctor``: tuples of name, state (ok, missing or problem)
  and text.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lrtune.errors import InputError, plain

Scalar = str | int | float | bool
LARGEST = 1e300  # larger numbers count as infinite
TOO_LONG = "steps: expected a run of"  # begins the error of `too_long`
_LONGEST = 500
_MOST_NAMES, _LONGEST_NAME = 1000, 200  # of numbers in a report, conditions and plan
_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., object])


class Interrupted(BaseException):
    """`Trial.report` raises it when the search stops. A trainer must not catch it."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A trainer's description of its run. Every field is optional and has a fallback.

    Attributes:
        parameters: trained parameters (fallback: cost ∝ hidden_size²).
        tokens_per_step: tokens in one optimizer step (fallback: horizons are counted in steps).
        batch_size: sequences in one step; after out-of-memory the search can retry with a smaller micro-batch.
        vocabulary_size: size of the output (fallback: divergence is judged against the first reported loss).
        unigram_entropy: entropy of the reference token distribution, in nats (fallback: the collapse test uses only
            a loss that does not fall). It and the vocabulary count only if the loss may be a cross-entropy: not for
            an accuracy, a score or a negative loss.
        regime_changes: steps at which the schedule changes (learning-rate or weight-decay stages).
        conditions: the settings that the result depends on (depth, optimizer, schedule, weight_decay, …); the rule
            keeps them. Each answer prints ``model``, ``optimizer``, ``schedule`` and ``data``. The rule derives advice
            from ``stage2_ratio`` (stage-2 peak ÷ stage-1 peak), ``weight_decay``, ``weight_decay_stage2`` and
            ``warmup_steps``.
        plan: execution settings that can change bits (members of a population, precision, compilation); the record's
            execution plan includes them.
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
        id: a name for this attempt, unique in its search: the trial's number (``7``), then ``7-2`` after a lost worker.
            A run that an interrupted search begins again keeps it.
        seed: seeds data order and initial weights; runs of one seed share both at every rate.
        steps: optimizer steps to train.
        report_every: report at its multiples, at `steps`, and at 0 if that is cheap.
        options: the trainer's settings, from ``[options]`` of study.toml.
        scales: the other swept scales (``depth``, ``batch``, …) by name.
        knobs: the values of the other quantities that the search chooses (``[knobs]``, ``--knob``) by name:
            ``trial.knobs["adam_lr"]``. They are ready to use: a ratio or product is already worked out.
        device: ``cpu``, ``cuda:0``, ``mps``.
        threads: threads this worker may use on a CPU, or None for the library's default.
        micro_batch: sequences per forward pass, or None for the whole batch. The gradient is always that of the whole
            batch.
        checkpoint_dir: this trial's folder, which survives a restart, or None. A trainer resumes from its checkpoint
            there, or starts again from step 0.
        maximize: whether the study takes the reported loss as a measure of which more is better, such as accuracy.
    """

    hidden_size: int
    learning_rate: float
    steps: int
    report_every: int = 1
    id: str = "0"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    knobs: Mapping[str, float] = field(default_factory=dict)
    device: str = "cpu"
    threads: int | None = None
    micro_batch: int | None = None
    checkpoint_dir: Path | None = None
    on_report: Callable[[Report], bool] = field(default=lambda report: True, repr=False)
    on_describe: Callable[[Facts], None] = field(default=lambda facts: None, repr=False)
    on_attach: Callable[[str, str], None] = field(default=lambda name, text: None, repr=False)
    is_checkpoint_due: Callable[[], bool] = field(default=lambda: False, repr=False)
    maximize: bool = False

    def report(self, step: int, *, loss: float, diversity: float | None = None, **numbers: float) -> bool:
        """Report the measures of one step; returns whether to continue training.

        Args:
            step: optimizer steps done, 0 … `steps`.
            loss: validation loss, nats per token. NaN, inf and 1e300 or more count as divergence.
            diversity: diversity of the predicted tokens relative to the reference (see `lrtune.diversity`): 0 if the
                model always predicts one token, about 1 if its predictions are as diverse as the text.
            **numbers: other numbers for the record's curves.

        Raises:
            InputError: a value is not a number, or the step is negative or beyond `steps`.
            Interrupted: the search stops.
        """
        at = _number("report", "step", step)
        if self.steps < at < math.inf:
            raise too_long(self.steps, at, "train trial.steps steps, or set --steps to the length of a run")
        if not 0 <= at <= self.steps:
            raise InputError(f"report: expected a step within 0 … {self.steps}, but got {step}")
        value = None if diversity is None else _number("report", "diversity", diversity)
        names = _names("report", numbers)
        extra = {name: _number("report", name, number) for name, number in zip(names, numbers.values(), strict=True)}
        if taken := extra.keys() & {"step", "loss", "diversity"}:
            raise InputError(f"report: expected another name for a number than {min(taken)!r}")
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
        """Describe this run once; see `Facts` for the fields and their fallbacks. Accepts numpy and torch scalars.

        Raises:
            InputError: a value has the wrong type for its field.
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
        """Keep a text with the record, such as a sample from the model; at most 4,000 characters."""
        self.on_attach(_line(name)[:_LONGEST_NAME], str(text)[:4000])

    @property
    def checkpoint_due(self) -> bool:
        """True when a checkpoint is due: enough time has passed since the last one, or the search stops.

        Read it at a report step, *before* the measurement and the report. The checkpoint then holds the state before
        that report; a resumed run repeats the report, and the search drops the duplicate.
        """
        return self.checkpoint_dir is not None and self.is_checkpoint_due()


def too_long(steps: int, at: float, advice: str) -> InputError:
    """The error of a run that goes on after its last step; another run would too, so a search ends at the first."""
    return InputError(f"{TOO_LONG} {steps} steps, but got a report of step {at:g}; {advice}")


def _number(where: str, name: str, value: object) -> float:
    """`value` as a float, infinite beyond `LARGEST`; refuses strings and booleans."""
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
    """A mapping of strings, numbers and booleans, with each string on one line."""
    if not isinstance(values, Mapping):
        raise InputError(f"describe: expected a mapping for {name}, but got {values!r:.60}")
    items = zip(_names(f"describe: {name}", values), values.values(), strict=True)
    return {key: _scalar(f"{name}[{key!r:.60}]", value) for key, value in items}


def _names(where: str, values: Mapping[Any, object]) -> list[str]:
    """The names of a trainer's values as a record may hold them."""
    if len(values) > _MOST_NAMES:
        raise InputError(f"{where}: expected at most {_MOST_NAMES:,} names, but got {len(values):,}")
    return [_line(name)[:_LONGEST_NAME] for name in values]


def _scalar(name: str, value: object) -> Scalar:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str):
        return _line(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < LARGEST):
        return value
    return _finite(name, value)


def _line(text: object) -> str:
    """A trainer's text as one line of at most 500 characters."""
    return " ".join(plain(text).split())[:_LONGEST]


Train = Callable[[Trial], object]
PopulationTrain = Callable[[Sequence[Trial]], object]


def population(function: _F) -> _F:
    """Mark a function as a population trainer.

    It gets K trials of one width, trains them together and drops each one whose `report` returns False.
    """
    function.__lrtune_population__ = True  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A resolved trainer; it has `train`, `train_population` or both."""

    target: str
    train: Train | None
    train_population: PopulationTrain | None = None
    check: Callable[[Any], None] | None = None
    prepare: Callable[[Any], Mapping[str, str] | None] | None = None
    tokens_per_step: Callable[[Any, Mapping[str, float]], int] | None = None
    members_at_once: Callable[[Trial], int] | None = None
    step_seconds: Callable[[Any], Mapping[int, float]] | None = None
    column_titles: Mapping[str, str] = field(default_factory=dict)
    verification_options: Callable[[Any], Mapping[str, Any]] | None = None
    doctor: Callable[[], Iterable[tuple[str, str, str]]] | None = None
    source: str = ""  # hash of its source; empty if unknown


def is_finite(value: float | None) -> bool:
    """True for a number that is neither missing, NaN nor infinite."""
    return value is not None and math.isfinite(value)
