"""The bundled trainer: trains one BitNet run, or K runs of one width at once.

lrtune calls only this module: `check` before any training, `prepare` once before the workers start, `members_at_once`
before a worker takes trials, then `train` or `train_population`. The search process calls `check` and `prepare`, so
these do not load torch, which takes seconds.
"""

import importlib.util
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bitnet.data.prepare import open_tokens
from bitnet.data.tokens import check_length
from bitnet.settings.options import SCALES, Options, parse_options
from lrtune.trainer import InputError, MissingExtraError, Trial, population

# Columns of the reports that `lrtune compare` shows, by the titles of their tables.
column_titles = {
    "distinct": "Distinct answers to 20 held-out contexts",
    "distinct_random": "Distinct answers to 20 random prompts (the count of the Phase 4 write-up)",
    "flipped_share": "The share of ternary weights that flipped since the last report",
    "zero_share": "The share of ternary weights that are zero",
    "update_ratio": "The size of one update ÷ size of the weights",
}
_SAMPLE = 80  # tokens that a verified run generates at its end


def train(trial: Trial) -> None:
    """Train one model; see `bitnet.settings.options.Options` for what a study may set."""
    train_population([trial])


@population
def train_population(trials: Sequence[Trial]) -> None:
    """Train K models of one width as one batch. A member whose trial is stopped leaves the batch.

    Members may differ in learning rate, seed and the options of `bitnet.settings.options.PER_MEMBER`. Trials that
    differ in more, or do not fit into memory together, train in several populations, one after the other.
    """
    from bitnet import run

    run.train_population(trials)


def members_at_once(trial: Trial) -> int:
    """Number of models of the trial's shape to train at once, from a short probe (`bitnet.execution.probe`).

    1 on a CPU, without a probe: two processes of one thread are faster there than one process of two.
    """
    if not trial.device.startswith("cuda"):
        return 1
    from bitnet.execution import decide as execution

    return execution.members_at_once(trial)


def check(study: Any) -> None:
    """Raise `InputError` for options, arms, scales or widths that cannot be trained."""
    if importlib.util.find_spec("torch") is None:  # only the workers load it
        raise MissingExtraError("bitnet", "torch", "trainer 'default'")
    known = ("steps", "tokens", *SCALES)
    for name in study.scales:
        if name not in known:
            raise InputError(f"scales.{name}: expected one of {', '.join(known)}")
    for name in study.knobs:
        if name not in SCALES:
            raise InputError(f"knobs.{name}: expected one of {', '.join(SCALES)}")
    options = parse_options(study.options)
    if "adam_lr" in study.knobs and options.optimizer != "muon":
        raise InputError(f"knobs.adam_lr: expected optimizer muon, but {options.optimizer} has one rate")
    for name in study.arms:
        arm = study.arm(name)
        try:
            parse_options(arm.options).config(arm.hidden_size, 256)
        except InputError as error:
            raise InputError(f"arms.{name}: {error}") from None
    for each in _swept_options(study):
        for width in study.widths:
            each.config(width, 256)


def _swept_options(study: Any) -> list[Options]:
    """The options at each combination of a study's scales."""
    places = itertools.product(*study.scales.values())
    return [parse_options(study.options, dict(zip(study.scales, place, strict=True))) for place in places]


def tokens_per_step(study: Any, scales: Mapping[str, float]) -> int:
    """Tokens of one optimizer step."""
    options = parse_options(study.options, {name: value for name, value in scales.items() if name in SCALES})
    return options.batch * options.context


def prepare(study: Any) -> Mapping[str, str]:
    """Tokenise the corpora. Returns the identity of the study's corpus; arms may change without affecting it."""
    swept = _swept_options(study)
    longest, largest = max(each.context for each in swept), max(each.batch for each in swept)
    tables = [study.options, *(study.arm(name).options for name in study.arms)]
    tables += [{**study.options, "vocabulary": int(size)} for size in study.scales.get("vocabulary", ())]
    found = []
    for options in map(parse_options, tables):
        tokens = open_tokens(options, progress=True)
        check_length(tokens, batch_size=max(largest, options.batch), context=max(longest, options.context))
        found.append(tokens.fingerprint)
    return {"tokens": found[0]}


def step_seconds(study: Any) -> Mapping[int, float]:
    """Processor seconds of a step in one thread at each of the study's widths, measured once on each machine."""
    from bitnet.execution import pace

    return pace.step_seconds(parse_options(study.options), study.widths)


def verification_options(study: Any) -> Mapping[str, Any]:
    """Options of a verification run: both stages of the schedule, and a text sample at the end."""
    return {"sample_tokens": _SAMPLE, **study.options, "schedule": "two-stage"}


def doctor() -> Iterator[tuple[str, str, str]]:
    """The device, threads and kernels that training would use on this machine; loads torch."""
    from bitnet.execution import machine

    yield from machine.describe()
