"""Command-line trainers: real programs, run as a search runs them."""

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import is_alive

from lrtune.errors import InputError, RunFailedError
from lrtune.trainer.command import command_trainer
from lrtune.trainer.trial import Facts, Report, Trial

pytestmark = pytest.mark.slow

Run = Callable[..., list[Report]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a Python script as a command-line trainer; returns what it reported."""

    def run(script: str, *arguments: str, keep: int = 10**6, facts: list[Facts] | None = None) -> list[Report]:
        path = tmp_path / "train.py"
        path.write_text(script)
        reports: list[Report] = []

        def on_report(report: Report) -> bool:
            reports.append(report)
            return len(reports) < keep

        trial = Trial(
            hidden_size=64,
            learning_rate=1.2345678901234567e-3,
            steps=30,
            report_every=10,
            id="5-2",
            seed=7,
            options={"word": "a b; $HOME"},
            scales={"depth": 4.0},
            on_report=on_report,
            on_describe=lambda found: facts.append(found) if facts is not None else None,
        )
        command = [sys.executable, str(path), "{learning_rate}", *arguments]
        train = command_trainer(command).train
        assert train is not None
        train(trial)
        return reports

    return run


PRINTS = """
import json, sys
print("starting", {"not": "json"})
print(json.dumps({"vocabulary_size": 512, "tokens_per_step": 1024}))
for step in (0, 10, 20, 30):
    print(json.dumps({"step": step, "loss": 5 - step / 10, "diversity": 0.5, "grad_norm": 1.5, "note": "x"}))
print("[1, 2]"); print('{"unfinished'); print("done")
"""


def test_json_lines_on_stdout_become_reports_and_all_else_is_left_alone(run: Run) -> None:
    facts: list[Facts] = []
    reports = run(PRINTS, facts=facts)
    assert [(r.step, r.loss, r.diversity) for r in reports] == [(0, 5, 0.5), (10, 4, 0.5), (20, 3, 0.5), (30, 2, 0.5)]
    assert reports[0].numbers == {"grad_norm": 1.5}
    assert facts == [Facts(vocabulary_size=512, tokens_per_step=1024)]


def test_reports_may_come_through_a_file(run: Run) -> None:
    script = """
import json, sys
with open(sys.argv[2], "w") as file:
    for step in (0, 30):
        print(json.dumps({"step": step, "loss": 3.0}), file=file, flush=True)
    file.write('{"step": 30, "loss": 2.5}')  # no newline at the end
"""
    assert [(r.step, r.loss) for r in run(script, "{output}")] == [(0, 3.0), (30, 3.0), (30, 2.5)]


def test_values_fill_their_places_and_no_shell_sees_them(run: Run) -> None:
    script = """
import json, sys
assert float(sys.argv[1]) == 1.2345678901234567e-3, sys.argv
words = ["64", "7", "30", "10", "depth=4", "a b; $HOME", "5-2", "{unknown}", "${HOME}", "$(id)"]
assert sys.argv[2:] == words, sys.argv
print(json.dumps({"step": 30, "loss": 1.0}))
"""
    places = ["{hidden_size}", "{seed}", "{steps}", "{report_every}", "depth={depth}", "{word}", "{id}", "{{unknown}}"]
    places += ["${HOME}", "$(id)"]
    assert len(run(script, *places)) == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; print('out'); print('boom', file=sys.stderr); sys.exit(3)", r"code 3.*\n.*boom"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("print('loss 4.2')", r"ended without one.*\nloss 4.2"),
        ("", "ended without one"),
        ("print(b'\\xff\\xfe' * 10); import sys; sys.stdout.buffer.write(b'\\xff\\x00{{{')", "ended without one"),
    ],
)
def test_a_program_that_fails_or_reports_nothing_is_a_failed_run(run: Run, script: str, message: str) -> None:
    with pytest.raises(RunFailedError, match=message):
        run(script)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 1, "loss": "low"}', "expected a number for loss, but got 'low'"),
        ('{"step": 1}', "expected a loss with the step"),
        ('{"step": 99, "loss": 1}', "expected a run of 30 steps, but got a report of step 99; set --steps"),
    ],
)
def test_an_invalid_report_is_named(run: Run, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(f"print({line!r})")


@pytest.mark.parametrize("loss", ["null", "NaN", "nan", "-nan", "inf", "-Infinity", "+Inf"])
def test_a_loss_that_is_not_a_number_counts_as_not_finite(run: Run, loss: str) -> None:
    (report,) = run(f'print(\'{{"step": 30, "loss": {loss}, "norm": 1}}\')')
    assert not math.isfinite(report.loss) and report.numbers == {"norm": 1}


def test_a_line_that_is_not_json_is_quoted_if_the_last_report_is_missing(run: Run) -> None:
    with pytest.raises(RunFailedError, match=r"expected JSON, but got \"\{'step': 30"):
        run("print('{\"step\": 0, \"loss\": 1}'); print({'step': 30, 'loss': 1})")


def test_control_characters_of_a_program_do_not_reach_the_record(run: Run) -> None:
    with pytest.raises(RunFailedError) as caught:
        run("import sys; print('\\x1b]52;c;YQ==\\x07no GPU', file=sys.stderr); sys.exit(1)")
    assert "no GPU" in str(caught.value) and "\x1b" not in str(caught.value) and "\x07" not in str(caught.value)


def test_a_file_that_is_not_a_program_is_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    train = command_trainer([str(path), "{learning_rate}"]).train
    assert train is not None
    with pytest.raises(RunFailedError, match=r"tool: Exec format error"):
        train(Trial(hidden_size=8, learning_rate=0.1, steps=1))


@pytest.mark.skipif(sys.platform != "linux", reason="finds what left its process group on Linux only")
@pytest.mark.parametrize("how", ["ends", "is stopped"])
def test_a_child_that_left_the_process_group_ends_with_its_program(run: Run, how: str, tmp_path: Path) -> None:
    script = f"""
import json, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
print(json.dumps({{"step": 30, "loss": 1.0}}))
time.sleep(0 if {how == "ends"} else 60)
"""
    run(script, keep=10 if how == "ends" else 1)
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_pruned_program_gets_sigterm_and_may_clean_up(run: Run, tmp_path: Path) -> None:
    script = f"""
import json, signal, sys, time
def stop(*_):
    open({str(tmp_path / "cleaned")!r}, "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print(json.dumps({{"step": 0, "loss": 1.0}}))
time.sleep(60)
"""
    assert len(run(script, keep=1)) == 1
    assert (tmp_path / "cleaned").exists()


def test_a_program_deaf_to_sigterm_is_killed_with_its_children(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrtune.trainer.command.GRACE_SECONDS", 0.2)
    script = f"""
import json, os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf])
open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
print(json.dumps({{"step": 0, "loss": 1.0}}))
time.sleep(60)
"""
    run(script, keep=1)
    for pid in (tmp_path / "pids").read_text().split():
        _wait_until(lambda pid=int(pid): not is_alive(pid))  # type: ignore[misc]


def test_a_child_left_behind_does_not_hold_the_run(run: Run) -> None:
    script = """
