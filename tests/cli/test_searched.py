"""One search, from the command to what it leaves."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, Cli

from lrtune.rule import Doubt
from lrtune.study.study import Budget
from lrtune.study.toml import load_study

pytestmark = pytest.mark.slow


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
    assert "90% interval), extrapolated: hidden_size is 2× the largest measured (128)" in own[0]
    assert sum("2× the largest" in line for line in own) == 1


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
    far = in_searched("lr", 64, 1024, "--rule", "packaged", "--tokens", "1e8").out
    assert "64: extrapolated: tokens is 7.63× the largest measured (13,107,200)" in far
    both = in_searched("lr", 64, 128, "--plain").out.split()
    assert both == [in_searched("lr", size, "--plain").out.strip() for size in (64, 128)]
    assert [each["basis"] for each in json.loads(in_searched("lr", 64, 256, "--json").out)] == [
        "measured",
        "extrapolated",
    ]
    for flags, begin in ((["--plain"], "lrtune: warning: "), (["--strict"], "lrtune: ")):
        told = in_searched("lr", 64, 100_000, 200_000, *flags).err.splitlines()
        assert [line.partition(" by the data")[0] for line in told] == [
            f"{begin}hidden 100000: not supported",
            f"{begin}hidden 200000: not supported",
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


def test_status_for_people_and_for_scripts(in_searched: Cli) -> None:
    assert "records.jsonl and the storage agree" in in_searched("status", "runs/own").out
    data = json.loads(in_searched("status", "runs/own", "--json").out)
    assert data["records_whole"] is True and [best["hidden_size"] for best in data["best"]] == [32, 64, 128]
    assert sum(data["trials"].values()) >= 12


def test_the_same_search_again_trains_nothing(in_searched: Cli) -> None:
    records = Path("runs/own/records.jsonl").read_bytes()
    again = in_searched("search", "runs/own/study.toml", "--out", "runs/own", "--workers", 1, "--quiet")
    assert again.code == 0, again.err
    assert again.out.split() == ["runs/own/rule.json"]
    assert Path("runs/own/records.jsonl").read_bytes() == records


def test_another_study_is_refused_in_the_folder(in_searched: Cli) -> None:
    other = in_searched("search", "runs/own/study.toml", "--seed", 5, "--out", "runs/own", "--quiet")
    assert other.code == 2 and len(other.err.splitlines()) == 1
