"""One run in a process of its own, before a search: one that would fail is refused before anything is written.

It ends at its first report. A command without ``{steps}`` trains as long as it likes, so its whole run is tried.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lrtune.errors import LrtuneError, RunFailedError, plain
from lrtune.study.study import Study
from lrtune.study.toml import load_study, to_toml
from lrtune.trainer import supervisor
from lrtune.trainer.find import trainer_of
from lrtune.trainer.places import places
from lrtune.trainer.short_run import ShortRun, short_run
from lrtune.trainer.trial import TOO_LONG

_SECONDS = 60.0


def is_whole(study: Study) -> bool:
    """Whether the whole run is tried: the command is not told its length."""
    return bool(study.command) and not any("steps" in places(word) for word in study.command)


def rehearse(study: Study, *, device: str = "cpu", seconds: float = _SECONDS) -> bool:
    """Train the smallest size on `device` for at most `seconds`; returns whether there was a report.

    Raises:
        RunFailedError: the trainer failed before its first report, or its run has another length than the study's.
    """
    with tempfile.TemporaryDirectory(prefix="lrtune-") as folder:
        settings, why, reported = Path(folder, "study.toml"), Path(folder, "why"), Path(folder, "reported")
        settings.write_text(to_toml(study), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = supervisor.start(
            [sys.executable, "-P", "-m", __name__, str(settings), str(why), str(reported), device],
            grace=1,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return reported.exists()
        finally:
            supervisor.end(process, 10)
        text = why.read_text(encoding="utf-8") if why.exists() else ""
    if code or text:
        raise RunFailedError(
            f"trainer: one run at hidden size {min(study.widths)} failed before the search started: "
            f"{text or 'it ended with ' + supervisor.how_it_ended(code)}"
        )
    return True


def main(settings: str, why: str, reported: str, device: str) -> None:
    """Run in the process of its own; writes why the trainer failed, if it did."""
    study = load_study(Path(settings))

    def on_report() -> None:
        Path(reported).touch()
        if not is_whole(study):
            os._exit(0)  # supervisors end what the trainer has started

    try:
        trainer = trainer_of(study)
        if trainer.prepare is not None:
            trainer.prepare(study)
        run = short_run(trainer, study, min(study.widths), device=device, hook=on_report)
        error = run.error or _short_of(run)
    except Exception as failure:
        error = str(failure) if isinstance(failure, LrtuneError) else f"{type(failure).__name__}: {failure}"
    Path(why).write_text(plain(error), encoding="utf-8")


def _short_of(run: ShortRun) -> str:
    """What a run that ended lacks; empty if it has its last report."""
    if not run.reports:
        return "the trainer returned without calling trial.report(step, loss=…)"
    last, steps = run.reports[-1].step, run.trial.steps
    if last == steps:
        return ""
    return f"{TOO_LONG} {steps} steps, but it ended at step {last}; set --steps to the length of a run"


if __name__ == "__main__":
    main(*sys.argv[1:])
