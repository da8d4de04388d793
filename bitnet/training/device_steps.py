"""Steps of a population on a GPU: captured once as a CUDA graph and replayed without the host.

Two transfers copy the batches and rates of up to `_AHEAD` steps to the device. The graph selects its row with a
counter, which it increments itself. While the device runs these steps, the host prepares the next ones. The first
steps run without a graph: they are real steps and warm up the libraries.

Long runs also compile the layers and the update. Without a working compiler they run uncompiled and log a warning.
"""

import logging
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitnet.ternary.arithmetic import compiled
from bitnet.training.population import Population, Stepper

_log = logging.getLogger("bitnet")
_AHEAD = 64
_WARM_UP_STEPS = 3


def adam_rows(
    parameters: Tensor,
    gradients: Tensor,
    first: Tensor,
    second: Tensor,
    pace: Tensor,
    clip: Tensor,
    norm: Tensor,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """Clip and apply Adam in place to K members at once.

    Args:
        parameters, gradients, first, second: (K, P). Gradients are overwritten.
        pace: (K, 5) learning rate, decoupled decay, coupled decay, 1 − β₁ᵗ, √(1 − β₂ᵗ).
        clip, norm: (K,) largest allowed gradient norm, and the actual norm.
    """
    rate, decoupled, coupled, bias1, bias2 = (column.unsqueeze(1) for column in pace.unbind(1))
    scale = (clip / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1)
    gradients.mul_(scale).addcmul_(parameters, coupled)
    first.lerp_(gradients, 1.0 - beta1)
    second.mul_(beta2).addcmul_(gradients, gradients, value=1.0 - beta2)
    parameters.mul_(1.0 - rate * decoupled)
    parameters.sub_(first * (rate / bias1) / (second.sqrt() / bias2 + epsilon))


class DeviceSteps(Stepper):
    """See `bitnet.training.population.Stepper`.

    Args:
        compiled: whether to compile the layers and the update.
        graph: whether to capture a CUDA graph (needs a GPU).
    """

    def __init__(self, *, compiled: bool, graph: bool = True) -> None:
        self.wants_compiled, self.wants_graph = compiled, graph
        self.is_compiled = False

    def bind(self, population: Population) -> None:
        """See `bitnet.training.population.Stepper.bind`; also drops the graph of the previous members."""
        self.device = population.device
        self.arithmetic, self.update = population.arithmetic, adam_rows
        self.is_compiled = self.wants_compiled
        if self.wants_compiled:
            self.arithmetic = compiled(lambda layer: compile_for_training(layer, dynamic=False), population.arithmetic)
            self.update = compile_for_training(adam_rows, dynamic=True)
        members = population.members
        seeds = list(dict.fromkeys(member.seed for member in members))
        self.seeds = seeds
        self.seed_of_member = torch.tensor([seeds.index(m.seed) for m in members], device=self.device)
        self.clip = torch.tensor([member.clip for member in members], device=self.device)
        self.shares = self._shares(population)
        self.row = torch.zeros(1, dtype=torch.long, device=self.device)
        self.ids: Tensor | None = None
        self.paces: Tensor | None = None
        self.gradients = torch.empty_like(population.state.parameters)
        self.norm = torch.full((len(members),), math.nan, device=self.device)
        self.captures = self.wants_graph and self.device.type == "cuda"
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream: Any = torch.cuda.Stream() if self.device.type == "cuda" else None
        self.eager_steps = 0

    def _shares(self, population: Population) -> list[tuple[slice, Tensor | None]]:
        """Columns of the parameters, and factors on their pace."""
        ends = [0]
        for view in population.parameters.values():
            ends.append(ends[-1] + view[0].numel())
        shares = population.adam_shares(
            population.members[0]
        )  # Muon has `HostSteps`; other members share their factors
        return [
            (
                slice(ends[share.first], ends[share.last]),
                None if share.rate == 1.0 else torch.tensor([share.rate, share.decay, 1, 1, 1], device=self.device),
            )
            for share in shares
        ]

    def run(self, population: Population, count: int) -> None:
        while count > 0:
            ready = min(count, _AHEAD)
            self._stage(population, ready)
            for _ in range(ready):
                self._step(population)
            population.state.step += ready
            count -= ready
        population.state.gradient_norm = self.norm.clone()

    def worthwhile_size(self, members: int) -> int:
        """Half of the members if compiled, else three quarters: each new shape needs a capture (and a compilation)."""
        return members // 2 if self.wants_compiled else members * 3 // 4

    def _stage(self, population: Population, count: int) -> None:
        """Copy the batches and rates of the next `count` steps to the device."""
        steps = range(population.state.step, population.state.step + count)
        ids = np.stack([np.stack([population.batches(seed, step) for seed in self.seeds]) for step in steps])
        beta1, beta2 = population.betas
        paces = np.empty((count, len(population.members), 5), dtype=np.float32)
        for i, step in enumerate(steps):
            bias1, bias2 = 1.0 - beta1 ** (step + 1), math.sqrt(1.0 - beta2 ** (step + 1))
            for k, member in enumerate(population.members):
                rate, decay = member.pace(step)
                paces[i, k] = (rate, 0.0 if member.coupled else decay, decay if member.coupled else 0.0, bias1, bias2)
        if self.ids is None or self.paces is None:
            self.ids = torch.zeros((_AHEAD, *ids.shape[1:]), dtype=torch.int32, device=self.device)
            self.paces = torch.zeros((_AHEAD, *paces.shape[1:]), device=self.device)
        self.ids[:count].copy_(self._sent(ids.astype(np.int32)), non_blocking=True)
        self.paces[:count].copy_(self._sent(paces), non_blocking=True)
        self.row.zero_()

    def _sent(self, array: Any) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def _step(self, population: Population) -> None:
        if self.graph is not None:
            self.graph.replay()
        elif self.captures and self.eager_steps >= _WARM_UP_STEPS:
            self._capture(population)
        elif self.device.type == "cuda":
            # Warm up on the capturing stream: libraries have state per stream.
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self._fall_back_or_compute(population)
            torch.cuda.current_stream().wait_stream(self.stream)
            self.eager_steps += 1
        else:
            self._fall_back_or_compute(population)

    def _capture(self, population: Population) -> None:
        """Capture the graph and run this step with it."""
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self._compute(population)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            _log.warning("no CUDA graph (%s); steps run one operation at a time", str(error).splitlines()[0])
            self.captures = False
            torch.cuda.synchronize()
            self._compute(population)
            return
        self.graph = graph
        graph.replay()

    def _fall_back_or_compute(self, population: Population) -> None:
        try:
            self._compute(population)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if not self.is_compiled:
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            _log.warning("compiling failed (%s); continuing uncompiled", reason)
            self.arithmetic, self.update, self.is_compiled = population.arithmetic, adam_rows, False
            self._compute(population)

    def _compute(self, population: Population) -> None:
        """One step with row `self.row` of the staged data. Changes no state before the gradients are complete."""
        assert self.ids is not None and self.paces is not None
        state = population.state
        tokens = self.ids.index_select(0, self.row)[0].long()
        if len(self.seeds) > 1:
            tokens = tokens.index_select(0, self.seed_of_member)
        pace = self.paces.index_select(0, self.row)[0]
        gradients = population.gradients(tokens, self.arithmetic)
        torch.cat([gradient.flatten(1) for gradient in gradients], dim=1, out=self.gradients)
        torch.linalg.vector_norm(self.gradients, dim=1, out=self.norm)
        with torch.no_grad():
            for columns, factors in self.shares:
                self.update(
                    state.parameters[:, columns],
                    self.gradients[:, columns],
                    state.first[:, columns],
                    state.second[:, columns],
                    pace if factors is None else pace * factors,
                    self.clip,
                    self.norm,
                    *population.betas,
                    population.epsilon,
                )
        self.row += 1


def compile_for_training(function: Any, **settings: Any) -> Any:
    """`function` compiled, with a cache for one shape per width and number of members."""
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(function, **settings)
