"""Seconds of a step on this machine, for the search that has not started yet; measured once."""

import importlib.metadata
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bitnet.execution.machine import processor
from bitnet.execution.measured import measured
from bitnet.settings.options import Options

_CAPS = ("LRTUNE_CPU", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "CC")


def step_seconds(options: Options, widths: Sequence[int]) -> Mapping[int, float]:
    """Processor seconds of a step in one thread, by hidden size; loads torch for the first measurement only."""
    question: dict[str, Any] = {
        "what": "pace",
        "widths": list(widths),
        "options": repr(options),
        "on": processor(),
        "torch": importlib.metadata.version("torch"),
        "compiler": shutil.which("cc") or shutil.which("gcc"),
        **{name: os.environ.get(name) for name in _CAPS},
    }
    found = measured(question, lambda: _timed(options, widths))
    return {int(width): seconds for width, seconds in found.items()}


def _timed(options: Options, widths: Sequence[int]) -> dict[str, float]:
    from bitnet.data.prepare import open_tokens
    from bitnet.execution.timing import Shape, time_steps
    from bitnet.training import cpu

    cpu.settle(1)
    vocabulary = open_tokens(options).vocabulary_size
    shapes = {
        width: Shape(
            config=options.config(width, vocabulary),
            batch=options.batch,
            context=options.context,
            gradient=options.precision,
        )
        for width in widths
    }
    with cpu.tiny_as_zero():
        return {str(width): time_steps(shape, 1, clock=time.process_time).step for width, shape in shapes.items()}
