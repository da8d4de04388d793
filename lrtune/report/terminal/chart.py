"""Charts in a terminal: curves in braille dots, points as marks, ticks on both axes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.text import Text

MARKS = "●■▲◆○□△◇"
STYLES = ("bright_blue", "yellow", "bright_magenta", "green", "bright_cyan", "red", "white", "blue")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of a braille dot by row and column


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: its range and whether it is logarithmic (base 10)."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """The position of a value, 0 … 1 within the range."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / ((high - low) or 1.0)

    def ticks(self, most: int) -> list[float]:
        """At most `most` round values within the range."""
        if self.log:
            return log_ticks(self.low, self.high, most)
        step = 10 ** math.floor(math.log10((self.high - self.low) or 1.0)) / 10
        for factor in (1, 2, 5, 10, 20, 50, 100):
            first = math.ceil(self.low / (step * factor) - 1e-9)
            last = math.floor(self.high / (step * factor) + 1e-9)
            if last - first + 1 <= most:
                return [index * step * factor for index in range(first, last + 1)]
        return []


_FAR = 3.0  # charts beyond an edge, where lines that leave the chart end


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round values of a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**d for d in decades for m in mantissas]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


@dataclass(kw_only=True)
class Chart:
    """A chart of `width` × `height` characters, axes included.

    Attributes:
        x, y: the axes.
    """

    width: int
    height: int
    x: Axis
    y: Axis
    _cells: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)
    _dots: dict[tuple[int, int], tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ticks = self.y.ticks(max(2, self.height // 3))
        self._labels = {self._row(tick): name for tick, name in zip(ticks, _names(ticks), strict=True)}
        self._margin = max((len(label) for label in self._labels.values()), default=0) + 1
        self._columns, self._rows = max(8, self.width - self._margin - 1), max(3, self.height - 2)

    def _row(self, value: float) -> int:
        rows = max(3, self.height - 2)
        return rows - 1 - round(self.y.place(value) * (rows - 1))

    def curve(self, points: Iterable[tuple[float, float]], style: str, *, every: int = 1) -> None:
        """Dots through the points, joined; with `every` > 1 the line is broken."""
        former: tuple[int, int] | None = None
        drawn = 0
        for x, y in points:
            at = self._dot(x, y)
            if former is not None:
                for column, row in _between(former, at):
                    drawn += 1
                    if drawn % every == 0 or every == 1:
                        self._set_dot(column, row, style)
            former = at

    def mark(self, x: float, y: float, glyph: str, style: str) -> None:
        """One glyph; outside the range it is drawn at the edge."""
        column = round(min(1.0, max(0.0, self.x.place(x))) * (self._columns - 1))
        row = self._rows - 1 - round(min(1.0, max(0.0, self.y.place(y))) * (self._rows - 1))
        self._cells[column, row] = (glyph, style)

    def _dot(self, x: float, y: float) -> tuple[int, int]:
        """The dot's column and row; of a point far outside of the chart, those of a nearer one."""
        across, up = (min(max(share, -_FAR), 1 + _FAR) for share in (self.x.place(x), self.y.place(y)))
        return round(across * (self._columns * 2 - 1)), self._rows * 4 - 1 - round(up * (self._rows * 4 - 1))

    def _set_dot(self, column: int, row: int, style: str) -> None:
        if 0 <= column < self._columns * 2 and 0 <= row < self._rows * 4:
            cell = (column // 2, row // 4)
            bits, _ = self._dots.get(cell, (0, style))
            self._dots[cell] = (bits | _DOTS[row % 4][column % 2], style)

    def render(self) -> Text:
        """The chart as text, one line per row."""
        text = Text(no_wrap=True)
        for row in range(self._rows):
            label = self._labels.get(row, "")
            text.append(f"{label:>{self._margin}}" + ("┤" if label else "│"), "dim")
            for column in range(self._columns):
                if (column, row) in self._cells:
                    text.append(*self._cells[column, row])
                elif (column, row) in self._dots:
                    bits, style = self._dots[column, row]
                    text.append(chr(0x2800 + bits), style)
                else:
                    text.append(" ")
            text.append("\n")
        text.append(self._x_axis(), "dim")
        return text

    def _x_axis(self) -> str:
        line, labels = ["─"] * self._columns, [" "] * (self._columns + 1)
        free = 0
        for tick in self.x.ticks(max(2, self._columns // 9)):
            column = round(self.x.place(tick) * (self._columns - 1))
            name = f"{tick:g}"
            start = min(max(0, column - len(name) // 2), len(labels) - len(name))
            if start < free:
                continue
            line[column] = "┬"
            labels[start : start + len(name)] = name
            free = start + len(name) + 1
        pad = " " * self._margin
        return f"{pad}└{''.join(line)}\n{pad} {''.join(labels).rstrip()}"


def _names(ticks: Sequence[float]) -> list[str]:
    """The ticks in as few digits, three or more, as tell them apart."""
    every = [[f"{tick:.{digits}g}" for tick in ticks] for digits in range(3, 17)]
    return next((names for names in every if len(set(names)) == len(names)), every[-1])


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterable[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for index in range(steps + 1):
        share = index / steps
        yield round(start[0] + share * (end[0] - start[0])), round(start[1] + share * (end[1] - start[1]))


def geometric(low: float, high: float, count: int) -> Sequence[float]:
    """`count` values from `low` to `high`, evenly spaced in log."""
    ratio = math.log(high / low) / max(1, count - 1)
    return [low * math.exp(index * ratio) for index in range(count)]
