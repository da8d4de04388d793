"""The command line as people use it: what goes to stdout, what to stderr, which exit code, what is left behind."""

import json
import math
import shutil
from pathlib import Path

import pytest
from commands import ROOT, Cli

from lrtune.cli import flags
from lrtune.study.study import Study
from lrtune.study.task import default_report_every
from lrtune.study.toml import load_study

# A search


def test_a_table_from_elsewhere_becomes_a_rule(cli: Cli, tmp_path: Path) -> None:
    rows = [
        f"{w},{lr},{4 + 0.1 * math.log2(lr * w / 0.3) ** 2}" for w in (32, 64, 128) for lr in (1e-3, 3e-3, 1e-2, 3e-2)
    ]
    (tmp_path / "sweep.csv").write_text("width,lr,val\n" + "\n".join(rows) + "\n32,0.1,nan\n32,,4\n64,,4\n")
    done = cli("fit", "sweep.csv", "--loss", "val", "--scale", "hidden_size=width", "-o", "mine.json")
    assert done.code == 0 and "15 rows" in done.err
    assert (
        "warning: left out, no learning rate in 'lr': 2 rows" in done.err
        and done.err.count("learning rate in 'lr'") == 1
    )
    assert float(cli("lr", 256, "--rule", "mine.json", "--plain").out) == pytest.approx(0.3 / 256, rel=0.3)
    assert not (tmp_path / "lrtune-rule.json").exists()


def test_a_dry_run_prints_the_plan_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    done = cli("search", "--dry-run", "--widths", "48,64", "--design", "grid")
    assert done.code == 0 and "hidden 48" in done.out and "runs" in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("steps", "wanted"), [(100, 10), (40, 4), (300, 25), (97, 8), (5, 1)])
def test_the_steps_between_reports_divide_the_steps_where_they_can(steps: int, wanted: int) -> None:
    assert default_report_every(steps) == wanted


@pytest.mark.slow
def test_json_lines_are_one_object_each(cli: Cli, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "analytic.py", tmp_path / "mine.py")
    flags = ["--trainer", "mine:train", "--widths", "32", "--steps", "20", "--trials", "2", "--workers", "1"]
    done = cli("search", *flags, "--json-lines")
    events = [json.loads(line) for line in done.out.splitlines()]
    kinds = {event["event"] for event in events}
    assert {"trial_ended", "law_changed"} <= kinds
    ended = [event["record"] for event in events if event["event"] == "trial_ended"]
    assert all(record["hidden_size"] == 32 for record in ended)
    onward = events[-1].pop("continue")
    assert onward[:3] == ["lrtune", "search", str(Path("runs") / "own" / "study.toml")] and onward[-2:] == [
        "--workers",
        "1",
    ]
    assert events[-1] == {
        "event": "ended",
        "ending": "trials_spent",
        "why": "the budget of 2 trials is spent",
        "rule": str(Path("runs") / "own" / "rule.json"),
        "no_rule": None,
        "why_no_rule": None,
        "targets": [],
        "verified": None,
        "notes": ["active rule: lrtune-rule.json"],
        "good_enough": False,
    }
    assert (tmp_path / "runs" / "own" / "report.html").exists()


@pytest.mark.slow
def test_the_name_of_a_study_stays_within_the_folder_of_runs(cli: Cli, tmp_path: Path) -> None:
    Path("study.toml").write_text('[study]\nname = "../<script>/x y"\ntrainer = "mine:train"\n')
    shutil.copy(ROOT / "tests" / "analytic.py", tmp_path / "mine.py")
    # Fewer steps than the file has between two reports: it reports oftener.
    flags = ["--widths", "32", "--steps", "20", "--trials", "2", "--workers", "1", "--quiet"]
    done = cli("search", "study.toml", *flags)
    assert done.out == str(Path("runs") / "script-x-y" / "rule.json") + "\n"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["script-x-y"]


# Setting up


