"""Optuna studies as tables: read from a database URL, a SQLite file or a journal, without changing it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lrtune.errors import InputError, plain, redact
from lrtune.fields import unknown_key
from lrtune.files import open_file
from lrtune.records.sqlite_files import connector, table_names
from lrtune.records.states import State, state_of
from lrtune.records.table import Row, Table, table_of
from lrtune.records.tables import read_bytes
from lrtune.trainer.measures import flat

TABLES = (
    *("studies", "study_directions", "study_user_attributes", "study_system_attributes", "version_info"),
    *("trials", "trial_user_attributes", "trial_system_attributes", "trial_params", "trial_values"),
)


def is_journal(path: Path) -> bool:
    """Whether a file starts like an Optuna journal."""
    try:
        with open_file(path) as file:
            head = file.read(4096).partition(b"\n")[0]
    except OSError:
        return False
    return head.startswith(b"{") and b'"op_code"' in head


def read_study(place: str, name: str = "") -> Table:
    """The trials of a study: parameters, user attributes, the value, and the state in the column ``state``.

    Args:
        place: a URL, or the path of a SQLite file or a journal.
        name: name of the study, required if there are several.

    Raises:
        InputError: the storage or study does not exist, or the study has no trials.
    """
    import optuna

    shown = redact(place)
    try:
        storage = _open(place)
        names = sorted(summary.study_name for summary in storage.get_all_studies())
        if not name and len(names) != 1:
            raise InputError(
                f"{shown}: expected {shown}#STUDY to name one of its studies ({plain(', '.join(names[:8])) or 'none'})"
            )
        if name and name not in names:
            raise InputError(unknown_key(shown, name, names, "study name"))
        study = optuna.load_study(study_name=name or names[0], storage=storage)
        trials = study.get_trials(deepcopy=False)
        objectives = _objectives(study)
    except InputError:
        raise
    except Exception as error:
        why = redact(error.__cause__ or error).strip().partition("\n")[0]
        raise InputError(f"{shown}: cannot read it as an Optuna storage: {why:.200}") from error
    if not trials:
        raise InputError(f"{shown}: expected trials, but study {study.study_name!r} has none")
    rows = (Row(f"trial {trial.number}", _cells(trial, list(objectives))) for trial in trials)
    return table_of(shown + (f"#{name}" if name else ""), rows, objectives=objectives)


def _objectives(study: Any) -> dict[str, bool]:
    """Objective column → whether the study maximises it."""
    maximised = [direction.name == "MAXIMIZE" for direction in study.directions]
    names = study.metric_names or (["value"] if len(maximised) == 1 else [f"values_{n}" for n in range(len(maximised))])
    return dict(zip(names, maximised, strict=True))


def _cells(trial: Any, objectives: list[str]) -> Mapping[str, Any]:
    """The cells of a trial. A parameter or user attribute overrides a study value of the same name."""
    values = dict(zip(objectives, trial.values or (), strict=False))
    cells = {**values, **flat(trial.user_attrs), **trial.params}
    state = trial.state.name.lower()
    if state == "complete" and any(excess > 0 for excess in trial.constraints.values()):
        state = "infeasible"
    verdict = trial.user_attrs.get("status")
    if state == "pruned" and state_of(verdict) in (State.COLLAPSED, State.DIVERGED):  # a search of lrtune itself
        state = str(verdict)
    return {**cells, "state": state}


def _open(place: str) -> Any:
    from optuna.storages import JournalStorage, RDBStorage

    if "://" in place:
        return RDBStorage(place, skip_table_creation=True)
    path = Path(place)
    if is_journal(path):
        return JournalStorage(_journal(path))
    if not table_names(path).issuperset(TABLES):
        raise InputError(f"{path}: expected a database of Optuna or MLflow, but it has the tables of neither")
    return RDBStorage("sqlite://", {"creator": connector(path)}, skip_table_creation=True)


def _journal(path: Path) -> Any:
    """A read-only backend for `JournalStorage`; Optuna's class opens the file for writing."""
    from optuna.storages.journal import BaseJournalBackend

    logs = list(_entries(path))

    class Journal(BaseJournalBackend):
        def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
            return logs[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise InputError(f"{path}: cannot read the journal: it is incomplete, and Optuna would write to it")

    return Journal()


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_bytes(path).decode("utf-8", errors="replace").split("\n"), start=1):
        try:
            log = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not an entry of an Optuna journal") from error
        if log is not None:
            yield log
