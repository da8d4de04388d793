"""Published learning rates as data; `lrtune.rule.opinions` reads them.

Papers that were not available were checked against quotations in later work; `unverified` names what none shows.
Peak rates after warm-up, for Adam-like optimizers where the family does not say Muon. Tables are over hidden
size; formulas over non-embedding parameters N, training tokens D or compute C = 6·N·D. The default of N is
12 · depth · hidden², a block with a four-fold FFN.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

TERNARY, DENSE = "ternary transformer", "transformer"
FAMILY_NAMES = {  # words in the names of models
    TERNARY: ("bitnet", "ternary", "1.58", "trilm"),
    DENSE: ("transformer", "gpt", "llama", "qwen", "olmo"),
}
MUON, FINE_TUNED = ", Muon", ", fine-tuned"  # another optimizer or start has rates of its own


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
        "openai/parameter-golf, records/track_10min_16mb, 2026-03-24_74M_Ternary_UNet_FP8_10L_8192BPE_YaRN_NeoMuon",
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
        source="arXiv 2603.28743; microsoft/ArchScale, pretrain.py",
        needs=("tokens",),
        domain={},
        family=DENSE + MUON,
        note="Muon on a sphere of fixed norm: ∝ tokens^−0.32 · √batch / √depth, unchanged by width",
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
        note="hidden matrices ∝ 1/width, embeddings unchanged",
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
