"""`lrtune check-trainer`: good trainers pass, and each way of being wrong is named in a line."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lrtune.cli import run as run_cli
from lrtune.errors import InputError
from lrtune.study.study import Study
from lrtune.trainer.check import check_trainer
from lrtune.trainer.finding import Finding

STUDY = Study(widths=(32, 64), steps=20, report_every=5, lr_min=1e-3, lr_max=1e-1, pruner="none")

GOOD = """
def train(trial):
    trial.describe(parameters=trial.hidden_size**2, tokens_per_step=8, vocabulary_size=64, unigram_entropy=3.0)
    for step in range(0, trial.steps + 1, trial.report_every):
        loss = 5 - step / 20 + trial.learning_rate + trial.seed / 10 - trial.hidden_size / 1000
        if not trial.report(step, loss=loss, diversity=step / 40):
            return
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "type[Check]":
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Check


class Check:
    """A trainer's source, checked; each in a module of its own."""

    count = 0

    def __init__(self, source: str, study: Study = STUDY) -> None:
        Check.count += 1
        name = f"checked_{Check.count}"
        Path(f"{name}.py").write_text(source)
        self.findings: list[Finding] = list(check_trainer(replace(study, trainer=f"{name}:train")))

    def texts(self, level: str) -> str:
        return "\n".join(finding.text for finding in self.findings if finding.level == level)


def test_a_good_trainer_is_right_in_every_line(check: type[Check]) -> None:
    found = check(GOOD)
    assert found.texts("wrong") == "" and found.texts("missing") == ""
    right = found.texts("right")
    for said in ("5, the last one at step 20 of 20", "falling", "diversity: given", "same seed, same loss"):
        assert said in right
    for said in ("stops when report gives False", "per step", "about", "another one gives another loss"):
        assert said in right


def test_a_trainer_with_a_scale_is_checked_at_two_values_of_it(check: type[Check]) -> None:
    study = replace(STUDY, scales={"depth": (2.0, 4.0)})
    found = check(GOOD.replace("5 - step", 'trial.scales["depth"] - step'), study)
    assert found.texts("wrong") == "" and "depth: another one gives another loss" in found.texts("right")
    assert 'depth: 4 gave the same losses; is trial.scales["depth"] used?' in check(GOOD, study).texts("wrong")


BAD = [
    ("def train(trial): pass", "the trainer never called trial.report(step, loss=…)"),
    ("def train(trial): return 3.2", "lrtune ignores its return value 3.2"),
    ("def train(trial): trial.report(20, loss=float('nan'))", "expected a finite number, but got nan at step 20"),
    ("def train(trial): trial.report(20, loss='low')", "expected a number for loss, but got 'low'"),
    ("def train(trial): trial.report(99, loss=1.0)", "expected a run of 20 steps, but got a report of step 99"),
    ("def train(trial): trial.report(5, loss=1.0)", "expected the last one at step 20, but got it at step 5"),
    ("def train(trial): raise KeyError('lr')", "KeyError: 'lr'"),
    ("import sys\ndef train(trial): sys.exit(3)", "called exit(3)"),
    (GOOD.replace("            return", "            pass"), "reported 3 more times"),
    (GOOD.replace("+ trial.learning_rate", ""), "is trial.learning_rate used?"),
    (GOOD.replace("- trial.hidden_size / 1000", ""), "is trial.hidden_size used?"),
    (GOOD.replace("step / 40", "7.0"), "diversity: expected a share"),
    (GOOD.replace("5 - step / 20", "5 + step / 20"), "rising at every rate tried; report a loss, or pass --maximize"),
]


@pytest.mark.parametrize(("source", "message"), BAD, ids=[message for _, message in BAD])
def test_what_is_wrong_is_named(check: type[Check], source: str, message: str) -> None:
    assert message in check(source).texts("wrong")


MISSING = [
    (GOOD.replace("5 - step / 20", "5"), "finite but not falling"),
    ("import random\n" + GOOD.replace("trial.seed / 10", "random.random()"), "same seed, another loss"),
    (GOOD + "    return 1.5\n", "lrtune ignores the return value 1.5"),
]


@pytest.mark.parametrize(("source", "message"), MISSING, ids=[message for _, message in MISSING])
def test_what_is_missing_is_named_with_its_consequence(check: type[Check], source: str, message: str) -> None:
    found = check(source)
    assert message in found.texts("missing")
    assert found.texts("wrong") == ""


