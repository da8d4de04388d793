"""Published learning rates as data: their value at a size, and whether the size lies in their measured range.

Papers that were not available were checked against quotations in later work; `unverified` names what none shows.
Peak rates after warm-up, for Adam-like optimizers where the family does not say Muon. Tables are over hidden
size; formulas over non-embedding parameters N, training tokens D or compute C = 6·N·D. The default of N is
12 · depth · hidden², a block with a four-fold FFN.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from lrtune.errors import InputError

TERNARY, DENSE = "ternary transformer", "transformer"
MUON, FINE_TUNED = ", Muon", ", fine-tuned"  # another optimizer or start has rates of its own
_NAMED_SO = {TERNARY: ("bitnet", "ternary", "1.58", "trilm"), DENSE: ("transformer", "gpt", "llama", "qwen", "olmo")}


class PublishedRule(NamedTuple):
    """One published rule.

    Attributes:
        name, source: its name and reference.
        needs: scales of which it is a function.
        domain: lowest and highest value measured, by scale.
        table: (hidden size, peak, stage-2 peak or None), ascending; empty for a formula.
        factor, exponents: the formula factor · Π scale^exponent.
        most: the highest rate of the formula.
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
    most: float = math.inf
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
    _table(
        "Llama3-8B-1.58",
        "model cards HF1BitLLM/Llama3-8B-1.58-Linear-10B-tokens and -100B-tokens",
        "Llama 3 8B Instruct made ternary in 5,000 steps of 2M tokens; 1e-5 was the best peak of the next 45,000 steps",
        (4096, 1e-4, None),
        family=TERNARY + FINE_TUNED,
    ),
    _table(
        "parameter-golf, ternary",
        "openai/parameter-golf, records/track_10min_16mb/2026-03-24_74M_Ternary_UNet_FP8_10L_8192BPE_YaRN_NeoMuon",
        "Muon's rate of the matrices; batch 524,288 tokens, 10 minutes on 8 H100, linear end over 20%",
        (768, 0.04, None),
        family=TERNARY + MUON,
    ),
    PublishedRule(
        name="OLMo-core ladder",
        source="allenai/OLMo-core, src/scripts/train/OLMo2-ladder.py",
        needs=("parameters",),
        domain={"parameters": (1.9e8, 1.3e10)},
        note="AdamW, weight decay 0.1, sequences of 2,048 tokens; a quarter of it at 4,096",
        factor=0.0047 * 1.08e8 ** (1 / 3),
        exponents={"parameters": -1 / 3},
    ),
    PublishedRule(
        name="Marin",
        source="marin-community/marin, lib/marin/src/marin/scaling_laws/isoflop_analysis.py",
        needs=("hidden_size", "batch_tokens"),
        domain={},
        note="AdamW; 0.33 · √(sequences of 4,096 tokens in a batch) / hidden size, at most 0.01",
        factor=0.33 / 64,
        exponents={"batch_tokens": 0.5, "hidden_size": -1.0},
        most=0.01,
    ),
    PublishedRule(
        name="nanochat",
        source="karpathy/nanochat, scripts/base_train.py",
        needs=("batch_tokens",),
        domain={"batch_tokens": (2.0**19, 2.0**19)},
        family=DENSE + MUON,
        note="Muon's rate of the matrices at every width; that it goes with √batch is an assumption there; "
        "warm-up of 40 steps, linear end over 65%",
        factor=0.02 / 2.0**9.5,
        exponents={"batch_tokens": 0.5},
    ),
    PublishedRule(
        name="Tinker, Llama",
        source="thinking-machines-lab/tinker-cookbook, tinker_cookbook/hyperparam_utils.py at e1024a4",
        needs=("hidden_size",),
        domain={"hidden_size": (2048, 8192)},
        family=DENSE + FINE_TUNED,
        note="LoRA; a tenth of it for full fine-tuning; later versions have a table by model instead, 3e-4 to 1e-3",
        factor=5e-4 * 2000**0.781,
        exponents={"hidden_size": -0.781},
    ),
    PublishedRule(
        name="HyperP",
        source="arXiv 2603.28743, abstract",
        needs=("tokens",),
        domain={},
        family=DENSE + MUON,
        note="Muon on a sphere of fixed norm: ∝ tokens^−0.32, unchanged by width: only a ratio",
        exponents={"tokens": -0.32},
        ratio_only=True,
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
    found = next((name for name, words in _NAMED_SO.items() if any(word in model for word in words)), "")
    return found + MUON if found and "muon" in str(conditions.get("optimizer", "")).lower() else found


def published_rates(hidden_size: float, *, ours: float | None = None, own: str = "", **scales: float) -> PublishedRates:
    """Every published rule's rate at this size; ``str()`` of the result is a table.

    Args:
        hidden_size: the model's width.
        ours: our recommendation, printed in the same table.
        own: the model's `family`, whose rules come first.
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
    ordered = sorted(PUBLISHED, key=lambda rule: rule.family != own)
    return PublishedRates(hidden_size, ours, tuple(_opinion(rule, given) for rule in ordered))


_FROM = {
    "parameters": "--scale depth=… or --scale parameters=…",
    "tokens": "--tokens",
    "compute": "size and --tokens",
    "batch_tokens": "--batch-tokens",
}


def _opinion(rule: PublishedRule, given: Mapping[str, float]) -> Opinion:
    missing = [name for name in rule.needs if name not in given]
    if missing:
        why = f"needs {', '.join(_FROM.get(name, name) for name in missing)}"
        return Opinion(rule.name, None, None, False, why, rule.source, rule.family)
    if rule.ratio_only:
        return Opinion(rule.name, None, None, True, rule.note, rule.source, rule.family)
    rate, second = _evaluate(rule, given)
    outside = [] if rule.domain else ["the sizes that it was measured at are not known"]
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
    rate = rule.factor * math.prod(given[name] ** power for name, power in rule.exponents.items())
    return min(rate, rule.most), None


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
