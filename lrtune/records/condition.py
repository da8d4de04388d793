"""The small language of ``--failed-when``: comparisons of columns, joined by and, or, not. Parsed, never evaluated.

condition   = conjunction { "or" conjunction }
conjunction = negation { "and" negation }
negation    = "not" negation | "(" condition ")" | operand operator operand
operator    = "<" | "<=" | ">" | ">=" | "==" | "!="
operand     = number | 'text' | column | `column with spaces`
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from lrtune.errors import InputError
from lrtune.fields import unknown_key

Condition = Callable[[Mapping[str, Any]], bool]

_LONGEST = 1000
_DEEPEST = 50
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<column>`[^`]+`|[^\W\d][\w./-]*)|(?P<operator><=|>=|==|!=|<|>)|(?P<bracket>[()]))"
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def parse_condition(text: str, columns: list[str]) -> Condition:
    """A function of a row that says whether the condition holds; false where a cell is empty or of another kind.

    Raises:
        InputError: `text` is not of the grammar, or names a column that is not there.
    """
    if len(text) > _LONGEST:
        raise InputError(f"--failed-when: expected at most {_LONGEST} characters, but got {len(text)}")
    parser = _Parser(text, columns)
    condition = parser.condition(0)
    if parser.position < len(parser.tokens):
        parser.fail("the end")
    return condition


class _Parser:
    """One pass over the tokens, a method for each line of the grammar."""

    def __init__(self, text: str, columns: list[str]) -> None:
        self.text, self.columns = text, columns
        self.tokens: list[tuple[str, str]] = []
        self.position = 0
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise InputError(
                    f"--failed-when: expected a comparison such as loss>5, but cannot read {text[place:].strip()!r:.40}"
                )
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()

    def fail(self, expected: str) -> None:
        rest = self.tokens[self.position][1] if self.position < len(self.tokens) else "nothing more"
        raise InputError(f"--failed-when: expected {expected}, but got {rest!r:.40} in {self.text!r:.60}")

    def accept(self, *values: str) -> str | None:
        if self.position < len(self.tokens) and self.tokens[self.position][1] in values:
            self.position += 1
            return self.tokens[self.position - 1][1]
        return None

    def condition(self, depth: int) -> Condition:
        parts = [self.conjunction(depth)]
        while self.accept("or"):
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def conjunction(self, depth: int) -> Condition:
        parts = [self.negation(depth)]
        while self.accept("and"):
            parts.append(self.negation(depth))
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def negation(self, depth: int) -> Condition:
        if depth > _DEEPEST:
            raise InputError(f"--failed-when: expected at most {_DEEPEST} levels of brackets and not")
        if self.accept("not"):
            inner = self.negation(depth + 1)
            return lambda row: not inner(row)
        if self.accept("("):
            inner = self.condition(depth + 1)
            if not self.accept(")"):
                self.fail("a closing bracket")
            return inner
        left = self.operand()
        sign = self.accept(*_OPERATORS)
        if sign is None:
            self.fail("one of < <= > >= == !=")
        compare = _OPERATORS[sign or "=="]
        right = self.operand()
        return lambda row: _compare(compare, left(row), right(row))

    def operand(self) -> Callable[[Mapping[str, Any]], Any]:
        kind, value = self.tokens[self.position] if self.position < len(self.tokens) else ("", "")
        if kind not in ("number", "text", "column") or value in ("and", "or", "not"):
            self.fail("a column, a number or a quoted text")
        self.position += 1
        if kind == "number":
            number = float(value)
            return lambda row: number
        if kind == "text":
            return lambda row: value[1:-1]
        name = value.strip("`")
        if name not in self.columns:
            raise InputError(unknown_key("--failed-when", name, self.columns))
        return lambda row: row.get(name)


def _compare(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    """Numbers as numbers where both sides are, text as text where both are; else false."""
    a, b = _number(left), _number(right)
    if a is not None and b is not None:
        return compare(a, b)
    if left in (None, "") or right in (None, ""):
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