OPTIONAL = [
    (GOOD.replace(", diversity=step / 40", ""), "but not collapsed ones"),
    (
        GOOD.replace("parameters=trial.hidden_size**2, ", ""),
        "without parameters (cost is taken as hidden size² × steps)",
    ),
]


@pytest.mark.parametrize(("source", "message"), OPTIONAL, ids=[message for _, message in OPTIONAL])
def test_what_is_optional_is_named_with_its_consequence(check: type[Check], source: str, message: str) -> None:
    found = check(source)
    assert message in found.texts("optional")
    assert found.texts("wrong") == found.texts("missing") == ""


def test_a_population_trainer_is_checked_too(check: type[Check]) -> None:
    source = GOOD.replace(
        "def train(trial):", "import lrtune\n@lrtune.population\ndef train(trials):\n    trial, = trials"
    )
    found = check(source)
    assert "population trainer" in found.texts("right") and found.texts("wrong") == ""


@pytest.mark.slow
def test_a_forked_child_reports_nothing_twice(check: type[Check], capfd: pytest.CaptureFixture[str]) -> None:
    found = check("import os\n" + GOOD.replace("def train(trial):", "def train(trial):\n    os.fork()"))
    print("checked")
    assert found.texts("wrong") == ""
    assert capfd.readouterr().out.count("checked") == 1


def test_a_trainer_that_refuses_the_study_says_so(check: type[Check]) -> None:
    source = "from lrtune import InputError\ndef check(study): raise InputError('hidden_size: expected 48')\n" + GOOD
    with pytest.raises(InputError, match="hidden_size: expected 48"):
        check(source)


def test_the_verb_prints_a_line_each_and_exits_1_when_something_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "verb_good.py").write_text(GOOD)
    (tmp_path / "verb_bad.py").write_text("def train(trial): print('garbage {')")
    assert run_cli(["check-trainer", "verb_good:train"]) == 0
    good = capfd.readouterr()
    assert all(line.startswith(("right", "optional rates that act")) for line in good.out.splitlines())
    assert "search --trainer verb_good:train" in good.err
    assert run_cli(["check-trainer", "verb_bad:train", "--json"]) == 1
    printed = capfd.readouterr().out
    findings = json.loads(printed[printed.index("[") :])
    assert findings[-1]["level"] == "wrong"


@pytest.mark.slow
def test_a_command_line_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2] / "examples")
    line = (
        f"{sys.executable} program.py --lr {{learning_rate}} --width {{hidden_size}} --steps {{steps}} --seed {{seed}}"
    )
    assert run_cli(["check-trainer", line, "--widths", "8,16", "--lr-min", "0.001", "--lr-max", "0.1"]) == 0
    printed = capfd.readouterr().out
    assert "same seed, same loss" in printed and "but not collapsed ones" in printed


def program(*lines: str) -> str:
    """A program of 20 steps; `lines` write its `step` and `loss`."""
    head = "import json, os, sys\nout, rate, width = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])\n"
    body = [
        "for step in range(0, 21, 5):",
        "    loss = 5 - step * rate * width / 90",
        *(f"    {line}" for line in lines),
    ]
    return head + "\n".join(body) + "\n"


