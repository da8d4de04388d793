"""The language of ``--failed-when`` and ``--drop-when``: comparisons of columns with and, or, not.

A parser reads the condition; nothing passes it to `eval`.

condition   = conjunction { "or" conjunction }
conjunction = negation { "and" negation }
negation    = "not" negation | "(" condition ")" | operand operator operand | operand [ "not" ] "in" list
operator    = "<" | "<=" | ">" | ">=" | "==" | "!="
list        = "(" operand { "," operand } ")"
operand     = number | 'text' | column | `column with spaces`
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrtune.errors import InputError
from lrtune.fields import unknown_key
from lrtune.records.notation import is_blank

_NOTHING = object()  # the empty quoted text, which equals a blank cell
_Test = Callable[[Mapping[str, Any]], bool]

_LONGEST = 1000
_DEEPEST = 50
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<column>`[^`]+`|[^\W\d][\w./-]*)|(?P<operator><=|>=|==|!=|<|>)|(?P<bracket>[(),]))"
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Condition:
    """A test of one row; false if a cell is blank (unless compared with '') or of another type."""

    columns: tuple[str, ...]
    test: _Test

    def __call__(self, row: Mapping[str, Any]) -> bool:
        return self.test(row)


def parse_condition(text: str, columns: Sequence[str], *, flag: str = "--failed-when") -> Condition:
    """Parse a condition over the columns of a table.

    Args:
        flag: the flag that error messages name.

    Raises:
        InputError: `text` does not match the grammar or names an unknown column.
    """
    if len(text) > _LONGEST:
        raise InputError(f"{flag}: expected at most {_LONGEST} characters, but got {len(text)}")
    parser = _Parser(text, columns, flag)
    test = parser.condition(0)
    if parser.position < len(parser.tokens):
        parser.fail("the end")
    return Condition(tuple(dict.fromkeys(parser.named)), test)


class _Parser:
    """A recursive-descent parser: one method for each line of the grammar."""

    def __init__(self, text: str, columns: Sequence[str], flag: str) -> None:
        self.text, self.columns, self.flag = text, columns, flag
        self.named: list[str] = []
        self.tokens: list[tuple[str, str]] = []
        self.position = 0
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise InputError(
                    f"{flag}: expected a comparison such as loss>5, but cannot read {text[place:].strip()!r:.40}"
                )
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()

    def fail(self, expected: str) -> None:
        rest = self.tokens[self.position][1] if self.position < len(self.tokens) else "nothing more"
        raise InputError(f"{self.flag}: expected {expected}, but got {rest!r:.40} in {self.text!r:.60}")

    def accept(self, *values: str) -> str | None:
        if self.position < len(self.tokens) and self.tokens[self.position][1] in values:
            self.position += 1
            return self.tokens[self.position - 1][1]
        return None

    def condition(self, depth: int) -> _Test:
        parts = [self.conjunction(depth)]
        while self.accept("or"):
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def conjunction(self, depth: int) -> _Test:
        parts = [self.negation(depth)]
        while self.accept("and"):
            parts.append(self.negation(depth))
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def negation(self, depth: int) -> _Test:
        if depth > _DEEPEST:
            raise InputError(f"{self.flag}: expected at most {_DEEPEST} levels of brackets and not")
        if self.accept("not"):
            inner = self.negation(depth + 1)
            return lambda row: not inner(row)
        if self.accept("("):
            inner = self.condition(depth + 1)
            if not self.accept(")"):
                self.fail("a closing bracket")
            return inner
        left = self.operand()
        excludes = self.accept("not") is not None
        if self.accept("in"):
            among = self.operands()
            return lambda row: excludes != any(_compare(_OPERATORS["=="], left(row), right(row)) for right in among)
        sign = None if excludes else self.accept(*_OPERATORS)
        if sign is None:
            self.fail("one of < <= > >= == != in")
        compare = _OPERATORS[sign or "=="]
        right = self.operand()
        return lambda row: _compare(compare, left(row), right(row))

    def operands(self) -> list[Callable[[Mapping[str, Any]], Any]]:
        if not self.accept("("):
            self.fail("a list in brackets")
        found = [self.operand()]
        while self.accept(","):
            found.append(self.operand())
        if not self.accept(")"):
            self.fail("a closing bracket")
        return found

    def operand(self) -> Callable[[Mapping[str, Any]], Any]:
        kind, value = self.tokens[self.position] if self.position < len(self.tokens) else ("", "")
        if kind not in ("number", "text", "column") or value in ("and", "or", "not", "in"):
            self.fail("a column, a number or a quoted text")
        self.position += 1
        if kind == "number":
            number = float(value)
            return lambda row: number
        if kind == "text":
            return lambda row: value[1:-1] or _NOTHING
        name = value.strip("`")
        if name not in self.columns:
            raise InputError(
                f"{unknown_key(self.flag, name, self.columns, 'column')}; write text in quotes: '{name:.40}'"
            )
        self.named.append(name)
        return lambda row: row.get(name)


def _compare(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    """Compare two numbers or two texts; false for mixed types."""
    a, b = _number(left), _number(right)
    if a is not None and b is not None:
        return compare(a, b)
    if left is _NOTHING or right is _NOTHING:
        blank = is_blank(left if right is _NOTHING else right)
        return compare(blank, True) if compare in (_OPERATORS["=="], _OPERATORS["!="]) else False
    if is_blank(left) or is_blank(right):
        return False
    if isinstance(left, str) and isinstance(right, str):
        return compare(left.strip(), right.strip())
    return False


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None
