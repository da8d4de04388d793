"""The screen of `lrtune lr`: a line for each factor of the law, and what the answer rests on."""

import json
from itertools import product
from pathlib import Path

import pytest
from builders import finished_run

from lrtune import load_rule
from lrtune.cli import run as run_cli
from lrtune.law.fit import fit_law
from lrtune.rule import save_rule


def test_a_law_over_several_scales_has_a_line_for_each_factor(capsys: pytest.CaptureFixture[str]) -> None:
    rule = load_rule("packaged")
    assert len(rule.scales) > 1
    scales = [word for name, scale in rule.scales.items() if name != "hidden_size" for word in (name, scale.high)]
    flags = [f"--{word.replace('_', '-')}" if isinstance(word, str) else f"{word}" for word in scales]
    assert run_cli(["lr", "200", *flags, "--rule", "packaged"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.strip().startswith("· (") for line in lines) == len(rule.scales) - 1
    [rests_on] = [line for line in lines if line.strip().startswith("rests on")]
    assert f"{sum(cell.trials for cell in rule.cells):,} runs" in rests_on
    assert all(name in rests_on for name in rule.scales) and f"({len(rule.cells)} combinations)" in rests_on
    assert "batches of 1,024 tokens" in lines[1] or "batches of 4,096 tokens" in lines[1]
    assert all(len(line) <= 80 for line in lines if "lr ≈" in line or "· (" in line)


def test_what_rests_on_runs_that_were_ended_early_costs_an_unknown_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = load_rule("packaged:muon")
    cut = str(tmp_path / "cut.json")
    save_rule(rule._replace(cells=tuple(cell._replace(cut="unchecked") for cell in rule.cells)), Path(cut))
    assert run_cli(["lr", "64", "--rule", cut, "--at", "0.01"]) == 0
    lines = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
    assert ["may", "cost", "an unknown share of loss"] in lines
    assert ["asked", "about", "0.01 would cost an unknown share of loss"] in lines
    assert run_cli(["lr", "32", "64", "--rule", cut, "--at", "0.01"]) == 0
    assert capsys.readouterr().out.count("unknown") == 2
    assert run_cli(["lr", "64", "--rule", cut, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["regret"], told["regret_90"], told["doubt"]) == (None, None, "cut")
    assert run_cli(["lr", "64", "--rule", cut, "--plain"]) == 0
    assert float(capsys.readouterr().out) == pytest.approx(told["learning_rate"], rel=0.01)


def test_a_supported_answer_without_a_safe_range_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "few.json")
    losses = {0.002: 3.3, 0.004: 3.27, 0.008: None}
    runs = [
        finished_run(width, rate, loss, trial=trial, status="finished" if loss else "diverged")
        for trial, (width, (rate, loss)) in enumerate(product((256, 512, 1024), losses.items()))
    ]
    save_rule(fit_law(runs).rule, Path(path))
    assert run_cli(["lr", "128", "--rule", path, "--strict"]) == 0
    assert "safe range    none: no rate is within 1% of loss in nine cases of ten\n" in capsys.readouterr().out
    assert run_cli(["lr", "128", "256", "--rule", path]) == 0
    assert "note          128: no rate is within 1% of loss in nine cases of ten\n" in capsys.readouterr().out


def test_one_scale_keeps_its_law_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["lr", "64", "--rule", "packaged:muon"]) == 0
    out = capsys.readouterr().out
    assert "rests on      146 runs at hidden_size 32 … 128\n" in out
    assert "law           lr ≈ 0.00147 · (hidden_size/32)^-0.35 (-0.91 … 0.20)\n" in out


def test_a_tuned_rate_that_is_scaled_says_what_it_may_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["lr", "1024", "--given", "128=0.003", "--rule", "packaged"]) == 0
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines()[2:])
    assert "ratio" in rows
    assert "cost" in rows["may"] and "of loss on average" in rows["may"]


def test_a_fit_over_two_scales_ends_with_a_question_that_its_rule_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        f"{width},{tokens},{0.3 / width * 2**k},{3 + 0.05 * k * k - 0.1 * (tokens > 1e6)}"
        for width, tokens, k in product((64, 128, 256), (1_000_000, 4_000_000), range(-2, 3))
    ]
    Path("t.csv").write_text("\n".join(["width,tokens,lr,loss", *rows]))
    assert run_cli(["fit", "t.csv", "--scale", "hidden_size=width", "--scale", "tokens=tokens", "-o", "r.json"]) == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next: ")]
    asked = line.partition(" lr ")[2].split()
    assert asked == ["512", "--tokens", "4000000", "--rule", "r.json"]
    assert run_cli(["lr", *asked]) == 0
