"""One run up to its first report, in a process of its own: a search that would fail is refused before it starts."""

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
from lrtune.trainer.short_run import short_run

_SECONDS = 60.0


def rehearse(study: Study, *, device: str = "cpu", seconds: float = _SECONDS) -> bool:
    """Train the smallest size on `device` up to its first report; returns whether there was one within `seconds`.

    Raises:
        RunFailedError: the trainer failed before it.
    """
    with tempfile.TemporaryDirectory(prefix="lrtune-") as folder:
        settings, why = Path(folder, "study.toml"), Path(folder, "why")
        settings.write_text(to_toml(study), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = supervisor.start(
            [sys.executable, "-P", "-m", __name__, str(settings), str(why), device],
            grace=1,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            supervisor.end(process, 10)
        text = why.read_text(encoding="utf-8") if why.exists() else ""
    if code or text:
        raise RunFailedError(
            f"trainer: one run at hidden size {min(study.widths)} failed before the search started: "
            f"{text or 'it ended with ' + supervisor.how_it_ended(code)}"
        )
    return True


def main(settings: str, why: str, device: str) -> None:
    """Run in the process of its own; writes why the trainer failed, if it did."""
    study = load_study(Path(settings))
    try:
        trainer = trainer_of(study)
        if trainer.prepare is not None:
            trainer.prepare(study)
        run = short_run(trainer, study, min(study.widths), device=device, hook=_end)
        error = run.error or "the trainer returned without calling trial.report(step, loss=…)"
    except Exception as failure:
        error = str(failure) if isinstance(failure, LrtuneError) else f"{type(failure).__name__}: {failure}"
    Path(why).write_text(plain(error), encoding="utf-8")


def _end() -> None:
    """One report is enough; supervisors end what the trainer has started."""
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
