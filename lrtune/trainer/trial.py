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
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lrtune.errors import InputError

Scalar = str | int | float | bool


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
            loss: validation loss, nats per token. NaN and inf are taken as divergence.
            diversity: share of the reference's variety that the model's answers have (see `lrtune.diversity`),
                0 when one token is always the answer, about 1 when they vary as the text does.
            **numbers: anything else worth keeping in the record's curves.

        Raises:
            InputError: a value is not a number, or the step is outside 0 … `steps`.
            Interrupted: the search is being stopped.
        """
        step = int(_number("step", step))
        if not 0 <= step <= self.steps:
            raise InputError(f"report: expected a step within 0 … {self.steps}, but got {step}")
        value = None if diversity is None else _number("diversity", diversity)
        extra = {name: _number(name, number) for name, number in numbers.items()}
        return self.on_report(Report(step, _number("loss", loss), value, extra))

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
        """Say once what this run is; see `Facts` for the fields and their fallbacks."""
        self.on_describe(
            Facts(
                parameters=parameters,
                tokens_per_step=tokens_per_step,
                batch_size=batch_size,
                vocabulary_size=vocabulary_size,
                unigram_entropy=unigram_entropy,
                regime_changes=tuple(int(step) for step in regime_changes),
                conditions=dict(conditions or {}),
                plan=dict(plan or {}),
            )
        )

    def attach(self, name: str, text: str) -> None:
        """Keep a text with the record: a sample of what the model writes, say. Cut at 4,000 characters."""
        self.on_attach(str(name), str(text)[:4000])

    @property
    def checkpoint_due(self) -> bool:
        """True when a checkpoint is worth its time now: a while has passed, or the search is being stopped.

        Ask for it at a report step, *before* measuring and reporting. A checkpoint then holds the state before
        the report of its step, and a resumed run begins by making that report again; the search drops doubles.
        """
        return self.checkpoint_dir is not None and self.is_checkpoint_due()


def _number(name: str, value: object) -> float:
    """`value` as a float; torch and numpy scalars count, strings and booleans do not."""
    if isinstance(value, str | bytes | bool) or value is None:
        raise InputError(f"report: expected a number for {name}, but got {value!r}")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InputError(f"report: expected a number for {name}, but got {type(value).__name__}") from error


Train = Callable[[Trial], object]
PopulationTrain = Callable[[Sequence[Trial]], object]
_F = TypeVar("_F", bound=Callable[..., object])


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


def is_finite(value: float | None) -> bool:
    """True for a number that is neither missing, NaN nor infinite."""
    return value is not None and math.isfinite(value)
