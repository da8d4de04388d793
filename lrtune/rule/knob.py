"""The coordinate of a knob: a quantity that a search chooses beside the learning rate."""

from collections.abc import Mapping

from lrtune.named import NamedTuple

FIRST = "learning_rate"  # the knob of every search


class Coordinate(NamedTuple):
    """How a knob is searched: as it is, or relative to another knob (the learning rate, say).

    value = coordinate × that knob (`times`), coordinate ÷ that knob (`over`), or the coordinate itself.
    """

    times: str = ""
    over: str = ""

    def value(self, coordinate: float, values: Mapping[str, float]) -> float:
        """The knob's value at this coordinate; `values` holds the other knobs' values."""
        return (
            coordinate * values[self.times]
            if self.times
            else coordinate / values[self.over]
            if self.over
            else coordinate
        )

    def at(self, value: float, values: Mapping[str, float]) -> float:
        """The coordinate of this value."""
        return value / values[self.times] if self.times else value * values[self.over] if self.over else value

    def named(self, name: str) -> str:
        """The coordinate of the knob `name` in a formula."""
        return f"{name}/{self.times}" if self.times else f"{name}·{self.over}" if self.over else name

    @property
    def relative(self) -> str:
        """The knob that it is relative to, or nothing."""
        return self.times or self.over

    def __str__(self) -> str:
        return f"*{self.times}" if self.times else f"/{self.over}" if self.over else ""
