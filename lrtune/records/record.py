"""The record of one training run, and the checks on its fields."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from lrtune.errors import InputError, plain
from lrtune.fields import LARGEST, Kind, choice, flag, mapping, number, optional, sequence, table, text, unexpected
from lrtune.study.task import Task
from lrtune.trainer.trial import Facts

Status = Literal["finished", "collapsed", "beaten", "diverged", "failed"]
_OF_FACTS = {"parameters": "parameters", "batch_tokens": "tokens_per_step"}  # scale → fact
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One training run.

    Attributes:
        trial: number in its study.
        hidden_size, learning_rate, seed: settings of the run; the rate is the peak, after warm-up.
        scales: the other swept scales by name.
        knobs: values of the other quantities that the search chose, by name.
        status: how the run ended; any status except ``finished`` and ``failed`` means that it was stopped early.
        why: the verdict's reason, or the traceback of a failed run.
        steps: the planned horizon in optimizer steps.
        steps_done: optimizer steps trained.
        tokens: the planned horizon in tokens; None if the trainer does not report its tokens per step.
        loss: the last validation loss in nats per token (the final loss if finished); None if not finite.
        maximize: whether `loss` is minus a measure of which more is better; files and `measure` hold its value.
        diversity: the last diversity; None if the trainer reports none.
        curve: columns of equal length: ``step`` and ``loss``, and ``diversity`` and others if reported; None marks a
            missing or non-finite value.
        facts: facts that the trainer reported.
        beaten: the *beaten* verdict on the run, also one that a lenient run's end disregarded: its `step`, the highest
            final `loss` that it ruled out, and the rate of the `peer` that it rests on; empty if there was none.
        arm, options: the arm's name and the options that it overrides.
        plan: the execution plan of the run (threads, members, dtype, compiled, micro_batch).
        texts: texts that the trainer attached (samples of the model's output).
        seconds, device, worker, attempt: execution details; not part of the run's identity.
        fingerprint: the fingerprint of its study.
        source: hash of the trainer's source; empty if unknown.
    """

    trial: int
    hidden_size: int
    learning_rate: float
    seed: int
    status: Status
    steps: int
    steps_done: int
    loss: float | None
    diversity: float | None = None
    why: str = ""
    scales: Mapping[str, float] = field(default_factory=dict)
    knobs: Mapping[str, float] = field(default_factory=dict)
    tokens: int | None = None
    curve: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    beaten: Mapping[str, float] = field(default_factory=dict)
    arm: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    device: str = "cpu"
    worker: str = ""
    attempt: int = 1
    fingerprint: str = ""
    source: str = ""
    maximize: bool = False

    @property
    def measure(self) -> float | None:
        """The loss, or the measure to maximise, as the trainer reported it."""
        return None if self.loss is None else -self.loss if self.maximize else self.loss

    def scale(self, name: str) -> float | None:
        """The value of a scale: ``hidden_size``, ``tokens``, ``steps``, ``batch_tokens``, ``parameters`` or another."""
        if name in self.scales:
            return float(self.scales[name])
        if name in _OF_FACTS:
            value = getattr(self.facts, _OF_FACTS[name])
            return None if value is None else float(value)
        value = getattr(self, name, None) if name in ("hidden_size", "tokens", "steps") else None
        return None if value is None else float(value)

    @property
    def place(self) -> dict[str, float]:
        """The hidden size and the other scales."""
        return {"hidden_size": self.hidden_size, **self.scales}

    @property
    def is_check(self) -> bool:
        """Whether the run ended at its last step although peers at lower rates had beaten it."""
        return self.status == "finished" and bool(self.beaten)

    @property
    def defies(self) -> bool:
        """Whether it ended at a loss that this verdict had ruled out."""
        return self.is_check and self.loss is not None and self.loss <= self.beaten.get("loss", -math.inf)

    @property
    def reason(self) -> str:
        """`why` in one line: the error of a traceback, or the first and last line of a program's output."""
        lines = [line for line in self.why.strip().splitlines() if line.strip()]
        if not lines:
            return ""
        inner = [number for number, line in enumerate(lines) if line.startswith(" ")]
        if "Traceback" in lines[0] and inner and inner[-1] + 1 < len(lines):
            return lines[inner[-1] + 1]
        return f"{lines[0]} {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]

    @property
    def cost(self) -> float:
        """Compute spent: tokens × parameters if both are known, else steps × hidden_size²."""
        width = self.facts.parameters or self.hidden_size**2
        return float(self.steps_done * (self.facts.tokens_per_step or 1) * width)


