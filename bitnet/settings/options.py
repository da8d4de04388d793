"""What ``[options]`` of a study may set for the bundled trainer: names, defaults, and what is accepted."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin

from bitnet.settings.config import Ffn, Gradient, ModelConfig
from bitnet.settings.schedule import Kind, Schedule, default_warmup
from lrtune.trainer import InputError

Optimizer = Literal["adamw", "adam-l2"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The trainer's settings. Those that are numbers may also be swept as scales of the same name.

    Attributes:
        dataset: ``stdlib``, a file or folder, or a Hub name; text_column, tokenizer, vocabulary, subset, split and
            stream go with it (see `bitnet.data.prepare.prepare_tokens`).
        tokens: a prepared token folder, instead of all of these.
        depth, head_size, ffn, ffn_size: the model's shape (see `bitnet.settings.config.ModelConfig`).
        context: tokens of a sequence. batch: sequences of a step.
        optimizer: ``adamw`` (decoupled weight decay) or ``adam-l2`` (coupled: `torch.optim.Adam`'s).
        betas, epsilon: Adam's.
        weight_decay, weight_decay_stage2: in stage 1 and 2; schedules without stages keep the first.
        schedule: ``two-stage``, ``constant`` or ``cosine``. stage2_ratio: peak of stage 2 ÷ peak of stage 1.
        stage_switch: share of the steps after which stage 2 begins.
        end_lr_ratio: where the schedule ends, as a share of the peak (3e-5 / 1.5e-3 in the Training Tips).
        warmup: ``fixed``, or ``adaptive``, which rises slowly while the answers have collapsed.
        warmup_steps: length of the warm-up; None is 375 steps, or a tenth of a shorter run.
        warmup_pace: slope of the adaptive warm-up while the run is not sound, as a share of the usual one.
        clip: largest gradient norm; 0 does not clip.
        label_smoothing: share of the target's probability spread over the vocabulary.
        init_std: deviation of the initial weights.
        precision: of the backward matrix products, ``fp32`` or ``bf16``; the ternary layers' forward products are
            exact either way. On a CPU with int8 products in hardware the two are 24 and 16 bits in fixed point (see
            `bitnet.ternary.fixed_point`): as close as float32, and closer than bfloat16. On a GPU, ``bf16`` also
            rounds in attention and in the head while training; held-out text is measured in full precision.
        compile: whether to compile the blocks; ``auto`` does where a probe says that the run repays it.
        report_tokens: held-out tokens that a report is measured on; None goes by the steps between reports, so
            that reports take a few per cent of the time. final_tokens: the same for the loss of the last report.
        sample_tokens: tokens to write at the end of a run, kept with its record.
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
    betas: tuple[float, ...] = (0.9, 0.95)
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    weight_decay_stage2: float = 0.0
    schedule: Kind = "two-stage"
    stage2_ratio: float = 2 / 3
    stage_switch: float = 0.5
    end_lr_ratio: float = 0.02
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
            weight_decay=self.weight_decay,
            weight_decay_stage2=self.weight_decay_stage2,
        )

    def tokens_per_report(self, report_every: int) -> int:
        """Held-out tokens of a report: a twelfth of what was trained since the last, which costs about 4% of it.

        At least twenty contexts, however often it reports: distinct answers are counted over as many.
        """
        if self.report_tokens is not None:
            return self.report_tokens
        return max(20 * self.context, min(16_384, report_every * self.batch * self.context // 12))


# Members of one population may differ in these and share all others.
PER_MEMBER = frozenset(
    (
        "optimizer",
        "weight_decay",
        "weight_decay_stage2",
        "schedule",
        "stage2_ratio",
        "stage_switch",
        "end_lr_ratio",
        "warmup",
        "warmup_steps",
        "warmup_pace",
        "clip",
        "label_smoothing",
        "sample_tokens",
    )
)

# name → (least value, whether it may equal that, most)
_RANGES: dict[str, tuple[float, bool, float]] = {
    "vocabulary": (0, False, 2**24),
    "depth": (0, False, 1000),
    "head_size": (0, False, 65_536),
    "ffn_size": (0, False, 2**24),
    "context": (0, False, 2**20),
    "batch": (0, False, 2**20),
    "epsilon": (0, False, 1),
    "weight_decay": (0, True, math.inf),
    "weight_decay_stage2": (0, True, math.inf),
    "stage2_ratio": (0, False, 100),
    "stage_switch": (0, True, 1),
    "end_lr_ratio": (0, True, 1),
    "warmup_steps": (0, True, 2**40),
    "warmup_pace": (0, False, 1),
    "clip": (0, True, math.inf),
    "label_smoothing": (0, True, 0.999),
    "init_std": (0, False, 100),
    "report_tokens": (0, False, 2**40),
    "final_tokens": (0, False, 2**40),
    "sample_tokens": (0, True, 100_000),
}
SCALES = tuple(name for name in _RANGES if name not in ("report_tokens", "final_tokens", "sample_tokens"))


def parse_options(values: Mapping[str, Any], scales: Mapping[str, float] | None = None) -> Options:
    """Options from a study's table, with swept scales laid over them.

    Raises:
        InputError: an unknown name (the nearest known one is suggested), or a value that is not accepted.
    """
    known = {f.name: f for f in fields(Options)}
    parsed: dict[str, Any] = {}
    for name, value in {**values, **_swept(scales or {})}.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(sorted(known))}"
            raise InputError(f"options: unknown key {name!r}; {hint}")
        parsed[name] = _accept(name, known[name].type, value)
    options = Options(**parsed)
    if len(options.betas) != 2 or not all(0 <= beta < 1 for beta in options.betas):
        raise InputError(f"options.betas: expected two numbers from 0 to below 1, but got {list(options.betas)}")
    return options


def _swept(scales: Mapping[str, float]) -> dict[str, Any]:
    whole = {f.name for f in fields(Options) if "int" in str(f.type)}
    return {
        name: int(value) if name in whole and float(value).is_integer() else value
        for name, value in scales.items()
        if name != "steps"
    }


def _accept(name: str, kind: Any, value: Any) -> Any:
    """`value` as the field's type says, or an `InputError` that says what was expected."""
    kinds = get_args(kind) if get_origin(kind) is not Literal and get_args(kind) else (kind,)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    for each in kinds:
        if get_origin(each) is Literal and isinstance(value, str) and value in get_args(each):
            return value
        if (each is bool and isinstance(value, bool)) or (each is str and isinstance(value, str) and value):
            return value
        if each is int and isinstance(value, int) and number and _in_range(name, value):
            return value
        if each is float and number and (name == "betas" or _in_range(name, value)):
            return float(value)
    if name == "betas" and isinstance(value, list | tuple):
        return tuple(_accept("betas", float, item) for item in value)
    if value is None and type(None) in kinds:
        return None
    raise InputError(f"options.{name}: expected {_expectation(name, kinds)}, but got {value!r:.60}")


def _in_range(name: str, value: float) -> bool:
    least, inclusive, most = _RANGES.get(name, (-math.inf, True, math.inf))
    return (least <= value if inclusive else least < value) and value <= most


def _expectation(name: str, kinds: tuple[Any, ...]) -> str:
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if bool in kinds:
        choices += ["true", "false"]
    if choices:
        return f"one of {', '.join(choices)}"
    if str in kinds:
        return "a string"
    if name == "betas":
        return "two numbers from 0 to below 1"
    least, inclusive, most = _RANGES[name]
    bound = f"{'of at least' if inclusive else 'above'} {least:g}" + ("" if most > 1e4 else f" and at most {most:g}")
    return f"a {'whole ' if int in kinds else ''}number {bound}"
