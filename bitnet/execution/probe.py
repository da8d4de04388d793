"""A short probe of the device decides how many models to train at once, and whether to compile them.

Both decisions are pure functions of measured times and memory. `bitnet.execution.timing` measures, and
`bitnet.execution.measured` stores the result, so that a resumed search makes the same decisions.

**Members.** Time 1, 2, 4, … models. Stop when doubling gains less than 15% members × tokens per second, or when memory
is too small. The probe times uncompiled steps; on an H100, compiled steps gained from more members in the same
proportion (`studies/benchmarks/population.md`).

**Compiling** costs most of a minute for each shape, and so does measuring it. The probe times uncompiled steps first.
It compiles and times the shape only if the best case would save twice the usual cost. The run uses compiled steps if
they save more time than compiling costs.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping

import torch

from bitnet.execution import memory
from bitnet.execution.measured import measured
from bitnet.execution.timing import Shape, time_steps

_log = logging.getLogger("bitnet")

WORTHWHILE = 1.15  # least gain in members × tokens per second for a doubling
MOST_MEMBERS = 64
USUAL_COST = 30.0  # seconds to compile one shape, before a measurement
MOST_SAVED = {"cpu": 1 / 3, "cuda": 2 / 3}  # share of a step's time; the measured shares were 0.2 and 0.6
_PROBE_SECONDS = 3.0
_SURELY_SHORT = 1e11  # floating-point operations that any device finishes within a minute


def members_worth_training(shape: Shape) -> int:
    """Number of models of this shape to train at once; 1 even if one does not fit."""
    each, free = _bytes_each(shape), memory.free_bytes(shape.device)
    seconds = measured({"what": "members", **shape.facts()}, lambda: time_members(shape, each, free))
    return members_that_fit(shape, fastest({int(count): value for count, value in seconds.items()}))


def members_that_fit(shape: Shape, members: int) -> int:
    """`members`, halved until they should fit into free memory; logs a warning if halved."""
    fit = memory.most_that_fit(members, _bytes_each(shape), memory.free_bytes(shape.device))
    if fit < members:
        _warn_halved(shape, members, fit)
    return fit


def compiling_pays(shape: Shape, *, members: int, steps: int) -> bool:
    """Whether a run of this many steps ends sooner if its steps are compiled."""
    device = shape.device.partition(":")[0]
    tokens = members * steps * shape.batch * shape.context
    if device not in MOST_SAVED or 6 * shape.config.parameters * tokens < _SURELY_SHORT:
        return False
    facts = {"members": members, **shape.facts()}
    plain = measured({"what": "step", **facts}, lambda: {"step": time_steps(shape, members).step})["step"]
    if not worth_trying_to_compile(plain * steps, MOST_SAVED[device]):
        return False
    compiled = measured({"what": "compiled", **facts}, lambda: _time_compiled(shape, members, plain))
    return bool(compiled) and is_repaid(plain, compiled["step"], compiled["cost"], steps)


# The decisions


def fastest(seconds: Mapping[int, float]) -> int:
    """The smallest number of members whose doubling does not pay, from seconds per step at 1, 2, 4, … members."""
    count = 1
    while doubling_pays(seconds, count):
        count *= 2
    return count


def doubling_pays(seconds: Mapping[int, float], count: int) -> bool:
    """Whether 2 · `count` members train at least `WORTHWHILE` times the members × tokens per second of `count`."""
    return 2 * count in seconds and 2 * seconds[count] / seconds[2 * count] >= WORTHWHILE


def worth_trying_to_compile(seconds: float, most_saved: float) -> bool:
    """Whether compiling could save twice its usual cost in a run that takes this long uncompiled."""
    return seconds * most_saved >= 2 * USUAL_COST


def is_repaid(plain: float, compiled: float, cost: float, steps: int) -> bool:
    """Whether steps of `compiled` instead of `plain` seconds save more time over the run than compiling costs."""
    return (plain - compiled) * steps > cost


def time_doublings(
    step_seconds: Callable[[int], float],
    *,
    holds: Callable[[int], bool],
    say: Callable[[int, int], None],
    clock: Callable[[], float] = time.monotonic,
) -> dict[int, float]:
    """Seconds per step at 1, 2, 4, … members, while doubling pays, memory suffices and the probe has time.

    Args:
        step_seconds: times a step of that many members; may raise `torch.OutOfMemoryError`.
        holds: whether that many members should fit into memory.
        say: called with (members that do not fit, half of them) when memory ends the doubling.
        clock: returns seconds.
    """
    seconds: dict[int, float] = {}
    began, count = math.inf, 1
    while count <= MOST_MEMBERS and clock() - began < _PROBE_SECONDS:
        try:
            if count > 1 and not holds(count):
                raise torch.OutOfMemoryError
            seconds[count] = step_seconds(count)
        except torch.OutOfMemoryError:
            if count > 1:
                say(count, count // 2)
            break
        if count == 1:
            began = clock()  # the first one includes the setup of the device
        elif not doubling_pays(seconds, count // 2):
            break
        count *= 2
    return seconds


# Measuring


def time_members(shape: Shape, each: int, free: int | None) -> dict[str, float]:
    """Seconds per step at 1, 2, 4, … members of `each` bytes, in `free` bytes of memory; see `time_doublings`."""
    seconds = time_doublings(
        lambda count: time_steps(shape, count).step,
        holds=lambda count: memory.most_that_fit(count, each, free) == count,
        say=lambda count, half: _warn_halved(shape, count, half),
    )
    return {str(count): value for count, value in seconds.items()}


def _time_compiled(shape: Shape, members: int, plain: float) -> dict[str, float]:
    """Seconds of a compiled step, and the extra seconds that compiling took; empty if compiling failed."""
    found = time_steps(shape, members, compiled=True)
    if not found.compiled:
        return {}
    return {"step": found.step, "cost": max(found.before, plain)}


def _bytes_each(shape: Shape) -> int:
    tokens = min(shape.micro_batch or shape.batch, shape.batch) * shape.context
    return memory.bytes_each(shape.config, tokens=tokens, device=shape.device)


def _warn_halved(shape: Shape, members: int, fit: int) -> None:
    width = shape.config.hidden_size
    _log.warning("%d models of width %d do not fit into memory; %d at once", members, width, fit)
