"""Folders of other tools, each written here as the tool writes it."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lrtune.errors import InputError
from lrtune.records.importers import Imported, read_sources

# run → size, rate, the losses that it logged, whether it ended
RUNS: dict[str, tuple[int, float, tuple[float, ...], bool]] = {
    "one": (64, 0.1, (9.0, 3.5), True),
    "two": (64, 0.2, (9.0, 3.0), True),
    "three": (64, 0.4, (9.0, float("nan")), True),
}
RUNS["four"] = (64, 0.3, (9.0,), False)
WHOLE = {(64, 0.1, 3.5, "finished"), (64, 0.2, 3.0, "finished"), (64, 0.4, None, "diverged")}


def essence(imported: Imported) -> set[tuple[int, float, float | None, str]]:
    return {(r.hidden_size, r.learning_rate, r.loss, r.status) for r in imported.records}


def ray(folder: Path) -> None:
    trials = []
    for name, (size, rate, losses, ended) in RUNS.items():
        run = folder / f"train_{name}"
        run.mkdir()
        config = {"lr": rate, "model": {"d_model": size}}
        lines = [
            {"val_loss": loss, "training_iteration": n, "done": False, "trial_id": name, "config": config}
            for n, loss in enumerate(losses, start=1)
        ]
        (run / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
        trials.append([json.dumps({"trial_id": name, "status": "TERMINATED" if ended else "RUNNING"}), "{}"])
    (folder / "experiment_state-2025.json").write_text(json.dumps({"trial_data": trials, "stats": {}}))


def test_a_trial_that_a_scheduler_of_ray_ended_was_beaten(tmp_path: Path) -> None:
    ray(tmp_path)
    state = tmp_path / "experiment_state-2025.json"
    state.write_text(state.read_text().replace("RUNNING", "TERMINATED"))
    assert essence(read_sources([tmp_path])) == WHOLE | {(64, 0.3, 9.0, "beaten")}
    state.unlink()
    assert essence(read_sources([tmp_path])) == WHOLE, "without states, a trial that others overtook did not end"
    (tmp_path / "train_two" / "error.txt").write_text("no memory")
    assert essence(read_sources([tmp_path])) == WHOLE - {(64, 0.2, 3.0, "finished")}


def _varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + _varint(value >> 7) if value > 127 else bytes([value])


def _message(*fields: tuple[int, bytes | int]) -> bytes:
    """A protocol buffer of strings, messages and whole numbers."""
    return b"".join(
        _varint(field << 3) + _varint(value)
        if isinstance(value, int)
        else _varint(field << 3 | 2) + _varint(len(value)) + value
        for field, value in fields
    )


def _items(values: dict[str, object]) -> bytes:
    return _message(*((1, _message((1, key.encode()), (16, json.dumps(v).encode()))) for key, v in values.items()))


def wandb(folder: Path) -> None:
    for name, (size, rate, losses, ended) in RUNS.items():
        run = folder / f"offline-run-20250101_000000-{name}"
        run.mkdir()
        config = {"lr": rate, "model": {"d_model": size}, "note": "x" * 40_000, "_wandb": {"python": "3"}}
        records = [_message((1, 1), (17, _message((1, name.encode()), (4, _items(config)))))]
        for step, loss in enumerate(losses):
            history = _items({"val/loss": loss, "_step": step}) + _message((2, _message((1, step))))
            records.append(_message((1, step + 2), (2, history)))
        if ended:
            records.append(_message((1, 9), (18, _message((1, 0)))))
        (run / f"run-{name}.wandb").write_bytes(b":W&B" + struct.pack("<HB", 0xBEE1, 0) + _leveldb(records))


def _leveldb(records: list[bytes]) -> bytes:
    """The records in pieces that end with blocks of 32 KiB; the checksums are left at zero."""
    data, at = b"", 7
    for record in records:
        begun = False
        while record or not begun:
            left = 2**15 - at % 2**15
            if left < 7:
                data, at = data + bytes(left), at + left
                continue
            piece, record = record[: left - 7], record[left - 7 :]
            kind = (3 if record else 4) if begun else (2 if record else 1)
            data += struct.pack("<IHB", 0, len(piece), kind) + piece
            at, begun = at + 7 + len(piece), True
    return data


def mlflow(folder: Path) -> None:
    (folder / "0").mkdir()
    (folder / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n")
    for name, (size, rate, losses, ended) in [*RUNS.items(), ("deleted", (64, 0.9, (1.0,), True))]:
        run = folder / "0" / name
        (run / "metrics" / "val").mkdir(parents=True)
        (run / "params").mkdir()
        stage = "deleted" if name == "deleted" else "active"
        (run / "meta.yaml").write_text(f"run_id: {name}\nstatus: {3 if ended else 5}\nlifecycle_stage: {stage}\n")
        (run / "params" / "lr").write_text(str(rate))
        (run / "params" / "d_model").write_text(str(size))
        lines = [f"17{n} {loss} {n}" for n, loss in reversed(list(enumerate(losses)))]
        (run / "metrics" / "val" / "loss").write_text("\n".join(lines) + "\n")


def huggingface(folder: Path) -> None:
    for name, (size, rate, losses, _) in RUNS.items():
        for step in range(len(losses)):
            checkpoint = folder / name / f"checkpoint-{step}"
            checkpoint.mkdir(parents=True)
            log: list[dict[str, float]] = [{"loss": 9.5, "learning_rate": rate, "step": 0}]
            log += [{"loss": 9.5, "learning_rate": rate / 2, "step": n} for n in range(step + 1)]
            log += [{"eval_loss": losses[n], "step": n} for n in range(step + 1)]
            state = {"global_step": step, "max_steps": 1, "log_history": log}
            (checkpoint / "trainer_state.json").write_text(json.dumps(state))
            (checkpoint / "config.json").write_text(json.dumps({"n_embd": size, "architectures": ["GPT2"]}))


def tensorboard(folder: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    writer = pytest.importorskip("torch.utils.tensorboard", reason="torch is not installed").SummaryWriter
    for name, (size, rate, losses, ended) in RUNS.items():
        if not ended:
            continue
        with writer(str(folder / name)) as events:
            for step, loss in enumerate(losses):
                events.add_scalar("val/loss", loss, step)
                events.add_scalar("lr", rate / (step + 1), step)
            events.add_hparams({"lr": rate, "d_model": size, "optimizer": "adam"}, {"hparam/done": 1})


@pytest.mark.parametrize("write", [ray, wandb, mlflow, huggingface, tensorboard], ids=lambda write: write.__name__)
def test_a_folder_gives_a_row_for_each_run(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    imported = read_sources([tmp_path])
    assert essence(imported) == WHOLE
    assert len(imported.warnings) == (write is not tensorboard)


def test_a_folder_without_readable_files_lists_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"or runs of Ray Tune \(result.json\), W&B .* but found none"):
        read_sources([tmp_path])


@pytest.mark.parametrize("write", [ray, wandb, mlflow, huggingface], ids=lambda write: write.__name__)
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, write: Callable[[Path], None]) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"lr": 1}')
    folder = tmp_path / "runs"
    folder.mkdir()
    write(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.unlink()
            path.symlink_to(secret)
    os.mkfifo(folder / "trainer_state.json")
    with pytest.raises(InputError, match="but found none"):
        read_sources([folder])


@pytest.mark.parametrize("cut", [0, 3, 7, 10, 20_000, 40_050])
def test_a_torn_log_of_wandb_is_read_as_far_as_it_goes(tmp_path: Path, cut: int) -> None:
    wandb(tmp_path)
    for path in tmp_path.rglob("*.wandb"):
        path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError):
        read_sources([tmp_path])


def test_folders_nested_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "/".join(["d"] * 60)).mkdir(parents=True)
    with pytest.raises(InputError, match="at most 50 levels of folders"):
        read_sources([tmp_path])
