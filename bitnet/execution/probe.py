"""How many models to train at once, and whether to compile them: decided by a short probe of the device.

Both decisions are plain functions of measured times and memory, further below; `bitnet.execution.timing` measures,
`bitnet.execution.measured` keeps what was measured, so that a search that is started again decides the same.

**Members.** Times 1, 2, 4, … models and stops once twice as many bring less than 15% more members × tokens a second, or
memory would not hold them. It measures uncompiled steps; compiled ones gained by members in the same proportion where
both were measured, on an H100 (`studies/benchmarks/population.md`).

**Compiling** costs most of a minute for each shape, so finding out is not free either. Uncompiled steps are timed
first. Only where even the best case would repay the usual cost twice over is the shape compiled and timed; then it is
compiled for good where what it saves over the run is more than what it cost.
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

WORTHWHILE = 1.15  # members × tokens a second of twice as many, as a multiple
MOST_MEMBERS = 64
USUAL_COST = 30.0  # seconds that compiling one shape takes, until it was measured
MOST_SAVED = {"cpu": 1 / 3, "cuda": 2 / 3}  # share of a step's time; measured were a fifth and 0.6
_PROBE_SECONDS = 3.0
_SURELY_SHORT = 1e11  # floating-point operations of a run that no device takes a minute for


def members_worth_training(shape: Shape) -> int:
    """How many models of this shape to train at once; one where not even that fits."""
    each = memory.bytes_each(shape.config, tokens=_tokens(shape), device=shape.device)
    free = memory.free_bytes(shape.device)
    seconds = measured({"what": "members", **shape.facts()}, lambda: time_members(shape, each, free))
    wanted = fastest({int(count): value for count, value in seconds.items()})
    fit = memory.most_that_fit(wanted, each, free)
    if fit < wanted:
        _say_halved(shape, wanted, fit)
    return fit


def members_that_fit(shape: Shape, members: int) -> int:
    """`members`, halved until they should fit into the memory that is free; says so where it halves."""
    each = memory.bytes_each(shape.config, tokens=_tokens(shape), device=shape.device)
    fit = memory.most_that_fit(members, each, memory.free_bytes(shape.device))
    if fit < members:
        _say_halved(shape, members, fit)
    return fit


def compiling_pays(shape: Shape, *, members: int, steps: int) -> bool:
    """Whether a run of so many steps is over sooner if its steps are compiled first."""
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
    """The members at which doubling them stopped to pay, given seconds a step at 1, 2, 4, … members."""
    count = 1
    while doubling_pays(seconds, count):
        count *= 2
    return count


def doubling_pays(seconds: Mapping[int, float], count: int) -> bool:
    """Whether 2 · `count` members train worthwhile more members × tokens a second than `count`."""
    return 2 * count in seconds and 2 * seconds[count] / seconds[2 * count] >= WORTHWHILE


def worth_trying_to_compile(seconds: float, most_saved: float) -> bool:
    """Whether a run that takes so long uncompiled would, at the best, repay the usual cost of compiling twice over."""
    return seconds * most_saved >= 2 * USUAL_COST


def is_repaid(plain: float, compiled: float, cost: float, steps: int) -> bool:
    """Whether steps of `compiled` instead of `plain` seconds save more over the run than compiling costs."""
    return (plain - compiled) * steps > cost


def time_doublings(
    step_seconds: Callable[[int], float],
    *,
    holds: Callable[[int], bool],
    say: Callable[[int, int], None],
    clock: Callable[[], float] = time.monotonic,
) -> dict[int, float]:
    """Seconds a step at 1, 2, 4, … members, as far as doubling pays, memory holds them and the probe has time.

    Args:
        step_seconds: measures; may raise `torch.OutOfMemoryError`.
        holds: whether so many should fit into memory.
        say: called with (members that do not fit, half of them) when memory ends the doubling.
        clock: seconds.
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
            began = clock()  # the first one also waits for the device to be set up
        elif not doubling_pays(seconds, count // 2):
            break
        count *= 2
    return seconds


# Measuring


def time_members(shape: Shape, each: int, free: int | None) -> dict[str, float]:
    """Seconds of a step at 1, 2, 4, … members of `each` bytes, with `free` bytes to have; see `time_doublings`."""
    seconds = time_doublings(
        lambda count: time_steps(shape, count).step,
        holds=lambda count: memory.most_that_fit(count, each, free) == count,
        say=lambda count, half: _say_halved(shape, count, half),
    )
    return {str(count): value for count, value in seconds.items()}


def _time_compiled(shape: Shape, members: int, plain: float) -> dict[str, float]:
    """Seconds of a compiled step, and what came before it above the time of uncompiled steps; empty where it failed."""
    found = time_steps(shape, members, compiled=True)
    if not found.compiled:
        return {}
    return {"step": found.step, "cost": max(found.before, plain)}


def _tokens(shape: Shape) -> int:
    return min(shape.micro_batch or shape.batch, shape.batch) * shape.context


def _say_halved(shape: Shape, members: int, fit: int) -> None:
    width = shape.config.hidden_size
    _log.warning("%d models of width %d do not fit into memory; %d at once", members, width, fit)
