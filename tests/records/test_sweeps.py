"""Sweeps as other tools write them: each file holds a sweep whose right reading is known."""

import csv
from pathlib import Path
from typing import Any

import pandas
import pytest

import lrtune
from lrtune.errors import InputError
from lrtune.records.columns import Columns
from lrtune.records.importers import Imported, read_sources
from lrtune.records.notation import number

CASES = Path(__file__).with_name("cases")


def read(name: str, **columns: Any) -> Imported:
    return read_sources([CASES / name], Columns(**columns))


def essence(imported: Imported) -> list[tuple[int, float, float | None, str]]:
    """Size, rate in three digits, loss in four decimals, status."""
    return [
        (r.hidden_size, float(f"{r.learning_rate:.3g}"), None if r.loss is None else round(r.loss, 4), r.status)
        for r in imported.records
    ]


def rows_of(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((CASES / name).read_text().splitlines()))


BASE = essence(read("base.csv"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("comma.csv", "column 'lr': read '0,00025' as 0.00025"),
        ("sep.csv", "column 'lr': read '0,00025' as 0.00025"),
        ("hashcomment.csv", "32 rows read, 32 used"),
        ("utf16.csv", "32 rows read, 32 used"),
        ("dec.parquet", "32 rows read, 32 used"),
        ("hugeint.parquet", "32 rows read, 32 used"),
    ],
)
def test_one_sweep_in_many_notations(name: str, said: str) -> None:
    imported = read(name, scales={"hidden_size": "width"})
    assert essence(imported) == BASE and len(BASE) == 32
    assert any(said in line for line in imported.summary)


