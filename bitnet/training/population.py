"""K models of one width trained as one batched model: each its own rate, decay, clip, seed and optimizer state.

A single run is a population of one. All parameters of a member lie in one row of a (K, P) tensor, and Adam's moments
likewise, so that clipping and the update are a few operations over rows, and dropping a member is an index. The
legend of shapes is in `bitnet.model.decoder`.

On a CPU each member is updated by torch's fused Adam; on a GPU all are at once, inside a captured graph, which
`bitnet.training.device_steps` is about.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitnet.model.decoder import Block, hidden_states, initial_parameters, training_loss, views
from bitnet.settings.config import Gradient, ModelConfig
from bitnet.settings.schedule import AdaptiveWarmup, Schedule
from bitnet.training.device_steps import DeviceSteps

Batches = Callable[[int, int], Any]  # (seed, step) → ids (B, T + 1)


@dataclass(kw_only=True)
class Member:
    """One model of a population: what may differ from its neighbours.

    Attributes:
        seed: of its initial weights and its data.
        schedule: its learning rate and weight decay.
        coupled: whether weight decay goes through the gradient (L2, `torch.optim.Adam`) or past it (AdamW).
        clip: largest gradient norm; infinite for none.
        label_smoothing: share of the target's probability spread over the vocabulary.
        warmup: an adaptive warm-up's state, if it has one.
    """

    seed: int
    schedule: Schedule
    coupled: bool = False
    clip: float = math.inf
    label_smoothing: float = 0.0
    warmup: AdaptiveWarmup | None = None

    def pace(self, step: int) -> tuple[float, float]:
        """Learning rate and weight decay of the update at `step`; moves an adaptive warm-up on."""
        ramp = self.warmup.advance() if self.warmup else None
        return self.schedule.learning_rate(step, ramp), self.schedule.decay(step)


@dataclass(kw_only=True)
class State:
    """What training changes: (K, P) parameters and Adam's two moments, updates done, and figures of the last one.

    Attributes:
        gradient_norm: (K,) before clipping. update_ratio: (K,) root mean square of the last update of the ternary
            weights ÷ that of the weights. Both NaN before the first update.
    """

    parameters: Tensor
    first: Tensor
    second: Tensor
    step: int = 0
    gradient_norm: Tensor = field(default_factory=lambda: torch.zeros(0))
    update_ratio: Tensor = field(default_factory=lambda: torch.zeros(0))

    def rows(self, index: Sequence[int]) -> "State":
        """The state of some members, copied."""
        picked = torch.tensor(list(index), device=self.parameters.device)
        tensors = {name: value[picked] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return State(step=self.step, **tensors)


class Population:
    """K models of one shape in training.

    Args:
        config: their shape.
        members: one entry each.
        batches: the data, a pure function of seed and step.
        device: where to train.
        gradient: precision of the backward products.
        betas, epsilon: Adam's.
        init_std: deviation of the initial weights.
        compiled: whether to compile the blocks.
        micro_batch: sequences of a forward pass; None for the whole batch. The gradient is that of the batch.
        state: to go on from, instead of initial weights.
    """

    def __init__(
        self,
        config: ModelConfig,
        members: Sequence[Member],
        batches: Batches,
        *,
        device: str | torch.device = "cpu",
        gradient: Gradient = "fp32",
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        init_std: float = 0.02,
        compiled: bool = False,
        micro_batch: int | None = None,
        state: State | None = None,
    ) -> None:
        self.config, self.members, self.batches = config, list(members), batches
        self.device, self.gradient, self.micro_batch = torch.device(device), gradient, micro_batch
        self.betas, self.epsilon, self.compiled = betas, epsilon, compiled
        self.state = state or self._initial_state(init_std)
        self._bind()

    def _initial_state(self, std: float) -> State:
        by_seed = {seed: initial_parameters(self.config, seed=seed, std=std) for seed in {m.seed for m in self.members}}
        parameters = torch.stack([by_seed[member.seed] for member in self.members]).to(self.device)
        unknown = torch.full((len(self.members),), math.nan, device=self.device)
        return State(
            parameters=parameters,
            first=torch.zeros_like(parameters),
            second=torch.zeros_like(parameters),
            gradient_norm=unknown,
            update_ratio=unknown.clone(),
        )

    def _bind(self) -> None:
        """Make the named views of the present state."""
        self.parameters = views(self.state.parameters, self.config)
        self._leaves = {name: view.detach().requires_grad_() for name, view in self.parameters.items()}
        self._moments = [
            [view[k] for view in views(moment, self.config).values()]
            for moment in (self.state.first, self.state.second)
            for k in range(len(self.members))
        ]
        smoothing = [member.label_smoothing for member in self.members]
        self._smoothing = torch.tensor(smoothing, device=self.device) if any(smoothing) else None
        self._counter = torch.zeros((), dtype=torch.float32)
        by_device = self.device.type != "cpu" or self.compiled
        self._device_steps = DeviceSteps(self, compiled=self.compiled) if by_device else None

    @property
    def ternary_weights(self) -> Tensor:
        """(K, …) latent weights of all quantised layers; embedding and head come first in a row, these after."""
        return self.state.parameters[:, 2 * self.config.vocabulary_size * self.config.hidden_size :]

    @property
    def is_compiled(self) -> bool:
        """Whether its steps are compiled now: where compiling was asked for and did not fail."""
        return self._device_steps is not None and self._device_steps.block is not None

    @property
    def worthwhile_size(self) -> int:
        """The most members that are worth a smaller batch: a GPU has to capture, or even compile, each new shape."""
        if self._device_steps is None:
            return len(self.members) - 1
        return len(self.members) // 2 if self.compiled else len(self.members) * 3 // 4

    def keep(self, index: Sequence[int]) -> None:
        """Drop all members but those at `index` and close the gaps."""
        self.members = [self.members[k] for k in index]
        self.state = self.state.rows(index)
        self._bind()

    def advance(self, step: int) -> None:
        """Train until `step` updates have been made; also measures the relative size of the last one."""
        self.make_steps(step - 1 - self.state.step)
        if self.state.step < step:
            before = self.ternary_weights.clone()
            self.make_steps(1)
            size = torch.linalg.vector_norm(self.ternary_weights - before, dim=1)
            self.state.update_ratio = size / torch.linalg.vector_norm(before, dim=1)

    def make_steps(self, count: int) -> None:
        """Make `count` updates, none where it is negative."""
        if self._device_steps is not None:
            self._device_steps.run(count)
            return
        for _ in range(count):
            self._one_step()

    def _one_step(self) -> None:
        step = self.state.step
        gradients = self.gradients(self._tokens(step))
        paces = [member.pace(step) for member in self.members]
        norms = []
        for k, member in enumerate(self.members):
            norms.append(self._update(k, member, *paces[k], [gradient[k] for gradient in gradients]))
        self.state.gradient_norm = torch.stack(norms)
        self.state.step = step + 1

    def _tokens(self, step: int) -> Tensor:
        """(K, B, T + 1), or (1, B, T + 1) where all members share their seed."""
        seeds = [member.seed for member in self.members]
        by_seed = {seed: torch.from_numpy(self.batches(seed, step)) for seed in dict.fromkeys(seeds)}
        if len(by_seed) == 1:
            return by_seed[seeds[0]].unsqueeze(0)
        return torch.stack([by_seed[seed] for seed in seeds])

    def gradients(self, tokens: Tensor, compiled: Block | None = None) -> list[Tensor]:
        """Gradient of each member's own loss for each parameter, (K, …), by micro-batches where asked."""
        size = self.micro_batch or tokens.shape[1]
        total: list[Tensor] = []
        for part in tokens.split(size, dim=1):
            states = hidden_states(
                self._leaves, part[:, :, :-1], self.config, gradient=self.gradient, compiled=compiled
            )
            targets = part[:, :, 1:].reshape(part.shape[0], -1)
            share = part.shape[1] / tokens.shape[1]
            losses = training_loss(
                states, self._leaves["head"], targets, self._smoothing, weight=share, gradient=self.gradient
            )
            gradients = torch.autograd.grad(losses.sum(), list(self._leaves.values()))
            if total:
                torch._foreach_add_(total, list(gradients))
            else:
                total = list(gradients)
        return total

    def _update(self, k: int, member: Member, rate: float, decay: float, gradients: list[Tensor]) -> Tensor:
        """Clip and apply Adam to member k; returns its gradient norm."""
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        excess = (norm + 1e-6) / member.clip
        update = torch._fused_adam_ if member.coupled else torch._fused_adamw_
        parameters = [view[k] for view in self.parameters.values()]
        count = self._counter.fill_(float(self.state.step + 1))
        update(
            parameters,
            gradients,
            self._moments[k],
            self._moments[len(self.members) + k],
            [],
            [count] * len(parameters),
            lr=rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=decay,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
            grad_scale=excess if excess > 1 else None,
            found_inf=None,
        )
        return norm
