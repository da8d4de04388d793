"""Read a run folder, complete or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrtune.errors import InputError
from lrtune.law.no_rule import NoRule, NoRuleError
from lrtune.records.jsonl import RecordsFile, read_records
from lrtune.records.record import TrialRecord
from lrtune.records.rounded import rounded
from lrtune.records.tally import counts
from lrtune.rule import Rule, load_rule
from lrtune.rule.display import law_sentence, rule_html
from lrtune.search.ending import StopReason, read_ending
from lrtune.study.knob import coordinates
from lrtune.study.study import Study
from lrtune.study.toml import load_study

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit


@dataclass(frozen=True, kw_only=True, repr=False)
class Run:
    """The content of a run folder.

    Attributes:
        folder: the folder.
        study: as resolved; None if its file is missing or damaged.
        records, bad_lines: of records.jsonl.
        rule: the rule of this run, or None.
        fit: its fit, for the curves.
        no_rule, why_no_rule: why there is no fit, and its line of text.
        ended: why the last search there ended; None while one runs, or after it was killed.
    """

    folder: Path
    study: Study | None
    records: Sequence[TrialRecord]
    bad_lines: Sequence[tuple[int, str]]
    rule: Rule | None
    fit: "LawFit | None"
    no_rule: NoRule | None = None
    why_no_rule: str = ""
    ended: StopReason | None = None

    @property
    def name(self) -> str:
        """The study's name, or the folder's."""
        return self.study.name if self.study else self.folder.name

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {self._sentence()}>"

    def _repr_html_(self) -> str:
        return rule_html(self.rule, self._sentence())

    def _sentence(self) -> str:
        law = law_sentence(self.rule, self.why_no_rule)
        return f"{len(self.records)} runs ({counts(self.records)}); {law}"


def load_run(folder: Path | str, fit: "LawFit | None" = None) -> Run:
    """Read a run folder, complete or not, without writing to it.

    >>> import lrtune
    >>> def train(trial):
    ...     trial.report(trial.steps, loss=3 + abs(trial.learning_rate * trial.hidden_size - 0.1))
    >>> done = lrtune.run_search(train, "runs/tried", widths=(16, 32), lr_min=1e-3, lr_max=1e-1, steps=1, trials=6)
    >>> len(lrtune.load_run("runs/tried").records)
    6

    Args:
        folder: the run folder.
        fit: the fitted law of its records; None fits it.

    Raises:
        InputError: the folder does not exist or is not a run folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the folder of a search")
    if not any((folder / name).exists() for name in ("records.jsonl", "study.toml", "study.db")):
        raise InputError(f"{folder}: expected the folder of a search, with study.toml and records.jsonl in it")
    path = folder / "records.jsonl"
    read = read_records(path, within=folder) if path.exists() else RecordsFile([], [])
    failure, study = None, _study(folder)
    if fit is None:
        fit, failure = _fitted(read.records, study)
    rule = None if fit is None else fit.rule
    file = folder / "rule.json"
    if (
        file.exists() and file.resolve().parent == folder.resolve()
    ):  # a link out of the folder may lead to another run's rule
        rule = load_rule(file)
    return Run(
        folder=folder,
        study=study,
        records=rounded(read.records, rule.scales if rule else ()),
        bad_lines=read.bad_lines,
        rule=rule,
        fit=fit,
        no_rule=failure.no_rule if failure else None,
        why_no_rule=str(failure or ""),
        ended=read_ending(folder),
    )


def _study(folder: Path) -> Study | None:
    try:
        return load_study(folder / "study.toml", within=folder)
    except InputError:
        return None


def _fitted(records: Sequence[TrialRecord], study: Study | None) -> "tuple[LawFit | None, NoRuleError | None]":
    """The law of the records, or the reason for its absence."""
    from lrtune.law.fit import fit_run

    try:
        return fit_run(records, knobs=coordinates(study.knobs) if study else None), None
    except NoRuleError as error:
        return None, error
