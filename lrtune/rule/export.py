"""A rule in other forms: a Python module that stands alone, JSON, YAML, TOML, an OmegaConf resolver."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from lrtune.errors import InputError, MissingExtraError
from lrtune.rule import answer as answer_module
from lrtune.rule import data as ruledata
from lrtune.rule.answer import answer
from lrtune.rule.data import Rule
from lrtune.rule.file import rule_to_json
from lrtune.rule.parse import SCHEMA

FORMATS = ("python", "json", "yaml", "toml")


def export_rule(rule: Rule, format: str) -> str:
    """The text of `rule` in one of `FORMATS`.

    ``python`` is a module without dependencies whose `get_learning_rate` and `recommend` answer as the rule does;
    the others hold the advice, a row for each measured size and some between and beyond, and the rule itself.

    Raises:
        InputError: no such format.
    """
    writers: dict[str, Callable[[Rule], str]] = {
        "python": _python,
        "json": lambda rule: json.dumps(_document(rule), allow_nan=False, indent=2) + "\n",
        "yaml": lambda rule: "\n".join(_yaml(_document(rule), 0)) + "\n",
        "toml": _toml,
    }
    if format not in writers:
        raise InputError(f"format: expected one of {', '.join(FORMATS)}, but got {format!r:.40}")
    return writers[format](rule)


def register_resolver(rule: Rule | str | None = None, *, name: str = "lrtune") -> None:
    """Make ``${lrtune:${model.hidden_size}}`` work in OmegaConf and Hydra configurations.

    A mapping after the size names the stage and further scales: ``${lrtune:256,{stage:2,tokens:2e9}}``.

    Args:
        rule: a `Rule`, a path, or None for the one that `lrtune.rule.find_rule` finds when it is resolved.
        name: of the resolver.

    Raises:
        MissingExtraError: OmegaConf is not installed.
    """
    try:
        from omegaconf import OmegaConf
    except ImportError as error:
        raise MissingExtraError("config", "omegaconf", "an OmegaConf resolver") from error
    from lrtune.rule.ask import get_learning_rate

    def resolve(hidden_size: float, more: Mapping[str, Any] | None = None) -> float:
        scales = dict(more or {})
        stage = scales.pop("stage", 1)
        return get_learning_rate(float(hidden_size), rule=rule, stage=stage, **scales)

    OmegaConf.register_new_resolver(name, resolve, replace=True)


def _python(rule: Rule) -> str:
    """The sources of `lrtune.rule.data` and `lrtune.rule.answer`, the rule as a literal, and two functions."""
    origin = "".join(f"    {key}: {value}\n" for key, value in rule.provenance.items())
    return "".join(
        [
            f'"""get_learning_rate(hidden_size), exported by lrtune; needs nothing but Python 3.11.\n\n'
            f"    {_quoted(rule.reason)}\n{_quoted(origin)}\n"
            'Edit nothing here: measure again and export again.\n"""\n\n',
            "import itertools\nimport math\nfrom collections.abc import Mapping\nfrom typing import NamedTuple\n\n\n",
            'class InputError(ValueError):\n    """A question that the rule cannot answer; one line."""\n\n\n',
            _body(ruledata),
            "\n\n",
            _body(answer_module),
            f"\n\nRULE = {rule._replace(source='')!r}\n",
            _FUNCTIONS,
        ]
    )


_FUNCTIONS = '''

def recommend(hidden_size: float | None = None, **scales: float) -> Recommendation:
    """The learning rate with its interval, its safe range and what it rests on."""
    return answer(RULE, hidden_size, scales)


def get_learning_rate(hidden_size: float | None = None, *, stage: int = 1, **scales: float) -> float:
    """The peak learning rate of stage 1 or 2."""
    found = recommend(hidden_size, **scales)
    rate = found.learning_rate if stage == 1 else found.stage2_learning_rate if stage == 2 else None
    if rate is None:
        raise InputError(f"stage: this rule has no learning rate for stage {stage!r}")
    return rate
'''


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'")


