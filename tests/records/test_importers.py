"""Sweeps that somebody else ran: every format gives the same records, and what is left out is counted."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from builders import finished_run

from lrtune.errors import InputError
from lrtune.records.columns import Columns, parse_scale_columns
from lrtune.records.importers import Imported, read_sources
from lrtune.records.jsonl import write_records

ROWS = [(width, rate, 3.0 + i) for width in (64, 128) for i, rate in enumerate((0.1, 0.2, 0.4))]
COLUMNS = Columns(learning_rate="lr", loss="loss", scales={"hidden_size": "width"})


def _csv(path: Path, separator: str = ",") -> Path:
    lines = [("width", "lr", "loss"), *ROWS]
    path.write_text("\n".join(separator.join(map(str, line)) for line in lines) + "\n")
    return path


def _jsonl(path: Path) -> Path:
    path.write_text("".join(json.dumps({"width": w, "lr": lr, "loss": loss}) + "\n" for w, lr, loss in ROWS))
    return path


def _parquet(path: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    names = ("width", "lr", "loss")
    columns = {name: list(column) for name, column in zip(names, zip(*ROWS, strict=True), strict=True)}
    parquet.write_table(pyarrow.table(columns), path)
    return path


def _essence(imported: Imported) -> list[tuple[int, float, float | None, str]]:
    return [(r.hidden_size, r.learning_rate, r.loss, r.status) for r in imported.records]


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: _csv(folder / "a.csv"),
        lambda folder: _csv(folder / "a.csv", ";"),
        lambda folder: _csv(folder / "a.tsv", "\t"),
        lambda folder: _jsonl(folder / "a.jsonl"),
        lambda folder: _parquet(folder / "a.parquet"),
    ],
    ids=["csv", "semicolons", "tsv", "jsonl", "parquet"],
)
def test_every_format_gives_the_same_records(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    imported = read_sources([make(tmp_path)], COLUMNS)
    assert _essence(imported) == [(w, lr, loss, "finished") for w, lr, loss in ROWS]
    assert imported.summary == (f"{next(tmp_path.iterdir())}: 6 rows read, 6 used",)


def test_an_optuna_storage_is_read(tmp_path: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="sweep", direction="maximize")
    space = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
        "width": optuna.distributions.IntDistribution(1, 1024),
    }
    for width, rate, loss in ROWS:
        study.add_trial(
            optuna.trial.create_trial(params={"lr": rate, "width": width}, distributions=space, value=-loss)
        )
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED, params={"lr": 0.8, "width": 64}, distributions=space
        )
    )
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL, params={"lr": 0.9, "width": 64}, distributions=space
        )
    )
    imported = read_sources([url], COLUMNS)
    assert _essence(imported)[:6] == [(w, lr, loss, "finished") for w, lr, loss in ROWS]
    assert _essence(imported)[6:] == [(64, 0.8, None, "beaten"), (64, 0.9, None, "diverged")]
    optuna.create_study(storage=url, study_name="other")
    with pytest.raises(InputError, match=r"#STUDY to name one of its studies \(.*sweep"):
        read_sources([url], COLUMNS)
    assert len(read_sources([f"{url}#sweep"], COLUMNS).records) == 8
    with pytest.raises(InputError, match="unknown study name 'swep'; did you mean 'sweep'"):
        read_sources([f"{url}#swep"], COLUMNS)


def test_run_folders_and_tables_come_together(tmp_path: Path) -> None:
    record = finished_run(256, 0.05, 2.5, trial=7, seed=1, steps=9)
    arm = replace(record, trial=8, arm="clip")
    run = tmp_path / "run"
    run.mkdir()
    write_records(run / "records.jsonl", [record, arm])
    with (run / "records.jsonl").open("a") as file:
        file.write("{torn")
    imported = read_sources([_csv(tmp_path / "a.csv"), run, run / "records.jsonl"], COLUMNS)
    assert [r.trial for r in imported.records] == list(range(8))
    assert [r.hidden_size for r in imported.records[6:]] == [256, 256]
    assert any("1 of comparison arms" in line for line in imported.summary)
    assert any("line 3" in line for line in imported.summary)


def test_what_is_left_out_is_counted_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "width,lr,loss\n64,0.1,3\n64,0.2,6.x\n64,0.3,nan\n64,0.4,inf\n64,0,3\n64,,3\n,0.1,3\n64,x,3\n64,0.5,soon\n64,0.6,9\n"
    )
    imported = read_sources([path], Columns(scales={"hidden_size": "width"}, failed_when="loss > 5 and lr >= 0.6"))
    assert [(r.learning_rate, r.status) for r in imported.records] == [
        (0.1, "finished"),
        (0.3, "diverged"),
        (0.4, "diverged"),
        (0.5, "diverged"),
        (0.6, "diverged"),
    ]
    assert imported.summary == (
        f"{path}: 10 rows read, 5 used",
        "left out, no hidden_size in 'width': 1 row (line 8: '')",
        "left out, no learning rate in 'lr': 3 rows (line 6: '0')",
        "left out, no number in 'loss': 1 row (line 3: '6.x')",
        "taken as diverged, 'loss' is not finite or above 1e+30: 2 rows (line 4: 'nan')",
        "taken as diverged, by --failed-when: 1 row (line 11: '9')",
        "taken as diverged, no number in 'loss', above all finished rates of its size: 1 row (line 10: 'soon')",
    )
    assert imported.warnings == (
        f"{path}: 5 of 10 rows could not be used: no learning rate in 'lr': 3 rows (line 6: '0'); "
        "no hidden_size in 'width': 1 row (line 8: ''); no number in 'loss': 1 row (line 3: '6.x')",
    )


def test_the_best_over_another_setting_counts(tmp_path: Path) -> None:
    """At 0.1 the batch of 8 has the better mean though 16 has the single best; at 0.2 it is 16."""
    path = tmp_path / "a.csv"
    path.write_text("width,lr,bs,loss\n64,0.1,8,3\n64,0.1,8,3.2\n64,0.1,16,2.9\n64,0.1,16,4\n64,0.2,8,5\n64,0.2,16,2\n")
    columns = Columns(scales={"hidden_size": "width"}, minimize_over=("bs",))
    imported = read_sources([path], columns)
    assert [(r.learning_rate, r.loss) for r in imported.records] == [(0.1, 3.0), (0.1, 3.2), (0.2, 2.0)]
    assert "set aside, not the best over bs: 3 rows" in imported.summary
    plain = read_sources([path], Columns(scales={"hidden_size": "width"}))
    assert len(plain.records) == 6 and any(line.startswith("bs vary") for line in plain.summary)


def test_a_best_over_values_that_never_meet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("width,lr,wd,loss\n64,0.1,0.013,3\n64,0.2,0.027,3.2\n")
    with pytest.raises(InputError, match="--minimize-over wd: expected several values at one size and rate"):
        read_sources([path], Columns(minimize_over=("wd",)))


@pytest.mark.parametrize(
    ("columns", "flag"),
    [
        (Columns(knobs={"adam_lr": "adam_lr"}), "--knob"),
        (Columns(scales={"hidden_size": "hidden_size"}), "--scale"),
        (Columns(maximize=True), "--maximize"),
        (Columns(drop_when="loss > 5"), "--drop-when"),
    ],
)
def test_a_flag_for_tables_is_refused_where_there_is_none(tmp_path: Path, columns: Columns, flag: str) -> None:
    record = finished_run(64, 0.1, 3.0, steps=9)
    write_records(tmp_path / "records.jsonl", [record])
    for source in (tmp_path, tmp_path / "records.jsonl"):
        with pytest.raises(InputError, match=f"{flag}: applies only to tables"):
            read_sources([source], columns)
    assert len(read_sources([tmp_path, _csv(tmp_path / "a.csv")], Columns(drop_when="loss >= 5")).records) == 5


def test_a_bare_scale_is_the_hidden_size_or_the_scale_of_its_name() -> None:
    assert parse_scale_columns(["d_model", "tokens", "batch=bs"]) == {
        "hidden_size": "d_model",
        "tokens": "tokens",
        "batch": "bs",
    }
    for given in (["d_model", "width"], ["=x"], [""], ["a="]):
        with pytest.raises(InputError, match="--scale: expected"):
            parse_scale_columns(given)


def test_columns_are_guessed_and_the_guess_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("params.learning_rate,metrics.lr,config.model.n_embd,loss,metrics.eval/loss\n0.1,0.01,64,2,3\n")
    imported = read_sources([path])
    assert _essence(imported) == [(64, 0.1, 3.0, "finished")]
    assert imported.summary[1:] == (
        "--lr: took column 'params.learning_rate'",
        "--loss: took column 'metrics.eval/loss'",
        "--scale hidden_size: took column 'config.model.n_embd'",
    )
    assert _essence(read_sources([path], Columns(learning_rate="lr"))) == [(64, 0.01, 3.0, "finished")]
    path.write_text("lr,width,d_model,loss\n0.1,64,32,3\n")
    with pytest.raises(InputError, match=r"--scale hidden_size: cannot guess the column: it may be width, d_model"):
        read_sources([path])
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"--lr: .* none is named lr, learning_rate, .*; its columns are a, b"):
        read_sources([path])


def test_a_maximised_measure_enters_negated_and_other_scales_come_along(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"model": {"N": 6e7}, "lr": "1e-3", "score": 20, "D": 1e9, "seed": 3, "relative_update": 0.01}\n')
    scales = {"parameters": "model.N", "tokens": "D"}
    imported = read_sources([path], Columns(loss="score", scales=scales, maximize=True, seed="seed"))
    (record,) = imported.records
    assert (record.loss, record.measure, record.learning_rate, record.seed) == (-20.0, 20.0, 1e-3, 3)
    assert record.scale("parameters") == 6e7 and record.scale("tokens") == 1e9
    assert record.curve["update_ratio"] == [0.01]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            Columns(learning_rate="lrr", scales={"hidden_size": "width"}),
            "--lr: unknown column 'lrr'; did you mean 'lr'?",
        ),
        (Columns(loss="los", scales={"hidden_size": "width"}), "--loss: unknown column 'los'; did you mean 'loss'?"),
        (Columns(scales={"hidden_size": "wdith"}), "did you mean 'width'?"),
        (Columns(scales={"hidden_size": "width"}, minimize_over=("bs",)), "--minimize-over: unknown column 'bs'"),
        (Columns(scales={}), "--scale: expected at least one NAME=COLUMN"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path, columns: Columns, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sources([_csv(tmp_path / "a.csv")], columns)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xls", b"", "expected .csv"),
        ("a.csv", b"", "it is empty"),
        ("a.csv", b"\xff\xfe\x00x,", "cannot read it as UTF-16"),
        ("a.jsonl", b'{"lr": 1}\n[1]\n', "line 2: expected a JSON object"),
        ("a.jsonl", b"[" * 100_000, "line 1: expected a JSON object"),
        ("a.parquet", b"no parquet", "cannot read it as Parquet"),
        ("a.csv", b"width,lr,loss\n64,0,1\n", "1 of 1 are not: no learning rate in 'lr'"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_sources([path], COLUMNS)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_source_is_one_line(tmp_path: Path) -> None:
    for source in (tmp_path / "none.csv", tmp_path, "sqlite:////nowhere/at/all.db"):
        with pytest.raises(InputError) as caught:
            read_sources([source], COLUMNS)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="but got none"):
        read_sources([], COLUMNS)
