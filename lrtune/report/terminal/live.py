"""The views of a running search: live on a terminal, plain lines or JSON lines elsewhere."""

import contextlib
import dataclasses
import json
import math
import shutil
import sys
import textwrap
import threading
from typing import IO, Any, Self

from rich.console import Console, RenderableType
from rich.live import Live

from lrtune.errors import plain
from lrtune.records.jsonl import to_json
from lrtune.report.terminal.frame import clock, describe_end, describe_law, render_frame
from lrtune.report.terminal.progress import Progress
from lrtune.rule import rule_to_json
from lrtune.search.events import Event, LawChanged, Note, TrialEnded

_LOOKS_PER_SECOND = 2  # of the clock and the reports: each costs about 2 ms


class View(contextlib.AbstractContextManager["View", None]):
    """A view of a search: a context manager, called with every event. This one shows nothing.

    Its stream may close (``2>&1 | head``) while the search runs.
    """

    stream: IO[str] | None = None

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def write(self, line: str) -> None:
        """Write a line, unless the stream is closed."""
        try:
            if self.stream is not None:
                self.stream.write(line + "\n")
                self.stream.flush()
        except (OSError, ValueError):
            self.stream = None


class JsonLinesView(View):
    """Every event as one JSON object per line: its fields, and its kind under ``event``."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = stream or sys.stdout

    def __call__(self, event: Event) -> None:
        self.write(event_json(event))


class PlainView(View):
    """One line per ended trial, note and change of the law, for a log."""

    def __init__(self, progress: Progress, stream: IO[str] | None = None) -> None:
        self.progress = progress
        self.stream = stream or sys.stderr
        self._law = ""

    def __call__(self, event: Event) -> None:
        self.progress.add(event)
        if isinstance(event, TrialEnded):
            self._line(f"{self.progress.ended}/{self.progress.total} {describe_end(event.record)}")
        elif isinstance(event, Note):
            self._line(plain(event.text))
        elif isinstance(event, LawChanged) and self._law != (law := describe_law(event.rule)):
            self._law = law
            self._line(f"law: {law}")

    def _line(self, text: str) -> None:
        line = f"[{clock(self.progress.elapsed)}] {text}"
        if self.stream is not None and self.stream.isatty():  # a dumb terminal
            width = shutil.get_terminal_size().columns
            line = textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        self.write(line)


class LiveView(View):
    """The state of the search, redrawn in place twice a second."""

    def __init__(self, progress: Progress, console: Console, title: str = "") -> None:
        self.progress = progress
        self.console = console
        self.title = title
        self._lock = threading.Lock()  # one thread handles events, Rich draws in another
        self.live = Live(
            get_renderable=self._draw,
            console=console,
            refresh_per_second=_LOOKS_PER_SECOND,
            transient=True,
            vertical_overflow="crop",
        )

    def _draw(self) -> RenderableType:
        with self._lock:
            return render_frame(self.progress, self.console.width, self.console.height, self.title)

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.progress.add(event)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            self.live.stop()


def event_json(event: Event) -> str:
    """One event as strict JSON: its kind in snake case, then its fields."""
    kind = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).lstrip("_")
    fields: dict[str, Any] = {name: value for name, value in vars(event).items() if not dataclasses.is_dataclass(value)}
    if isinstance(event, TrialEnded):
        fields["record"] = json.loads(to_json(event.record))
    elif isinstance(event, LawChanged):
        fields["rule"] = json.loads(rule_to_json(event.rule))
    finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}
    return json.dumps({"event": kind, **finite}, default=str, allow_nan=False)


def choose_view(progress: Progress, *, quiet: bool, json_lines: bool, title: str = "") -> View:
    """The view for this output: live, lines, JSON lines or none."""
    if json_lines:
        return JsonLinesView()
    if quiet:
        return View()
    console = Console(stderr=True, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(progress, console, title)
    return PlainView(progress)
