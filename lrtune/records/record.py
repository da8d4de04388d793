"""What one training run was and how it went, and what of it a worker may hand in and a file may hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lrtune.errors import InputError, plain
from lrtune.fields import LARGEST, Kind, choice, mapping, number, optional, sequence, table, text, unexpected
from lrtune.study.task import Task
from lrtune.trainer.trial import Facts

Status = Literal["finished", "collapsed", "beaten", "diverged", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One training run.

    Attributes:
        trial: number in its study.
        hidden_size, learning_rate, seed: what was asked; the rate is the peak, after warm-up.
        scales: the other swept scales by name.
        status: how it ended; everything but ``finished`` and ``failed`` was cut and teaches where not to go.
        why: the verdict's reason, or the traceback of a failed run.
        steps: the horizon that was planned, in optimizer steps.
        steps_done: steps that were trained.
        tokens: the planned horizon in tokens; None where the trainer does not say its tokens per step.
        loss: the last validation loss, nats per token; the final one when finished; None when not finite.
        diversity: the last diversity; None where the trainer reports none.
        curve: columns of equal length, ``step`` and ``loss`` always, ``diversity`` and others where reported;
            None stands for a value that was missing or not finite.
        facts: what the trainer said of itself.
        arm, options: the arm's name and the options in which it departs from its study.
        plan: the execution plan (threads, members, dtype, compiled, micro_batch) that the values belong to.
        texts: what the trainer attached (samples of the model's writing).
        seconds, device, worker, attempt: how it was run; not part of its identity.
        fingerprint: that of its study.
        source: hash of the source of its trainer; empty where that is not known.
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
    tokens: int | None = None
    curve: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
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

    def scale(self, name: str) -> float | None:
        """The value of a scale: ``hidden_size``, ``tokens``, ``steps``, ``parameters`` or a swept one."""
        if name in self.scales:
            return float(self.scales[name])
        if name == "parameters":
            return self.facts.parameters
        value = getattr(self, name, None) if name in ("hidden_size", "tokens", "steps") else None
        return None if value is None else float(value)

    @property
    def reason(self) -> str:
        """`why` in one line: of a traceback its error, of a program's last words the first and the last."""
        lines = [line for line in self.why.strip().splitlines() if line.strip()]
        if not lines:
            return ""
        inner = [number for number, line in enumerate(lines) if line.startswith(" ")]
        if "Traceback" in lines[0] and inner and inner[-1] + 1 < len(lines):
            return lines[inner[-1] + 1]
        return f"{lines[0]} {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]

    @property
    def cost(self) -> float:
        """Compute spent: tokens × parameters where both are known, else steps × hidden_size²."""
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
    """What a result holds for, as a rule may keep it: one line of text, a number or a truth value; no others."""
    kept: dict[str, Any] = {}
    for name, item in mapping(lambda where, value: value, 1000)(where, value).items():
        if isinstance(item, str):
            kept[name] = " ".join(plain(item).split())[:2000]
        elif isinstance(item, int | float) and abs(item) <= LARGEST:
            kept[name] = item
    return kept


def _anything(where: str, value: object) -> Any:
    return value


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
# Unknown keys are left out, so that newer files stay readable.
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
        "scales": mapping(number(0, above=True, as_given=True)),
        "curve": mapping(_column, 1000),
        "facts": lambda where, value: Facts(**_FACTS(where, value)),
        **dict.fromkeys(("options", "plan"), mapping(_anything, 1000)),
        "texts": mapping(_WORDS, 1000),
        "seconds": number(as_given=True),
        "attempt": _COUNT,
    },
    needed=("trial", "hidden_size", "learning_rate", "seed", "status", "steps", "steps_done"),
    others_pass=True,
)


def parse_record(data: object) -> TrialRecord:
    """The record that plain data describe, every field checked: the one check for those who write and who read.

    Raises:
        InputError: they describe none; names the field.
    """
    record = TrialRecord(**{"loss": None, **_RECORD("", data)})
    lengths = {len(column) for column in record.curve.values()}
    if len(lengths) > 1:
        raise InputError(f"curve: expected columns of one length, but got {sorted(lengths)!s:.100}")
    return record


def task_of(record: TrialRecord) -> Task:
    """The task that a record is the answer to."""
    return Task(
        hidden_size=record.hidden_size,
        learning_rate=record.learning_rate,
        seed=record.seed,
        arm=record.arm,
        scales=record.scales,
        options=record.options,
    )
