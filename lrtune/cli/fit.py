"""`lrtune fit`: fit a rule to other measurements or to the folder of a search."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrtune.cli.flags import Activate, Output
from lrtune.cli.groups import Columns
from lrtune.cli.rates import rate
from lrtune.cli.terminal import command, result, say, table
from lrtune.errors import InputError, RunFailedError, redact
from lrtune.rule.answer import unpredictable
from lrtune.rule.question import asking

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.records.importers import Imported
    from lrtune.rule import Rule


def fit(
    sources: Annotated[
        list[str], typer.Argument(metavar="TABLE…", help="CSV, JSON, Parquet, Optuna, run folders: see docs/sweep.md.")
    ],
    columns: Columns,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Loss that the safe range may cost.")] = 0.01,
    level: Annotated[float, typer.Option("--level", help="Probability that an interval holds the best rate.")] = 0.9,
    output: Output = None,
    activate: Activate = False,
) -> None:
    """Fit the rule to a sweep that you have already: tables, storages, or the folder of a search."""
    from lrtune.law.fit import fit_law
    from lrtune.rule.active import ORIGIN, note_no_rule

    if output is not None and activate:
        raise InputError("--activate: cannot be combined with --output, which never activates")

    for name, value in (("--tolerance", tolerance), ("--level", level)):
        if not 0 < value < 1:
            raise InputError(f"{name}: expected a share between 0 and 1, but got {value:g}")
    imported = read_runs(sources, columns)
    origin = {ORIGIN: ", ".join(redact(source) for source in sources)}
    try:
        fitted = fit_law(
            imported.records,
            scales=imported.scales,
            tolerance=tolerance,
            level=level,
            provenance=origin,
            knobs=imported.knobs,
        )
    except RunFailedError as error:
        if output is None and (note := note_no_rule(str(error), sources)) is not None:
            say(note)
        raise
    rule = fitted.rule._replace(study=_study_of(sources))
    try:
        by_name = _write(rule, sources, output, force=activate)
    finally:
        _show(fitted)  # last: a reader that closes its end loses no file
    if by_name is not None and "hidden_size" in rule.scales:
        place = {name: scale.high for name, scale in rule.scales.items()}
        if (sizes := rule.scales["hidden_size"]).low < sizes.high:  # of one size there is no law
            place["hidden_size"] *= 2
        say(f"next: {command('lr', *asking(place), *by_name)}")


def _write(rule: "Rule", sources: Sequence[str], output: Path | None, *, force: bool) -> list[str] | None:
    """Write the rule to `output`, or to the run folders and as the active one.

    Returns:
        The flags by which `lrtune lr` finds it: none if it is active; None if it was not written.
    """
    from lrtune.rule import save_rule
    from lrtune.rule.active import activate

    if output is not None:
        save_rule(rule, output, follow_links=True)
        say(f"wrote {output}")
        return ["--rule", str(output)]
    written, problems = [], []
    for folder in (Path(source) for source in sources if is_run(source)):
        try:
            save_rule(rule, folder / "rule.json")
            written.append(folder)
            say(f"wrote {folder / 'rule.json'}")
        except InputError as error:
            problems.append(str(error))
    try:
        is_active, line = activate(rule, sources, force=force)
        remedy = command("use", str(written[0])) if written else "the same with --activate, or with -o FILE"
        say(line if is_active else f"{line}; to use this one: {remedy}")
    except InputError as error:
        is_active = False
        problems.append(str(error))
        if not written:
            raise InputError(f"{error}; choose another file with -o") from None
    for problem in problems:
        say(f"warning: {problem}")
    if is_active:
        return []
    return ["--rule", str(written[0])] if written else None


def is_run(source: str) -> bool:
    """Whether the source is the folder of a search."""
    return (Path(source) / "study.toml").is_file()


def _study_of(sources: Sequence[str]) -> str:
    """The study of the sources, as text; empty unless all are run folders of one trainer."""
    from lrtune.study.toml import load_study, to_toml

    if not all(map(is_run, sources)):
        return ""
    studies = [load_study(Path(source) / "study.toml", within=source) for source in sources]
    return to_toml(studies[0]) if len({(study.trainer, study.command) for study in studies}) == 1 else ""


def read_runs(sources: Sequence[str], columns: Columns) -> "Imported":
    """The records of all sources; a summary goes to stderr."""
    from lrtune.cli.values import parse_pairs
    from lrtune.records import columns as named
    from lrtune.records.importers import read_sources

    imported = read_sources(
        sources,
        named.Columns(
            learning_rate=columns.lr,
            loss=columns.loss,
            scales=named.parse_scale_columns(columns.scale) if columns.scale else None,
            seed=columns.seed,
            knobs=parse_pairs(columns.knob, flag="--knob", form="NAME=COL") if columns.knob else None,
            minimize_over=tuple(columns.minimize_over or ()),
            maximize=columns.maximize,
            failed_when=columns.failed_when,
            drop_when=columns.drop_when,
        ),
    )
    sign = "warning: " if imported.warnings else ""  # they name the rows that were left out
    for line in imported.summary:
        say(f"{sign}{line}" if line.startswith("left out") else line)
    return imported


def warn_of_other_sizes(rule: "Rule") -> None:
    """Say that answers at other sizes are not supported, if predicting measured sizes without their runs costs much."""
    if (doubt := unpredictable(rule)) is not None:
        say(f"warning: answers at sizes without runs are not supported by the data: {doubt.text}; train runs there")


def _show(fitted: "LawFit") -> None:
    """Print the laws and a table of the cells' optima, with the other knobs' values there."""
    from lrtune.rule import recommend
    from lrtune.rule.display import law_lines

    result("\n".join(law_lines(fitted.rule)))
    warn_of_other_sizes(fitted.rule)
    names = list(fitted.rule.scales)
    rows = []
    for cell in fitted.cells:
        interval = f"{rate(cell.low)} … {rate(cell.high)}"
        bound = {None: "", "lower": "at least", "upper": "at most"}[cell.bound]
        sizes = [f"{cell.scales[name]:g}" for name in names]
        others = recommend(rule=fitted.rule, **cell.scales).knobs.values()
        values = [rate(one.value) for one in others]
        rows.append([*sizes, rate(cell.learning_rate), interval, bound, *values, str(cell.trials)])
    level = f"{fitted.rule.level:.0%} interval"
    result(table(rows, [*names, "learning rate", level, "", *fitted.rule.knobs, "runs"]))
