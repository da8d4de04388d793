"""Arms over seeds: what runs, what the table says, and which factor is blamed."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
from builders import finished_run
from rich.console import Console

from lrtune.cli import run as run_cli
from lrtune.compare.arms import Spread, gather_arms, outcome, value_at
from lrtune.compare.effects import compare_records, effects
from lrtune.compare.run import cost, run_comparison, tasks
from lrtune.compare.tables import effect_table, sections, table, to_markdown
from lrtune.errors import InputError, RunFailedError
from lrtune.report.terminal.summary import show_sections
from lrtune.search.ending import Ending, StopReason
from lrtune.search.options import SearchResult
from lrtune.study.study import PruningPolicy, Study
from lrtune.study.toml import to_toml
from lrtune.trainer.trial import Facts

ARMS: dict[str, dict[str, Any]] = {
    "base": {"learning_rate": 0.0015, "seeds": 3},
    "smooth": {"learning_rate": 0.0015, "smoothing": 0.1, "seeds": 3},
    "adamw": {"learning_rate": 0.0015, "optimizer": "adamw", "seeds": 3},
    "stages": {"learning_rate": 0.0015, "stages": True},
    "short": {"learning_rate": 0.0015, "optimizer": "adamw", "steps": 200},
}
STUDY = Study(
    widths=(64,),
    steps=400,
    report_every=20,
    seeds=2,
    trainer="collapsing:train",
    options={"optimizer": "l2"},
    arms=ARMS,
    pruner="none",
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "run"
    return run_comparison(STUDY, out, engine="inline"), out


def test_the_cost_is_known_before():
    assert cost(STUDY) == "13 runs of 5 arms at hidden size 64: 4,800 optimizer steps in all"
    assert [task.arm for task in tasks(STUDY)[:5]] == list(ARMS), "every arm's first seed comes first"


def test_the_table_names_the_arms_that_recovered(compared):
    comparison, _ = compared
    header, rows = table(comparison.arms, "distinct")
    assert header == ["arm", "rate", "25%", "50%", "75%", "100%", "loss", "diversity", "phase", "ended"]
    ended = {row[0]: (row[2:6], row[-2:]) for row in rows}
    assert ended["base"] == (["2", "2", "2", "2"], ["unigram", "collapsed"])
    assert ended["adamw"] == (["14", "14", "14", "14"], ["learned", "healthy"])
    assert ended["stages"] == (["2", "2", "14", "14"], ["learned", "recovered"])


def test_marks_are_steps_where_all_arms_have_one_horizon():
    assert table([arm for arm in gather_arms(records()) if arm.name == "base"], "distinct")[0][2:6] == [
        "1k",
        "2k",
        "3k",
        "4k",
    ]


def test_blame_falls_on_the_factor_that_decides_and_on_no_other(compared):
    comparison, out = compared
    found = {(effect.before, effect.after): effect for effect in comparison.effects}
    decisive = found["base", "adamw"]
    assert (decisive.factor, decisive.change) == ("optimizer", "l2 → adamw")
    assert decisive.loss.counted == pytest.approx(-2.0)
    assert decisive.diversity.counted == pytest.approx(0.48)
    assert found["base", "stages"].loss.counted == pytest.approx(-2.0)
    assert found["base", "smooth"].loss.counted is None
    assert found["adamw", "short"].factor == "steps"
    assert found["adamw", "short"].loss.counted is None
    row = next(row for row in effect_table(comparison.effects)[1] if row[2] == "base → smooth")
    assert row[-2].startswith("none (")
    text = (out / "compare.md").read_text()
    assert "| optimizer | l2 → adamw | base → adamw | 3 |" in text
    assert "## Distinct answers" in text, "its trainer's title"
    assert "does not report" not in text


def test_the_same_folder_again_trains_nothing(compared):
    comparison, out = compared
    again = run_comparison(STUDY, out, engine="inline")
    assert [arm.records for arm in again.arms] == [arm.records for arm in comparison.arms]


def test_a_stop_before_any_run_has_ended_is_not_a_failure(tmp_path, monkeypatch):
    stopped = SearchResult(
        out=tmp_path, records=[], reason=StopReason(Ending.INTERRUPTED, "interrupted"), interrupted=2
    )
    monkeypatch.setattr("lrtune.search.run.run_fixed", lambda *arguments, **options: stopped)
    done = run_comparison(STUDY, tmp_path)
    assert (done.arms, done.interrupted) == ([], 2)
    assert not (tmp_path / "compare.md").exists()
    monkeypatch.setattr("lrtune.search.run.run_fixed", lambda *arguments, **options: replace(stopped, interrupted=None))
    with pytest.raises(RunFailedError, match="no run of any arm ended"):
        run_comparison(STUDY, tmp_path)


def test_one_arm_alone_has_no_effects_to_show():
    alone = compare_records([record for record in records() if record.arm == "base"])
    assert "Which factor decides" not in to_markdown(alone)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_on_a_terminal_a_wide_table_is_folded(compared, width):
    comparison, _ = compared
    written = io.StringIO()
    show_sections(Console(width=width, file=written), "Arms compared", sections(comparison))
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    first = lines[: lines.index("Which factor decides")]
    headers = [line.split() for line in first if line.startswith("arm ")]
    assert [name for header in headers for name in header if name != "arm"] == [
        *("rate", "25%", "50%", "75%", "100%", "loss", "diversity", "phase", "ended")
    ]
    assert sum(line.startswith("base ") for line in first) == len(headers), "every part names its rows"
    assert any("7.000±0.01" in line for line in first), "a figure and its spread are not torn apart"


def study_file(tmp_path, arm):
    path = tmp_path / "study.toml"
    arms = {"base": {"learning_rate": 0.0015}, "other": {"learning_rate": 0.0015, **arm}}
    path.write_text(to_toml(replace(STUDY, arms=arms)), encoding="utf-8")
    return path


def test_a_dry_run_prints_the_cost_and_refuses_what_the_run_would(tmp_path, capsys):
    assert run_cli(["compare", str(study_file(tmp_path, {"optimizer": "adamw"})), "--dry-run"]) == 0
    assert capsys.readouterr().out == "4 runs of 2 arms at hidden size 64: 1,600 optimizer steps in all\n"
    assert run_cli(["compare", str(study_file(tmp_path, {"optimiser": "adamw"})), "--dry-run"]) == 2
    assert "arms.other: options: unknown key 'optimiser'; did you mean 'optimizer'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ({}, "expected at least one .arms.NAME. table"),
        ({"a": {"optimizer": "l2"}}, "arms.a: expected a learning_rate"),
        ({"a": {"learning_rate": 0.1, "smothing": 0.1}}, "arms.a: options: unknown key 'smothing'; did you mean"),
        ({"a": {"learning_rate": 0.1, "seeds": 0}}, "arms.a.seeds: expected a positive whole number"),
    ],
)
def test_bad_arms_start_nothing(tmp_path, arms, words):
    with pytest.raises(InputError, match=words):
        run_comparison(replace(STUDY, arms=arms), tmp_path / "run", engine="inline")
    assert not (tmp_path / "run" / "records.jsonl").exists()


def record(arm="base", seed=0, *, losses, diversities, trial=0, status="finished", **changes):
    steps = [1000 * (i + 1) for i in range(len(losses))]
    made = finished_run(
        256,
        0.0015,
        losses[-1],
        trial=trial,
        seed=seed,
        status=status,
        steps=4000,
        steps_done=steps[-1],
        diversity=diversities[-1],
        arm=arm,
        curve={"step": steps, "loss": losses, "diversity": diversities, "distinct": [20.0, 9.0, 4.0, 2.0]},
        facts=Facts(vocabulary_size=8192, unigram_entropy=6.0),
    )
    return replace(made, **changes)


def records():
    good = {"losses": [6.0, 5.5, 5.0, 4.8], "diversities": [0.2, 0.3, 0.4, 0.5]}
    return [
        record("base", 0, losses=[7.0] * 4, diversities=[0.05] * 4),
        record("base", 1, losses=[7.1] * 4, diversities=[0.05] * 4, trial=1),
        record("lower", 0, trial=2, learning_rate=0.0005, **good),
        record("lower", 1, trial=3, learning_rate=0.0005, **good),
    ]


@pytest.mark.parametrize(
    ("losses", "diversities", "changes", "ended"),
    [
        ([7.0] * 4, [0.05] * 4, {}, "collapsed"),
        ([8.9] * 4, [0.6] * 4, {}, "unlearned"),
        ([6.0, 5.5, 5.0, 4.8], [0.2, 0.3, 0.4, 0.5], {}, "healthy"),
        ([7.0, 7.0, 7.0, 4.8], [0.03, 0.03, 0.03, 0.5], {}, "recovered"),
        ([7.0, 7.0, 7.0, 4.8], [0.03, 0.03, 0.03, 0.5], {"facts": Facts()}, "recovered"),
        ([7.0] * 4, [0.05] * 4, {"status": "diverged"}, "diverged"),
        ([7.0] * 4, [0.05] * 4, {"status": "collapsed", "steps_done": 3000}, "collapsed"),
        ([7.0] * 4, [0.05] * 4, {"status": "beaten", "steps_done": 3000}, "unfinished"),
    ],
)
def test_how_a_run_ended(losses, diversities, changes, ended):
    assert outcome(record(losses=losses, diversities=diversities, **changes), PruningPolicy()) == ended


def test_effects_are_paired_by_seed_and_need_two():
    base, lower = gather_arms(records())
    (effect,) = effects([base, lower])
    assert (effect.factor, effect.change) == ("learning_rate", "0.0015 → 0.0005")
    assert effect.loss.mean == pytest.approx(4.8 - 7.05)
    assert effect.loss.counted is not None
    (once,) = effects([base, replace(lower, records={0: lower.records[0]})])
    assert once.loss.counted is None
    assert effect_table([once])[1][0][-2].startswith("not repeated")
    (apart,) = effects([base, replace(lower, records={7: lower.records[0]})])
    assert effect_table([apart])[1][0][-2] == "unknown"


def test_an_arm_that_changes_several_factors_is_set_against_the_first():
    base, lower = gather_arms(records())
    (effect,) = effects([base, replace(lower, departures={"batch": 32})], {"batch": 4})
    assert effect.factor == "learning_rate+batch"
    assert effect.change == "0.0015 → 0.0005, 4 → 32"


def test_records_of_a_sweep_are_no_arm():
    mixed = [*records(), record("base", 2, losses=[7.0] * 4, diversities=[0.05] * 4, trial=9, learning_rate=0.1)]
    with pytest.raises(InputError, match="one setting for arm 'base', but trials 0 and 9 differ"):
        compare_records(mixed)
    with pytest.raises(InputError, match="no record has an arm"):
        compare_records([replace(records()[0], arm=None)])


def test_missing_columns_leave_a_dash_and_diversity_stands_in_for_counts():
    bare = [replace(item, curve={"step": [1000], "loss": [None]}, diversity=None, loss=None) for item in records()]
    text = to_markdown(compare_records(bare))
    assert "## Diversity" in text
    assert "| base | 0.0015 | – | – | – | – | – | – |" in text


def test_value_at_takes_the_nearest_report_if_it_is_near():
    run = records()[0]
    assert value_at(run, "distinct", 0.5) == 9.0
    assert value_at(run, "distinct", 0.6) is None
    assert value_at(run, "no such column", 0.5) is None


def test_a_spread_reads_well():
    assert str(Spread.of([1.0, 2.0])) == "1.500 ± 0.71"
    assert str(Spread.of([4.8])) == "4.800"
    assert str(Spread.of([None, math.nan])) == "–"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "–"),
        ([2.0, 2.1], "2.050 ± 0.071"),
        ([3.21e205, 3.23e205], "3.22e+205 ± 1.4e+203"),
        ([3.21e-205], "3.21e-205"),
    ],
)
def test_a_mean_of_any_size_is_short(values: list[float], text: str) -> None:
    assert str(Spread.of(values)) == text
