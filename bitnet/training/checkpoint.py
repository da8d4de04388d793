"""Checkpoints of runs: one file per trial in its own folder, written atomically and checked when read.

A checkpoint holds the state before the report of its step, so a resumed run starts with that report. On a CPU the
resumed run is bit-identical to an uninterrupted one.
"""

import contextlib
import functools
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import torch
from torch import Tensor

from bitnet.settings.config import ModelConfig
from bitnet.training.population import Member, Population, State
from lrtune.files import write_whole
from lrtune.trainer import Trial

_log = logging.getLogger("bitnet")
_NAME = "bitnet.pt"
_SCHEMA = 1
_TENSORS = ("parameters", "first", "second", "gradient_norm", "update_ratio")


def identity(trial: Trial, config: ModelConfig, data: str) -> str:
    """A key of the settings that must match to resume from a checkpoint."""
    settings = {name: value for name, value in trial.options.items() if name != "tokens"}
    chosen = {**trial.scales, **trial.knobs}
    return json.dumps(
        [_SCHEMA, vars(config), trial.learning_rate, trial.seed, trial.steps, settings, chosen, data],
        sort_keys=True,
        default=str,
    )


def save(kept: Mapping[int, tuple[Trial, str]], population: Population, ternary: Tensor | None) -> None:
    """Write a checkpoint for each trial with a folder. If the disk is full, log a warning and continue the run.

    Args:
        kept: member index → trial and identity, for members that still train.
        population: all members. ternary: their ternary weights at the last report.
    """
    for k, (trial, own) in kept.items():
        if trial.checkpoint_dir is None:
            continue
        state, member = population.state.rows([k]), population.members[k]
        content = {
            "identity": own,
            "step": state.step,
            "ternary": None if ternary is None else ternary[k : k + 1].cpu(),
            "compiled": population.stepper.is_compiled,
            "warmup": None if member.warmup is None else [member.warmup.done, member.warmup.sound],
            **{name: getattr(state, name).cpu() for name in _TENSORS},
        }
        try:
            write_whole(trial.checkpoint_dir / _NAME, functools.partial(_save, content))
        except OSError as error:
            _log.warning("no checkpoint at step %d: %s", state.step, error.strerror or error)


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:  # torch's writer reports a full disk this way
        raise OSError(f"cannot write ({error})") from error


def load(
    trials: Sequence[Trial], identities: Sequence[str], members: Sequence[Member]
) -> tuple[State | None, Tensor | None, bool | None]:
    """The state to resume from, the ternary weights of its last report, and whether its steps were compiled.

    All are None if the run starts from step 0; the last is also None if unknown or not the same for all members.

    A population resumes only if all members have checkpoints of the same step. A file that is damaged or belongs to
    another run is ignored with a warning.
    """
    found = [_read(trial, own) for trial, own in zip(trials, identities, strict=True)]
    contents = [content for content in found if content is not None]
    if len(contents) < len(trials) or len({content["step"] for content in contents}) > 1:
        return None, None, None
    device = trials[0].device
    tensors = {name: torch.cat([content[name] for content in contents]).to(device) for name in _TENSORS}
    for member, content in zip(members, contents, strict=True):
        if member.warmup is not None and content["warmup"] is not None:
            member.warmup.done, member.warmup.sound = float(content["warmup"][0]), bool(content["warmup"][1])
    before = [content["ternary"] for content in contents]
    ternary = None if any(part is None for part in before) else torch.cat(before).to(device)
    ways = {content.get("compiled") for content in contents}
    compiled = ways.pop() if len(ways) == 1 else None
    return State(step=contents[0]["step"], **tensors), ternary, compiled if isinstance(compiled, bool) else None


def _read(trial: Trial, own: str) -> dict[str, Any] | None:
    path = None if trial.checkpoint_dir is None else trial.checkpoint_dir / _NAME
    if path is None or not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["identity"] != own:
            _log.warning("%s belongs to another run; starting from step 0", path)
            return None
        tensors = [content[name] for name in _TENSORS]
        if not (isinstance(content["step"], int) and all(isinstance(each, Tensor) for each in tensors)):
            raise ValueError("fields of the wrong kind")
        return dict(content)
    except Exception as error:  # torch raises many types for damaged files
        _log.warning("cannot read %s (%s); starting from step 0", path, type(error).__name__)
        return None


def remove(trials: Sequence[Trial]) -> None:
    """Delete the checkpoints of finished runs."""
    for trial in trials:
        if trial.checkpoint_dir is not None:
            with contextlib.suppress(OSError):
                (trial.checkpoint_dir / _NAME).unlink()
