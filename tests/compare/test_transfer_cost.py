"""Parametrizations compared: what carrying the smallest size's rate costs, in one sentence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import finished_run
from parametrized import best_rate

from lrtune.cli import run as run_cli
from lrtune.compare.transfer import check, compare_transfers, run_transfer, section, sentence, to_markdown
from lrtune.errors import InputError, RunFailedError
from lrtune.records.record import TrialRecord
from lrtune.rule.knob import Coordinate
from lrtune.study.study import Budget, Study
from lrtune.study.toml import to_toml

STUDY = Study(
    name="both",
    trainer="parametrized:train",
    widths=(32, 128),
    steps=40,
    report_every=10,
    lr_min=0.0005,
    lr_max=0.05,
    budget=Budget(trials=10),
)


def sweep(kind: str, widths: tuple[int, ...] = (32, 128), seeds: int = 2) -> list[TrialRecord]:
    """Runs at half octaves around each best rate: a nat's tenth for an octave, of a loss of 4."""
    return [
        finished_run(
            width,
            best_rate(width, kind) * 2 ** (n / 2),
            4.0 + 0.1 * (n / 2) ** 2 + 0.002 * seed,
            seed=seed,
            steps=40,
            arm=kind,
        )
        for width in widths
        for n in range(-4, 5)
        for seed in range(seeds)
    ]


def test_the_rate_carried_to_the_largest_size_costs_what_the_curve_says() -> None:
    done = compare_transfers({kind: sweep(kind) for kind in ("standard", "mup")})
    standard, mup = done.found
    assert standard.exponent == pytest.approx(-1.0, abs=0.05) and standard.low < -1.0 < standard.high
    assert mup.low < 0.0 < mup.high and mup.high - mup.low < 0.4
    assert standard.carried == pytest.approx(0.3 / 32, rel=0.1) and standard.best == pytest.approx(0.3 / 128, rel=0.1)
    assert standard.regret == pytest.approx(0.4 / 4.0, rel=0.25)  # two octaves off: 0.1 · 2² of 4
    assert (mup.regret or 1) < 0.004 and (mup.regret_90 or 1) < 0.01
    words = sentence(done)
    assert words.startswith("transfer of the best rate from hidden size 32 to 128 costs 0.")
    assert "% under mup, " in words and words.endswith("% under standard") and words in to_markdown(done)
    assert [row[0] for row in section(done).rows] == ["standard", "mup"] and not done.notes
    assert all(
        one.loss is not None and f"{one.loss:.4g}" in row
        for one, row in zip(done.found, section(done).rows, strict=True)
    )


def test_a_measure_to_maximise_is_shown_as_the_trainer_reported_it() -> None:
    kinds = {
        kind: [replace(run, maximize=True, loss=(run.loss or 0) - 5) for run in sweep(kind)]
        for kind in ("standard", "mup")
    }
    done = compare_transfers(kinds)
    assert [one.loss for one in done.found] == [pytest.approx(1.0, abs=0.02)] * 2
    assert section(done).header[4] == "measure at 128" and section(done).rows[0][4].startswith(("0.9", "1"))


def test_a_knob_far_from_its_best_is_not_taken_for_the_cost_of_the_rate() -> None:
    def with_knob(run: TrialRecord, i: int) -> TrialRecord:
        # With seed 1 the knob goes off as the rate rises, at 128 as it falls: alone the rates would look the same.
        above = i % 18 // 2
        octaves = run.seed * (above if run.hidden_size == 32 else 8 - above) / 2.5
        assert run.loss is not None
        return replace(run, knobs={"adam_lr": 0.01 * 2.0**octaves}, loss=run.loss + 0.1 * octaves**2)

    runs = {kind: [with_knob(run, i) for i, run in enumerate(sweep(kind))] for kind in ("standard", "mup")}
    standard, _ = compare_transfers(runs, knobs={"adam_lr": Coordinate()}).found
    assert standard.regret == pytest.approx(0.4 / 4.0, rel=0.3) and standard.exponent == pytest.approx(-1, abs=0.25)


def test_sizes_that_not_all_have_are_not_carried_to() -> None:
    done = compare_transfers({"standard": sweep("standard", (32, 64, 128)), "mup": sweep("mup", (32, 64))})
    assert {one.sizes for one in done.found} == {(32, 64)}
    with pytest.raises(RunFailedError, match="two sizes or more that all have, but got 1"):
        compare_transfers({"standard": sweep("standard"), "mup": sweep("mup", (32, 64))})
    with pytest.raises(RunFailedError, match="parametrization mup: no rule: "):
        compare_transfers({"standard": sweep("standard"), "mup": []})


def test_a_trainer_that_does_not_read_the_option_is_noticed() -> None:
    done = compare_transfers({"standard": sweep("standard"), "mup": sweep("standard")})
    assert done.notes == ["the runs are the same under each: the trainer does not read the option 'parametrization'"]
    same_at_32 = [*sweep("standard", (32,)), *sweep("mup", (128,))]  # as at the base width of µP
    assert not compare_transfers({"standard": sweep("standard"), "mup": same_at_32}).notes


@pytest.mark.parametrize(
    ("names", "widths", "message"),
    [
        (["standard"], (32, 64), "parametrizations: expected two different names or more, but got standard"),
        (["mup", "mup"], (32, 64), "parametrizations: expected two different names or more, but got mup,mup"),
        (["mup", ""], (32, 64), "parametrizations: expected two different names or more, but got mup,"),
        (["standard", "mup"], (32,), "widths: expected two sizes or more to carry a rate between, but got 32"),
    ],
)
def test_what_cannot_be_compared(names: list[str], widths: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check(replace(STUDY, widths=widths), names)
    assert str(caught.value) == message


@pytest.mark.slow
def test_two_searches_and_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_transfer(STUDY, ["standard", "mup"], Path("out"), engine="inline")
    costs = {one.name: one.regret or 0.0 for one in done.found}
    assert costs["mup"] < 0.02 < 0.05 < costs["standard"]
    assert sentence(done) in Path("out/compare.md").read_text()
    for kind, group in done.records.items():
        carried = next(one.carried for one in done.found if one.name == kind)
        assert any(run.hidden_size == 128 and abs(run.learning_rate / carried - 1) < 0.2 for run in group)
    assert sum(map(len, done.records.values())) <= 22
    capfd.readouterr()
    Path("study.toml").write_text(to_toml(STUDY))
    words = ["compare", "study.toml", "--parametrizations", "standard,mup", "--out", "out", "--workers", "1"]
    assert run_cli([*words, "--dry-run"]) == 0
    assert "standard:\n" in capfd.readouterr().out
    assert run_cli(words) == 0  # both searches are done
    out, err = capfd.readouterr()
    assert "| standard |" in out and out.count(sentence(done)) == 1
    assert "wrote out/compare.md, transfer.svg" in err and not Path("lrtune-rule.json").exists()
