"""Published learning rates as data: their value at a size, and whether the size lies in their measured range.

Formulas and domains were checked against quotations in later work, since the papers were not available;
`unverified` names what no quotation shows. Peak rates after warm-up, for Adam-like optimizers. Tables are over hidden
size; formulas over non-embedding parameters N, training tokens D or compute C = 6·N·D. The default of N is
12 · depth · hidden², a block with a four-fold FFN.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from lrtune.errors import InputError

TERNARY, DENSE = "ternary transformer", "transformer"
_NAMED_SO = {TERNARY: ("bitnet", "ternary", "1.58", "trilm"), DENSE: ("transformer", "gpt", "llama", "qwen", "olmo")}


class PublishedRule(NamedTuple):
    """One published rule.

    Attributes:
        name, source: its name and reference.
        needs: scales of which it is a function.
        domain: lowest and highest value measured, by scale.
        table: (hidden size, peak, stage-2 peak or None), ascending; empty for a formula.
        factor, exponents: the formula factor · Π scale^exponent.
        log_slope: for a formula factor + log_slope · ln N.
        threshold: for a rule of two steps: below it the first rate of the table, else the last.
        ratio_only: the formula only scales a tuned rate to another size.
        family: the models that it is of, by `family`; empty for a rule of any model.
        note: batch and other conditions.
        unverified: the part of this entry that was not checked against its source.
    """

    name: str
    source: str
    needs: tuple[str, ...]
    domain: Mapping[str, tuple[float, float]]
    note: str
    family: str = DENSE
    table: tuple[tuple[int, float, float | None], ...] = ()
    factor: float = 0.0
    exponents: Mapping[str, float] = {}
    log_slope: float | None = None
    threshold: float | None = None
    ratio_only: bool = False
    unverified: str = ""


class Opinion(NamedTuple):
    """One rule's rate at a size; `learning_rate` is None if a needed scale is missing, and `why` names it."""

    name: str
    learning_rate: float | None
    stage2_learning_rate: float | None
    in_domain: bool
    why: str
    source: str
    family: str = ""


