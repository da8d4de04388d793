"""Columns of other quantities that were varied: knobs, and settings of which the best counts."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders import finished_run

from lrtune.errors import InputError
from lrtune.records.columns import Columns
from lrtune.records.importers import Imported, read_sources
from lrtune.records.jsonl import write_records
from lrtune.records.record import TrialRecord
from lrtune.rule.knob import Coordinate

TABLE = """width,lr,config/adam_lr,wd,loss
64,0.1,0.02,0,3.1
64,0.1,0.05,0.1,3.0
64,0.2,0.04,0.1,3.2
64,0.2,0.04,,3.3
"""


def read(folder: Path, text: str = TABLE, **columns: object) -> Imported:
    path = folder / "a.csv"
    path.write_text(text)
    return read_sources([path], Columns(scales={"hidden_size": "width"}, **columns))  # type: ignore[arg-type]


def test_values_come_from_their_columns_and_the_sign_says_how_the_law_sees_them(tmp_path: Path) -> None:
    knobs = {"adam_lr": "adam_lr*learning_rate", "weight_decay": "wd/learning_rate"}
    imported = read(tmp_path, knobs=knobs)
    assert [dict(record.knobs) for record in imported.records] == [
        {"adam_lr": 0.02, "weight_decay": 0.0},
        {"adam_lr": 0.05, "weight_decay": 0.1},
        {"adam_lr": 0.04, "weight_decay": 0.1},
    ]
    assert imported.knobs == {
        "adam_lr": Coordinate(times="learning_rate"),
        "weight_decay": Coordinate(over="learning_rate"),
    }
    said = "\n".join(imported.summary)
    assert "--knob adam_lr: 0.02 … 0.05, its ratio to learning_rate 0.2 … 0.5" in said
    assert "--knob weight_decay: 0.1 … 0.1, its product with learning_rate 0.01 … 0.02, zero in 1 run" in said
    assert "no weight_decay in 'wd': 1 row (line 5: '')" in said


def test_a_column_may_have_a_sign_in_its_name(tmp_path: Path) -> None:
    imported = read(tmp_path, knobs={"adam_lr": "config/adam_lr"})
    assert imported.knobs == {"adam_lr": Coordinate()} and imported.records[1].knobs == {"adam_lr": 0.05}


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        ({"adam_lr": "alr"}, "--knob: unknown column 'alr'"),
        ({"adam_lr": "adam_lr*muon_lr"}, "--knob: unknown column 'adam_lr*muon_lr'"),
        ({"hidden_size": "wd"}, "a name of its own"),
        ({"a": "wd*b", "b": "adam_lr*learning_rate"}, "b is relative itself"),
    ],
)
def test_a_wrong_column_is_refused(knobs: dict[str, str], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why.replace("*", r"\*")):
        read(tmp_path, knobs=knobs)


def run(width: int, rate: float, decay: float, loss: float, **changes: object) -> TrialRecord:
    record = finished_run(width, rate, loss, steps=9, scales={"weight_decay": decay})
    return replace(record, **changes)  # type: ignore[arg-type]


RUNS = [
    run(width, rate, decay, 3 + abs(decay - best) + rate)
    for width, best in ((64, 0.1), (128, 0.3))
    for rate in (0.1, 0.2, 0.4)
    for decay in (0.1, 0.3)
]


def test_the_best_over_a_setting_of_records_counts_and_is_told(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", RUNS)
    imported = read_sources([tmp_path], Columns(minimize_over=("weight_decay",)))
    assert [(r.hidden_size, r.loss) for r in imported.records] == [
        (w, 3 + rate) for w in (64, 128) for rate in (0.1, 0.2, 0.4)
    ]
    assert imported.scales == ("hidden_size",) and not any(record.scales for record in imported.records)
    assert "best weight_decay: 0.1 at hidden_size 64; 0.3 at hidden_size 128" in imported.summary
    assert "set aside, not the best over weight_decay: 6 records" in imported.summary


def test_runs_whose_tokens_differ_by_rounding_compete(tmp_path: Path) -> None:
    tokens = [round(1e6 * (1 + 4e-4 * (n % 7))) for n in range(len(RUNS))]
    counted = [replace(r, scales={**r.scales, "tokens": n}) for r, n in zip(RUNS, tokens, strict=True)]
    write_records(tmp_path / "records.jsonl", counted)
    assert len(read_sources([tmp_path], Columns(minimize_over=("weight_decay",))).records) == 6
    rows = [f"64,{r},{wd},{n},{3 + wd + r}\n" for r in (0.1, 0.2, 0.4) for wd, n in ((0.1, 999_936), (0.3, 1_000_192))]
    (tmp_path / "a.csv").write_text("width,lr,wd,tokens,loss\n" + "".join(rows))
    columns = Columns(scales={"hidden_size": "width", "tokens": "tokens"}, minimize_over=("wd",))
    imported = read_sources([tmp_path / "a.csv"], columns)
    assert "best wd: 0.1 at every size" in imported.summary and len(imported.records) == 3


def test_a_table_tells_what_was_best(tmp_path: Path) -> None:
    rows = "".join(f"{w},{r},{wd},{3 + wd + r}\n" for w in (64, 128) for r in (0.1, 0.2) for wd in (0.1, 0.3))
    imported = read(tmp_path, "width,lr,wd,loss\n" + rows, minimize_over=("wd",))
    assert "best wd: 0.1 at every size" in imported.summary


def test_a_continuous_setting_is_refused_with_the_knob_in_its_place(tmp_path: Path) -> None:
    knobs = [replace(record, knobs={"adam_lr": 0.01 * 1.1**n}) for n, record in enumerate(RUNS)]
    write_records(tmp_path / "records.jsonl", knobs)
    with pytest.raises(
        InputError, match=r"adam_lr: expected a few values.*got 12 in 12 runs; the law has it as a knob"
    ):
        read_sources([tmp_path], Columns(minimize_over=("adam_lr",)))
    rows = "".join(f"64,0.1,{1.1**n},3\n" for n in range(9))
    with pytest.raises(InputError, match=r"got 9 in 9 runs; what was searched continuously is a knob: --knob NAME=wd"):
        read(tmp_path, "width,lr,wd,loss\n" + rows, minimize_over=("wd",))
    with pytest.raises(InputError, match="unknown key 'adam'; did you mean 'adam_lr'"):
        read_sources([tmp_path], Columns(minimize_over=("adam",)))


def test_a_run_folder_knows_how_its_knobs_were_searched(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", [replace(record, knobs={"adam_lr": 0.01}) for record in RUNS])
    assert read_sources([tmp_path]).knobs == {"adam_lr": Coordinate()}
    (tmp_path / "study.toml").write_text("[knobs]\nadam_lr = '0.02..2*learning_rate'\n")
    assert read_sources([tmp_path]).knobs == {"adam_lr": Coordinate(times="learning_rate")}
    with pytest.raises(InputError, match=r"knobs\.adam_lr: the sources search it in different ways"):
        read_sources([tmp_path, tmp_path / "records.jsonl"])
