"""The command line as people use it: what goes to stdout, what to stderr, which exit code, what is left behind."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from lrtune.cli import run as run_cli
from lrtune.rule import Doubt
from lrtune.study.study import Budget, Study
from lrtune.study.task import default_report_every
from lrtune.study.toml import load_study

ROOT = Path(__file__).resolve().parents[2]


class Ran(NamedTuple):
    """One command: its exit code and what it printed."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in an empty folder, with nothing set in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LRTUNE_") and "REQUIRE" not in name]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run_cli([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with a finished search of the analytic trainer in runs/own, and how the command ended."""
    folder = tmp_path_factory.mktemp("searched")
    shutil.copy(ROOT / "tests" / "analytic.py", folder / "mine.py")
    command = [sys.executable, "-m", "lrtune", "search", "--trainer", "mine:train", "--widths", "32,64,128"]
    command += ["--steps", "40", "--lr-min", "0.0005", "--lr-max", "0.05", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LRTUNE_REPORT_EVERY": "10"}
    return folder, subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture
def in_searched(
    searched: tuple[Path, subprocess.CompletedProcess[str]], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> Cli:
    """`cli`, in the folder of the search."""
    monkeypatch.chdir(searched[0])
    return cli


# One search, from the command to what it leaves


@pytest.mark.slow
def test_a_search_ends_with_charts_on_stdout_and_a_rule(
    searched: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = searched
    assert done.returncode == 0, done.stderr
    assert "loss against learning rate" in done.stdout and "90% interval" in done.stdout
    assert "extrapolated" in done.stdout
    assert "at hidden 128 (" in done.stdout and ": good enough, may cost 0." in done.stdout
    assert "\nended: the rule reached the requested tolerance: " in done.stdout and "ended:" not in done.stderr
    assert "estimate: about " in done.stderr
    assert load_study(folder / "runs" / "own" / "study.toml").budget == Budget()  # not that of the quick study
    for name in ("study.toml", "study.db", "records.jsonl", "rule.json", "report.html"):
        assert (folder / "runs" / "own" / name).exists(), name
    assert (folder / "lrtune-rule.json").exists()


def test_a_search_says_where_each_setting_came_from(
    searched: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    lines = [line.split() for line in searched[1].stderr.splitlines()]
    assert ["steps", "40", "(--steps)"] in lines
    assert ["report_every", "10", "(LRTUNE_REPORT_EVERY)"] in lines
    assert ["trainer", "mine:train", "(--trainer)"] in lines


def test_without_a_terminal_each_ended_trial_is_one_plain_line(
    searched: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert "\x1b" not in searched[1].stdout + searched[1].stderr
    ended = [line for line in searched[1].stderr.splitlines() if "finished: loss" in line]
    assert len(ended) >= 9 and all(line.startswith("[") for line in ended)


def test_the_commands_to_type_next_work(
    searched: tuple[Path, subprocess.CompletedProcess[str]], in_searched: Cli
) -> None:
    _, _, after = searched[1].stderr.partition("next:\n")
    words = [line.split("  ")[1].split()[1:] for line in after.splitlines() if line.startswith("  ")]
    assert [line[0] for line in words] == ["lr", "verify", "export"]
    for line in words:
        if line[0] != "verify":
            assert in_searched(*line).code == 0, line
    assert Path("learning_rate.py").exists()


def test_lr_finds_the_optimum_and_its_forms_agree(in_searched: Cli) -> None:
    plain = float(in_searched("lr", 64, "--plain").out)
    assert plain == pytest.approx(0.3 / 64, rel=0.3)
    data = json.loads(in_searched("lr", 64, "--json").out)
    assert data["learning_rate"] == pytest.approx(plain, rel=5e-3)
    assert data["low"] <= plain <= data["high"] and data["basis"] == "measured"
    assert "lrtune-rule.json" in in_searched("lr", 256).out


def test_lr_prints_the_rate_in_one_line_and_its_conditions_in_the_next(in_searched: Cli) -> None:
    number, setting = in_searched("lr", 256, "--rule", "packaged").out.splitlines()[:2]
    assert re.match(r"0\.00\d+ at hidden 256 \(0\.00\d+ … 0\.00\d+, 90% interval\), (measured|interpolated)$", number)
    assert re.match(r"for [\d,]+ tokens in [\d,]+ steps, bitnet-b1.58, adamw, .*batches of 1,024 tokens$", setting)
    own = in_searched("lr", 256).out.splitlines()
    assert "measured from 32 to 128, extrapolated 2×" in own[0]


def test_lr_carries_a_tuned_rate_and_compares(in_searched: Cli) -> None:
    carried = json.loads(in_searched("lr", 128, "--given", "64=0.01", "--json").out)
    assert carried["learning_rate"] == pytest.approx(0.005, rel=0.3)
    compared = in_searched("lr", 256, "--compare", "--scale", "depth=4", "--tokens", 1e6).out
    assert "Phase 4, option B" in compared and "Step Law" in compared and "ours" in compared


def test_lr_answers_for_several_sizes_in_one_table(in_searched: Cli) -> None:
    lines = in_searched("lr", 64, 128, 100_000, "--rule", Path("runs") / "own", "--at", 0.004).out.splitlines()
    assert lines[0].split() == ["hidden", "learning", "rate", "90%", "interval", "safe", "range", "cost", "of", "0.004"]
    assert [line.split()[0] for line in lines[1:4]] == ["64", "128", "100000"]
    assert lines[1].endswith("measured") and lines[3].endswith("not supported")
    assert any(line.strip().startswith("law ") for line in lines)
    assert sum("100000: not supported by the data" in line for line in lines) == 1
    both = in_searched("lr", 64, 128, "--plain").out.split()
    assert both == [in_searched("lr", size, "--plain").out.strip() for size in (64, 128)]
    assert [each["basis"] for each in json.loads(in_searched("lr", 64, 256, "--json").out)] == [
        "measured",
        "extrapolated",
    ]
    assert in_searched("lr", 64, 100_000, "--strict").code == 1


def test_lr_carries_a_rate_tuned_at_other_scales(in_searched: Cli) -> None:
    short = in_searched("lr", 128, "--given", "64=0.01").out
    assert in_searched("lr", 128, "--given", "hidden_size=64:0.01").out == short
    far = in_searched("lr", 128, "--steps", 4000, "--given", "hidden_size=64,steps=40:0.01").out
    assert "the ends differ by a factor of 100 in steps" in far


def test_plain_warns_of_what_the_data_do_not_support(in_searched: Cli) -> None:
    for arguments in ((100_000, "--plain"), ("--plain", 100_000, "--steps", 40)):
        done = in_searched("lr", *arguments)
        assert float(done.out) > 0 and "warning: not supported by the data" in done.err and done.code == 0
    assert in_searched("lr", 64, "--plain").err == ""


def test_strict_refuses_what_the_data_do_not_support(in_searched: Cli) -> None:
    far = in_searched("lr", 100000, "--strict", "--plain")
    assert (far.code, far.out) == (1, "")
    assert far.err.startswith("lrtune: not supported by the data") and Doubt.COSTLY.value in far.err
    asked = json.loads(in_searched("lr", 100000, "--json").out)
    assert (asked["supported"], asked["doubt"]) == (False, "costly")
    assert in_searched("lr", 64, "--strict", "--plain").code == 0


@pytest.mark.parametrize("format_", ["python", "json", "yaml", "toml"])
def test_export_goes_to_stdout_or_a_file(in_searched: Cli, tmp_path: Path, format_: str) -> None:
    printed = in_searched("export", "--format", format_)
    assert printed.code == 0 and printed.out
    written = in_searched("export", "--format", format_, "-o", tmp_path / "out")
    assert written.out == "" and (tmp_path / "out").read_text().strip() == printed.out.strip()


def test_fit_of_the_run_gives_the_rule_again(in_searched: Cli) -> None:
    before = float(in_searched("lr", 64, "--plain").out)
    done = in_searched("fit", "runs/own")
    assert done.code == 0 and "wrote runs/own/rule.json" in done.err
    assert "active rule: lrtune-rule.json\n" in done.err
    assert float(in_searched("lr", 64, "--plain").out) == pytest.approx(before, rel=1e-6)
    assert Path("lrtune-rule.json.bak").exists()


def test_a_check_against_the_runs_of_the_fit_gives_no_verdict_and_is_kept_beside_the_rule(in_searched: Cli) -> None:
    rule = Path("lrtune-rule.json").read_bytes()
    done = in_searched("check", "lrtune-rule.json", "--against", "runs/own")
    assert done.code == 0 and "predicted" in done.out and "\n64  " in done.out
    assert re.search(r"no verdict: the rule was fitted to these \d+ runs$", done.out.strip())
    kept = json.loads(Path("verification.json").read_text())
    rows = kept["check"]["runs/own"]
    assert [(row["scales"]["hidden_size"], row["held"]) for row in rows] == [(32.0, None), (64.0, None), (128.0, None)]
    assert Path("lrtune-rule.json").read_bytes() == rule


def test_a_table_from_elsewhere_becomes_a_rule(cli: Cli, tmp_path: Path) -> None:
    rows = [
        f"{w},{lr},{4 + 0.1 * math.log2(lr * w / 0.3) ** 2}" for w in (32, 64, 128) for lr in (1e-3, 3e-3, 1e-2, 3e-2)
    ]
    (tmp_path / "sweep.csv").write_text("width,lr,val\n" + "\n".join(rows) + "\n32,0.1,nan\n")
    done = cli("fit", "sweep.csv", "--loss", "val", "--scale", "hidden_size=width", "-o", "mine.json")
    assert done.code == 0 and "13 rows" in done.err
    assert float(cli("lr", 256, "--rule", "mine.json", "--plain").out) == pytest.approx(0.3 / 256, rel=0.3)
    assert not (tmp_path / "lrtune-rule.json").exists()


def test_status_for_people_and_for_scripts(in_searched: Cli) -> None:
    assert "records.jsonl and the storage agree" in in_searched("status", "runs/own").out
    data = json.loads(in_searched("status", "runs/own", "--json").out)
    assert data["records_whole"] is True and [best["hidden_size"] for best in data["best"]] == [32, 64, 128]
    assert sum(data["trials"].values()) >= 12


@pytest.mark.slow
def test_the_same_search_again_trains_nothing(in_searched: Cli) -> None:
    records = Path("runs/own/records.jsonl").read_bytes()
    again = in_searched("search", "runs/own/study.toml", "--out", "runs/own", "--workers", 1, "--quiet")
    assert again.code == 0, again.err
    assert again.out.split() == ["runs/own/rule.json"]
    assert Path("runs/own/records.jsonl").read_bytes() == records


def test_another_study_is_refused_in_the_folder(in_searched: Cli) -> None:
    other = in_searched("search", "runs/own/study.toml", "--seed", 5, "--out", "runs/own", "--quiet")
    assert other.code == 2 and len(other.err.splitlines()) == 1


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


def test_doctor_names_versions_device_and_rule(cli: Cli) -> None:
    done = cli("doctor")
    assert done.code == 0, done.out
    for word in ("lrtune", "optuna", "device", "cores", "compiler", "packaged-rule.json"):
        assert word in done.out
    assert {line["name"] for line in json.loads(cli("doctor", "--json").out)} >= {"core", "rule", "cores"}


def test_doctor_looks_at_the_cache_that_is_used(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path / "mine"))
    lines = {line["name"]: line["text"] for line in json.loads(cli("doctor", "--json").out)}
    assert lines["cache"].startswith(str(tmp_path / "mine"))


def test_doctor_names_each_extra_with_what_it_brings(cli: Cli) -> None:
    lines = {line["name"]: line["text"] for line in json.loads(cli("doctor", "--json").out)}
    assert {"core", "bitnet", "report", "cluster", "dashboard", "config", "huggingface"} <= set(lines)
    assert "dev" not in lines
    assert "filelock" in lines["bitnet"] and "transformers" in lines["huggingface"]


def test_doctor_exits_1_when_the_active_rule_is_damaged(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "lrtune-rule.json").write_text("{")
    assert cli("doctor").code == 1


# Bad input: one line on stderr, exit 2, nothing on stdout, nothing written

BAD = [
    (["lr", "0"], "expected a positive number"),
    (["lr", "x"], "valid integer"),
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
    (["lr", "64", "--steps", "-3"], "steps: expected a positive number, but got -3"),
    (["lr", "64", "--scale", "dpth=3"], "dpth: this rule has no such scale"),
    (["lr", "64", "--scale", "depth"], "--scale: expected NAME=VALUE"),
    (["lr", "64", "--scale", "depth=deep"], "--scale: expected a number for depth"),
    (["export", "--format", "xml"], "expected one of python, json, yaml, toml"),
    (["search", "none.toml"], "none.toml: cannot read the study"),
    (["search", "--widths", "a,b"], "--widths: expected hidden sizes such as 32,64,128"),
    (["search", "--widths", "-32"], "expected a positive whole number, but got -32"),
    (["search", "--widths", "32,32"], "expected each hidden size once"),
    (["search", "--lr-min", "0.1", "--lr-max", "0.01"], "expected min below max"),
    (["search", "--steps", "-5"], "--steps: expected positive numbers such as 1,2,4, but got '-5'"),
    (["search", "--steps", "2.5"], "--steps: expected a whole number, but got 2.5"),
    (["search", "--scale", "depth=2,x"], "--scale depth: expected positive numbers such as 1,2,4"),
    (["search", "--target", "1024"], "--target: expected NAME=VALUE"),
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
    assert "warning: answers at sizes that were not run are not supported by the data: predicting sizes" in done.err
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


# As whole processes


def lrtune(*arguments: str, folder: Path, **environment: str) -> Ran:
    """A command as a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LRTUNE_")}
    done = subprocess.run(
        [sys.executable, "-m", "lrtune", *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_plain_answer_is_the_same_by_the_short_way_and_the_long(tmp_path: Path) -> None:
    short = lrtune("lr", "128", "--plain", folder=tmp_path)
    long = lrtune(
        "lr", "128", "--plain", "--rule", str(ROOT / "lrtune" / "rule" / "packaged-rule.json"), folder=tmp_path
    )
    assert short.code == long.code == 0
    assert short.out == lrtune("lr", "--plain", "128", folder=tmp_path).out
    assert float(short.out) == pytest.approx(float(long.out))


@pytest.mark.slow
def test_an_encoding_that_lacks_a_character_is_not_an_error(tmp_path: Path) -> None:
    for words in (["lr", "256"], ["lr", "256", "--compare"], ["--help"]):
        done = lrtune(*words, folder=tmp_path, PYTHONIOENCODING="ascii")
        assert done.code == 0, done.err
        assert "256" in done.out or "Usage" in done.out


@pytest.mark.slow
def test_lr_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['lrtune', 'lr', '256', '--json']\n"
        "from lrtune.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'optuna', 'numpy', 'scipy', 'altair', 'datasets', 'rich'} & set(sys.modules)\n"
        "heavy |= {'lrtune.cli.search', 'lrtune.study', 'lrtune.records', 'lrtune.trainer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_help_is_colourless_in_a_pipe_and_under_no_color(tmp_path: Path) -> None:
    assert "\x1b" not in lrtune("--help", folder=tmp_path).out
    assert "\x1b[3" not in lrtune("--help", folder=tmp_path, NO_COLOR="1", FORCE_COLOR="1").out


@pytest.mark.slow
def test_a_reader_that_closes_its_end_is_not_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m lrtune lr 256 --rule packaged --compare | head -1",
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("\n") == 1 and " at hidden 256 " in done.stdout and done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize(("closed", "code"), [("lr 256 >&-", 0), ("lr 0 2>&-", 2), ("lr 256 --plain >&- 2>&-", 0)])
def test_without_stdout_or_stderr_the_exit_code_is_the_same(tmp_path: Path, closed: str, code: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(f"{sys.executable} -m lrtune {closed}", shell=True, cwd=tmp_path, env=environment)
    assert done.returncode == code


@pytest.mark.slow
def test_a_search_whose_output_is_closed_finishes(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "analytic.py", tmp_path / "mine.py")
    flags = "--trainer mine:train --widths 32 --steps 20 --trials 2 --workers 1"
    done = subprocess.run(
        f"{sys.executable} -m lrtune search {flags} 2>&1 | head -1",
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.startswith("trying the trainer once") and done.stderr == ""
    assert {"rule.json", "report.html"} <= {path.name for path in (tmp_path / "runs" / "own").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "given", "threads"),
    [("status", None, "1"), ("status", "3", "3"), ("check-trainer", None, None), ("worker", None, None)],
)
def test_a_verb_that_trains_nothing_itself_keeps_to_one_thread(
    verb: str, given: str | None, threads: str | None
) -> None:
    code = f"""
import os, sys
from lrtune.cli import run
assert "numpy" not in sys.modules  # which reads the variable as it is loaded
run([{verb!r}, "no such thing"])
print(os.environ.get("OPENBLAS_NUM_THREADS"))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"OPENBLAS_NUM_THREADS": given} if given else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == str(threads), done.stderr
