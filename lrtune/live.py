"""The terminal view of a running search: a live one on a terminal, plain lines or JSON lines elsewhere."""

import dataclasses
import json
import math
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import IO, Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lrtune.events import Event, LawChanged, Note, TrialEnded
from lrtune.progress import Progress, RunningTrial
from lrtune.records import TrialRecord
from lrtune.rule import Rule, recommend

_BARS = "▁▂▃▄▅▆▇█"
_STATUS_STYLE = {
    "collapsed": "magenta",
    "diverged": "red",
    "beaten": "yellow",
    "failed": "bold red",
    "finished": "green",
}
_NARROW, _WIDE = 60, 90


class View(Protocol):
    """Something that watches a search: a context manager that is called with every event."""

    def __call__(self, event: Event) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Base:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class QuietView(_Base):
    """Shows nothing."""

    def __call__(self, event: Event) -> None:
        return None


class JsonLinesView(_Base):
    """Every event as one JSON object a line: its fields, and its kind under ``event``."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = stream or sys.stdout

    def __call__(self, event: Event) -> None:
        self.stream.write(event_json(event) + "\n")
        self.stream.flush()


class PlainView(_Base):
    """One line per ended trial, note and change of the law, for a log."""

    def __init__(self, progress: Progress, stream: IO[str] | None = None) -> None:
        self.progress = progress
        self.stream = stream or sys.stderr
        self._law = ""

    def __call__(self, event: Event) -> None:
        self.progress.add(event)
        text = None
        if isinstance(event, TrialEnded):
            text = f"{self.progress.ended}/{self.progress.known} {describe_end(event.record)}"
        elif isinstance(event, Note):
            text = event.text
        elif isinstance(event, LawChanged):
            text = f"law: {describe_law(event.rule)}"
            if text == self._law:
                return
            self._law = text
        if text is not None:
            self.stream.write(f"[{clock(self.progress.elapsed)}] {text}\n")
            self.stream.flush()


class LiveView(_Base):
    """The state of the search, drawn in place a few times a second."""

    def __init__(self, progress: Progress, console: Console, title: str = "") -> None:
        self.progress = progress
        self.console = console
        self.title = title
        self.live = Live(
            get_renderable=self._draw, console=console, refresh_per_second=4, transient=True, vertical_overflow="crop"
        )

    def _draw(self) -> RenderableType:
        return draw(self.progress, self.console.width, self.console.height, self.title)

    def __call__(self, event: Event) -> None:
        self.progress.add(event)

    def __enter__(self) -> Self:
        self.live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()


def draw(progress: Progress, width: int, height: int, title: str = "") -> RenderableType:
    """The whole view for a terminal of `width` × `height` characters; more detail where there is room."""
    parts: list[RenderableType] = [_headline(progress, title, width), _widths_table(progress, width)]
    if not progress.running and not progress.ended:
        parts.append(_fit("getting ready: data, then workers", width, "dim"))
    room = height - len(progress.widths) - 5
    running = list(progress.running.values())[: max(1, room // 2)]
    parts += [_running_line(trial, width) for trial in running]
    room -= len(running)
    if progress.rule is not None and room > 0:
        parts.append(_fit(f"law  {describe_law(progress.rule)}", width, "bold"))
        room -= 1
    ends: list[Text] = [_verdict_line(record, width) for record in list(progress.verdicts)[-max(0, min(5, room)) :]]
    notes = [_fit(text, width, "dim") for text in list(progress.notes)[-2:]] if room > 7 else []
    return Group(*parts, *(ends if room > 0 else []), *notes)


def _headline(progress: Progress, title: str, width: int) -> Text:
    total = f"/{progress.known}" if progress.known > progress.ended else ""
    left = progress.left
    times = f"{clock(progress.elapsed)} elapsed" + (f", {clock(left)} left" if left is not None else "")
    head = f"{title}  " if title and width >= _NARROW else ""
    return _fit(f"{head}{progress.ended}{total} runs  {times}", width, "bold")


def _widths_table(progress: Progress, width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("hidden", justify="right")
    table.add_column("done", justify="right")
    if width >= _NARROW:
        table.add_column("running", justify="right")
        table.add_column("cut", justify="right")
    table.add_column("best LR", justify="right")
    table.add_column("loss", justify="right")
    if width >= _WIDE:
        table.add_column("ended early")
    for hidden_size in sorted(progress.widths):
        state = progress.widths[hidden_size]
        running = sum(trial.hidden_size == hidden_size for trial in progress.running.values())
        best = state.best
        row = [str(hidden_size), str(state.ended)]
        if width >= _NARROW:
            row += [
                str(running) if running else "–",
                str(state.cut + state.failed) if state.cut + state.failed else "–",
            ]
        row += [f"{best.learning_rate:.3g}" if best else "–", f"{best.loss:.4g}" if best and best.loss else "–"]
        if width >= _WIDE:
            row.append(_early(progress.verdicts, hidden_size))
        table.add_row(*row)
    return table


def _early(verdicts: Iterable[TrialRecord], hidden_size: int) -> str:
    """The rates that ended early at one width, grouped by how."""
    rates: dict[str, list[float]] = {}
    for record in verdicts:
        if record.hidden_size == hidden_size:
            rates.setdefault(record.status, []).append(record.learning_rate)
    return "; ".join(f"{status} at {', '.join(f'{rate:.2g}' for rate in sorted(at))}" for status, at in rates.items())


def _running_line(trial: RunningTrial, width: int) -> Text:
    share = trial.step / trial.steps if trial.steps else 0.0
    loss = f"{trial.losses[-1]:.3g}" if trial.losses else "…"
    arm = f"{trial.arm}  " if trial.arm else ""
    text = f"{trial.hidden_size:>6} × {trial.learning_rate:<8.3g} {arm}{share:4.0%}  loss {loss:<5}"
    if width >= _NARROW:
        text += f" {sparkline(trial.losses, 12):<12}"
    if width >= _WIDE and trial.diversities:
        text += f"  diversity {trial.diversities[-1]:.2f} {sparkline(trial.diversities, 12, low=0.0, high=1.0)}"
    return _fit(text, width, "cyan")


def _verdict_line(record: TrialRecord, width: int) -> Text:
    return _fit(describe_end(record), width, _STATUS_STYLE[record.status])


def _fit(text: str, width: int, style: str = "") -> Text:
    """One line that is cut, never wrapped."""
    line = Text(text, style=style, no_wrap=True, overflow="ellipsis")
    line.truncate(width, overflow="ellipsis")
    return line


def sparkline(values: Iterable[float], length: int, low: float | None = None, high: float | None = None) -> str:
    """The last `length` values as bars between their extremes (or the ones given)."""
    shown = [value for value in values if math.isfinite(value)][-length:]
    if not shown:
        return ""
    bottom, top = min(shown) if low is None else low, max(shown) if high is None else high
    span = top - bottom or 1.0
    levels = [min(7, max(0, int((value - bottom) / span * 7.999))) for value in shown]
    return "".join(_BARS[level] for level in levels)


def describe_end(record: TrialRecord) -> str:
    """One line on how a trial ended."""
    arm = f" [{record.arm}]" if record.arm else ""
    head = f"hidden {record.hidden_size} × {record.learning_rate:.3g}{arm} {record.status}"
    if record.status != "finished":
        return f"{head} at step {record.steps_done}" + (f": {record.reason}" if record.reason else "")
    diversity = f", diversity {record.diversity:.2f}" if record.diversity is not None else ""
    loss = "none" if record.loss is None else f"{record.loss:.4g}"
    return f"{head}: loss {loss}{diversity} ({record.seconds:.0f} s)"


def describe_law(rule: Rule) -> str:
    """One line on the law as it stands: at the largest size measured and at twice that."""
    cells = [cell for cell in rule.cells if "hidden_size" in cell.scales]
    if not cells or set(rule.scales) != {"hidden_size"}:
        return f"{rule.form} over {', '.join(rule.scales)}, {len(rule.cells)} cells"
    largest = max(cells, key=lambda cell: cell.scales["hidden_size"])
    size = largest.scales["hidden_size"]
    said = [f"{largest.learning_rate:.3g} at {size:g} ({largest.low:.2g} … {largest.high:.2g})"]
    if rule.form != "table":
        beyond = recommend(size * 2, rule=rule)
        said.append(f"{beyond.learning_rate:.3g} at {size * 2:g} ({beyond.low:.2g} … {beyond.high:.2g})")
    return f"{rule.form}: {', '.join(said)}"


def clock(seconds: float) -> str:
    """1:05 or 1:02:03."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def event_json(event: Event) -> str:
    """One event as strict JSON: its kind in snake case, then its fields."""
    kind = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).lstrip("_")
    fields: dict[str, Any] = {name: value for name, value in vars(event).items() if not dataclasses.is_dataclass(value)}
    if isinstance(event, TrialEnded):
        from lrtune.records import to_json

        fields["record"] = json.loads(to_json(event.record))
    elif isinstance(event, LawChanged):
        fields["rule"] = json.loads(_rule_json(event.rule))
    finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}
    return json.dumps({"event": kind, **finite}, default=str, allow_nan=False)


def _rule_json(rule: Rule) -> str:
    from lrtune.rule import rule_to_json

    return rule_to_json(rule)


def choose_view(progress: Progress, *, quiet: bool, json_lines: bool, title: str = "") -> View:
    """The view that fits where the output goes."""
    if json_lines:
        return JsonLinesView()
    if quiet:
        return QuietView()
    console = Console(stderr=True, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(progress, console, title)
    return PlainView(progress)
