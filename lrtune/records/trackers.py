"""Readers for folders of Ray Tune, W&B, MLflow, Hugging Face's Trainer and TensorBoard: one row per run."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, plain
from lrtune.records.columns import is_rate
from lrtune.records.mlflow_files import mlflow_rows, read_yaml
from lrtune.records.ray_files import ray_rows
from lrtune.records.table import Row, Table, table_of
from lrtune.records.tables import read_bytes
from lrtune.records.wandb_files import wandb_rows
from lrtune.trainer.measures import flat
from lrtune.trainer.rows import events, log_history, scalars

_MOST_FILES = 200_000
_DEEPEST = 50
_Reader = Callable[[Path, list[Path]], Iterator[Row]]


def read_folder(folder: Path) -> Table:
    """Read the runs that a tool has written into a folder and its subfolders.

    Raises:
        InputError: the folder has no files of a known tool.
    """
    files = _files(folder)
    for belongs, read in _TOOLS:
        found = [file for file in files if belongs(file)]
        if found:
            return table_of(str(folder), read(folder, found))
    raise InputError(
        f"{folder}: expected a run folder of lrtune (records.jsonl), or runs of Ray Tune (result.json), W&B (*.wandb), "
        "MLflow (meta.yaml), Hugging Face (trainer_state.json) or TensorBoard (events.out.tfevents.*), but found none"
    )


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        if len(Path(place).parts) > len(folder.parts) + _DEEPEST:
            raise InputError(f"{folder}: expected at most {_DEEPEST} levels of folders, but there are more")
        found += [path for name in sorted(names) if (path := Path(place, name)).is_file() and not path.is_symlink()]
        if len(found) > _MOST_FILES:
            raise InputError(f"{folder}: expected at most {_MOST_FILES:,} files, but there are more")
    return found


def _huggingface_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """The last saved state of each run: the model's config.json, the peak rate, the last value of each metric."""
    newest: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for file in files:
        state = _json(file, folder)
        run = file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent
        if run not in newest or state.get("global_step", 0) >= newest[run][1].get("global_step", 0):
            newest[run] = file, state
    for run, (file, state) in newest.items():
        log = log_history(state)
        metrics: dict[str, Any] = {}
        for entry in log:
            metrics.update(entry)
        rates = [rate for entry in log if isinstance(rate := entry.get("learning_rate"), int | float)]
        if rates:
            metrics["learning_rate"] = max(rates)
        ended = state.get("global_step", 0) >= (state.get("max_steps") or math.inf)
        configs = (path for path in (run / "config.json", file.parent / "config.json") if path.is_file())
        config = next((_json(path, folder) for path in configs), {})
        cells = {**flat({"config": config}), **flat(metrics), "state": "finished" if ended else "stopped"}
        yield Row(plain(run.relative_to(folder)), cells)


def _json(path: Path, within: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_bytes(path, within))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a JSON object, but it is not JSON") from error
    return data if isinstance(data, dict) else {}


def _tensorboard_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """The last value of each scalar, the peak of each rate, and the logged hyperparameters.

    PyTorch's ``add_hparams`` writes into a subfolder of the run's folder; both are one run.
    """
    runs: dict[Path, dict[str, Any]] = {}
    for file in files:
        runs.setdefault(file.parent, {"run_id": str(file.parent.relative_to(folder))}).update(
            _event_cells(file, folder)
        )
    for run in [run for run in runs if run.parent in runs]:
        siblings = [other for other in runs if other.parent == run.parent]
        if len(siblings) == 1 and any(name.startswith("hparams.") for name in runs[run]):
            runs[run.parent] = {**runs.pop(run), **runs[run.parent]}
    for run, cells in runs.items():
        yield Row(plain(run.relative_to(folder)), cells)


def _event_cells(file: Path, folder: Path) -> dict[str, Any]:
    read_bytes(file, folder)  # only for its checks
    accumulator = events(file, tensors=1)
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    cells: dict[str, Any] = {}
    with contextlib.suppress(KeyError):
        for content in accumulator.PluginTagToContent("hparams").values():
            for name, value in HParamsPluginData.FromString(content).session_start_info.hparams.items():
                cells[f"hparams.{name}"] = getattr(value, value.WhichOneof("kind") or "string_value")
    for tag in accumulator.Tags()["tensors"]:  # Hugging Face stores configurations as text
        text = accumulator.Tensors(tag)[-1].tensor_proto.string_val
        if text:
            with contextlib.suppress(ValueError, RecursionError):
                cells |= flat({"config": json.loads(text[0])})
    for tag, series in scalars(accumulator).items():
        values = [value for *_, value in series]
        cells[tag] = max(values) if is_rate(tag) else values[-1]
    if (file.parent / "hparams.yaml").is_file():  # Lightning's
        cells |= flat({"hparams": read_yaml(file.parent / "hparams.yaml", folder)})
    return cells


_TOOLS: list[tuple[Callable[[Path], bool], _Reader]] = [
    (lambda file: file.name == "result.json", ray_rows),
    (lambda file: file.suffix == ".wandb", wandb_rows),
    (lambda file: file.name == "meta.yaml", mlflow_rows),
    (lambda file: file.name == "trainer_state.json", _huggingface_rows),
    (lambda file: file.name.startswith("events.out.tfevents."), _tensorboard_rows),
]
