"""Programs that write logs of their own: CSV, JSON lines, text, TensorBoard, Hugging Face's trainer_state.json."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrtune.errors import InputError, LrtuneError
from lrtune.study.log import Log
from lrtune.study.study import Study
from lrtune.trainer.command import command_trainer
from lrtune.trainer.find import trainer_of
from lrtune.trainer.metrics import MetricsLog
from lrtune.trainer.rows import read_rows
from lrtune.trainer.trial import Report, Trial

Run = Callable[..., list[tuple[int, float]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a Python script in an empty folder; returns the steps and losses that it reported."""
    monkeypatch.chdir(tmp_path)

    def run(script: str, *arguments: str, keep: int = 10**6, **log: str) -> list[tuple[int, float]]:
        Path("train.py").write_text(script)
        reports: list[Report] = []

        def on_report(report: Report) -> bool:
            reports.append(report)
            return len(reports) < keep

        trial = Trial(hidden_size=64, learning_rate=1e-3, steps=30, report_every=10, id="7", on_report=on_report)
        train = command_trainer([sys.executable, "train.py", "{learning_rate}", *arguments], Log(**log)).train
        assert train is not None
        train(trial)
        return [(report.step, report.loss) for report in reports]

    return run


CSV = """
import os, sys
os.makedirs(sys.argv[2])
with open(sys.argv[2] + "/metrics.csv", "w", buffering=1) as file:
    print("step,train/loss,val/loss", file=file)
    for step in range(0, 31, 5):
        print(f"{step},9,{5 - step / 10 if step % 10 == 0 else ''}", file=file)
"""
MEASURES = [(0, 5.0), (10, 4.0), (20, 3.0), (30, 2.0)]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["runs/{id}", "{output}"])
def test_a_csv_file_is_read_by_its_column(run: Run, place: str) -> None:
    assert run(CSV, place, metrics=place + "/metrics.csv", metric="val/loss") == MEASURES
    assert Path("runs/7/metrics.csv").exists() == (place == "runs/{id}")


@pytest.mark.slow
def test_of_a_folder_the_log_with_the_metric_counts(run: Run) -> None:
    script = CSV + "open(sys.argv[2] + '/other.csv', 'w').write('a,b\\n1,2\\n')\n"
    assert run(script, "runs/{id}", metrics="runs/{id}", metric="val/loss") == MEASURES


@pytest.mark.slow
def test_a_program_that_is_stopped_by_its_log_ends_at_once(run: Run) -> None:
    script = """
import os, sys, time
os.makedirs("runs/7")
file = open("runs/7/m.csv", "w", buffering=1)
print("step,loss\\n10,4.5", file=file)
time.sleep(60)
"""
    assert run(script, metrics="runs/{id}/m.csv", keep=1) == [(10, 4.5)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["w", "a"])
def test_what_an_earlier_run_has_written_does_not_count(run: Run, mode: str) -> None:
    script = f"""
import os
os.makedirs("runs/7", exist_ok=True)
with open("runs/7/m.jsonl", "{mode}") as file:
    file.write('{{"step": 10, "loss": 3.0}}\\n{{"step": 30, "loss": 2.0}}\\n')
"""
    for _ in range(2):
        assert run(script, metrics="runs/{id}/m.jsonl") == [(10, 3.0), (30, 2.0)]


@pytest.mark.slow
def test_json_lines_may_have_any_keys(run: Run) -> None:
    script = """
import json
for step in range(0, 31, 10):
    print(json.dumps({"iter": step, "loss": 9, "val": {"loss": 5 - step / 10}}))
"""
    assert run(script, metric="val.loss") == MEASURES


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("end", ["\\n", "\\r"])
def test_a_pattern_finds_the_loss_in_the_output(run: Run, stream: str, end: str) -> None:
    script = f"""
import sys
for step in range(0, 31, 10):
    print(f"step {{step}}: train loss 9.0, val loss {{5 - step / 10}}", file=sys.{stream}, end="{end}")
"""
    assert run(script, loss_pattern=r"val loss ([\d.]+)") == MEASURES


