"""Knobs on the command line: searched with the rate, shown beside it, refused in one line."""

import json
from pathlib import Path

import pytest

from lrtune.cli import run as run_cli

TRAINER = """
import math

def train(trial):
    first = math.log2(trial.learning_rate * trial.hidden_size / 0.3)
    second = math.log2(trial.knobs["adam_lr"] / trial.learning_rate / 0.2)
    for step in (0, 10, 20):
        if not trial.report(step, loss=4 + 0.05 * first**2 + 0.03 * second**2 + (20 - step) / 10):
            return
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("two_rates.py").write_text(TRAINER)


def search(*words: str) -> int:
    flags = "--widths 32,64 --steps 20 --report-every 10 --lr-min 1e-3 --lr-max 0.1 --engine inline --trials 8"
    return run_cli(["search", "--trainer", "two_rates:train", *flags.split(), "--out", "run", *words])


@pytest.mark.slow
def test_a_knob_is_searched_and_shown_beside_the_rate(capfd: pytest.CaptureFixture[str]) -> None:
    search("--knob", "adam_lr=0.02..2*learning_rate")
    shown = capfd.readouterr().err
    assert "knobs.adam_lr" in shown and "0.02..2*learning_rate  (--knob)" in shown
    records = [json.loads(line) for line in Path("run/records.jsonl").read_text().splitlines()]
    ratios = [record["knobs"]["adam_lr"] / record["learning_rate"] for record in records]
    assert len(set(ratios)) > 3 and all(0.01 < ratio < 4 for ratio in ratios)
    best = min((record for record in records if record["hidden_size"] == 32), key=lambda record: record["loss"])
    run_cli(["status", "run"])
    beside = f"hidden 32: best so far {best['learning_rate']:.3g}, adam_lr {best['knobs']['adam_lr']:.3g} (loss"
    assert beside in capfd.readouterr().out
    run_cli(["status", "run", "--json"])
    assert json.loads(capfd.readouterr().out)["best"][0]["knobs"] == best["knobs"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--knob", "adam_lr"], "--knob: expected NAME=LO..HI"),
        (["--knob", "adam_lr=2..1"], "knobs.adam_lr: expected LO below HI"),
        (["--knob", "adam_lr=1..1"], "knobs.adam_lr: expected LO below HI"),
        (["--knob", "wd=0..1"], "knobs.wd: a range in log cannot start at 0; write 0,LO..1"),
        (["--knob", "adam_lr=1..2*other"], "expected learning_rate or another knob after the sign, but got 'other'"),
        (["--knob", "adam_lr=1..2", "--design", "grid"], "knobs.adam_lr: a grid searches the learning rate alone"),
        (["--knob", "depth=1..2", "--scale", "depth=1,2"], "knobs.depth: expected a name of its own"),
        (["--knob", "adam_lr=1..2", "--knob", "b=1..2"], "budget.trials: expected at least 9, 3 for each of"),
    ],
)
def test_a_bad_knob_is_one_line(words: list[str], why: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert search(*words) == 2
    said = capfd.readouterr().err
    assert why in said and said.count("\n") == 1
    assert not Path("run").exists()
