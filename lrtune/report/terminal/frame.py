"""The view of a running search, for a terminal of any size."""

import math
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lrtune.errors import plain
from lrtune.records.record import TrialRecord
from lrtune.report.terminal.progress import Place, Progress, RunningTrial, place_of
from lrtune.rule import Rule, recommend
from lrtune.rule.display import sizes
from lrtune.study.knob import beside
from lrtune.study.task import place_name

_BARS = "▁▂▃▄▅▆▇█"
_STATUS_STYLE = {
    "collapsed": "magenta",
    "diverged": "red",
    "beaten": "yellow",
    "failed": "bold red",
    "finished": "green",
}
_NARROW, _WIDE = 60, 90
_EARLY = "ended early"


def render_frame(progress: Progress, width: int, height: int, title: str = "") -> RenderableType:
    """The whole view for a terminal of `width` × `height` characters; a larger one shows more detail."""
    rows = min(len(progress.places), max(4, height - 10))
    parts: list[RenderableType] = [_headline(progress, title, width), _places_table(progress, width, rows)]
    if not progress.running and not progress.ended:
        parts.append(_fit("preparing data, then starting workers", width, "dim"))
    lines = height - rows - 5
    running = list(progress.running.values())[: max(1, lines // 2)]
    parts += [_running_line(trial, width, progress.what) for trial in running]
    lines -= len(running)
    if progress.rule is not None and lines > 0:
        parts.append(_fit(f"law  {describe_law(progress.rule)}", width, "bold"))
        lines -= 1
    late = list(progress.verdicts)[-max(0, min(5, lines)) :]
    ends: list[Text] = [_fit(describe_end(record), width, _STATUS_STYLE[record.status]) for record in late]
    notes = [_fit(text, width, "dim") for text in list(progress.notes)[-2:]] if lines > 7 else []
    return Group(*parts, *(ends if lines > 0 else []), *notes)


def _headline(progress: Progress, title: str, width: int) -> Text:
    """The number of runs, and the time."""
    total = f"/{progress.total}" if progress.total > progress.ended else ""
    times = [clock(progress.elapsed)]
    if progress.to_go:
        goal = "good enough in about" if progress.wanted is not None else "done in about"
        times.append(f"{goal} {clock(progress.to_go)}")
    if progress.left is not None:
        times.append(f"budget ends in {clock(progress.left)}")
    head = f"{title}  " if title and width >= _NARROW else ""
    return _fit(f"{head}{progress.ended}{total} runs in {', '.join(times)}", width, "bold")


def _places_table(progress: Progress, width: int, height: int) -> Table:
    """A row per hidden size and other scales; a wider terminal shows more columns, the last one in words."""
    middle = ("running", "cut") if width >= _NARROW else ()
    last = (_EARLY,) if width >= _WIDE else ()
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    shown = sorted(progress.places)[: max(1, height)]
    scales = list(dict.fromkeys(name for _, others in progress.places for name, _ in others))
    bests = [state.best for state in progress.places.values() if state.best] if middle else []
    knobs = list(dict.fromkeys(name for best in bests for name in best.knobs))
    for name in ("hidden", *scales, "done", *middle, "best LR", *knobs, progress.what, *last):
        table.add_column(name, justify="left" if name == _EARLY else "right")
    for place in shown:
        state, others = progress.places[place], dict(place[1])
        running = sum(place_of(t.start.hidden_size, t.start.scales) == place for t in progress.running.values())
        lost, best = state.cut + state.failed, state.best
        row = [str(place[0]), *(f"{others[name]:g}" if name in others else "" for name in scales), str(state.ended)]
        if middle:
            row += [str(running) if running else "–", str(lost) if lost else "–"]
        row.append(f"{best.learning_rate:.3g}" if best else "–")
        row += [f"{best.knobs[name]:.3g}" if best and name in best.knobs else "–" for name in knobs]
        row.append(f"{best.measure:.4g}" if best and best.measure is not None else "–")
        if last:
            row.append(_early(progress.verdicts, place))
        table.add_row(*row)
    if len(shown) < len(progress.places):
        table.add_row(f"and {len(progress.places) - len(shown)} more")
    return table


def _early(verdicts: Iterable[TrialRecord], place: Place) -> str:
    """The rates that ended early at one place, grouped by status."""
    rates: dict[str, list[float]] = {}
    for record in verdicts:
        if place_of(record.hidden_size, record.scales) == place:
            rates.setdefault(record.status, []).append(record.learning_rate)
    return "; ".join(f"{status} at {', '.join(f'{rate:.2g}' for rate in sorted(at))}" for status, at in rates.items())


def _running_line(trial: RunningTrial, width: int, what: str) -> Text:
    start = trial.start
    share = trial.step / start.steps if start.steps else 0.0
    loss = f"{trial.losses[-1]:.3g}" if trial.losses else "…"
    arm = f"{start.arm}  " if start.arm else ""
    rate = f"{beside(f'{start.learning_rate:.3g}', start.knobs):<8}"
    place = place_name({"hidden_size": start.hidden_size, **start.scales})
    text = f"{place} × {rate} {arm}{share:4.0%}  {what} {loss:<5}"
    if width >= _NARROW:
        text += f" {sparkline(trial.losses, 12):<12}"
    if width >= _WIDE and trial.diversities:
        text += f"  diversity {trial.diversities[-1]:.2f} {sparkline(trial.diversities, 12, low=0.0, high=1.0)}"
    return _fit(text, width, "cyan")


def _fit(text: str, width: int, style: str = "") -> Text:
    """One line, cut instead of wrapped."""
    line = Text(plain(text), style=style, no_wrap=True, overflow="ellipsis")
    line.truncate(width, overflow="ellipsis")
    return line


def sparkline(values: Iterable[float], length: int, low: float | None = None, high: float | None = None) -> str:
    """The last `length` values as bars between their extremes (or `low` and `high`)."""
    shown = [value for value in values if math.isfinite(value)][-length:]
    if not shown:
        return ""
    bottom, top = min(shown) if low is None else low, max(shown) if high is None else high
    span = top - bottom or 1.0
    levels = [min(7, max(0, int((value - bottom) / span * 7.999))) for value in shown]
    return "".join(_BARS[level] for level in levels)


def describe_end(record: TrialRecord) -> str:
    """One line on how a trial ended."""
    arm = f" [{plain(record.arm)}]" if record.arm else ""
    rate = beside(f"{record.learning_rate:.3g}", record.knobs)
    head = f"{place_name(record.place)} × {rate}{arm} {record.status}"
    if record.status != "finished":
        return f"{head} at step {record.steps_done}" + (f": {plain(record.reason)}" if record.reason else "")
    diversity = f", diversity {record.diversity:.2f}" if record.diversity is not None else ""
    loss = "none" if record.measure is None else f"{record.measure:.4g}"
    return f"{head}: {'measure' if record.maximize else 'loss'} {loss}{diversity} ({record.seconds:.0f} s)"


def describe_law(rule: Rule) -> str:
    """One line on the current law: its rates at the largest measured size and at twice that."""
    measured = sizes(rule)
    if not measured:
        return rule.reason.split(";")[0]
    largest = max(rule.cells, key=lambda cell: cell.scales["hidden_size"])
    parts = [f"{largest.learning_rate:.3g} at {measured[-1]:g} ({largest.low:.2g} … {largest.high:.2g})"]
    beyond = recommend(measured[-1] * 2, rule=rule)
    parts.append(f"{beyond.learning_rate:.3g} at {measured[-1] * 2:g} ({beyond.low:.2g} … {beyond.high:.2g})")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """1:05 or 1:02:03."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