@pytest.mark.slow
def test_a_pattern_may_name_the_step_and_search_a_file(run: Run) -> None:
    script = "print('epoch 3 | it=30 | nll: nan', file=open('7.txt', 'w'))"
    (report,) = run(script, metrics="{id}.txt", loss_pattern=r"it=(?P<step>\d+) .* nll: (?P<loss>\S+)")
    assert report[0] == 30 and report[1] != report[1]


@pytest.mark.slow
def test_losses_without_a_step_are_an_interval_apart_and_the_last_is_the_final_one(run: Run) -> None:
    assert run("print('loss 4'); print('loss 3')", loss_pattern=r"loss (\d)") == [(10, 4), (20, 3), (30, 3)]
    with pytest.raises(InputError, match="no step beside the loss, and more than 3 losses every 10 steps"):
        run("print('loss 4\\n' * 9)", loss_pattern=r"loss (\d)")


@pytest.mark.slow
def test_the_last_measure_is_the_final_one_only_within_an_interval_of_the_end(run: Run) -> None:
    script = "for step in {}: print('step', step, 'loss', step)"
    assert run(script.format((9, 19, 29)), loss_pattern="loss (.*)")[-1] == (30, 29)
    assert run(script.format((9, 19)), loss_pattern="loss (.*)")[-1] == (19, 19)


@pytest.mark.slow
def test_hugging_faces_state_is_read_from_its_newest_checkpoint(run: Run) -> None:
    script = """
import json, os
history = []
for step in (10, 20, 30):
    history += [{"step": step, "loss": 9.0, "learning_rate": 1e-3}, {"step": step, "eval_loss": 5 - step / 10}]
    os.makedirs(f"runs/7/checkpoint-{step}")
    with open(f"runs/7/checkpoint-{step}/trainer_state.json", "w") as file:
        json.dump({"global_step": step, "log_history": history}, file, indent=2)
"""
    assert run(script, metrics="runs/{id}", metric="eval_loss") == MEASURES[1:]


@pytest.mark.slow
def test_tensorboards_events_are_read_by_tag(run: Run) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    pytest.importorskip("torch.utils.tensorboard", reason="torch is not installed")
    script = """
from torch.utils.tensorboard import SummaryWriter
writer = SummaryWriter("runs/7")
for step in range(0, 31, 10):
    writer.add_scalar("train/loss", 9, step)
    writer.add_scalar("val/loss", 5 - step / 10, step)
writer.close()
"""
    assert run(script, metrics="runs/{id}", metric="val/loss") == MEASURES


WRONG: list[tuple[str, dict[str, str], str]] = [
    ("", {"metrics": "runs/{id}/m.csv"}, r"no log came at runs/7/m\.csv; the working folder has train\.py"),
    (
        CSV,
        {"metrics": "{output}/metrics.csv", "metric": "val_loss"},
        r"no 'val_loss'; it has step, train/loss, val/loss",
    ),
    ('print(\'{"step": 1, "nll": 2}\')', {"metric": "loss"}, "no JSON line has 'loss'; they have step, nll"),
    ('print(\'{"step": 1, "nll": 2}\')', {}, "name its key with --metric"),
    ("print('loss 3')", {"loss_pattern": "nll (.*)"}, r"no line of the output matches 'nll \(\.\*\)'.*\nloss 3"),
    ("print('loss 3')", {}, "`lrtune check-trainer` finds other logs, which --metrics"),
    ("print('step 9 loss low')", {"loss_pattern": "loss (.*)"}, "expected a number for loss, but got 'low'"),
    (
        "print('step 20 loss 1'); print('step 10 loss 1')",
        {"loss_pattern": "loss (.*)"},
        "expected steps in order, but got 10 after 20",
    ),
    ("print('step 99 loss 1')", {"loss_pattern": "loss (.*)"}, "30 steps, but got a report of step 99; set --steps"),
    (CSV, {"metrics": "{output}/metrics.csv", "metric": "val/loss", "step_column": "it"}, "no 'it' beside 'val/loss'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "log", "message"), WRONG, ids=[message[:30] for *_, message in WRONG])
def test_a_log_that_cannot_be_used_says_what_is_there(run: Run, script: str, log: dict[str, str], message: str) -> None:
    with pytest.raises(LrtuneError, match=message):
        run(script, "{output}", **log)


def grow_csv(folder: Path, step: int) -> None:
    with (folder / "m.csv").open("a") as file:
        print("" if step else "step,train/loss,val/loss\n", f"{step},9,\n{step},,{step}", sep="", file=file)


def grow_csv_whole(folder: Path, step: int) -> None:
    """As Lightning does: the whole file again, with a column more."""
    rows = [f"{each},{each}," for each in range(0, step + 1, 10)]
    (folder / "m.csv").write_text("\n".join(["step,val/loss," + "x" * step, *rows]) + "\n")


def grow_state(folder: Path, step: int) -> None:
    (folder / f"checkpoint-{step}").mkdir()
    history = [{"step": each, "val/loss": each} for each in range(0, step + 1, 10)]
    (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"log_history": history}))


