"""Trial records: what one training run was and how it went, one JSON object a line."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from lrtune.errors import InputError
from lrtune.files import write_whole
from lrtune.study.task import Task
from lrtune.trainer.trial import Facts

Status = Literal["finished", "collapsed", "beaten", "diverged", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)
_MAX_LINE = 16 * 2**20


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


_FIELDS = {f.name: f for f in fields(TrialRecord)}
_INTEGERS = {"trial", "hidden_size", "seed", "steps", "steps_done", "attempt"}
_FLOATS = {"learning_rate", "seconds"}
_MAPPINGS = {"scales", "curve", "facts", "options", "plan", "texts"}
_STRINGS = {"why", "device", "worker", "fingerprint"}


def to_json(record: TrialRecord) -> str:
    """The record as one line of strict JSON (no NaN), with keys in a fixed order."""
    data = asdict(record)
    data["curve"] = {
        name: [None if value is None or not math.isfinite(value) else value for value in column]
        for name, column in record.curve.items()
    }
    for name in ("loss", "diversity"):
        value = data[name]
        data[name] = None if value is None or not math.isfinite(value) else value
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def from_json(line: str) -> TrialRecord:
    """The record in one line. Unknown keys are kept out, so that newer files stay readable.

    Raises:
        InputError: the line is not a record; the message says which field is wrong.
    """
    if len(line) > _MAX_LINE:
        raise InputError(f"expected a record of at most {_MAX_LINE} characters, but got {len(line)}")
    try:
        data = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected a JSON object, but got {line[:40]!r} ({type(error).__name__})") from error
    if not isinstance(data, dict):
        raise InputError(f"expected a JSON object, but got {type(data).__name__}")
    data = {name: value for name, value in data.items() if name in _FIELDS}
    for name in ("trial", "hidden_size", "learning_rate", "seed", "status", "steps", "steps_done"):
        if name not in data:
            raise InputError(f"{name}: expected in every record, but it is missing")
    for name, value in data.items():
        _check(name, value)
    data.setdefault("loss", None)
    data["facts"] = _facts(data.get("facts", {}))
    record = TrialRecord(**data)
    lengths = {len(column) for column in record.curve.values()}
    if len(lengths) > 1:
        raise InputError(f"curve: expected columns of one length, but got {sorted(lengths)}")
    return record


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _check(name: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if name in _INTEGERS and not (isinstance(value, int) and number):
        raise InputError(f"{name}: expected a whole number, but got {value!r:.60}")
    if name in _FLOATS and not number:
        raise InputError(f"{name}: expected a number, but got {value!r:.60}")
    if name == "learning_rate" and value <= 0:
        raise InputError(f"learning_rate: expected a positive number, but got {value!r}")
    if name == "hidden_size" and value <= 0:
        raise InputError(f"hidden_size: expected a positive number, but got {value!r}")
    if name in ("loss", "diversity", "tokens") and not (value is None or number):
        raise InputError(f"{name}: expected a number or null, but got {value!r:.60}")
    if name in _STRINGS and not isinstance(value, str):
        raise InputError(f"{name}: expected a string, but got {value!r:.60}")
    if name == "arm" and not (value is None or isinstance(value, str)):
        raise InputError(f"arm: expected a string or null, but got {value!r:.60}")
    if name == "status" and value not in STATUSES:
        raise InputError(f"status: expected one of {', '.join(STATUSES)}, but got {value!r:.60}")
    if name in _MAPPINGS and not isinstance(value, dict):
        raise InputError(f"{name}: expected an object, but got {value!r:.60}")
    if name == "scales" and not all(_is_number(v) and v > 0 for v in value.values()):
        raise InputError(f"scales: expected positive numbers, but got {value!r:.60}")
    if name == "curve":
        for key, column in value.items():
            if not isinstance(column, list) or not all(v is None or _is_number(v) for v in column):
                raise InputError(f"curve: expected a list of numbers for {key!r:.40}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _facts(data: Mapping[str, Any]) -> Facts:
    known = {f.name for f in fields(Facts)}
    data = {name: value for name, value in data.items() if name in known}
    for name, value in data.items():
        if name in ("conditions", "plan"):
            if not isinstance(value, dict):
                raise InputError(f"facts.{name}: expected an object, but got {value!r:.60}")
        elif name == "regime_changes":
            if not (isinstance(value, list) and all(isinstance(step, int) for step in value)):
                raise InputError(f"facts.regime_changes: expected a list of steps, but got {value!r:.60}")
            data["regime_changes"] = tuple(value)
        elif not (value is None or _is_number(value)):
            raise InputError(f"facts.{name}: expected a number or null, but got {value!r:.60}")
    return Facts(**data)


@dataclass(frozen=True)
class RecordsFile:
    """What was read from a records file: the records, and the lines that are none, each with its reason."""

    records: list[TrialRecord]
    bad_lines: list[tuple[int, str]]


def read_records(path: Path) -> RecordsFile:
    """Read a ``records.jsonl``. A line that is no record is named by its number; the rest is still read.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise InputError(f"{path}: expected a records file, but it cannot be read ({error.strerror})") from error
    records, bad = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(from_json(line))
        except InputError as error:
            torn = number == len(lines)
            bad.append((number, f"torn last line: {error}" if torn else str(error)))
    return RecordsFile(records, bad)


def write_records(path: Path, records: Iterable[TrialRecord]) -> None:
    """Write the whole file, in order of trial number."""
    ordered = sorted(records, key=lambda record: record.trial)
    write_whole(path, "".join(to_json(record) + "\n" for record in ordered))


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
