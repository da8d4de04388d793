"""Validators for values from a file, a table or another process.

A *kind* takes the field's name and its value. It returns the converted value or raises `InputError` in the form
``where: expected …, but got …``. Kinds of containers are built from kinds of items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lrtune.errors import InputError, plain

TYPE_CHECKING = False  # `typing` is not imported: see `lrtune.named`
if TYPE_CHECKING:
    from typing import Any

Kind = Callable[[str, object], "Any"]

LARGEST = 1e300  # sums and squares of larger numbers overflow
_LONGEST = 60  # characters of a name or value in a message


def show(value: object) -> str:
    """Any value as one short line for a message."""
    if isinstance(value, list | tuple) and len(value) <= 8 and all(isinstance(v, int | float | str) for v in value):
        return f"[{', '.join(map(show, value))}]"
    if not isinstance(value, str | bool | int | float | None):
        return f"a value of type {type(value).__name__}"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    text = repr(value[:_LONGEST] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def at(where: str, key: object) -> str:
    """The full name of an entry: ``study.steps``, or the bare key at the top level."""
    return f"{where}.{_line(key)}" if where else _line(key)


def _line(key: object) -> str:
    return plain(key).replace("\n", " ")[:_LONGEST]


def unexpected(where: str, expected: str, value: object) -> InputError:
    """The error for a value of the wrong kind."""
    return InputError(f"{where}: expected {expected}, but got {show(value)}")


def unknown_key(where: str, key: object, known: Iterable[str], what: str = "key") -> str:
    """One line about an unknown key. Suggests the nearest known key, or lists the nearest ten."""
    import difflib
    import itertools

    name, names = _line(key), sorted({_line(each) for each in itertools.islice(known, 1000)})
    near = difflib.get_close_matches(name, names, n=10, cutoff=0.0)
    if near and difflib.SequenceMatcher(None, near[0], name).ratio() >= 0.4:
        hint = f"did you mean {near[0]!r}?"
    else:
        hint = f"known {what}s: {', '.join(sorted(near))}{', …' if len(names) > len(near) else ''}"
    return f"{where}: unknown {what} {name!r}; {hint}"


def number(
    low: float = -LARGEST,
    high: float = LARGEST,
    *,
    above: bool = False,
    whole: bool = False,
    as_given: bool = False,
    what: str = "",
) -> Kind:
    """A finite number from `low` (exclusive with `above`) to `high`, as a float unless `whole` or `as_given`."""
    noun = "whole number" if whole else "number"
    types = (int,) if whole else (int, float)
    if above and low == 0:
        words = f"a positive {noun}"
    else:
        words = f"a {noun}" + (f" {'above' if above else 'of at least'} {low:g}" if low > -LARGEST else "")

    def read(where: str, value: object) -> float:
        if not isinstance(value, types) or isinstance(value, bool):
            raise unexpected(where, what or words, value)
        if not low <= value or (above and value == low):
            raise unexpected(where, what or words, value)
        if not value <= high:
            raise unexpected(where, what or f"a {noun} of at most {high:.10g}", value)
        return value if whole or as_given else float(value)

    return read


def text(longest: int = 2000, *, printable: bool = False, least: int = 0) -> Kind:
    """A string of `least` to `longest` characters; with `printable`, no line breaks or control characters."""
    words = f"a {'printable ' if printable else ''}string of at most {longest} characters"

    def read(where: str, value: object) -> str:
        if not isinstance(value, str) or not least <= len(value) <= longest or (printable and not value.isprintable()):
            raise unexpected(where, words if isinstance(value, str) and value else "a string", value)
        return value

    return read


def flag(where: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise unexpected(where, "true or false", value)
    return value


def choice(*choices: str | bool | None) -> Kind:
    """One of the given values."""
    words = ", ".join(str(c).lower() if isinstance(c, bool) else str(c) for c in choices)

    def read(where: str, value: object) -> Any:
        if not any(type(value) is type(each) and value == each for each in choices):
            raise unexpected(where, f"one of {words}", value)
        return value

    return read


def optional(kind: Kind) -> Kind:
    """None, or a value of `kind`."""
    return lambda where, value: None if value is None else kind(where, value)


def sequence(kind: Kind, most: int, *, least: int = 0, what: str = "a list") -> Kind:
    """A list of `least` to `most` values of one kind, returned as a tuple."""
    words = f"{what} of {least} to {most:,} entries" if least != most else f"{what} of {most} entries"

    def read(where: str, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            got = len(value) if isinstance(value, list | tuple) else show(value)
            raise InputError(f"{where}: expected {words}, but got {got}")
        return tuple(kind(where, item) for item in value)

    return read


def mapping(kind: Kind, most: int = 64, *, key: Kind | None = None) -> Kind:
    """A table of at most `most` entries of one kind; names are strings, or of kind `key`."""
    name = key or text(200)

    def read(where: str, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping) or len(value) > most:
            raise unexpected(where, f"a table of at most {most:,} entries", value)
        return {name(where, each): kind(at(where, each), item) for each, item in value.items()}

    return read


def table(kinds: Mapping[str, Kind], needed: Iterable[str] = (), *, others_pass: bool = False) -> Kind:
    """A table with known keys, each with a kind. Unknown keys raise, or are dropped with `others_pass`."""

    def read(where: str, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise unexpected(where or "file", "a table", value)
        for key in needed:
            if key not in value:
                raise InputError(f"{at(where, key)}: expected a value, but it is missing")
        for key in value:
            if key not in kinds and not others_pass:
                raise InputError(unknown_key(where or "file", key, kinds))
        return {key: kinds[key](at(where, key), item) for key, item in value.items() if key in kinds}

    return read


def check(instance: object, where: str, kinds: Mapping[str, Kind]) -> None:
    """Check the fields of a frozen dataclass and store the converted values."""
    for name, kind in kinds.items():
        object.__setattr__(instance, name, kind(at(where, name), getattr(instance, name)))
