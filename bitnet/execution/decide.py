"""Execution of trials on this machine: how many at once, compiled or not."""

import functools
import logging
import os
import shutil
from collections.abc import Sequence

import torch

from bitnet.data.prepare import open_tokens
from bitnet.execution import probe
from bitnet.execution.timing import Shape
from bitnet.settings.config import ModelConfig
from bitnet.settings.options import Options, options_of
from bitnet.ternary.arithmetic import choose
from lrtune.trainer import Trial

_log = logging.getLogger("bitnet")


def members_at_once(trial: Trial) -> int:
    """Number of models of the trial's shape to train at once on its device."""
    return probe.members_worth_training(_shape(trial))


def members_that_fit(trials: Sequence[Trial]) -> int:
    """Number of these trials, all of one shape, that should fit into memory at once."""
    return probe.members_that_fit(_shape(trials[0]), len(trials))


def should_compile(options: Options, config: ModelConfig, trials: Sequence[Trial]) -> bool:
    """Whether to compile: not with Muon; the user's choice; not without a compiler or with kernels; else by a probe."""
    if options.optimizer == "muon":
        _say_plain(trials[0].device, compile=options.compile is True)
        return False
    if isinstance(options.compile, bool):
        return options.compile
    device = trials[0].device.partition(":")[0]
    if config.ffn == "squared-relu" and choose(torch.device(device)).name == "kernels":
        return False  # bitnet's kernels are faster than a compiled block
    if device == "cpu" and not any(map(shutil.which, (os.environ.get("CXX") or "c++", "g++", "clang++"))):
        return False
    shape = _shape_of(trials[0], options, config)
    return probe.compiling_pays(shape, members=len(trials), steps=trials[0].steps)


@functools.cache
def _say_plain(device: str, *, compile: bool) -> None:
    if device != "cpu" or compile:
        _log.warning("muon: steps are not compiled or captured; its update runs one matrix of one model at a time")


def _shape(trial: Trial) -> Shape:
    options = options_of(trial)
    return _shape_of(trial, options, options.config(trial.hidden_size, open_tokens(options).vocabulary_size))


def _shape_of(trial: Trial, options: Options, config: ModelConfig) -> Shape:
    return Shape(
        config=config,
        batch=options.batch,
        context=options.context,
        gradient=options.precision,
        micro_batch=trial.micro_batch,
        device=trial.device,
    )
