"""A trainer that is a command line: run without a shell, read as JSON lines, stopped by signals."""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lrtune.errors import InputError, TrainerFailedError
from lrtune.trainer import guard
from lrtune.trainer.trial import Trainer, Trial

_PLACE = re.compile(r"\{(\w+)\}")
_MAX_LINE = 1 << 20
_SHOWN_LINES = 20
_END = None


def command_trainer(command: Sequence[str]) -> Trainer:
    """A trainer that runs `command` once per trial.

    In each argument ``{learning_rate}``, ``{hidden_size}``, ``{seed}``, ``{steps}``, ``{report_every}``, ``{device}``,
    the name of a further scale or of an option is replaced by the trial's value, and ``{output}`` by the path of a
    file; other braces stay as they are. The program prints one JSON object a line on stdout, or appends it
    to that file: ``{"step": 100, "loss": 4.2, "diversity": 0.3}``, the last two optional beside any other numbers.
    An object without ``step`` whose keys are those of `Trial.describe` describes the run. Lines that are no JSON
    object are left alone, so that a program may print what it likes. To end a run early it is sent SIGTERM, then
    SIGKILL; its whole process group with it.

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

    return Trainer(target=f"command:{Path(arguments[0]).name}", train=_CommandTrain(arguments))


class _CommandTrain:
    """The training function; a class so that it can be handed to a spawned process."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)

    def __call__(self, trial: Trial) -> None:
        with tempfile.TemporaryDirectory(prefix="lrtune-") as folder:
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
        TrainerFailedError: it exited with an error, or ended without a report.
    """
    if shutil.which(arguments[0]) is None:
        raise InputError(f"command: expected a program on the path, but {arguments[0]!r} is none")
    said: list[str] = []
    reports = 0
    with tempfile.TemporaryFile("w+b") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(trial),
            start_new_session=True,
        )
        try:
            for line in _lines(process, output, said):
                outcome = _hand_over(line, trial)
                reports += outcome is not None
                if outcome is False:
                    return
            code = process.wait()
            if code != 0:
                raise TrainerFailedError(f"command: exited with {_exit(code)}{_tail(errors, said)}")
            if not reports:
                raise TrainerFailedError(
                    'command: expected JSON lines such as {"step": 100, "loss": 4.2} on stdout or in {output}, '
                    f"but it ended without one{_tail(errors, said)}"
                )
        finally:
            _end(process)


def _environment(trial: Trial) -> Mapping[str, str]:
    """The parent's environment, with threads and device as the worker was given them; output unbuffered."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if trial.threads is not None:
        environment["OMP_NUM_THREADS"] = str(trial.threads)
    if trial.checkpoint_dir is not None:
        environment["LRTUNE_CHECKPOINT_DIR"] = str(trial.checkpoint_dir)
    return environment


def _hand_over(line: str, trial: Trial) -> bool | None:
    """Pass one line on; returns whether to go on, or None where it was no report."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    if "step" not in data:
        known = {name: value for name, value in data.items() if name in _FACTS}
        if known and len(known) == len(data):
            trial.describe(**known)
        return None
    if "loss" not in data:
        raise InputError(f"command: expected a loss beside the step in {line!r:.80}")
    step, loss, diversity = data.pop("step"), data.pop("loss"), data.pop("diversity", None)
    numbers = {name: value for name, value in data.items() if _is_number(value)}
    return trial.report(step, loss=float("nan") if loss is None else loss, diversity=diversity, **numbers)


_FACTS = {"parameters", "tokens_per_step", "batch_size", "vocabulary_size", "unigram_entropy", "regime_changes"}
_FACTS |= {"conditions", "plan"}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lines(process: subprocess.Popen[bytes], output: Path, said: list[str]) -> Iterator[str]:
    """Lines of stdout and of the output file as they come, until the program itself has ended.

    Not until stdout closes: a background child that the program left behind may hold it open for ever.
    """
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    assert process.stdout is not None
    threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
    file, open_end = None, True
    pending = b""
    try:
        while True:
            ended = process.poll() is not None
            while True:
                try:
                    # Once it ended, what it wrote is in the pipe: the pump needs a moment, not a poll.
                    line = lines.get(timeout=0.05 if not ended else (0.5 if open_end else 0.0))
                except queue.Empty:
                    break
                if line is _END:
                    open_end = False
                    break
                said.append(line)
                del said[:-_SHOWN_LINES]
                yield line
            if file is None:
                with contextlib.suppress(OSError):
                    file = output.open("rb")
            if file is not None:
                *whole, pending = (pending + file.read()).split(b"\n")
                if ended and pending.strip():
                    whole.append(pending)
                for raw in whole:
                    yield raw.decode(errors="replace")
            if ended:
                return
            if not open_end:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.05)
    finally:
        if file is not None:
            file.close()


def _pump(stream: IO[bytes], lines: "queue.SimpleQueue[str | None]") -> None:
    with stream, contextlib.suppress(OSError):
        while raw := stream.readline(_MAX_LINE):
            lines.put(raw.decode(errors="replace").rstrip("\n"))
    lines.put(_END)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the program and whatever it started: SIGTERM, a grace period, SIGKILL."""
    try:
        if process.poll() is None:
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=guard.GRACE_SECONDS)
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _exit(code: int) -> str:
    number = -code if code < 0 else code - 128
    if 0 < number < 32:
        with contextlib.suppress(ValueError):
            return signal.Signals(number).name
    return f"code {code}"


def _tail(errors: IO[bytes], said: Sequence[str]) -> str:
    """The last lines that the program wrote, for the record."""
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 4000))
    lines = errors.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:] or list(said)
    return "; it last wrote:\n" + "\n".join(lines) if lines else ""
