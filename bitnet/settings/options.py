"""The ``[options]`` of the bundled trainer: names, defaults and accepted values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from bitnet.settings.config import Ffn, Gradient, ModelConfig
from bitnet.settings.parametrization import BASE_WIDTH
from bitnet.settings.parametrization import Kind as Parametrization
from bitnet.settings.schedule import Kind as ScheduleKind
from bitnet.settings.schedule import Schedule, default_warmup
from lrtune.fields import Kind, choice, flag, number, optional, sequence, table, text
from lrtune.trainer import InputError, Trial

Optimizer = Literal["adamw", "adam-l2", "muon"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The trainer's settings. Numeric ones may also be scales or knobs of the same name.

    Attributes:
        dataset: ``stdlib``, a file or folder, or a Hub name; text_column, tokenizer, vocabulary, subset, split and
            stream configure it (see `bitnet.data.prepare.prepare_tokens`).
        tokens: a prepared token folder, which replaces the dataset options.
        depth, head_size, ffn, ffn_size: the model's shape (see `bitnet.settings.config.ModelConfig`).
        context: tokens of a sequence. batch: sequences of a step; a scale ``batch_tokens`` gives it in tokens.
        optimizer: ``adamw`` (decoupled weight decay), ``adam-l2`` (coupled: `torch.optim.Adam`'s), or ``muon``:
            `torch.optim.Muon` for the ternary matrices, AdamW for embedding and head.
        adam_lr: peak rate of that AdamW; None is the learning rate, which is nearer to the best pair than a smaller
            share (studies/muon). Both rates follow the schedule.
        parametrization: ``standard``, or ``mup``, which is the same at base_width (see
            `bitnet.settings.parametrization`).
        betas, epsilon: Adam's.
        weight_decay, weight_decay_stage2: in stages 1 and 2; schedules without stages use the first.
        schedule: ``two-stage``, ``constant``, ``cosine`` or ``wsd`` (warmup-stable-decay).
        stage2_ratio: peak of stage 2 ÷ peak of stage 1.
        stage_switch: share of the steps after which stage 2 begins.
        end_lr_ratio: final learning rate ÷ peak (3e-5 / 1.5e-3 in the Training Tips).
        cooldown: share of the steps over which the rate of ``wsd`` falls.
        warmup: ``fixed``, or ``adaptive``, which rises slowly while the model's output has collapsed.
        warmup_steps: length of the warm-up; None is 375 steps, or a tenth of a shorter run.
        warmup_pace: slope of the adaptive warm-up while the output has collapsed, as a share of the usual slope.
        clip: largest gradient norm; 0 disables clipping.
        label_smoothing: share of the target's probability spread over the vocabulary.
        init_std: deviation of the initial weights.
        precision: precision of the backward matrix products, ``fp32`` or ``low`` (once called ``bf16``, still read).
            Forward products of ternary layers are always exact. A CPU with int8 hardware uses 24-bit (fp32) or 16-bit
            (low) fixed point, see `bitnet.ternary.digits`: as precise as float32, and more precise than bfloat16. With
            AVX2 alone, ``low`` uses 16 bits if that is faster, else fp32; other CPUs always use fp32 and log it. On a
            GPU, ``low`` is bfloat16, also in attention and in the head while training; held-out text is measured in
            full precision.
        compile: whether to compile the blocks; ``auto`` compiles if a probe predicts that it saves time.
        report_tokens: held-out tokens per report; None chooses by the steps between reports, so that reports take a
            few per cent of the time. final_tokens: the same for the last report.
        sample_tokens: tokens to generate at the end of a run, stored in its record.
    """

    dataset: str = "stdlib"
    text_column: str | None = None
    tokenizer: str | None = None
    vocabulary: int = 1024
    subset: str | None = None
    split: str = "train"
    stream: bool = False
    tokens: str | None = None
    depth: int = 4
    head_size: int = 16
    ffn: Ffn = "squared-relu"
    ffn_size: int | None = None
    context: int = 64
    batch: int = 16
    optimizer: Optimizer = "adamw"
    adam_lr: float | None = None
    parametrization: Parametrization = "standard"
    base_width: int = BASE_WIDTH
    betas: tuple[float, ...] = (0.9, 0.95)
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    weight_decay_stage2: float = 0.0
    schedule: ScheduleKind = "two-stage"
    stage2_ratio: float = 2 / 3
    stage_switch: float = 0.5
    end_lr_ratio: float = 0.02
    cooldown: float = 0.2
    warmup: Literal["fixed", "adaptive"] = "fixed"
    warmup_steps: int | None = None
    warmup_pace: float = 0.25
    clip: float = 1.0
    label_smoothing: float = 0.0
    init_std: float = 0.02
    precision: Gradient = "fp32"
    compile: Literal["auto"] | bool = "auto"
    report_tokens: int | None = None
    final_tokens: int = 65_536
    sample_tokens: int = 0

    def config(self, hidden_size: int, vocabulary_size: int) -> ModelConfig:
        """The model of one width."""
        return ModelConfig(
            hidden_size=hidden_size,
            vocabulary_size=vocabulary_size,
            depth=self.depth,
            head_size=self.head_size,
            ffn=self.ffn,
            ffn_size=self.ffn_size,
        )

    def course(self, peak: float, steps: int) -> Schedule:
        """The schedule of one run."""
        warmup = default_warmup(steps) if self.warmup_steps is None else self.warmup_steps
        return Schedule(
            kind=self.schedule,
            peak=peak,
            steps=steps,
            warmup=min(warmup, steps),
            end=self.end_lr_ratio * peak,
            stage2_ratio=self.stage2_ratio,
            switch=math.floor(self.stage_switch * steps),
            cooldown=self.cooldown,
            weight_decay=self.weight_decay,
            weight_decay_stage2=self.weight_decay_stage2,
        )

    def tokens_per_report(self, report_every: int) -> int:
        """Held-out tokens of a report: a twelfth of the tokens trained since the last one (about 4% of the time).

        At least twenty contexts, which the count of distinct answers needs.
        """
        if self.report_tokens is not None:
            return self.report_tokens
        return max(20 * self.context, min(16_384, report_every * self.batch * self.context // 12))


# Options in which the members of one population may differ.
PER_MEMBER = frozenset(
    (
        "optimizer",
        "adam_lr",
        "weight_decay",
        "weight_decay_stage2",
        "schedule",
        "stage2_ratio",
        "stage_switch",
        "end_lr_ratio",
        "cooldown",
        "warmup",
        "warmup_steps",
        "warmup_pace",
        "clip",
        "label_smoothing",
        "sample_tokens",
    )
)

_NUMBERS: dict[str, Kind] = {
    "vocabulary": number(0, 2**24, above=True, whole=True),
    "depth": number(0, 1000, above=True, whole=True),
    "head_size": number(0, 65_536, above=True, whole=True),
    "ffn_size": optional(number(0, 2**24, above=True, whole=True)),
    "context": number(0, 2**20, above=True, whole=True),
    "batch": number(0, 2**20, above=True, whole=True),
    "adam_lr": optional(number(0, above=True)),
    "base_width": number(0, 65_536, above=True, whole=True),
    "epsilon": number(0, 1, above=True),
    "weight_decay": number(0),
    "weight_decay_stage2": number(0),
    "stage2_ratio": number(0, 100, above=True),
    "stage_switch": number(0, 1),
    "end_lr_ratio": number(0, 1),
    "cooldown": number(0, 1, above=True),
    "warmup_steps": optional(number(0, 2**40, whole=True)),
    "warmup_pace": number(0, 1, above=True),
    "clip": number(0),
    "label_smoothing": number(0, 0.999),
    "init_std": number(0, 100, above=True),
}
SCALES = (*_NUMBERS, "batch_tokens")
_LENGTHS = ("steps", "tokens")  # of a run: its trial has them as steps
_TEXT = text(4000, least=1)


def _precision(where: str, value: object) -> Any:
    return choice(*get_args(Gradient))(where, "low" if value == "bf16" else value)


_OPTIONS = table(
    {
        **_NUMBERS,
        **dict.fromkeys(("dataset", "split"), _TEXT),
        **dict.fromkeys(("text_column", "tokenizer", "subset", "tokens"), optional(_TEXT)),
        "stream": flag,
        "ffn": choice(*get_args(Ffn)),
        "optimizer": choice(*get_args(Optimizer)),
        "parametrization": choice(*get_args(Parametrization)),
        "betas": sequence(number(0, math.nextafter(1, 0), what="a number from 0 to below 1"), 2, least=2),
        "schedule": choice(*get_args(ScheduleKind)),
        "warmup": choice("fixed", "adaptive"),
        "precision": _precision,
        "compile": choice("auto", True, False),
        "report_tokens": optional(number(0, 2**40, above=True, whole=True)),
        "final_tokens": number(0, 2**40, above=True, whole=True),
        "sample_tokens": number(0, 100_000, whole=True),
    }
)


def parse_options(values: Mapping[str, Any], scales: Mapping[str, float] | None = None) -> Options:
    """Parse a study's options; swept scales override them, among them ``batch_tokens``, the batch in tokens.

    Raises:
        InputError: a name is unknown (the nearest known one is suggested), or a value is invalid.
    """
    swept = dict(scales or {})
    tokens = swept.pop("batch_tokens", None)
    options = Options(**_OPTIONS("options", {**values, **_swept(swept)}))
    if tokens is None:
        return options
    if "batch" in swept:
        raise InputError("scales.batch_tokens: expected batch or batch_tokens, but got both")
    if tokens % options.context or tokens < options.context:
        raise InputError(
            f"scales.batch_tokens: expected multiples of the context, {options.context} tokens, but got {tokens:.9g}"
        )
    return replace(options, batch=int(tokens // options.context))


def options_of(trial: Trial) -> Options:
    """A trial's options; its scales and knobs override them."""
    return parse_options(trial.options, {**trial.scales, **trial.knobs})


def _swept(scales: Mapping[str, float]) -> dict[str, Any]:
    whole = {f.name for f in fields(Options) if "int" in str(f.type)}
    return {
        name: int(value) if name in whole and float(value).is_integer() else value
        for name, value in scales.items()
        if name not in _LENGTHS
    }