import json, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])  # keeps our stdout open
print(json.dumps({"step": 30, "loss": 1.0}))
"""
    assert len(run(script)) == 1


def test_the_program_ends_when_the_worker_is_killed(tmp_path: Path) -> None:
    train = tmp_path / "train.py"
    train.write_text(
        "import json, os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "print(json.dumps({'step': 0, 'loss': 1.0}))\ntime.sleep(60)\n"
    )
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from lrtune.trainer.command import command_trainer; from lrtune.trainer.trial import Trial\n"
            f"command_trainer([sys.executable, {str(train)!r}, '{{learning_rate}}'])"
            ".train(Trial(hidden_size=8, learning_rate=0.1, steps=9))",
        ]
    )
    _wait_until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
    pid = int((tmp_path / "pid").read_text())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    _wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "expected a program"),
        (["train", "--lr", "0.1"], "expected {learning_rate} in its arguments"),
    ],
)
def test_a_command_that_cannot_be_tuned_is_refused(command: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        command_trainer(command)


def test_a_program_that_is_not_there_is_named() -> None:
    train = command_trainer(["no-such-program", "{learning_rate}"]).train
    assert train is not None
    with pytest.raises(InputError, match="program 'no-such-program' not found"):
        train(Trial(hidden_size=8, learning_rate=0.1, steps=1))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
