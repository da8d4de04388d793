"""Times real steps of a population on random tokens: the only part of a probe that needs the device.

The time of a step depends on neither text nor learning rate, so it holds for every run of the shape.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bitnet.execution.machine import processor
from bitnet.settings.config import Gradient, ModelConfig
from bitnet.settings.schedule import Schedule
from bitnet.training.population import Member, Population
from bitnet.training.steppers import stepper_for

_WARM_UP = {"cuda": 5}  # on a GPU, enough steps to capture the graph
_ROUND_SECONDS, _ROUNDS, _MOST_STEPS = 0.05, 3, 64


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Everything that the time and memory of a step depend on, except the number of members.

    Attributes:
        config: the model. batch, context: sequences of a step, and tokens of one.
        gradient: precision of the backward products.
        micro_batch: sequences of a forward pass, or None for the whole batch.
        device: where to train.
    """

    config: ModelConfig
    batch: int
    context: int
    gradient: Gradient = "fp32"
    micro_batch: int | None = None
    device: str = "cpu"

    def facts(self) -> dict[str, Any]:
        """The shape, the device and torch's version, as the key of a measurement."""
        own = {name: value for name, value in vars(self).items() if name not in ("config", "device")}
        return {**vars(self.config), **own, "torch": torch.__version__, "on": _device_facts(self.device)}


def _device_facts(device: str) -> list[Any]:
    place = torch.device(device)
    if place.type == "cuda":
        card = torch.cuda.get_device_properties(place)
        return ["cuda", card.name, card.total_memory]
    if place.type == "cpu":
        return ["cpu", processor(), torch.get_num_threads()]
    return [place.type, processor()]


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Seconds of one warm step, seconds of the warm-up, and whether a requested compilation worked."""

    step: float
    before: float
    compiled: bool = False


def time_steps(
    shape: Shape, members: int, *, compiled: bool = False, clock: Callable[[], float] = time.perf_counter
) -> StepTime:
    """Train `members` models briefly: the best of three rounds by `clock`, after a warm-up.

    Raises:
        torch.OutOfMemoryError: they do not fit; their memory is free again.
    """
    try:
        return _time_steps(shape, members, compiled, clock)
    except torch.OutOfMemoryError as error:
        reason = str(error)
    finally:
        _give_back(shape.device)
    _give_back(shape.device)  # after the except block: the error's frames held the tensors
    raise torch.OutOfMemoryError(reason)


def _give_back(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _time_steps(shape: Shape, members: int, compiled: bool, clock: Callable[[], float]) -> StepTime:
    size, vocabulary = (shape.batch, shape.context + 1), shape.config.vocabulary_size
    began = clock()
    population = Population(
        shape.config,
        [Member(seed=0, schedule=Schedule(peak=1e-3, steps=1000, warmup=0)) for _ in range(members)],
        lambda seed, step: np.random.default_rng((seed, step)).integers(0, vocabulary, size),
        stepper=stepper_for(shape.device, compiled=compiled),
        device=shape.device,
        gradient=shape.gradient,
        micro_batch=shape.micro_batch,
    )
    for _ in range(_WARM_UP.get(population.device.type, 2)):
        population.make_steps(1)
    synchronize(shape.device)
    ready = clock()
    population.make_steps(1)
    synchronize(shape.device)
    best = max(clock() - ready, 1e-9)
    count = max(1, min(_MOST_STEPS, round(_ROUND_SECONDS / best)))
    for _ in range(_ROUNDS):
        start = clock()
        population.make_steps(count)
        synchronize(shape.device)
        best = min(best, (clock() - start) / count)
    return StepTime(step=best, before=ready - began, compiled=population.stepper.is_compiled)


def synchronize(device: str) -> None:
    """Wait for the device to finish."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()
