"""Trainers that take their time, misbehave, or keep checkpoints: what the fault suite searches with."""

import ctypes
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from lrtune.trainer.trial import Trial


def _walk(trial: Trial, seconds: float) -> None:
    """A loss that depends on width, rate, seed and every step before: a resumed run must carry its state on."""
    trial.describe(parameters=trial.hidden_size**2, tokens_per_step=10, batch_size=8)
    kept = trial.checkpoint_dir / "state.json" if trial.checkpoint_dir else None
    first, state = 0, float(trial.seed)
    if kept is not None and kept.exists():
        first, state = json.loads(kept.read_text())
    for step in range(first, trial.steps + 1):
        if step % trial.report_every == 0:
            if kept is not None and trial.checkpoint_due:
                part = kept.with_suffix(".part")
                part.write_text(json.dumps([step, state]))
                os.replace(part, kept)
            loss = 3 + abs(trial.learning_rate * trial.hidden_size - 0.3) + state * 1e-3
            if not trial.report(step, loss=loss, state=state):
                return
            time.sleep(seconds / (trial.steps // trial.report_every + 1))
        state = (state * 1.37 + trial.learning_rate + step) % 7.0


def fast(trial: Trial) -> None:
    """About 0.1 s a run."""
    _walk(trial, 0.1)


def steady(trial: Trial) -> None:
    """About 0.8 s a run."""
    _walk(trial, 0.8)


def slow(trial: Trial) -> None:
    """About 4 s a run."""
    _walk(trial, 4.0)


def late(trial: Trial) -> None:
    """A high rate's noise hides its progress until the rate decays; about 2 s a run at such a rate, else 0.1 s."""
    for step in range(0, trial.steps + 1, trial.report_every):
        left = min(1.0, 5 * (1 - step / trial.steps))
        lost = abs(math.log2(trial.learning_rate * trial.hidden_size / 3.2))
        if not trial.report(step, loss=4 - step / trial.steps + 0.05 * lost + 20 * left * trial.learning_rate):
            return
        time.sleep((2.0 if trial.learning_rate > 0.05 else 0.1) * trial.report_every / trial.steps)


def often(trial: Trial) -> None:
    """A report at every step, or at the last one only; a loss that falls while the diversity stays low at first."""
    for step in range(trial.steps + 1) if trial.options["reports"] == "all" else (trial.steps,):
        if not trial.report(step, loss=3 - 5e-4 * step, diversity=0.01 if step < 2000 else 0.5):
            return


def sleeper(trial: Trial) -> None:
    """5 s, whatever the rate."""
    time.sleep(5)
    trial.report(trial.steps, loss=3 + abs(trial.learning_rate * trial.hidden_size - 0.3))


def never(trial: Trial) -> None:
    """Comes to no report."""
    while True:
        time.sleep(0.05)


def keeps_the_lock(trial: Trial) -> None:
    """Hangs in C without giving Python's lock back: no other thread of its process runs."""
    trial.report(0, loss=3.0)
    ctypes.PyDLL(None).sleep(600)


def always_raises(trial: Trial) -> None:
    raise ValueError("no such file: tokens.bin")


def poison_or_hang(trial: Trial) -> None:
    """Takes its worker with it at the highest rates, never comes back at some lower ones."""
    if trial.learning_rate > 0.1:
        os.kill(os.getpid(), signal.SIGKILL)
    while 0.005 < trial.learning_rate <= 0.1:
        time.sleep(0.1)
    fast(trial)


def exits_its_process_once(trial: Trial) -> None:
    """With code 0, as if all were well."""
    mark = Path(str(trial.options["mark"]))
    if not mark.exists():
        mark.write_text("")
        os._exit(0)
    fast(trial)


def stops_its_process_once(trial: Trial) -> None:
    """As Ctrl-Z, a debugger or a file system that is gone do: it neither ends nor answers."""
    mark = Path(str(trial.options["mark"]))
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGSTOP)
    fast(trial)


def reads_its_input(trial: Trial) -> None:
    """As input(), ssh and ffmpeg do."""
    assert sys.stdin.read() == "" == subprocess.run(["cat"], stdout=subprocess.PIPE, text=True, check=True).stdout
    fast(trial)


def with_child(trial: Trial) -> None:
    """Starts a process that would outlive it, and says which."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=bool(trial.options.get("session")))
    with Path(str(trial.options["pids"])).open("a") as pids:
        pids.write(f"{os.getpid()} {child.pid}\n")
    while True:
        time.sleep(0.05 + 0.01 * random.random())
