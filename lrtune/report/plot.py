"""`lrtune.plot`: the charts of a rule or a run, for a notebook."""

from pathlib import Path
from typing import TYPE_CHECKING

from lrtune.errors import InputError
from lrtune.extras import import_extra
from lrtune.report.run import Run, load_run
from lrtune.rule import Rule
from lrtune.search.options import SearchResult

if TYPE_CHECKING:
    import altair as alt


def plot(of: Rule | Run | SearchResult | str | Path, chart: str = "") -> "alt.TopLevelMixin":
    """A chart of a rule, a run folder or a search's result; a notebook draws it, ``.save("law.svg")`` writes it.

    >>> import lrtune
    >>> runs = [
    ...     {"d_model": width, "lr": 0.001 * 2.0**k, "val": 3 + 0.1 * (k - shift) ** 2}
    ...     for width, shift in ((64, 3.2), (128, 2.2), (256, 1.2))
    ...     for k in range(5)
    ... ]
    >>> chart = lrtune.plot(lrtune.fit(runs, lr="lr", loss="val", hidden_size="d_model"))
    >>> chart.to_dict()["title"]["text"]
    'The law'

    Args:
        of: a rule, a run (or its folder), or what `run_search` returns.
        chart: ``law``, ``loss``, ``courses``, ``collapse`` or ``budget``, as far as the runs have something to show;
            default: ``law``, or ``loss`` for runs without a rule.

    Raises:
        InputError: there is no such chart of it.
        MissingExtraError: Altair is not installed.
    """
    import_extra("altair", extra="report", purpose="a chart")
    from lrtune.report.plots import figures, whole_chart

    if isinstance(of, str | Path):
        of = load_run(of)
    found = figures((), of, None) if isinstance(of, Rule) else figures(of.records, of.rule, of.fit)
    made = {figure.name: figure for figure in found}
    wanted = chart or ("law" if "law" in made else "loss")
    if wanted not in made:
        raise InputError(
            f"chart: expected one of {', '.join(made) or 'none, since no run has ended'}, but got {wanted!r}"
        )
    return whole_chart(made[wanted])