def grow_events(folder: Path, step: int) -> None:
    writers = pytest.importorskip("tensorboard.summary", reason="tensorboard is not installed")
    writer = WRITERS.setdefault(folder, writers.Writer(str(folder)))
    for tag in ("a", "val/loss", "z"):
        writer.add_scalar(tag, float(step), step)
    writer.flush()


WRITERS: dict[Path, Any] = {}


@pytest.mark.parametrize("grow", [grow_csv, grow_csv_whole, grow_state, grow_events])
def test_each_measure_of_a_log_that_grows_is_reported_once(
    grow: Callable[[Path, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrtune.trainer.metrics._LEAST_PAUSE", 0.0)
    monkeypatch.setattr("lrtune.trainer.metrics._SHARE", float("inf"))
    log = MetricsLog(tmp_path, Log(metric="val/loss"))
    found = []
    for step in (0, 10, 20, 30):
        grow(tmp_path, step)
        found.append([measure.step for measure in log.new_measures()])
        assert log.new_measures() == []
    assert found == [[0], [10], [20], [30]] and log.new_measures(has_ended=True) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrics": "runs/metrics.csv"}, r"expected \{id\} in the path"),
        ({"metrics": "runs/{run}/m.csv"}, r"unknown placeholder \{run\}; known: .*\{id\}"),
        ({"metrics": "runs/{id}/{width}.csv"}, r"unknown placeholder \{width\}; known: .*\{hidden_size\}.* \{depth\}"),
        ({"command": ("train", "{lr}", "{learning_rate}")}, r"unknown placeholder \{lr\}; .*\{\{lr\}\} for a literal"),
    ],
)
def test_a_study_whose_placeholders_are_wrong_is_refused(fields: dict[str, Any], message: str) -> None:
    command = fields.pop("command", ("train", "{learning_rate}", "{depth}", "{word}", "${HOME}", "{{x}}"))
    study = Study(command=command, log=Log(**fields), scales={"depth": (1, 2)}, options={"word": "x"})
    with pytest.raises(InputError, match=message):
        trainer = trainer_of(study)
        assert trainer.check is not None
        trainer.check(study)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a;b\n1;2\n3;", [{"a": "1", "b": "2"}]),
        ("a\tb\n1\t2\n", [{"a": "1", "b": "2"}]),
        ('{"a": NaN}\nnoise\n{"a": 2}\n{"a"', [{"a": pytest.approx(float("nan"), nan_ok=True)}, {"a": 2}]),
        ("", []),
    ],
)
def test_a_log_that_still_grows_is_read_up_to_its_last_whole_line(
    tmp_path: Path, text: str, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    assert read_rows(path, has_ended=False) == rows


def test_a_state_that_is_being_written_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": [{"step": 1, "eval_loss": 2.0}]})[:-5])
    assert read_rows(path) == []
