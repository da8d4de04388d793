"""A trainer that is a command line: run without a shell, read as JSON lines, stopped by signals."""

import contextlib
import json
import math
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lrtune.errors import InputError, TrainerFailedError, plain
from lrtune.trainer import guard
from lrtune.trainer.source import files_named, source_hash
from lrtune.trainer.trial import Trainer, Trial

_PLACE = re.compile(r"\{(\w+)\}")
_NO_NUMBER = re.compile(r"(?i)(?<=[:,\[\s])[+-]?(?:nan|inf|infinity)(?=\s*[,}\]])")
_MAX_LINE = 1 << 20
_SHOWN_LINES, _SHOWN_WIDTH = 20, 1000
_POLL_SECONDS = 0.05
_LAST_WORDS_SECONDS = 0.5
GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL


def command_trainer(command: Sequence[str]) -> Trainer:
    """A trainer that runs `command` once per trial.

    In each argument ``{learning_rate}``, ``{hidden_size}``, ``{seed}``, ``{steps}``, ``{report_every}``, ``{device}``,
    the name of a further scale or of an option is replaced by the trial's value, and ``{output}`` by the path of a
    file; other braces stay as they are. The program prints one JSON object a line on stdout, or appends it
    to that file: ``{"step": 100, "loss": 4.2, "diversity": 0.3}``, with any other numbers. An object without
    ``step`` whose keys are those of `Trial.describe` describes the run. Other lines are ignored, so that a program may
    print what it likes. A run ends early by SIGTERM, then SIGKILL, to the program and all that it started.

    Raises:
        InputError: the command is empty or takes no learning rate.
    """
    arguments = tuple(command)
    if not arguments:
        raise InputError("command: expected a program and its arguments, but got nothing")
    places = {name for argument in arguments for name in _PLACE.findall(argument)}
    if "learning_rate" not in places:
        raise InputError(
            "command: expected {learning_rate} among its arguments (--lr {learning_rate}, say), "
            f"but got {' '.join(arguments)!r:.100}"
        )

    return Trainer(
        target=f"command:{Path(arguments[0]).name}",
        train=_CommandTrain(arguments),
        source=source_hash(files_named(arguments)),
    )


class _CommandTrain:
    """The training function; a class so that it can be handed to a spawned process."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)

    def __call__(self, trial: Trial) -> None:
        # Beside the checkpoints, which go when the trial has its record, even where this worker is killed.
        with tempfile.TemporaryDirectory(prefix="lrtune-", dir=trial.checkpoint_dir) as folder:
            output = Path(folder) / "reports.jsonl"
            run_command(fill(self.arguments, trial, output), trial, output)


def fill(arguments: Sequence[str], trial: Trial, output: Path) -> list[str]:
    """The arguments with the trial's values in their places."""
    values: dict[str, Any] = {
        **{name: value for name, value in trial.options.items() if isinstance(value, str | int | float)},
        **{name: f"{value:.15g}" for name, value in trial.scales.items()},
        "learning_rate": repr(trial.learning_rate),
        "hidden_size": trial.hidden_size,
        "seed": trial.seed,
        "steps": trial.steps,
        "report_every": trial.report_every,
        "device": trial.device,
        "output": output,
    }
    return [
        _PLACE.sub(lambda place: str(values.get(place.group(1), place.group(0))), argument) for argument in arguments
    ]


def run_command(arguments: Sequence[str], trial: Trial, output: Path) -> None:
    """Run the program and hand its reports to `trial` until it ends or is not to go on.

    Raises:
        InputError: there is no such program.
        TrainerFailedError: it exited with an error, or ended without its last report.
    """
    if shutil.which(arguments[0]) is None:
        raise InputError(f"command: program {arguments[0]!r} not found on PATH")
    said = _Said()
    last = None
    with tempfile.TemporaryFile("w+b") as errors:
        process = guard.start(
            arguments, grace=GRACE_SECONDS, stdout=subprocess.PIPE, stderr=errors, env=_environment(trial)
        )
        try:
            for line in _lines(process, output):
                said.keep(line)
                report = _report(line, trial)
                if report is None:
                    continue
                last = report.pop("step")
                if not trial.report(last, **report):
                    return
            code = process.wait()
            if code != 0:
                raise TrainerFailedError(f"command: exited with {guard.how_it_ended(code)}{said.tail(errors)}")
            if last is None:
                raise TrainerFailedError(
                    'command: expected JSON lines such as {"step": 100, "loss": 4.2} on stdout or in {output}, '
                    f"but it ended without one{said.tail(errors)}"
                )
            if last != trial.steps and said.no_json:
                raise TrainerFailedError(f"command: expected JSON, but got {said.no_json!r}")
        finally:
            guard.end(process, GRACE_SECONDS + 10)


