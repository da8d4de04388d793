"""The terminal view of a running search: a live one on a terminal, plain lines or JSON lines elsewhere."""

import dataclasses
import json
import math
import sys
import threading
from types import TracebackType
from typing import IO, Any, Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live

from lrtune.report.terminal.frame import LaidOut, Rows, clock, describe_end, describe_law, draw, headline, widths_table
from lrtune.report.terminal.progress import Progress
from lrtune.rule.ask import Rule
from lrtune.search.events import Event, LawChanged, Note, TrialEnded

_LOOK_SECONDS = 0.5


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
    """The state of the search, drawn in place up to four times a second, whenever it would look different."""

    def __init__(self, progress: Progress, console: Console, title: str = "") -> None:
        self.progress = progress
        self.console = console
        self.title = title
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh_until_the_end, daemon=True)
        self._events = 0
        self._drawn: object = None
        self._table: tuple[Rows, LaidOut] | None = None
        self.live = Live(
            get_renderable=self._draw, console=console, auto_refresh=False, transient=True, vertical_overflow="crop"
        )

    def _draw(self) -> RenderableType:
        with self._guard:
            return draw(self.progress, self.console.width, self.console.height, self.title, self._lay_out)

    def _lay_out(self, rows: Rows) -> RenderableType:
        """The table of the widths; it changes when a run begins or ends, and is most of the work of drawing."""
        if self._table is None or self._table[0] != rows:
            self._table = rows, LaidOut(widths_table(rows))
        return self._table[1]

    def refresh(self) -> None:
        """Draw anew where an event, the clock or the size of the terminal has changed anything."""
        with self._guard:
            size = self.console.size
            state = (self._events, size, headline(self.progress, self.title, size.width).plain)
        if state != self._drawn:
            self._drawn = state
            self.live.refresh()

    def _refresh_until_the_end(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self.refresh()

    def __call__(self, event: Event) -> None:
        with self._guard:
            self.progress.add(event)
            self._events += 1

    def __enter__(self) -> Self:
        self.live.start(refresh=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.live.stop()


def event_json(event: Event) -> str:
    """One event as strict JSON: its kind in snake case, then its fields."""
    kind = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).lstrip("_")
    fields: dict[str, Any] = {name: value for name, value in vars(event).items() if not dataclasses.is_dataclass(value)}
    if isinstance(event, TrialEnded):
        from lrtune.records.jsonl import to_json

        fields["record"] = json.loads(to_json(event.record))
    elif isinstance(event, LawChanged):
        fields["rule"] = json.loads(_rule_json(event.rule))
    finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}
    return json.dumps({"event": kind, **finite}, default=str, allow_nan=False)


def _rule_json(rule: Rule) -> str:
    from lrtune.rule.ask import rule_to_json

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
