"""`lrtune fit`: fit a rule to other measurements or to the folder of a search."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrtune.cli.flags import Columns, Output
from lrtune.cli.rates import rate
from lrtune.cli.terminal import command, result, say, table
from lrtune.errors import InputError, redact

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.records.importers import Imported
    from lrtune.rule import Rule


def fit(
    sources: Annotated[
        list[str], typer.Argument(metavar="TABLE…", help="CSV, JSON, Parquet, Optuna, run folders: see README.")
    ],
    columns: Columns,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Loss that the safe range may cost.")] = 0.01,
    level: Annotated[float, typer.Option("--level", help="Probability that an interval holds the best rate.")] = 0.9,
    output: Output = None,
) -> None:
    """Fit the rule to a sweep that you have already: tables, storages, or the folder of a search."""
    from lrtune.law.fit import fit_law

    for name, value in (("--tolerance", tolerance), ("--level", level)):
        if not 0 < value < 1:
            raise InputError(f"{name}: expected a share between 0 and 1, but got {value:g}")
    imported = read_runs(sources, columns)
    origin = {"fitted to": ", ".join(redact(source) for source in sources)}
    fitted = fit_law(imported.records, scales=imported.scales, tolerance=tolerance, level=level, provenance=origin)
    _show(fitted)
    folders = [Path(source) for source in sources if output is None and Path(source).is_dir()]
    targets = _write(fitted.rule, output or Path("lrtune-rule.json"), folders)
    say(f"wrote {', '.join(map(str, targets))}")
    sizes = [cell.scales["hidden_size"] for cell in fitted.cells if "hidden_size" in cell.scales]
    if sizes and len(imported.scales) == 1:
        say(f"next: {command('lr', f'{max(sizes) * 2:g}', '--rule', str(targets[0]))}")


def _write(rule: "Rule", named: Path, folders: Sequence[Path]) -> list[Path]:
    """Write the rule to the named file and into the run folders; returns the files that could be written."""
    from lrtune.rule import save_rule

    written, problems = [], []
    for path in (named, *(folder / "rule.json" for folder in folders)):
        try:
            save_rule(rule, path, backup=path.name == "lrtune-rule.json", follow_links=path is named)
            written.append(path)
        except InputError as error:
            problems.append(str(error))
    if not written:
        raise InputError(f"{problems[0]}; choose another file with -o")
    for problem in problems:
        say(f"warning: {problem}")
    return written


def read_runs(sources: Sequence[str], columns: Columns) -> "Imported":
    """The records of all sources; a summary goes to stderr."""
    from lrtune.records import importers
    from lrtune.records.columns import parse_scale_columns

    imported = importers.read_sources(
        sources,
        importers.Columns(
            learning_rate=columns.lr,
            loss=columns.loss,
            scales=parse_scale_columns(columns.scale) if columns.scale else None,
            seed=columns.seed,
            minimize_over=tuple(columns.minimize_over or ()),
            maximize=columns.maximize,
            failed_when=columns.failed_when,
            drop_when=columns.drop_when,
        ),
    )
    for line in imported.summary:
        say(line)
    for line in imported.warnings:
        say(f"warning: {line}")
    return imported


def _show(fitted: "LawFit") -> None:
    """Print the law and a table of the cells' optima."""
    result(fitted.reason)
    names = list(fitted.rule.scales)
    rows = []
    for cell in fitted.cells:
        interval = f"{rate(cell.low)} … {rate(cell.high)}"
        bound = {None: "", "lower": "at least", "upper": "at most"}[cell.bound]
        sizes = [f"{cell.scales[name]:g}" for name in names]
        rows.append([*sizes, rate(cell.learning_rate), interval, bound, str(cell.trials)])
    level = f"{fitted.rule.level:.0%} interval"
    result(table(rows, [*names, "learning rate", level, "", "runs"]))
