"""Parse the values of flags."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from lrtune.errors import InputError
from lrtune.fields import LARGEST


def parse_widths(text: str, *, flag: str = "--widths") -> tuple[int, ...]:
    """Hidden sizes from ``32,64,128``."""
    try:
        return tuple(int(part) for part in text.replace(" ", "").split(","))
    except ValueError:
        raise InputError(f"{flag}: expected hidden sizes such as 32,64,128, but got {text!r:.60}") from None


def parse_budget(text: str) -> float:
    """Seconds from ``90s``, ``10m`` or ``1h30m``."""
    from lrtune.study.toml import parse_seconds

    return parse_seconds(text, field="--budget")


def parse_pairs(pairs: Sequence[str], *, flag: str, form: str = "NAME=VALUE") -> dict[str, str]:
    """``NAME=VALUE`` items as a mapping; `form` says what is expected."""
    found = {}
    for pair in pairs:
        name, _, value = (part.strip() for part in pair.partition("="))
        if not (name and value):
            raise InputError(f"{flag}: expected {form}, but got {pair!r:.60}")
        if name in found:
            raise InputError(f"{flag}: expected each name once, but got {name!r:.40} twice")
        found[name] = value
    return found


def parse_numbers(pairs: Sequence[str], *, flag: str) -> dict[str, float]:
    """``NAME=NUMBER`` items as a mapping."""
    found = {}
    for name, text in parse_pairs(pairs, flag=flag, form="NAME=NUMBER").items():
        try:
            found[name] = float(text)
        except ValueError:
            raise InputError(f"{flag}: expected a number for {name}, but got {text!r:.40}") from None
    return found


def parse_place(pairs: Sequence[str], **lengths: float | None) -> dict[str, float]:
    """The scales of a question, without its hidden size: from ``--scale NAME=NUMBER`` and from `lengths`, each a flag.

    Raises:
        InputError: an item is malformed or names the hidden size, or a flag and ``--scale`` give other values.
    """
    found = parse_numbers(pairs, flag="--scale")
    if "hidden_size" in found:
        raise InputError("--scale: expected another scale than hidden_size, which has a place of its own: see --help")
    for name, value in lengths.items():
        if value is not None and found.setdefault(name, value) != value:
            raise disagreement(flag_of(name), name, f"{value:g}", f"{found[name]:g}")
    return found


def flag_of(name: str) -> str:
    """The flag of a setting or scale."""
    return "--" + name.replace("_", "-")


def disagreement(flag: str, scale: str, value: str, other: str) -> InputError:
    """The error that a flag gives a scale one value, and ``--scale`` another."""
    return InputError(f"{flag}: expected {flag} or --scale {scale}=…, but got {value} and {other}")


def parse_scales(pairs: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Values of further scales from ``NAME=V1,V2`` items."""
    texts = parse_pairs(pairs, flag="--scale", form="NAME=V1,V2")
    return {name: parse_values(text, flag=f"--scale {name}") for name, text in texts.items()}


def parse_knobs(pairs: Sequence[str]) -> dict[str, str]:
    """The ranges of knobs from ``NAME=LO..HI`` items; the study reads them."""
    return parse_pairs(pairs, flag="--knob", form="NAME=LO..HI")


def parse_values(text: str, *, flag: str) -> tuple[float, ...]:
    """Positive numbers from ``1,2,4``."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value < LARGEST for value in values):
        raise InputError(f"{flag}: expected positive numbers such as 1,2,4, but got {text!r:.60}")
    return values


def parse_targets(texts: Sequence[str]) -> tuple[dict[str, float], ...]:
    """Targets from ``NAME=V,NAME=V`` items."""
    return tuple(parse_numbers(text.split(","), flag="--target") for text in texts)


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Settings of a trainer from ``NAME=VALUE`` items: a value is JSON (4, true, [0.9, 0.95]) or else a string."""
    options: dict[str, Any] = {}
    for name, text in parse_pairs(pairs, flag="--option").items():
        try:
            options[name] = json.loads(text)
        except (ValueError, RecursionError):
            options[name] = text
    return options


def parse_command(text: str) -> tuple[str, ...]:
    """A command line as its words."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"--command: expected a command line, but {str(error).lower()} in {text!r:.60}") from None


def parse_tuned(text: str) -> tuple[dict[str, float], float]:
    """Scales and rate from ``128=0.003`` or ``hidden_size=128,steps=1200:0.003``."""
    place, mark, tuned = text.rpartition(":")
    if not mark:
        size, mark, tuned = text.partition("=")
        place = f"hidden_size={size}"
    try:
        return parse_numbers(place.split(","), flag="--given"), float(tuned)
    except (InputError, ValueError):
        raise InputError(
            f"--given: expected SIZE=LR such as 128=0.003, or hidden_size=128,steps=1200:0.003, but got {text!r:.60}"
        ) from None