def _body(module: Any) -> str:
    """A module's source from its first definition on, past its docstring and imports."""
    lines = inspect.getsource(module).splitlines(keepends=True)
    imports = [number for number, line in enumerate(lines) if line.startswith(("import ", "from "))]
    start = imports[-1] + 1
    while lines[start].startswith((" ", ")")):
        start += 1
    return "".join(lines[start:]).strip("\n") + "\n"


def _document(rule: Rule) -> dict[str, Any]:
    """What a configuration wants to read: advice first, then a row a size, then the rule itself."""
    return {
        "reason": rule.reason,
        "provisional": rule.provisional,
        "level": rule.level,
        "advice": dict(rule.advice),
        "horizon": dict(rule.horizon),
        "conditions": {key: list(v) if isinstance(v, tuple) else v for key, v in rule.conditions.items()},
        "provenance": dict(rule.provenance),
        "learning_rates": [_row(rule, scales) for scales in _places(rule)],
        "rule": {"schema": SCHEMA, **json.loads(rule_to_json(rule))},
    }


def _places(rule: Rule) -> list[dict[str, float]]:
    """The measured cells; over hidden size alone also the powers of two up to twice the largest."""
    places = [dict(cell.scales) for cell in rule.cells]
    if tuple(rule.scales) == ("hidden_size",):
        scale = rule.scales["hidden_size"]
        known = {place["hidden_size"] for place in places}
        powers = [2.0**power for power in range(3, 21)]
        between = {size for size in powers if scale.low <= size <= 2 * scale.high} | {2 * scale.high}
        places = [{"hidden_size": size} for size in sorted(known | between)]
    return places


def _row(rule: Rule, scales: Mapping[str, float]) -> dict[str, Any]:
    found = answer(rule, scales.get("hidden_size"), {key: v for key, v in scales.items() if key != "hidden_size"})
    row = found._asdict()
    for key in ("conditions", "source", "scales", "why", "level"):
        del row[key]
    row["warnings"] = list(found.warnings)
    return {**{key: int(v) if v.is_integer() else v for key, v in found.scales.items()}, **row}


def _yaml(value: Any, indent: int) -> list[str]:
    """YAML lines; scalars and lists of scalars in JSON, which YAML reads as the same."""
    pad = "  " * indent
    lines: list[str] = []
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        head = f"{pad}{_yaml_key(key)}:" if key is not None else f"{pad}-"
        nested = isinstance(item, dict | list) and item and not _is_flat(item)
        if nested and key is not None:
            lines += [head, *_yaml(item, indent + 1)]
        elif nested:
            inner = _yaml(item, indent + 1)
            lines += [f"{head} {inner[0].lstrip()}", *inner[1:]]
        else:
            lines.append(f"{head} {_scalar(item)}")
    return lines


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, dict) for item in value)


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        # YAML 1.1 takes 1e-05 for a string: it wants the dot.
        text = repr(value)
        mantissa, _, exponent = text.partition("e")
        if not exponent:
            return text
        return (
            f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent if exponent[0] in '+-' else '+' + exponent}"
        )
    if isinstance(value, list):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def _yaml_key(key: str) -> str:
    return (
        key
        if key.isidentifier() and key not in ("y", "n", "yes", "no", "on", "off", "true", "false")
        else json.dumps(key)
    )


def _toml(rule: Rule) -> str:
    """TOML has no null: what is not known is left out. The rule itself goes in as a JSON string."""
    document = _document(rule)
    whole = json.dumps(document.pop("rule"), allow_nan=False)
    rows = document.pop("learning_rates")
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    lines = [f"{key} = {_toml_value(value)}" for key, value in document.items() if key not in tables]
    lines.append(f"rule_json = {_toml_value(whole)}")
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_toml_pairs(table)]
    for row in rows:
        lines += ["", "[[learning_rates]]", *_toml_pairs(row)]
    return "\n".join(lines) + "\n"


def _toml_pairs(table: Mapping[str, Any]) -> list[str]:
    return [
        f"{json.dumps(key)} = {_toml_value(v)}" if not key.isidentifier() else f"{key} = {_toml_value(v)}"
        for key, v in table.items()
        if v is not None
    ]


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
