"""`lrtune check`: compare a rule with measurements."""

from pathlib import Path
from typing import Annotated

import typer

from lrtune.cli.fit import is_run, read_runs
from lrtune.cli.flags import Json
from lrtune.cli.groups import Columns
from lrtune.cli.terminal import result, result_json, say
from lrtune.errors import redact


def check(
    rule: Annotated[Path, typer.Argument(metavar="RULE", help="The rule file.")],
    against: Annotated[
        list[str], typer.Option("--against", metavar="TABLE", help="A table, a storage URL or a run folder.")
    ],
    columns: Columns,
    json_: Json = False,
) -> None:
    """Compare a rule with measurements: predicted and measured optimum, and the regret, at each scale.

    Runs that the rule was fitted to give no verdict.
    """
    from lrtune.compare.check import check_rule
    from lrtune.compare.setting import run_differences, study_differences
    from lrtune.compare.verification import FILE, keep
    from lrtune.rule import load_rule
    from lrtune.study.toml import load_study

    loaded = load_rule(rule)
    studies = [load_study(Path(run) / "study.toml", within=run) for run in against if is_run(run)]
    differences = [line for study in studies for line in study_differences(loaded, study)]
    records = read_runs(against, columns).records
    for line in dict.fromkeys([*differences, *run_differences(loaded, records)]):
        say(f"differs: {line}")
    checked = check_rule(loaded, records)
    rows = [row._asdict() for row in checked.rows]
    result_json(rows) if json_ else result(str(checked))
    path = rule.with_name(FILE)
    try:
        keep(path, "check", {", ".join(redact(source) for source in against): rows})
    except OSError as error:
        say(f"warning: {path}: cannot write it: {error.strerror}")
    else:
        say(f"wrote {path}")
