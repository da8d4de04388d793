"""A trainer that runs a command line without a shell, reads its JSON lines and stops it with signals."""

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
from functools import partial
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

    Each argument may contain ``{learning_rate}``, ``{hidden_size}``, ``{seed}``, ``{steps}``, ``{report_every}``,
    ``{device}``, the name of another scale or option in braces, and ``{output}``, the path of a file. The trial's
    values replace them; other braces stay. The program writes one JSON object per line to stdout or to ``{output}``:
    ``{"step": 100, "loss": 4.2, "diversity": 0.3}``, with any other numbers. An object without ``step`` that has only
    keys of `Trial.describe` describes the run. Other lines are ignored. To stop a run early, lrtune sends SIGTERM and
    then SIGKILL to the program and its child processes.

    Raises:
        InputError: the command is empty or takes no learning rate.
    """
    arguments = tuple(command)
    if not arguments:
        raise InputError("command: expected a program and its arguments, but got nothing")
    places = {name for argument in arguments for name in _PLACE.findall(argument)}
    if "learning_rate" not in places:
        raise InputError(
            "command: expected {learning_rate} in its arguments (for example --lr {learning_rate}), "
            f"but got {' '.join(arguments)!r:.100}"
        )

    return Trainer(
        check=partial(_check, places),
        target=f"command:{Path(arguments[0]).name}",
        train=_CommandTrain(arguments),
        source=source_hash(files_named(arguments)),
    )


def _check(places: set[str], study: Any) -> None:
    """Refuse a scale that the program cannot see."""
    swept = {"hidden_size": study.widths, **study.scales}
    for name, values in {} if study.allow_inert_scale else swept.items():
        if len(values) > 1 and name not in places:
            raise InputError(
                f"scales.{name}: expected {{{name}}} in the command, but it has none; if the program needs no such "
                "argument, continue with --allow-inert-scale"
            )


class _CommandTrain:
    """The training function; a class because a spawned process must unpickle it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)

    def __call__(self, trial: Trial) -> None:
        # The search removes the checkpoint folder with the trial's record, even after this worker was killed.
        with tempfile.TemporaryDirectory(prefix="lrtune-", dir=trial.checkpoint_dir) as folder:
            output = Path(folder) / "reports.jsonl"
            run_command(fill(self.arguments, trial, output), trial, output)


def fill(arguments: Sequence[str], trial: Trial, output: Path) -> list[str]:
    """The arguments with the trial's values in place of the names in braces."""
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
    """Run the program and pass its reports to `trial` until it ends or the trial stops it.

    Raises:
        InputError: the program was not found.
        TrainerFailedError: it exited with an error, or ended without its last report.
    """
    if shutil.which(arguments[0]) is None:
        raise InputError(f"command: program {arguments[0]!r} not found on PATH")
    printed = _Output()
    last = None
    with tempfile.TemporaryFile("w+b") as errors:
        process = guard.start(
            arguments, grace=GRACE_SECONDS, stdout=subprocess.PIPE, stderr=errors, env=_environment(trial)
        )
        try:
            for line in _lines(process, output):
                printed.keep(line)
                report = _report(line, trial)
                if report is None:
                    continue
                last = report.pop("step")
                if not trial.report(last, **report):
                    return
            code = process.wait()
            if code != 0:
                raise TrainerFailedError(f"command: exited with {guard.how_it_ended(code)}{printed.tail(errors)}")
            if last is None:
                raise TrainerFailedError(
                    'command: expected JSON lines such as {"step": 100, "loss": 4.2} on stdout or in {output}, '
                    f"but it ended without one{printed.tail(errors)}"
                )
            if last != trial.steps and printed.no_json:
                raise TrainerFailedError(f"command: expected JSON, but got {printed.no_json!r}")
        finally:
            guard.end(process, GRACE_SECONDS + 10)


class _Output:
    """The last output of a program, for error messages."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_SHOWN_LINES)
        self.no_json = ""

    def keep(self, line: str) -> None:
        self._lines.append(line[:_SHOWN_WIDTH])
        if not self.no_json and line.lstrip().startswith("{") and _parse(line) is None:
            self.no_json = line[:100]

    def tail(self, errors: IO[bytes]) -> str:
        """The last lines of stderr, or of stdout if stderr is empty."""
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - 4000))
        lines = errors.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:] or list(self._lines)
        return "; it last wrote:\n" + plain("\n".join(lines)) if lines else ""


def _environment(trial: Trial) -> Mapping[str, str]:
    """The parent's environment with the trial's threads and checkpoint folder, and unbuffered output."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if trial.threads is not None:
        environment["OMP_NUM_THREADS"] = str(trial.threads)
    if trial.checkpoint_dir is not None:
        environment["LRTUNE_CHECKPOINT_DIR"] = str(trial.checkpoint_dir)
    return environment


def _report(line: str, trial: Trial) -> dict[str, Any] | None:
    """The arguments of `Trial.report` from a line, or None if it is not a report; passes facts to `Trial.describe`."""
    data = _parse(line)
    if data is None:
        return None
    if "step" not in data:
        if data and _FACTS.issuperset(data):
            trial.describe(**data)
        return None
    if "loss" not in data:
        raise InputError(f"command: expected a loss with the step in {line!r:.80}")
    report = {name: value for name, value in data.items() if name in ("step", "loss", "diversity") or _is_number(value)}
    return report | {"loss": math.nan if data["loss"] is None else data["loss"]}


def _parse(line: str) -> dict[str, Any] | None:
    """The JSON object in a line, or None. Accepts "nan" and "inf" as C, Go or Rust print them."""
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
    """Lines of stdout and of the output file as they come, until the program ends.

    It does not wait for stdout to close: a background child of the program may hold it open forever.
    """
    assert process.stdout is not None
    printed: queue.SimpleQueue[str] = queue.SimpleQueue()
    pump = threading.Thread(target=_pump, args=(process.stdout, printed), daemon=True)
    pump.start()
    with contextlib.ExitStack() as stack:
        file, rest, has_ended = None, b"", False
        while not has_ended:
            has_ended = process.poll() is not None
            if has_ended:  # its last output may still be in the pipe
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
    """The lines in the queue; waits up to `wait` seconds for each."""
    with contextlib.suppress(queue.Empty):
        while True:
            yield lines.get(timeout=wait) if wait else lines.get_nowait()


def _pump(stream: IO[bytes], lines: "queue.SimpleQueue[str]") -> None:
    with stream, contextlib.suppress(OSError):
        while raw := stream.readline(_MAX_LINE):
            lines.put(raw.decode(errors="replace").rstrip("\n"))
