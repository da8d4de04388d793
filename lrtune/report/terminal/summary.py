"""The result of a search, for a terminal: loss curves, the law, recommendations, next commands."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lrtune.errors import plain
from lrtune.records.record import TrialRecord
from lrtune.records.tally import ENDED_EARLY
from lrtune.report.advice import fitted_curve
from lrtune.report.outlook import verify_words
from lrtune.report.terminal.chart import MARKS, STYLES, Axis, Chart, geometric
from lrtune.rule import Recommendation, Rule, recommend
from lrtune.rule.display import AdviceRow, advice_head, advice_rows, law_lines
from lrtune.rule.question import asking
from lrtune.study.task import place_name

if TYPE_CHECKING:
    from lrtune.compare.tables import Section
    from lrtune.law.fit import LawFit

Command = Callable[..., str]
_HEIGHT = 14
_EQUAL = 1e-6  # relative difference of losses that are the same
_WIDEST = 100
_GAP, _COLUMN = 2, 26  # blanks between the columns of a table, and the maximum width of a column


def loss_chart(
    records: Sequence[TrialRecord], fit: "LawFit | None", width: int, others: Mapping[str, float] | None = None
) -> RenderableType:
    """Loss or measure against learning rate, one mark per finished run and the fitted curve of each width.

    Runs that ended early are drawn as × on the worse edge. `others` are the values of the further scales: runs at
    other values are not drawn.
    """
    others = others or {}
    records = [record for record in records if all(record.scale(name) == value for name, value in others.items())]
    finished = [record for record in records if record.status == "finished" and record.loss is not None]
    if not finished:
        return Text("no run finished: nothing to draw")
    losses = sorted(record.loss or 0.0 for record in finished)
    span = losses[int(0.8 * (len(losses) - 1))] - losses[0]
    span = span if span > _EQUAL * abs(losses[0]) else 0.1 * abs(losses[0]) or 1.0
    rates = [record.learning_rate for record in records]
    sign = -1 if records[0].maximize else 1
    best, worst = sign * (losses[0] - 0.08 * span), sign * (losses[0] + 1.4 * span)
    chart = Chart(
        width=min(width, _WIDEST),
        height=_HEIGHT,
        x=Axis(low=min(rates) / 1.2, high=max(rates) * 1.2, log=True),
        y=Axis(low=min(best, worst), high=max(best, worst)),
    )
    widths = sorted({record.hidden_size for record in records})
    for index, hidden_size in enumerate(widths):
        style = STYLES[index % len(STYLES)]
        own = [record for record in records if record.hidden_size == hidden_size]
        place = {"hidden_size": float(hidden_size), **others} if others else hidden_size
        curve = fitted_curve(fit, place, [record.learning_rate for record in own], 60)
        chart.curve([(rate, sign * loss) for rate, loss in curve if loss < sign * worst], style)
        for record in own:
            if record.status == "finished" and record.measure is not None:
                chart.mark(record.learning_rate, record.measure, MARKS[index % len(MARKS)], style)
            elif record.status != "failed":
                chart.mark(record.learning_rate, worst, "×", style)
    legend = Text(f"{'measure' if sign < 0 else 'loss'} against learning rate{_at(others)}   ", "bold")
    for index, hidden_size in enumerate(widths):
        legend.append(f"{MARKS[index % len(MARKS)]} {hidden_size}  ", STYLES[index % len(STYLES)])
    if any(record.status in ENDED_EARLY for record in records):
        legend.append("× ended early", "dim")
    return Group(legend, chart.render())


def law_chart(rule: Rule, width: int, scale: str = "hidden_size", quantity: str = "learning rate") -> Text:
    """The law of a quantity along one scale: its line, its interval as dots, the measured optima with their intervals.

    The other scales stand at their largest measured values.
    """
    others = {name: at.high for name, at in rule.scales.items() if name != scale}
    cells = [cell for cell in rule.cells if all(cell.scales[name] == value for name, value in others.items())]
    measured = sorted({cell.scales[scale] for cell in rule.cells}) if scale in rule.scales else []
    if len(measured) < 2:
        return Text("")
    # Next to the measured sizes: at a measured size, `recommend` gives the interval of its runs, not of the law.
    last = measured[-1] * 1.001
    shown = [*geometric(measured[0] * 1.001, last, 20), *geometric(last, last * 2, 8)[1:]]
    answers = [(size, recommend(rule=rule, **{**others, scale: size})) for size in shown]
    lows = [cell.low for cell in cells] + [answer.low for _, answer in answers]
    highs = [cell.high for cell in cells] + [answer.high for _, answer in answers]
    chart = Chart(
        width=min(width, _WIDEST),
        height=_HEIGHT - 2,
        x=Axis(low=shown[0] / 1.08, high=shown[-1] * 1.08, log=True),
        y=Axis(low=min(lows) / 1.1, high=max(highs) * 1.1, log=True),
    )
    inside = [(size, answer) for size, answer in answers if size < last * 1.001]
    beyond = [(size, answer) for size, answer in answers if size > last / 1.001]
    chart.curve([(size, answer.low) for size, answer in answers], "dim", every=3)
    chart.curve([(size, answer.high) for size, answer in answers], "dim", every=3)
    chart.curve([(size, answer.learning_rate) for size, answer in inside], "bright_blue")
    chart.curve([(size, answer.learning_rate) for size, answer in beyond], "bright_blue", every=2)
    for cell in cells:
        size = cell.scales[scale]
        chart.curve([(size, cell.low), (size, cell.high)], "yellow")
        chart.mark(size, cell.learning_rate, "●", "yellow")
    title = f"best {quantity} against {scale.replace('_', ' ')}{_at(others)}"
    marks = Text("● measured  ", "yellow").append("─ law  ", "bright_blue").append("·· interval", "dim")
    gap = "   " if len(title) + 3 + len(marks) <= width else "\n"
    return Text.assemble((title, "bold"), gap, marks, "\n", chart.render())


def _at(others: Mapping[str, float]) -> str:
    return f" at {place_name(others)}" if others else ""


def recommendations(rule: Rule, width: int, targets: Sequence[Mapping[str, float]] = ()) -> RenderableType:
    """A row per measured size, and per target or for twice and four times the largest: rate, interval, basis."""
    rows = advice_rows(rule, targets)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    head = list(advice_head(rule))
    scales = len(rule.scales)
    if width < 90:
        head[: scales + 1] = [*(name.removesuffix(" size") for name in head[:scales]), "LR"]
    while len(head) > scales + 2 and _width(head, rows) > width:
        head.pop()
    for name in head:
        table.add_column(name, justify="left" if name == "basis" else "right", no_wrap=name != "basis")
    for row in rows:
        table.add_row(*row.cells[: len(head)], style="" if row.supported else "dim")
    return table


def _width(head: Sequence[str], rows: Sequence[AdviceRow]) -> int:
    """Of a table with whole words: the last column may wrap between them."""
    cells = [[title, *(row.cells[index] for row in rows)] for index, title in enumerate(head)]
    last = max((len(word) for cell in cells[-1] for word in cell.split()), default=0)
    return sum(max(map(len, column)) + _GAP for column in cells[:-1]) + last


def show(
    console: Console,
    records: Sequence[TrialRecord],
    rule: Rule | None,
    fit: "LawFit | None",
    *,
    why: str = "",
    targets: Sequence[Recommendation] = (),
) -> None:
    """Print the charts, the law and the recommendations."""
    others = {} if rule is None else {name: scale.high for name, scale in rule.scales.items() if name != "hidden_size"}
    console.print(loss_chart(records, fit, console.width, others), "")
    if rule is None:
        console.print(*([Text(plain(f"no rule: {why}"), "bold yellow")] if why else []))
        return
    laws = [("learning rate", rule), *((law.coordinate.named(name), law.rule) for name, law in rule.knobs.items())]
    for quantity, law in laws:
        for scale in rule.scales:
            chart = law_chart(law, console.width, scale, quantity=quantity)
            console.print(chart, *([""] if str(chart) else []))
    console.print(*(Text(plain(line), "bold") for line in law_lines(rule)), sep="\n")
    places = [{name: told.scales[name] for name in rule.scales} for told in targets]
    console.print(recommendations(rule, console.width, places))


def show_sections(console: Console, title: str, sections: "Sequence[Section]") -> None:
    """Print tables one below the other; a table wider than the console is split, with row names in each part."""
    console.print(Text(title, "bold"))
    for section in sections:
        console.print("", Text(section.title, "bold"), sep="\n")
        for part, columns in enumerate(_parts(section, console.width)):
            table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim")
            for index in columns:
                table.add_column(section.header[index], overflow="fold")
            for row in section.rows:
                table.add_row(*(Text(_close(row[index])) for index in columns))
            console.print(*([""] if part else []), table, sep="\n")
        if section.note:
            console.print(Text(section.note, "dim"))


def _parts(section: "Section", width: int) -> list[list[int]]:
    """The columns of a table in as few groups as fit, each with the row names first."""
    widest = [
        min(_COLUMN, max(len(_close(line[index])) for line in (section.header, *section.rows))) + _GAP
        for index in range(len(section.header))
    ]
    parts: list[list[int]] = []
    for index in (index for index in range(len(widest)) if index != section.key):
        if not parts or sum(widest[i] for i in parts[-1]) + widest[index] > width:
            parts.append([section.key])
        parts[-1].append(index)
    return parts


def _close(cell: str) -> str:
    """A value and its spread without blanks around ±."""
    return plain(cell).replace(" ± ", "±")


def next_commands(
    rule: Rule | None,
    out: Path,
    command: Command,
    targets: Sequence[Recommendation] = (),
    cost: str = "",
    *,
    is_active: bool = True,
    suspect: str = "",
) -> list[tuple[str, str]]:
    """The next commands with descriptions; `command` formats one for this shell. The first asks at a target, if any.

    `cost` says what the verification there costs. A rule that is not active is named. `suspect` is a trainer whose
    losses show no optimum.
    """
    run = str(out)
    if suspect:
        return [
            (command("check-trainer", suspect), "test the trainer"),
            (command("report", run), "charts of every run"),
        ]
    if rule is None:
        return [(command("status", run), "what was recorded"), (command("report", run), "charts of every run")]
    widths = rule.scales.get("hidden_size")
    trained = rule.conditions.get("hidden_size")
    size = widths.high if widths is not None else float(trained) if isinstance(trained, int | float) else 128.0
    # At the first target, or at another width, or, where the law has none, at twice the other scales.
    times = 1 if widths is not None else 2
    place = {name: at.high * times for name, at in rule.scales.items()} | {"hidden_size": size * (3 - times)}
    what = "ask for another size"
    if all(at.low == at.high for at in rule.scales.values()):
        place, what = {"hidden_size": size, **{name: at.high for name, at in rule.scales.items()}}, "the rate again"
    if targets:
        place, what = {"hidden_size": size, **targets[0].scales}, "ask at the target"
    flags = [part for n, v in place.items() if n != "hidden_size" for part in ("--scale", f"{n}={v:.10g}")]
    asked, study = f"{place['hidden_size']:g}", out / "study.toml"
    named = [] if is_active else ["--rule", run]
    check = f"check it there{f': {cost}' if cost else ''}"
    there = [(command("verify", asked, "--study", str(study), *flags, *named), check)]
    whole = [(command(*verify_words(rule, size, study), *named), "check the answer on whole runs")]
    return [
        (command("lr", *asking(place), *named), what),
        *(whole if not targets or size != place["hidden_size"] else []),
        *(there if targets else []),
        (command("export", "--format", "python", "-o", "learning_rate.py", *named), "use the rule without lrtune"),
    ]
