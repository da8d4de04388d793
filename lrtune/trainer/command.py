"""A trainer that runs a command line without a shell, reads its log and stops it with signals."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

from lrtune.errors import InputError, TrainerFailedError
from lrtune.study.log import Log
from lrtune.study.study import Study
from lrtune.trainer import supervisor
from lrtune.trainer.measures import Measure, Reports, listed, measure_of_line, measure_of_row
from lrtune.trainer.metrics import MetricsLog
from lrtune.trainer.output import Output
from lrtune.trainer.places import check_places, fill, places
from lrtune.trainer.rows import json_row
from lrtune.trainer.source import files_named, source_hash
from lrtune.trainer.trial import Facts, Trainer, Trial

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL


def command_trainer(command: Sequence[str], log: Log | None = None) -> Trainer:
    """A trainer that runs `command` once per trial.

    Each argument and the path of the log may contain ``{learning_rate}``, ``{hidden_size}``, ``{seed}``, ``{steps}``,
    ``{report_every}``, ``{device}``, ``{id}`` (unique per attempt), a scale, knob or option by its name, and
    ``{output}``, a path that is removed after the run. The trial's values replace them. Without a `log`, the program
    writes one JSON object per line to stdout or to ``{output}``: ``{"step": 100, "loss": 4.2, "diversity": 0.3}``, with
    any other numbers. An object without ``step`` that has only keys of `Trial.describe` describes the run. Other lines
    are ignored. To stop a run early, lrtune sends SIGTERM and then SIGKILL to the program and its child processes.

    Raises:
        InputError: the command is empty or takes no learning rate.
    """
    arguments, log = tuple(command), log or Log()
    if not arguments:
        raise InputError("command: expected a program and its arguments, but got nothing")
    if not any("learning_rate" in places(argument) for argument in arguments):
        raise InputError(
            "command: expected {learning_rate} in its arguments (for example --lr {learning_rate}), "
            f"but got {' '.join(arguments)!r:.100}"
        )

    return Trainer(
        check=partial(_check, (*arguments, log.metrics)),
        target=f"command:{Path(arguments[0]).name}",
        train=_CommandTrain(arguments, log),
        source=source_hash(files_named(arguments)),
    )


def _check(words: Sequence[str], study: Study) -> None:
    """Refuse unknown placeholders, a path of a log (the last word) that runs share, a scale or knob not given."""
    options = {name for arm in study.arms.values() for name in arm} | set(study.options)
    check_places(words, [*study.scales, *study.knobs, *sorted(options)])
    if words[-1] and not places(words[-1]) & {"id", "output", "learning_rate"}:
        raise InputError(
            f"log.metrics: expected {{id}} in the path, so that runs do not share a log, but got {words[-1]!r:.100}"
        )
    used = {name for word in words[:-1] for name in places(word)}
    swept = {"hidden_size": study.widths, **study.scales}
    for name, values in {} if study.allow_inert_scale else swept.items():
        if len(values) > 1 and name not in used:
            raise InputError(
                f"scales.{name}: expected {{{name}}} in the command, but it has none; if the program needs no such "
                "argument, continue with --allow-inert-scale"
            )
    for name in study.knobs:
        if name not in used:
            raise InputError(f"knobs.{name}: expected {{{name}}} in the command, but no argument takes it")


class _CommandTrain:
    """The training function; a class because a spawned process must unpickle it."""

    def __init__(self, arguments: Sequence[str], log: Log) -> None:
        self.arguments, self.log = tuple(arguments), log

    def __call__(self, trial: Trial) -> None:
        # The search removes the checkpoint folder with the trial's record, even after this worker was killed.
        with tempfile.TemporaryDirectory(prefix="lrtune-", dir=trial.checkpoint_dir) as folder:
            output = Path(folder) / ("output" if self.log.metrics else "reports.jsonl")
            *arguments, metrics = fill((*self.arguments, self.log.metrics), trial, output)
            run_command(arguments, trial, output, self.log, MetricsLog(Path(metrics), self.log) if metrics else None)


def run_command(
    arguments: Sequence[str], trial: Trial, output: Path, log: Log, metrics: MetricsLog | None = None
) -> None:
    """Run the program and pass its measures to `trial` until it ends or the trial stops it.

    Raises:
        InputError: the program was not found, or its log is not usable.
        TrainerFailedError: it exited with an error, or ended without a measure.
    """
    reports = Reports(trial, "metrics" if metrics else "command")
    listener = _Listener(trial, log)
    with running(arguments, trial, output, with_errors=bool(log.loss_pattern)) as printed:
        for lines in printed.batches():
            measures = listener.measures(lines)
            if metrics is not None:
                measures = metrics.new_measures(has_ended=printed.has_ended)
            if not all(map(reports.add, measures)):
                return
        code = printed.process.wait()
        if code != 0:
            raise TrainerFailedError(f"command: exited with {supervisor.how_it_ended(code)}{printed.tail()}")
        if reports.last is None:
            why = listener.why_nothing() if metrics is None else f"metrics: {metrics.why_nothing()}"
            raise TrainerFailedError(why + printed.tail())
        if not reports.end() and listener.no_json:
            raise TrainerFailedError(f"command: expected JSON, but got {listener.no_json!r}")


@contextlib.contextmanager
def running(arguments: Sequence[str], trial: Trial, output: Path, *, with_errors: bool) -> Iterator[Output]:
    """The output of the program, which runs until the end of the context at most.

    Raises:
        InputError: the program was not found.
    """
    if shutil.which(arguments[0]) is None:
        raise InputError(f"command: program {arguments[0]!r} not found on PATH")
    with tempfile.TemporaryFile("w+b") as errors:
        process = supervisor.start(
            arguments, grace=GRACE_SECONDS, stdout=subprocess.PIPE, stderr=errors, env=_environment(trial)
        )
        try:
            yield Output(process, output, errors, with_errors=with_errors)
        finally:
            supervisor.end(process, GRACE_SECONDS + 10)


class _Listener:
    """Finds measures in a program's lines; passes facts to `Trial.describe`."""

    def __init__(self, trial: Trial, log: Log) -> None:
        self.trial, self.log = trial, log
        self.no_json = ""
        self._pattern = re.compile(log.loss_pattern) if log.loss_pattern else None
        self._names: dict[str, None] = {}

    def measures(self, lines: Iterable[str]) -> list[Measure]:
        """The measures in these lines."""
        return [measure for line in lines if (measure := self._measure(line)) is not None]

    def why_nothing(self) -> str:
        """Why there was no measure."""
        if self._pattern is not None:
            return f"loss_pattern: no line of the output matches {self.log.loss_pattern!r}"
        if self._names and self.log.metric:
            return f"metric: no JSON line has {self.log.metric!r}; they have {listed(self._names)}"
        return (
            'command: expected JSON lines such as {"step": 100, "loss": 4.2} on stdout or in {output}, but it ended '
            "without one; `lrtune check-trainer` finds other logs, which --metrics, --metric or --loss-pattern name"
        )

    def _measure(self, line: str) -> Measure | None:
        row = json_row(line)
        if row is None and not self.no_json and self.log == Log() and line.lstrip().startswith("{"):
            self.no_json = line[:100]
        if row and "step" not in row and _FACTS.issuperset(row):
            self.trial.describe(**row)
            return None
        if self._pattern is not None:
            return measure_of_line(line, self._pattern)
        if row is None or self.log.metrics:
            return None
        self._names |= dict.fromkeys(row)
        if self.log == Log():
            if "step" not in row:
                return None
            if "loss" not in row:
                raise InputError(f"command: expected a loss with the step in {line!r:.80}; name its key with --metric")
        return measure_of_row(row, self.log)


_FACTS = {field.name for field in fields(Facts)}


def _environment(trial: Trial) -> Mapping[str, str]:
    """The parent's environment with the trial's threads and checkpoint folder, and unbuffered output."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if trial.threads is not None:
        environment["OMP_NUM_THREADS"] = str(trial.threads)
    if trial.checkpoint_dir is not None:
        environment["LRTUNE_CHECKPOINT_DIR"] = str(trial.checkpoint_dir)
    return environment