class PublishedRates(NamedTuple):
    """Our answer, if any, and those of the published rules; prints as a table."""

    hidden_size: float
    ours: float | None
    opinions: tuple[Opinion, ...]

    def __str__(self) -> str:
        ours = f"{self.ours:.3g}" if self.ours is not None else "–"
        rows = [("ours", ours, "", "this rule")] if self.ours is not None else []
        for opinion in self.opinions:
            rate = "–" if opinion.learning_rate is None else f"{opinion.learning_rate:.3g}"
            second = "" if opinion.stage2_learning_rate is None else f"→ {opinion.stage2_learning_rate:.3g}"
            rows.append((opinion.name, rate, second, f"{opinion.why} ({opinion.source})"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
        return "\n".join([f"published peak rates at hidden {self.hidden_size:g}", *(f"  {line}" for line in lines)])


def _table(
    name: str, source: str, note: str, *rows: tuple[int, float, float | None], family: str = TERNARY
) -> PublishedRule:
    return PublishedRule(
        family=family,
        name=name,
        source=source,
        needs=("hidden_size",),
        domain={"hidden_size": (rows[0][0], rows[-1][0])},
        note=note,
        table=rows,
    )


PUBLISHED: tuple[PublishedRule, ...] = (
    _table(
        "BitNet",
        "arXiv 2310.11453, table 5",
        "batch 256K tokens",
        (768, 2.4e-3, None),
        (1024, 1.2e-3, None),
        (1536, 1e-3, None),
        (2048, 8e-4, None),
        (2560, 6.4e-4, None),
        (4096, 4.8e-4, None),
        (5120, 4e-4, None),
        (7168, 4e-4, None),
    ),
    _table(
        "BitNet b1.58",
        "The Era of 1-bit LLMs: Training Tips, tables 1–2",
        "batch 1M tokens",
        (1536, 1.5e-3, 1e-3),
        (2048, 1.2e-3, 8e-4),
        (3200, 1.2e-3, 8e-4),
    ),
    _table(
        "BitNet a4.8",
        "arXiv 2411.04965, table 7",
        "batch 1M tokens; 1e-3 → 6e-4 for its 7B model",
        (1536, 1.5e-3, 1e-3),
        (2048, 1.2e-3, 8e-4),
        (3200, 1.2e-3, 6.4e-4),
    ),
    _table(
        "BitNet v2",
        "arXiv 2504.18415, tables 8–9",
        "batch 1M tokens; the 3B row at 4096, 1e-3 → 6e-4 for 7B",
        (1024, 1.8e-3, 1.2e-3),
        (2048, 1.2e-3, 8e-4),
        (4096, 1.2e-3, 6.4e-4),
    ),
    _table(
        "TriLM",
        "arXiv 2407.12327, table 3",
        "batch 1M tokens",
        (512, 2.4e-3, 1.5e-3),
        (768, 2.4e-3, 1.5e-3),
        (1024, 1.8e-3, 1.2e-3),
        (1280, 1.6e-3, 1.1e-3),
        (1536, 1.5e-3, 1e-3),
        (1792, 1.3e-3, 9e-4),
        (2048, 1.2e-3, 8e-4),
        (3072, 1.2e-3, 8e-4),
    ),
    _table(
        "GPT-3",
        "arXiv 2005.14165, table 2.1",
        "full precision, batch 0.5–2M tokens",
        (768, 6e-4, None),
        (1024, 3e-4, None),
        (1536, 2.5e-4, None),
        (2048, 2e-4, None),
        (2560, 1.6e-4, None),
        (4096, 1.2e-4, None),
        (5140, 1e-4, None),
        family=DENSE,
    ),
    PublishedRule(
        name="Step Law",
        source="arXiv 2503.04715, step-law/steplaw",
        needs=("parameters", "tokens"),
        domain={"parameters": (5.9e7, 1.1e9), "tokens": (2e9, 1e11)},
        note="N without vocabulary, batch re-tuned: 0.58 · D^0.571 tokens, cosine to a fixed 1e-5",
        factor=1.79,
        exponents={"parameters": -0.713, "tokens": 0.307},
        unverified="its fewest tokens",
    ),
    PublishedRule(
        name="DeepSeek",
        source="DeepSeek LLM, arXiv 2401.02954, §3.1, equation 1",
        needs=("compute",),
        domain={"compute": (1e17, 2e19)},
        note="batch re-tuned: 0.292 · C^0.3271 tokens; its C counts attention, 6 · N · D does not",
        factor=0.3118,
        exponents={"compute": -0.125},
    ),
    PublishedRule(
        name="Porian et al.",
        source="arXiv 2406.19146, formll/resolving-scaling-law-discrepancies",
        needs=("parameters",),
        domain={"parameters": (5e6, 9.01e8)},
        note="batch re-tuned; its N counts the output head",
        factor=3.7,
        exponents={"parameters": -0.36},
    ),
    PublishedRule(
        name="Kaplan et al.",
        source="arXiv 2001.08361",
        needs=("parameters",),
        domain={"parameters": (1e7, 1.5e9)},
        note="a rule of thumb, N without embeddings",
        factor=3.239e-3,
        log_slope=-1.395e-4,
        unverified="the sizes that it was made from",
    ),
    PublishedRule(
        name="µP, Adam",
        source="microsoft/mup",
        needs=("hidden_size",),
        domain={},
        family="",
        note="hidden matrices ∝ 1/width, embeddings unchanged: only a ratio",
        exponents={"hidden_size": -1.0},
        ratio_only=True,
    ),
    PublishedRule(
        name="Phase 4, option B",
        source="BitNet Phase 4 results, 18 December 2025",
        needs=("hidden_size",),
        domain={"hidden_size": (256, 256)},
        family=TERNARY,
        note="coupled L2, batch of 128 tokens; only 256 was measured",
        table=((256, 5e-4, None), (512, 1.5e-3, None)),
        threshold=512,
    ),
)


def family(conditions: Mapping[str, object]) -> str:
    """The family of published rules for a model, from the ``model`` that its trainer names; empty if unknown."""
    model = str(conditions.get("model", "")).lower()
    return next((name for name, words in _NAMED_SO.items() if any(word in model for word in words)), "")


def published_rates(hidden_size: float, *, ours: float | None = None, **scales: float) -> PublishedRates:
    """Every published rule's rate at this size; ``str()`` of the result is a table.

    Args:
        hidden_size: the model's width.
        ours: our recommendation, printed in the same table.
        **scales: ``tokens``, ``parameters``, ``depth``; all optional.

    Raises:
        InputError: a scale is not a positive number.
    """
    given = {"hidden_size": hidden_size, **scales}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise InputError(f"{name}: expected a positive number, but got {value!r:.40}")
    if "parameters" not in given and "depth" in given:
        given["parameters"] = 12.0 * given["depth"] * hidden_size**2
    if "compute" not in given and "parameters" in given and "tokens" in given:
        given["compute"] = 6.0 * given["parameters"] * given["tokens"]
    return PublishedRates(hidden_size, ours, tuple(_opinion(rule, given) for rule in PUBLISHED))


_FROM = {"parameters": "--scale depth=… or --scale parameters=…", "tokens": "--tokens", "compute": "size and --tokens"}


def _opinion(rule: PublishedRule, given: Mapping[str, float]) -> Opinion:
    missing = [name for name in rule.needs if name not in given]
    if missing:
        why = f"needs {', '.join(_FROM.get(name, name) for name in missing)}"
        return Opinion(rule.name, None, None, False, why, rule.source, rule.family)
    if rule.ratio_only:
        return Opinion(rule.name, None, None, True, rule.note, rule.source, rule.family)
    rate, second = _evaluate(rule, given)
    outside = []
    for name, (low, high) in rule.domain.items():
        if not low <= given[name] <= high:
            span = f"{low:g}" if low == high else f"{low:g} … {high:g}"
            outside.append(f"{name} {given[name]:.3g} is outside its {span}")
    if rate is None:
        return Opinion(rule.name, None, None, False, "gives no positive rate there", rule.source, rule.family)
    doubt = [f"not checked against the source: {rule.unverified}"] if rule.unverified else []
    why = "; ".join([*(outside or ["inside its domain"]), rule.note, *doubt])
    return Opinion(rule.name, rate, second, not outside, why, rule.source, rule.family)


def _evaluate(rule: PublishedRule, given: Mapping[str, float]) -> tuple[float | None, float | None]:
    if rule.table:
        return _look_up(rule, given["hidden_size"])
    if rule.log_slope is not None:
        rate = rule.factor + rule.log_slope * math.log(given["parameters"])
        return (rate if rate > 0 else None), None
    return rule.factor * math.prod(given[name] ** power for name, power in rule.exponents.items()), None


def _look_up(rule: PublishedRule, hidden_size: float) -> tuple[float, float | None]:
    """The table's row; linear in log–log between rows, the nearest row outside."""
    table = rule.table
    if rule.threshold is not None:
        return table[0 if hidden_size < rule.threshold else -1][1], None
    below = [row for row in table if row[0] <= hidden_size] or [table[0]]
    above = [row for row in table if row[0] >= hidden_size] or [table[-1]]
    left, right = below[-1], above[0]
    if left[0] >= right[0]:
        return left[1], left[2]
    share = math.log(hidden_size / left[0]) / math.log(right[0] / left[0])
    rate = left[1] * (right[1] / left[1]) ** share
    second = None if left[2] is None or right[2] is None else left[2] * (right[2] / left[2]) ** share
    return rate, second
