"""The folders of other tools, a row for each run: Ray Tune, W&B, MLflow, Hugging Face's Trainer, TensorBoard."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, MissingExtraError
from lrtune.records.columns import is_rate
from lrtune.records.table import Row, Table, flat, table_of
from lrtune.records.tables import read_bytes
from lrtune.records.wandb_files import wandb_rows

_MOST_FILES = 200_000
_MLFLOW_STATES = {"1": "running", "2": "scheduled", "3": "finished", "4": "failed", "5": "killed"}
_Reader = Callable[[Path, list[Path]], Iterator[Row]]


def read_folder(folder: Path) -> Table:
    """The runs that a tool has written into a folder and those below it.

    Raises:
        InputError: nothing that is known lies in it.
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
        found += [path for name in sorted(names) if (path := Path(place, name)).is_file() and not path.is_symlink()]
        if len(found) > _MOST_FILES:
            raise InputError(f"{folder}: expected at most {_MOST_FILES:,} files, but there are more")
    return found


def _ray_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """Ray Tune appends each result of a trial to its ``result.json``, with the configuration in it."""
    for file in files:
        last = _last_line(file)
        metrics = {name: value for name, value in last.items() if name != "config"}
        failed = (file.parent / "error.txt").exists() or (file.parent / "error.pkl").exists()
        state = "failed" if failed else "finished" if last.get("done") else "running"
        cells = {**dict(flat({"config": last.get("config") or {}})), **dict(flat(metrics)), "state": state}
        yield Row(str(file.parent.relative_to(folder)), cells)


def _last_line(file: Path) -> dict[str, Any]:
    for line in reversed(read_bytes(file).decode("utf-8", errors="replace").split("\n")):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            return data
    return {}


def _mlflow_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """``mlruns/EXPERIMENT/RUN/``: meta.yaml, a file for each parameter, a file of "time value step" for each metric."""
    for file in files:
        run = file.parent
        meta = _yaml(file)
        if "run_id" not in meta or meta.get("lifecycle_stage") == "deleted":
            continue
        status = str(meta.get("status", ""))
        cells: dict[str, Any] = {"run_id": meta["run_id"], "status": _MLFLOW_STATES.get(status, status)}
        for path in _files(run):
            name = path.relative_to(run).as_posix()
            group, _, key = name.partition("/")
            if group == "params":
                cells[f"params.{key}"] = _line(path)
            elif group == "metrics":
                cells[f"metrics.{key}"] = _latest(path)
        yield Row(str(run.relative_to(folder)), cells)


def _line(path: Path) -> str:
    return read_bytes(path, 2**20).decode("utf-8", errors="replace").strip()


def _latest(path: Path) -> str | None:
    """The value of the last step; a metric may have been logged out of order."""
    entries = [line.split() for line in read_bytes(path).decode("utf-8", errors="replace").splitlines()]
    whole = [entry for entry in entries if len(entry) >= 2]
    return (
        max(whole, key=lambda entry: (float(entry[2]) if len(entry) > 2 else 0.0, float(entry[0])))[1]
        if whole
        else None
    )


def _yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("config", "PyYAML", f"reading {path}") from error
    try:
        data = yaml.safe_load(read_bytes(path, 2**20))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: cannot read it as YAML: {str(error).partition(chr(10))[0]:.80}") from error
    return data if isinstance(data, dict) else {}


def _huggingface_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """Of each run the state that was saved last: its model's config.json, its peak rate, the last of each metric."""
    newest: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for file in files:
        state = _json(file)
        run = file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent
        if run not in newest or state.get("global_step", 0) >= newest[run][1].get("global_step", 0):
            newest[run] = file, state
    for run, (file, state) in newest.items():
        log = [entry for entry in state.get("log_history") or () if isinstance(entry, dict)]
        metrics: dict[str, Any] = {}
        for entry in log:
            metrics.update(entry)
        rates = [rate for entry in log if isinstance(rate := entry.get("learning_rate"), int | float)]
        if rates:
            metrics["learning_rate"] = max(rates)
        ended = state.get("global_step", 0) >= (state.get("max_steps") or math.inf)
        configs = (path for path in (run / "config.json", file.parent / "config.json") if path.is_file())
        config = next((_json(path) for path in configs), {})
        cells = {**dict(flat({"config": config})), **dict(flat(metrics)), "state": "finished" if ended else "stopped"}
        yield Row(str(run.relative_to(folder)), cells)


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a JSON object, but it is not JSON") from error
    return data if isinstance(data, dict) else {}


def _tensorboard_rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    """The last of each scalar, the highest of a rate's, and the hyperparameters that were logged beside them.

    PyTorch's ``add_hparams`` writes into a folder below that of the run; the two are one run.
    """
    runs = {run: _events(run) for run in sorted({file.parent for file in files})}
    below = {
        run: [r for r in runs if r.parent == run and any(n.startswith("hparams.") for n in runs[r])] for run in runs
    }
    for run, (inner, *others) in ((run, found) for run, found in below.items() if found):
        if not others:
            runs[run] |= runs.pop(inner)
    for run, cells in runs.items():
        yield Row(str(run.relative_to(folder)), cells)


def _events(run: Path) -> dict[str, Any]:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    except ImportError as error:
        raise MissingExtraError("tensorboard", "tensorboard", f"reading {run}") from error
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 1})
    events.Reload()
    tags = events.Tags()
    cells: dict[str, Any] = {"run_id": run.name}
    with contextlib.suppress(KeyError):
        for content in events.PluginTagToContent("hparams").values():
            given = HParamsPluginData.FromString(content).session_start_info.hparams
            cells |= {
                f"hparams.{name}": getattr(v, v.WhichOneof("kind") or "string_value") for name, v in given.items()
            }
    for tag in tags["tensors"]:  # scalars of newer writers, and the configurations that Hugging Face writes as text
        proto = events.Tensors(tag)[-1].tensor_proto
        if proto.string_val:
            with contextlib.suppress(ValueError, RecursionError):
                cells |= flat({"config": json.loads(proto.string_val[0])})
        elif len(proto.float_val) == 1:
            cells[tag] = proto.float_val[0]
    for tag in tags["scalars"]:
        values = [event.value for event in events.Scalars(tag)]
        cells[tag] = max(values) if is_rate(tag) else values[-1]
    if (run / "hparams.yaml").is_file():  # Lightning's
        cells |= flat({"hparams": _yaml(run / "hparams.yaml")})
    return cells


_TOOLS: list[tuple[Callable[[Path], bool], _Reader]] = [
    (lambda file: file.name == "result.json", _ray_rows),
    (lambda file: file.suffix == ".wandb", wandb_rows),
    (lambda file: file.name == "meta.yaml", _mlflow_rows),
    (lambda file: file.name == "trainer_state.json", _huggingface_rows),
    (lambda file: file.name.startswith("events.out.tfevents."), _tensorboard_rows),
]