def test_thousands_are_read_where_they_can_only_be_that() -> None:
    imported = read("thousands.csv")
    assert [(r[0] // 8, *r[1:]) for r in essence(imported)] == BASE
    assert "column 'width': read '1,024' as 1024" in imported.summary
    with pytest.raises(
        InputError, match=r"thousands_eu.csv, line 10, column 'width': expected a whole number .*'1.024'"
    ):
        read("thousands_eu.csv")


def test_logarithms_are_read_by_the_name_of_their_column(tmp_path: Path) -> None:
    for name, column in (("log2.csv", "log2lr"), ("neglog.csv", "-log10_lr")):
        imported = read(name, learning_rate=column, scales={"hidden_size": "width"})
        assert essence(imported) == BASE
        assert any("read as a logarithm" in line for line in imported.summary)
    text = (CASES / "neglog.csv").read_text()
    path = tmp_path / "a.csv"
    path.write_text(text.replace("-log10_lr", "log10_lr"))
    with pytest.raises(InputError, match=r"3.6021 stands for 10\^3.6021; name the column -log10_lr"):
        read_sources([path])
    path.write_text((CASES / "log2.csv").read_text().replace("log2lr", "lr"))
    with pytest.raises(
        InputError, match=r"line 2, column 'lr': expected a learning rate, but -11.9658 looks like a log"
    ):
        read_sources([path])


def test_two_columns_of_one_name_are_refused_unless_they_agree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--lr: two columns are named 'lr' and differ"):
        read("dup_header.csv", loss="val_loss")
    frame = pandas.read_csv(CASES / "dup_header.csv").rename(columns={"lr.1": "lr"})
    with pytest.raises(InputError, match="DataFrame: --lr: two columns are named 'lr' and differ"):
        read_sources([frame], Columns(loss="val_loss"))
    path = tmp_path / "a.csv"
    path.write_text("width,lr,loss,lr\n64,0.1,3,0.1\n64,0.2,3.5,0.2\n")
    assert [r.learning_rate for r in read_sources([path]).records] == [0.1, 0.2]


def test_a_row_longer_than_the_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("width,lr,loss\n64,0,00025,6,1594\n")
    with pytest.raises(
        InputError, match="line 2: expected 3 cells, as in the header, but got 5; a comma within a number"
    ):
        read_sources([path])
    path.write_text("width,lr,loss\n64,0.1,3,,\n64,0.2\n")
    assert essence(read_sources([path])) == [(64, 0.1, 3.0, "finished"), (64, 0.2, None, "diverged")]


@pytest.mark.parametrize(("name", "dropped"), [("mlflow.csv", 8), ("wandb.csv", 4), ("wandb_states.csv", 2)])
def test_a_run_that_did_not_end_is_not_a_measurement(name: str, dropped: int) -> None:
    imported = read(name)
    rows = rows_of(name)
    state, loss = ("status", "metrics.val_loss") if "status" in rows[0] else ("State", list(rows[0])[-1])
    loss = "val/loss" if "val/loss" in rows[0] else loss
    ended = [row for row in rows if row[state].lower() == "finished" or row[loss].lower() == "nan"]
    assert len(imported.records) == len(ended) == len(rows) - dropped
    finished = [number(row[loss]) for row in ended if row[loss].lower() != "nan"]
    assert [r.loss for r in imported.records if r.status == "finished"] == finished
    assert {r.status for r in imported.records} <= {"finished", "diverged"}
    assert bool(imported.warnings) == (dropped > len(rows) / 10)


def test_a_blank_is_a_cliff_where_it_stands_above_all_finished_rates(tmp_path: Path) -> None:
    blank, nan = read("cliff_empty.csv"), read("cliff_nan.csv")
    assert essence(blank) == essence(nan)
    assert sum(r.status == "diverged" for r in blank.records) == 13
    path = tmp_path / "a.csv"
    rows = ["64,0.1,", "64,0.2,3", "64,0.3,FAIL", "64,0.4,3.2", "64,0.5,FAIL", "64,0.6,OOM", "64,0.7,diverged"]
    rows += ["64,0.8,6.x", "128,0.1,", *(f"128,0.0{n},{n}" for n in range(1, 8))]
    path.write_text("\n".join(["width,lr,loss", *rows]))
    imported = read_sources([path])
    assert [r.learning_rate for r in imported.records if r.status == "diverged"] == [0.5, 0.7, 0.1]
    assert "left out, no number in 'loss': 2 rows (line 2: '')" in imported.summary
    assert "left out, failed, no number in 'loss': 1 row (line 4: 'FAIL')" in imported.summary
    assert "left out, stopped before its end, no number in 'loss': 1 row (line 7: 'OOM')" in imported.summary
    assert imported.warnings == (
        f"{path}: 4 of 16 rows could not be used: no number in 'loss': 2 rows (line 2: ''); "
        "failed, no number in 'loss': 1 row (line 4: 'FAIL'); "
        "stopped before its end, no number in 'loss': 1 row (line 7: 'OOM')",
    )


def test_more_than_half_left_out_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("width,lr,loss\n64,0.1,3\n64,x,3\n64,y,3\n")
    with pytest.raises(InputError, match=r"2 of 3 are not: no learning rate in 'lr': 2 rows \(line 3: 'x'\)"):
        read_sources([path])
    imported = read_sources([path], Columns(drop_when="lr in ('x', 'y')"))
    assert len(imported.records) == 1 and "set aside, dropped by \"lr in ('x', 'y')\": 2 rows" in imported.summary


def test_seeds_may_have_any_name() -> None:
    names, numbers = read("seedstr.csv", seed="seed"), read("seedint.csv", seed="seed")
    assert [r.seed for r in names.records] == [r.seed for r in numbers.records]
    assert {r.seed for r in names.records} == {0, 1, 2}


def test_the_last_step_of_a_run_is_its_measurement(tmp_path: Path) -> None:
    imported = read("history.csv")
    rows = rows_of("history.csv")
    assert [r.loss for r in imported.records] == [float(row["loss"]) for row in rows if row["_step"] == "1000"]
    assert "set aside, earlier rows of a run by column '_step': 160 rows" in imported.summary
    nameless = pandas.DataFrame(rows).drop(columns="run")
    assert essence(read_sources([nameless])) == essence(imported)
    path = tmp_path / "schedule.csv"
    steps = [(1, 0.1, 9), (2, 0.4, 5), (3, 0.2, 4), (4, 0.1, 3)]
    path.write_text("run,step,width,lr,loss\n" + "".join(f"a,{s},64,{lr},{y}\n" for s, lr, y in steps))
    assert essence(read_sources([path])) == [(64, 0.4, 3.0, "finished")], "the peak of the schedule, the last loss"


def test_a_run_that_ended_early_has_no_final_loss(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    ends = {"a": (0.1, 10), "b": (0.2, 10), "c": (0.3, 3), "d": (0.4, 10)}
    lines = [f"{run},{step},64,{lr},{9 - step / 2}" for run, (lr, end) in ends.items() for step in range(end + 1)]
    path.write_text("\n".join(["run_id,step,width,lr,loss", *lines]))
    imported = read_sources([path])
    assert [r.learning_rate for r in imported.records] == [0.1, 0.2, 0.4]
    why = "stopped before its end, before half of the steps of its size"
    assert f"left out, {why}: 1 row (line 27: 'step 3')" in imported.summary


def test_a_run_that_was_exported_twice_counts_once(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("ID,State,width,lr,loss\nabc001,running,64,0.1,5\nabc002,finished,64,0.2,3.1\n")
    second.write_text("ID,State,width,lr,loss\nabc001,finished,64,0.1,3.5\nabc003,finished,64,0.4,3.3\n")
    together = read_sources([first, second])
    assert essence(together) == [(64, 0.2, 3.1, "finished"), (64, 0.1, 3.5, "finished"), (64, 0.4, 3.3, "finished")]
    both = tmp_path / "both.csv"
    both.write_text(first.read_text() + second.read_text())
    assert sorted(essence(read_sources([both]))) == sorted(essence(together))
    repeats = tmp_path / "repeats.csv"
    repeats.write_text("run,width,lr,loss\n1,64,0.1,3.11\n1,64,0.2,3.21\n2,64,0.1,3.12\n2,64,0.2,3.22\n")
    assert len(read_sources([repeats]).records) == 4, "a number that counts repeats names no run"


def test_more_ways_of_writing_a_table(tmp_path: Path) -> None:
    """numpy's commented header, blanks between columns, dictionaries in cells, the header once more, a map of Arrow."""
    whole = [(64, 0.1, 3.0, "finished"), (64, 0.2, 3.5, "finished")]
    path = tmp_path / "a.txt"
    for text in (
        "# width,lr,loss\n6.4e+01,1.0e-01,3.0e+00\n6.4e+01,2.0e-01,3.5e+00\n",
        "width   lr    loss\n64  0.1  3.0\n64   0.2   3.5\n",
        "width,lr,loss\n64,0.1,3\nwidth,lr,loss\n\n# second half\n64,0.2,3.5\n",
        "name,config,summary\na,\"{'lr': 0.1, 'd_model': 64}\",\"{'val_loss': 3.0, 'x': nan}\"\n"
        'b,"{""lr"": 0.2, ""d_model"": 64}","{""val_loss"": 3.5}"\n',
        "width\tlr\tloss\r\n64\t0.1\t3\r\n64\t0.2\t3.5\r\n",
    ):
        path.write_text(text)
        assert essence(read_sources([path])) == whole, text
    frame = pandas.DataFrame({"config": [{"lr": 0.1, "width": 64}, {"lr": 0.2, "width": 64}], "loss": [3.0, 3.5]})
    assert essence(read_sources([frame])) == whole
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    kind = arrow.map_(arrow.string(), arrow.float64())
    maps = arrow.array([[("lr", 0.1), ("width", 64.0)], [("lr", 0.2), ("width", 64.0)]], type=kind)
    assert essence(read_sources([arrow.table({"params": maps, "loss": [3.0, 3.5]})])) == whole


def test_a_column_may_say_that_a_run_diverged(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("width,lr,loss,diverged,killed\n64,0.1,3,0,\n64,0.2,3.5,False,no\n64,0.4,9.5,1,\n64,0.3,2,0,yes\n")
    imported = read_sources([path])
    assert [r.status for r in imported.records] == ["finished", "finished", "diverged"]
    assert "taken as diverged, by 'diverged': 1 row (line 4: '1')" in imported.summary
    assert "left out, stopped before its end, by 'killed': 1 row (line 5: 'yes')" in imported.summary


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "columns", "size", "right"),
    [
        ("comma.csv", {}, 512, 0.00185),
        ("mlflow.csv", {}, 512, 0.00185),
        ("wandb.csv", {"loss": "val_loss", "hidden_size": "d_model"}, 64, 0.0176),
        ("wandb.csv", {}, 512, 0.00187),
        ("cliff_empty.csv", {}, 512, 0.00105),
        ("wandb_states.csv", {"hidden_size": "d_model"}, 128, 0.0062),
    ],
)
@pytest.mark.filterwarnings("ignore:.*rows could not be used")
@pytest.mark.filterwarnings("ignore:lrtune. not supported")
def test_the_right_rate_comes_out(name: str, columns: dict[str, Any], size: int, right: float) -> None:
    rule = lrtune.fit(CASES / name, **columns)
    assert right / 1.25 < lrtune.get_learning_rate(size, rule=rule) < right * 1.25
    frame = pandas.read_csv(CASES / name, sep=None, engine="python", dtype=str, keep_default_na=False)
    assert lrtune.fit(frame, **columns).cells == rule.cells


def test_a_fit_that_leaves_rows_out_warns() -> None:
    with pytest.warns(UserWarning, match="4 of 32 rows could not be used"):
        lrtune.fit(CASES / "wandb.csv")


def test_the_example_of_fit_runs() -> None:
    import doctest

    import lrtune.law.sweep

    assert doctest.testmod(lrtune.law.sweep) == doctest.TestResults(0, 4)