def _column(where: str, value: object) -> list[float | None]:
    if not isinstance(value, list) or len(value) > 10_000_000:
        raise unexpected(where, "a list of numbers", value)
    for each in value:
        if each is not None and (type(each) not in (int, float) or not -LARGEST <= each <= LARGEST):
            raise unexpected(where, "a list of numbers", each)
    return value


def _conditions(where: str, value: object) -> dict[str, Any]:
    """A condition that a rule may store: one line of text, a number or a boolean."""
    kept: dict[str, Any] = {}
    for name, item in mapping(lambda where, value: value, 1000)(where, value).items():
        if isinstance(item, str):
            kept[name] = " ".join(plain(item).split())[:2000]
        elif isinstance(item, int | float) and abs(item) <= LARGEST:
            kept[name] = item
    return kept


_LEVELS = 20


def _anything(where: str, value: object, levels: int = _LEVELS) -> Any:
    """Read any JSON value. Numbers beyond `LARGEST` become None, as `to_json` writes them."""
    if isinstance(value, dict | list) and not levels:
        raise InputError(f"{where}: expected at most {_LEVELS} levels of nested values, but got more")
    if isinstance(value, dict):
        return {name: _anything(where, item, levels - 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_anything(where, item, levels - 1) for item in value]
    return None if isinstance(value, float) and not abs(value) <= LARGEST else value


_MANY = 2**62
_COUNT = number(0, _MANY, whole=True)
_WORDS = text(2**24)
_NUMBER = optional(number(as_given=True))
_FACTS = table(
    {
        **dict.fromkeys(("parameters", "tokens_per_step", "batch_size", "vocabulary_size", "unigram_entropy"), _NUMBER),
        "regime_changes": sequence(number(whole=True), 10_000, what="a list of steps"),
        "conditions": _conditions,
        "plan": mapping(_anything, 1000),
    },
    others_pass=True,
)
# Unknown keys are dropped, so that files of newer versions stay readable.
_RECORD: Kind = table(
    {
        "trial": _COUNT,
        "hidden_size": number(0, 1e12, above=True, whole=True),
        "learning_rate": number(0, above=True, as_given=True),
        "seed": number(-_MANY, _MANY, whole=True),
        "status": choice(*STATUSES),
        "steps": _COUNT,
        "steps_done": _COUNT,
        **dict.fromkeys(("loss", "diversity", "tokens"), _NUMBER),
        **dict.fromkeys(("why", "device", "worker", "fingerprint", "source"), _WORDS),
        "arm": optional(_WORDS),
        "scales": mapping(number(0, 1e30, above=True, as_given=True)),
        "knobs": mapping(number(0, 1e30, as_given=True)),
        "curve": mapping(_column, 1000),
        "beaten": mapping(number(as_given=True), 10),
        "facts": lambda where, value: Facts(**_FACTS(where, value)),
        **dict.fromkeys(("options", "plan"), mapping(_anything, 1000)),
        "texts": mapping(_WORDS, 1000),
        "seconds": number(as_given=True),
        "attempt": _COUNT,
        "maximize": flag,
    },
    needed=("trial", "hidden_size", "learning_rate", "seed", "status", "steps", "steps_done"),
    others_pass=True,
)


def parse_record(data: object) -> TrialRecord:
    """Build a record from plain data and check every field; readers and writers share this check.

    Raises:
        InputError: a field is invalid; the message names it.
    """
    record = TrialRecord(**{"loss": None, **_RECORD("", data)})
    lengths = {len(column) for column in record.curve.values()}
    if len(lengths) > 1:
        raise InputError(f"curve: expected columns of one length, but got {sorted(lengths)!s:.100}")
    return negated(record)


def negated(record: TrialRecord) -> TrialRecord:
    """The record with a measure to maximise in place of its loss, or the other way round; another one as it is."""
    if not record.maximize:
        return record
    curve = dict(record.curve)
    if "loss" in curve:
        curve["loss"] = [None if value is None else -value for value in curve["loss"]]
    ruled_out = {**record.beaten, "loss": -record.beaten["loss"]} if "loss" in record.beaten else record.beaten
    return replace(record, loss=None if record.loss is None else -record.loss, curve=curve, beaten=ruled_out)


_OF_TASK = ("hidden_size", "learning_rate", "seed", "arm", "scales", "options", "knobs")


def task_of(record: TrialRecord) -> Task:
    """The task that a record belongs to."""
    return Task(**{name: getattr(record, name) for name in _OF_TASK})


def record_of_task(task: Task, **ended: Any) -> TrialRecord:
    """The record of a task's run, with what else a record holds."""
    return TrialRecord(**{name: getattr(task, name) for name in _OF_TASK}, **ended)