ROWS = "os.makedirs(out, exist_ok=True); row = "
LOGS = [
    (
        program(
            ROWS + "f'{step},9,{loss}\\n'", "open(out + '/m.csv', 'a').write('it,loss,val/loss\\n' * (not step) + row)"
        ),
        ["--metrics", "runs/{id}/m.csv", "--metric", "val/loss", "--step-column", "it"],
    ),
    (
        program(
            "where = f'{out}/checkpoint-{step}'",
            "os.makedirs(where, exist_ok=True)",
            "losses = [(s, 5 - s * rate * width / 90) for s in range(0, step + 1, 5)]",
            "log = [{'step': s, 'eval_loss': loss} for s, loss in losses]",
            "json.dump({'log_history': log}, open(where + '/trainer_state.json', 'w'))",
        ),
        ["--metrics", "runs/{id}", "--metric", "eval_loss"],
    ),
    (program("print(json.dumps({'iter': step, 'val': {'loss': loss}}))"), ["--metric", "val.loss"]),
    (program("print(f'iter {step}: loss 9.0, val loss {loss:.4f}')"), ["--loss-pattern", r"val loss ([\w.+-]+)"]),
    (program("print(f'step={step} nll: {loss:.4f}', file=sys.stderr)"), ["--loss-pattern", r"nll: ([\w.+-]+)"]),
    (  # as Hugging Face's Trainer prints it, without a step
        program("if step: print({'eval_loss': f'{loss:.4f}', 'epoch': '0.5'})"),
        ["--loss-pattern", r"eval_loss[^\w.+-]+([\w.+-]+)", "--report-every", "5"],
    ),
    (
        program("os.makedirs(out, exist_ok=True)", "print('step', step, 'loss', loss, file=open(out + '/x.log', 'a'))"),
        ["--metrics", "runs/{id}/x.log", "--loss-pattern", r"loss ([\w.+-]+)"],
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "flags"), LOGS, ids=[" ".join(flags) for _, flags in LOGS])
def test_a_programs_own_log_is_found_and_its_flags_proposed(
    source: str, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("earlier.csv").write_text("step,val/loss\n1,2\n")
    Path("train.py").write_text(source)
    line = f"{sys.executable} train.py runs/{{id}} {{learning_rate}} {{hidden_size}}"
    assert run_cli(["check-trainer", line, "--widths", "32,48"]) == 0
    printed = capfd.readouterr()
    assert f"reports: {5 - ('--report-every' in flags)}, the last one at step 20 of 20" in printed.out
    assert shlex.join(["--widths", "32,48", *flags]) in printed.err


PLACES = [
    ("runs/{learning_rate}-{hidden_size}", "runs/{learning_rate}-{hidden_size}"),
    ("./runs//x{id}", "./runs//x{id}"),
    ("{output}", "{output}"),
    ("ABOVE/{id}", "ABOVE/{id}"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "metrics"), PLACES, ids=[place for place, _ in PLACES])
def test_the_place_of_a_log_is_named_as_the_command_names_it(
    place: str, metrics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("train.py").write_text(LOGS[1][0].replace("sys.argv[1],", "sys.argv[1].removeprefix('--to='),"))
    line = f"{sys.executable} train.py --to={place} {{learning_rate}} {{hidden_size}}".replace("ABOVE", str(tmp_path))
    assert run_cli(["check-trainer", line]) == 0
    assert shlex.join(["--metrics", metrics.replace("ABOVE", str(tmp_path))]) in capfd.readouterr().err


@pytest.mark.slow
def test_tensorboards_folder_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    monkeypatch.chdir(tmp_path)
    tags = "for tag, value in (('train/loss', 9.0), ('val/loss', loss)): writer.add_scalar(tag, value, step)"
    first = "import tensorboard.summary\nwriter = tensorboard.summary.Writer(sys.argv[1])\n"
    Path("train.py").write_text(program(tags).replace("for step", first + "for step", 1) + "writer.close()\n")
    assert run_cli(["check-trainer", f"{sys.executable} train.py tb/{{id}} {{learning_rate}} {{hidden_size}}"]) == 0
    printed = capfd.readouterr()
    assert "log: events.out.tfevents.… has 'val/loss'" in printed.out
    assert "--metrics 'tb/{id}' --metric val/loss" in printed.err


@pytest.mark.slow
def test_a_log_that_all_runs_would_share_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(LOGS[0][0])
    assert run_cli(["check-trainer", f"{sys.executable} train.py out {{learning_rate}} {{hidden_size}}"]) == 2
    assert "every run would write to out/m.csv; give the command a folder of its own" in capfd.readouterr().err


def test_the_next_command_keeps_a_flag_without_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("rises.py").write_text(GOOD.replace("5 - step / 20", "5 + step / 20"))
    assert run_cli(["check-trainer", "rises:train", "--maximize", "--widths", "8,16"]) == 0
    (line,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("next: "))
    assert line.endswith("search --trainer rises:train --widths 8,16 --maximize")


def test_a_measure_to_maximise_should_rise(check: type[Check]) -> None:
    study = replace(STUDY, maximize=True)
    rising = check(GOOD.replace("5 - step / 20", "5 + step / 20 * (1 if trial.maximize else -1)"), study)
    assert "finite and rising" in rising.texts("right") and rising.texts("wrong") == ""
    assert "falling at every rate tried; leave out --maximize" in check(GOOD, study).texts("wrong")