def test_init_writes_a_study_that_loads_with_the_defaults(cli: Cli, tmp_path: Path) -> None:
    done = cli("init")
    assert done.code == 0 and done.out == "study.toml\n"
    study = load_study(tmp_path / "study.toml")
    default = Study()
    assert (study.widths, study.steps, study.lr_min, study.lr_max) == (default.widths, 300, 1e-3, 0.3)
    again = cli("init")
    assert again.code == 2 and "already exists" in again.err
    assert cli("init", "--force").code == 0


@pytest.mark.slow  # compiles the kernels where nobody has
def test_doctor_names_versions_device_and_rule(cli: Cli) -> None:
    done = cli("doctor")
    assert done.code == 0, done.out
    for word in ("lrtune", "optuna", "device", "cores", "compiler", "packaged_rule.py"):
        assert word in done.out
    assert {line["name"] for line in json.loads(cli("doctor", "--json").out)} >= {"core", "rule", "cores"}


@pytest.mark.slow  # compiles the kernels where nobody has
def test_doctor_looks_at_the_cache_that_is_used(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path / "mine"))
    lines = {line["name"]: line["text"] for line in json.loads(cli("doctor", "--json").out)}
    assert lines["cache"].startswith(str(tmp_path / "mine"))


@pytest.mark.slow  # compiles the kernels where nobody has
def test_doctor_names_each_extra_with_what_it_brings(cli: Cli) -> None:
    lines = {line["name"]: line["text"] for line in json.loads(cli("doctor", "--json").out)}
    assert {"core", "bitnet", "report", "cluster", "dashboard", "config", "huggingface"} <= set(lines)
    assert "dev" not in lines
    assert "filelock" in lines["bitnet"] and "transformers" in lines["huggingface"]


@pytest.mark.slow  # compiles the kernels where nobody has
def test_doctor_exits_1_when_the_active_rule_is_damaged(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "lrtune-rule.json").write_text("{")
    assert cli("doctor").code == 1


# Bad input: one line on stderr, exit 2, nothing on stdout, nothing written