class _Said:
    """What a program printed, as far as an error quotes it."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_SHOWN_LINES)
        self.no_json = ""

    def keep(self, line: str) -> None:
        self._lines.append(line[:_SHOWN_WIDTH])
        if not self.no_json and line.lstrip().startswith("{") and _parse(line) is None:
            self.no_json = line[:100]

    def tail(self, errors: IO[bytes]) -> str:
        """The last lines of stderr, else of stdout, for the record."""
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - 4000))
        lines = errors.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:] or list(self._lines)
        return "; it last wrote:\n" + plain("\n".join(lines)) if lines else ""


def _environment(trial: Trial) -> Mapping[str, str]:
    """The parent's environment, with threads and device as the worker was given them; output unbuffered."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if trial.threads is not None:
        environment["OMP_NUM_THREADS"] = str(trial.threads)
    if trial.checkpoint_dir is not None:
        environment["LRTUNE_CHECKPOINT_DIR"] = str(trial.checkpoint_dir)
    return environment


def _report(line: str, trial: Trial) -> dict[str, Any] | None:
    """The arguments of `Trial.report` in one line; None where it is none. A line of facts describes the trial."""
    data = _parse(line)
    if data is None:
        return None
    if "step" not in data:
        if data and _FACTS.issuperset(data):
            trial.describe(**data)
        return None
    if "loss" not in data:
        raise InputError(f"command: expected a loss beside the step in {line!r:.80}")
    report = {name: value for name, value in data.items() if name in ("step", "loss", "diversity") or _is_number(value)}
    return report | {"loss": math.nan if data["loss"] is None else data["loss"]}


def _parse(line: str) -> dict[str, Any] | None:
    """The JSON object in a line, "nan" and "inf" as C, Go or Rust print them included."""
    if not line.lstrip().startswith("{"):
        return None
    for text in (line, _NO_NUMBER.sub("NaN", line)):
        with contextlib.suppress(ValueError, RecursionError):
            data = json.loads(text)
            return data if isinstance(data, dict) else None
    return None


_FACTS = {"parameters", "tokens_per_step", "batch_size", "vocabulary_size", "unigram_entropy", "regime_changes"}
_FACTS |= {"conditions", "plan"}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lines(process: "subprocess.Popen[bytes]", output: Path) -> Iterator[str]:
    """Lines of stdout and of the output file as they come, until the program itself has ended.

    Not until stdout closes: a background child that the program left behind may hold it open for ever.
    """
    assert process.stdout is not None
    printed: queue.SimpleQueue[str] = queue.SimpleQueue()
    pump = threading.Thread(target=_pump, args=(process.stdout, printed), daemon=True)
    pump.start()
    with contextlib.ExitStack() as stack:
        file, rest, has_ended = None, b"", False
        while not has_ended:
            has_ended = process.poll() is not None
            if has_ended:  # what it wrote is in the pipe: the pump needs a moment
                pump.join(_LAST_WORDS_SECONDS)
            yield from _taken(printed, wait=0.0 if has_ended else _POLL_SECONDS)
            if file is None and output.exists():
                file = stack.enter_context(output.open("rb"))
            if file is not None:
                *lines, rest = (rest + file.read()).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        if rest.strip():
            yield rest.decode(errors="replace")


def _taken(lines: "queue.SimpleQueue[str]", wait: float) -> Iterator[str]:
    """What is in the queue now; `wait` seconds for the next one."""
    with contextlib.suppress(queue.Empty):
        while True:
            yield lines.get(timeout=wait) if wait else lines.get_nowait()


def _pump(stream: IO[bytes], lines: "queue.SimpleQueue[str]") -> None:
    with stream, contextlib.suppress(OSError):
        while raw := stream.readline(_MAX_LINE):
            lines.put(raw.decode(errors="replace").rstrip("\n"))
