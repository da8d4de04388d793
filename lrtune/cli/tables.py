"""Verbs about measurements made elsewhere: `fit` makes a rule of them, `check` holds a rule against them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrtune.cli import options as flag
from lrtune.cli.settings import parse_pairs
from lrtune.cli.terminal import command, rate, result, result_json, say, table
from lrtune.errors import InputError, redact

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.records.importers import Imported


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: lrtune fit sweep.csv --lr lr --loss val_loss --scale hidden_size=d_model")(fit)
    app.command(epilog="Example: lrtune check lrtune-rule.json --against runs/quick")(check)


@flag.takes(flag.columns)
def fit(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(metavar="TABLE…", help="CSV, TSV, JSONL, Parquet, Optuna storage URL, run folder.")
    ],
    tolerance: Annotated[float, typer.Option("--tolerance", help="Loss that the safe range may cost.")] = 0.01,
    level: Annotated[float, typer.Option("--level", help="Share that the intervals hold.")] = 0.9,
    output: flag.Output = None,
) -> None:
    """Fit the rule to a sweep that is there already: tables, storages, or the folder of a search."""
    from lrtune.law.fit import fit_law
    from lrtune.rule.ask import save_rule

    for name, value in (("--tolerance", tolerance), ("--level", level)):
        if not 0 < value < 1:
            raise InputError(f"{name}: expected a share between 0 and 1, but got {value:g}")
    imported = _read(context, sources)
    origin = {"fitted to": ", ".join(_without_password(source) for source in sources)}
    fitted = fit_law(imported.records, scales=imported.scales, tolerance=tolerance, level=level, provenance=origin)
    targets = [output] if output is not None else [Path("lrtune-rule.json")]
    targets += [Path(source) / "rule.json" for source in sources if Path(source).is_dir() and output is None]
    for target in targets:
        try:
            save_rule(fitted.rule, target, backup=target.name == "lrtune-rule.json")
        except OSError as error:
            raise InputError(f"{target}: expected a file that can be written, but {error.strerror}") from error
    _show_fit(fitted)
    say(f"wrote {', '.join(map(str, targets))}")
    sizes = [cell.scales["hidden_size"] for cell in fitted.cells if "hidden_size" in cell.scales]
    if sizes and len(imported.scales) == 1:
        say(f"next: {command('lr', f'{max(sizes) * 2:g}', '--rule', str(targets[0]))}")


@flag.takes(flag.columns)
def check(
    context: typer.Context,
    rule: Annotated[Path, typer.Argument(metavar="RULE", help="The rule file.")],
    against: Annotated[
        list[str], typer.Option("--against", metavar="TABLE", help="A table, a storage URL or a run folder.")
    ],
    json_: flag.Json = False,
) -> None:
    """Hold a rule against measurements: predicted and measured optimum, and the regret, at each scale."""
    from lrtune.compare.check import check_rule
    from lrtune.rule.ask import load_rule

    loaded = load_rule(rule)
    found = check_rule(loaded, _read(context, against).records)
    rows = [row._asdict() for row in found.rows]
    if json_:
        result_json(rows)
    else:
        result(str(found))
    path = rule.with_name("verification.json")
    _keep(path, {", ".join(_without_password(source) for source in against): rows})
    say(f"wrote {path}")


def _read(context: typer.Context, sources: Sequence[str]) -> "Imported":
    """The records of all sources by the column flags of the verb; what was read and left out goes to stderr."""
    from lrtune.records.importers import Columns, read_sources

    given = context.params
    columns = Columns(
        learning_rate=given["lr"],
        loss=given["loss"],
        scales=parse_pairs(given["scale"] or ["hidden_size=hidden_size"], flag="--scale"),
        seed=given["seed"],
        minimize_over=tuple(given["minimize_over"] or ()),
        maximize=given["maximize"],
        failed_when=given["failed_when"],
    )
    imported = read_sources(sources, columns)
    for line in imported.summary:
        say(line)
    return imported


def _keep(path: Path, rows: dict[str, Any]) -> None:
    """Put a check beside the rule, with what is there of other checks."""
    from lrtune.files import write_whole

    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    before = known.get("check")
    content = {"schema": 1, **known, "check": {**(before if isinstance(before, dict) else {}), **rows}}
    try:
        write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be written, but {error.strerror}") from error


def _without_password(source: str) -> str:
    return redact(source) if "://" in source else source


def _show_fit(fitted: "LawFit") -> None:
    """The form, why, and what each cell's optimum is."""
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