BAD = [
    (["lr", "0"], "expected a positive number"),
    (["lr", "x"], "HIDDEN…: expected a whole number, but got 'x' (see: lrtune lr --help)"),
    (["lr", "64", "--tokens", "2B"], "--tokens: expected a number, but got '2B'"),
    (["lr", "64", "--rule", "none.json"], "none.json: cannot read the rule"),
    (["lr", "64", "--plain", "--json"], "--plain: cannot be combined with --json"),
    (["lr", "64", "--given", "128"], "--given: expected SIZE=LR"),
    (["lr", "64", "--given", "hidden_size=128,steps:0.003"], "or hidden_size=128,steps=1200:0.003, but got"),
    (["lr", "64", "--given", "128=0.003", "--at", "0.1"], "--at: cannot be combined with --given"),
    (["lr", "64", "128", "--compare"], "--compare: cannot be combined with several sizes"),
    (
        ["lr", "64", "--steps", "100", "--tokens", "1e9"],
        "tokens: expected 102,400, since steps is 100 at 1,024 tokens a step",
    ),
    (["lr", "64", "--steps", "-3"], "steps: expected a positive number up to 1e30, but got -3"),
    (["lr", "64", "--scale", "dpth=3"], "dpth: this rule has no such scale"),
    (["lr", "64", "--scale", "depth"], "--scale: expected NAME=NUMBER"),
    (["lr", "64", "--scale", "depth=deep"], "--scale: expected a number for depth"),
    (["lr", "64", "--scale", "depth=3", "--scale", "depth=4"], "expected each name once, but got 'depth' twice"),
    (["lr", "64", "--scale", "hidden_size=32"], "--scale: expected another scale than hidden_size"),
    (["lr", "64", "--steps", "9", "--scale", "steps=8"], "expected --steps or --scale steps=…, but got 9 and 8"),
    (["export", "--format", "xml"], "expected one of python, json, yaml, toml"),
    (["search", "none.toml"], "none.toml: cannot read the study"),
    (["search", "--widths", "a,b"], "--widths: expected hidden sizes such as 32,64,128"),
    (["search", "--widths", "-32"], "expected a positive whole number, but got -32"),
    (["search", "--widths", "32,32"], "expected each hidden size once"),
    (["search", "--lr-min", "0.1", "--lr-max", "0.01"], "expected min below max"),
    (["search", "--steps", "-5"], "--steps: expected positive numbers such as 1,2,4, but got '-5'"),
    (["search", "--steps", "2.5"], "--steps: expected a whole number, but got 2.5"),
    (["search", "--scale", "depth=2,x"], "--scale depth: expected positive numbers such as 1,2,4"),
    (["search", "--scale", "depth=2", "--scale", "depth=4"], "expected each name once, but got 'depth' twice"),
    (["search", "--scale", "hidden_size=2,4"], "scales.hidden_size: expected the hidden sizes in widths (--widths)"),
    (["search", "--steps", "9", "--scale", "steps=8,9"], "--scale steps=…, but got 9 and 8,9"),
    (["search", "--target", "hidden_size=64.5"], "target.hidden_size: expected a whole number, but got 64.5"),
    (["search", "--target", "1024"], "--target: expected NAME=NUMBER, but got '1024'"),
    (["search", "--target", "hidden_size=0"], "target.hidden_size: expected a positive number, but got 0.0"),
    (["search", "--target", "hidden_size=64,dpth=2"], "target: expected scales of this study (hidden_size), but got"),
    (["search", "--steps", "100", "--target", "hidden_size=64,steps=2000"], "target.steps: expected 100, the only"),
    (["search", "--steps", "100", "--target", "hidden_size=64,steps=9,tokens=900"], "target: expected steps or tokens"),
    (["search", "--steps", "100", "--tokens", "1000"], "tokens: expected steps or tokens, or both if they agree"),
    (["search", "--tokens", "1000", "--trainer", "json:dumps"], "tokens: expected a trainer whose module has"),
    (["search", "--batch-tokens", "1000"], "scales.batch_tokens: expected multiples of the context, "),
    (["search", "--command", "train {learning_rate}"], "scales.hidden_size: expected {hidden_size} in the command"),
    (["search", "--seed", "-1"], "seed: expected a whole number of at least 0"),
    (["search", "--budget", "soon"], "--budget: expected a positive duration such as"),
    (["search", "--workers", "0"], "workers: expected a positive whole number, but got 0"),
    (["search", "--engine", "slurm"], "engine: expected one of local, inline, ray"),
    (["search", "--pruner", "median"], "pruner: expected one of collapse, none"),
    (["search", "--trainer", "nowhere:train"], "cannot import 'nowhere:train'"),
    (["search", "--trainer", "json:nothing"], "module 'json' has no function 'nothing'"),
    (["check-trainer", "python train.py"], "'python train.py'; a command line needs {learning_rate} in it"),
    (["search", "--trainer", "nobody"], "expected module:function or one of the installed names"),
    (["search", "--command", "python 'train.py"], "--command: expected a command line"),
    (["search", "--command", "python train.py"], "expected {learning_rate} in its arguments"),
    (["search", "--option", "depth"], "--option: expected NAME=VALUE"),
    (["search", "--storage", "mysql://u:secret@h/d"], "storage: expected postgresql://"),
    (["fit", "none.csv"], "none.csv"),
    (["fit", "x.csv", "--tolerance", "2"], "--tolerance: expected a share between 0 and 1"),
    (["check", "none.json", "--against", "x.csv"], "none.json: cannot read the rule"),
    (
        ["worker", "--storage", "sqlite:///none/x.db", "--study", "a", "--workers", "0"],
        "greater than or equal to 1",
    ),
    (["status", "nowhere"], "expected the folder of a search"),
    (["report", "nowhere"], "expected the folder of a search"),
    (["dashboard", "nowhere"], "expected a run with a study.db"),
    (["compare", "none.toml"], "none.toml: cannot read the study"),
    (["check-trainer", "nowhere:train"], "cannot import"),
    (["serch"], "Did you mean 'search'?"),
    (["search", "--width", "32"], "--width"),
]


def test_fit_warns_of_sizes_that_do_not_predict_each_other(cli: Cli, tmp_path: Path) -> None:
    optima = {32: 0.002, 64: 0.03, 128: 0.002, 256: 0.03}
    rows = [
        f"{width},{best * 2**octaves},{3 + 0.1 * octaves**2}"
        for width, best in optima.items()
        for octaves in range(-3, 4)
    ]
    (tmp_path / "zigzag.csv").write_text("\n".join(["width,lr,loss", *rows]))
    done = cli("fit", "zigzag.csv", "--scale", "width", "-o", "zigzag.json")
    assert "warning: answers at sizes without runs are not supported by the data: predicting each" in done.err
    between = json.loads(cli("lr", 90, "--rule", "zigzag.json", "--json").out)
    assert between["supported"] is False and between["safe_low"] is None
    (tmp_path / "zigzag.json").write_text((tmp_path / "zigzag.json").read_text().replace('"schema": 4', '"schema": 9'))
    newer = cli("lr", 90, "--rule", "zigzag.json")
    assert (
        newer.code == 2
        and newer.err.count("\n") == 1
        and "schema: expected a whole number up to 4, but got 9" in newer.err
    )


def test_no_finished_run_says_what_there_is_and_what_the_least_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "lost.csv").write_text("width,lr,loss\n64,0.1,inf\n64,0.2,inf\n")
    done = cli("fit", "lost.csv", "--scale", "width")
    assert "no run finished (2 diverged): a rule needs two rates at one size, one of them finished" in done.err


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_one_line_and_exit_2(cli: Cli, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = cli(*arguments)
    assert done.code == 2, done
    assert message in done.err
    assert len(done.err.splitlines()) == 1 and done.out == ""
    assert "secret" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_headings_of_help_are_whole_in_80_columns() -> None:
    assert all(len(heading) <= 76 for heading in (flags._STUDY, flags._LOG, flags._RUN, flags._SHOW))


def test_a_check_of_a_trainer_has_one_length(cli: Cli) -> None:
    done = cli("check-trainer", "analytic:train", "--scale", "steps=40,80")
    assert done.code == 2 and "--scale steps: expected --steps with one value" in done.err


def test_an_unknown_key_in_a_study_names_the_nearest(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("[study]\nstepz = 3\n")
    done = cli("search", "study.toml")
    assert done.code == 2 and "study.toml: [study]: unknown key 'stepz'; did you mean 'steps'?" in done.err


def test_debug_shows_the_traceback_anywhere_on_the_line(cli: Cli) -> None:
    assert "Traceback" not in cli("lr", 0).err
    for arguments in (("--debug", "lr", 0), ("lr", 0, "--debug")):
        assert "Traceback" in cli(*arguments).err


VERBS = (
    *("search", "compare", "verify", "worker", "lr", "fit", "check", "export", "status", "report", "dashboard"),
    *("init", "check-trainer", "doctor", "use"),
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example(cli: Cli, verb: str) -> None:
    done = cli(verb, "--help")
    _, found, example = " ".join(done.out.split()).partition("Example: ")
    assert done.code == 0 and found and f"lrtune {verb}" in example


# Precedence: flag > environment > study.toml > default


@pytest.mark.parametrize(
    ("flag", "environment", "file", "steps"),
    [("7", "8", "9", 7), (None, "8", "9", 8), (None, None, "9", 9), (None, None, None, 300)],
)
def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str | None,
    environment: str | None,
    file: str | None,
    steps: int,
) -> None:
    text = '[study]\ndesign = "grid"\n' + (f"steps = {file}\n" if file else "")
    (tmp_path / "study.toml").write_text(text)
    if environment:
        monkeypatch.setenv("LRTUNE_STEPS", environment)
    done = cli("search", "study.toml", "--dry-run", *(["--steps", flag] if flag else []))
    assert f"runs of {steps} steps" in done.out
