"""K models of one width trained as one batched model; each has its own rate, decay, clip, seed and optimizer state.

A single run is a population of one. Each row of a (K, P) tensor holds the parameters of a member; Adam's moments, or
Muon's momentum, have the same layout. Clipping and the update are then a few operations over rows, and dropping a
member is an index. The legend of shapes is in `bitnet.model.decoder`.

A `Stepper` makes the steps; see `bitnet.training.steppers`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bitnet.model.decoder import hidden_states, initial_parameters, views
from bitnet.model.loss import training_loss
from bitnet.settings.config import Gradient, ModelConfig
from bitnet.settings.options import Optimizer
from bitnet.settings.parametrization import Factors
from bitnet.settings.schedule import AdaptiveWarmup, Schedule
from bitnet.ternary.arithmetic import Arithmetic, choose

Batches = Callable[[int, int], Any]  # (seed, step) → ids (B, T + 1)


@dataclass(kw_only=True)
class Member:
    """The settings in which the models of a population may differ.

    Attributes:
        seed: seed of the initial weights and the data.
        schedule: its learning rate and weight decay.
        optimizer: Adam with decoupled or coupled decay (`torch.optim.AdamW`, `Adam`), or Muon for the ternary matrices.
        adam_ratio: under Muon, AdamW's rate ÷ Muon's.
        clip: largest gradient norm; infinite for none.
        label_smoothing: share of the target's probability spread over the vocabulary.
        warmup: state of an adaptive warm-up; None for a fixed one.
    """

    seed: int
    schedule: Schedule
    optimizer: Optimizer = "adamw"
    adam_ratio: float = 1.0
    clip: float = math.inf
    label_smoothing: float = 0.0
    warmup: AdaptiveWarmup | None = None

    @property
    def coupled(self) -> bool:
        """Whether weight decay is added to the gradient."""
        return self.optimizer == "adam-l2"

    def pace(self, step: int) -> tuple[float, float]:
        """Learning rate and weight decay of the update at `step`; advances an adaptive warm-up."""
        ramp = self.warmup.advance() if self.warmup else None
        return self.schedule.learning_rate(step, ramp), self.schedule.decay(step)


class Share(NamedTuple):
    """Parameters that Adam updates alike: from `first` to before `last`, in order, with factors on rate and decay."""

    first: int
    last: int
    rate: float = 1.0
    decay: float = 1.0


@dataclass(kw_only=True)
class State:
    """Training state: (K, P) parameters and Adam's two moments, number of updates, and figures of the last update.

    Muon's momentum is in the place of the first moment.

    Attributes:
        gradient_norm: (K,) norm before clipping. update_ratio: (K,) RMS of the last update of the ternary weights ÷
            RMS of the weights. Both NaN before the first update.
    """

    parameters: Tensor
    first: Tensor
    second: Tensor
    step: int = 0
    gradient_norm: Tensor = field(default_factory=lambda: torch.zeros(0))
    update_ratio: Tensor = field(default_factory=lambda: torch.zeros(0))

    def rows(self, index: Sequence[int]) -> "State":
        """A copy of the state of some members."""
        picked = torch.tensor(list(index), device=self.parameters.device)
        tensors = {name: value[picked] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return State(step=self.step, **tensors)


class Stepper(Protocol):
    """Makes the steps of a population. Holds no reference to it, so that its memory is freed at once."""

    is_compiled: bool  # requested, and compiling has not failed

    def bind(self, population: "Population") -> None:
        """Prepare for the population's current members and tensors; called again when members are dropped."""

    def run(self, population: "Population", count: int) -> None:
        """Make `count` updates; none if negative."""

    def worthwhile_size(self, members: int) -> int:
        """The most members that are worth a smaller batch than `members`."""


class Population:
    """K models of one shape in training.

    Args:
        config: their shape.
        members: one entry each.
        batches: the data, a pure function of seed and step.
        stepper: makes the steps.
        device: where to train.
        gradient: precision of the backward products.
        betas, epsilon: Adam's parameters.
        init_std: deviation of the initial weights.
        factors: on that deviation and on the rates, for this width; see `bitnet.settings.parametrization`.
        arithmetic: implementation of the layers and the loss; None for the device's fastest.
        micro_batch: sequences of a forward pass; None for the whole batch. The gradient is that of the batch.
        state: the state to resume from; None for initial weights.
    """

    def __init__(
        self,
        config: ModelConfig,
        members: Sequence[Member],
        batches: Batches,
        *,
        stepper: Stepper,
        device: str | torch.device = "cpu",
        gradient: Gradient = "fp32",
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        init_std: float = 0.02,
        factors: Factors | None = None,
        arithmetic: Arithmetic | None = None,
        micro_batch: int | None = None,
        state: State | None = None,
    ) -> None:
        self.config, self.members, self.batches = config, list(members), batches
        self.device, self.gradient, self.micro_batch = torch.device(device), gradient, micro_batch
        self.betas, self.epsilon, self.stepper = betas, epsilon, stepper
        self.factors = factors or Factors()
        self.arithmetic = arithmetic or choose(self.device)
        self.state = state or self._initial_state(init_std)
        self._bind()

    def _initial_state(self, std: float) -> State:
        by_seed = {
            seed: initial_parameters(self.config, seed=seed, std=std, factors=self.factors)
            for seed in {member.seed for member in self.members}
        }
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
        """Create the named views of the current state."""
        self.parameters = views(self.state.parameters, self.config)
        self._leaves = {name: view.detach().requires_grad_() for name, view in self.parameters.items()}
        smoothing = [member.label_smoothing for member in self.members]
        self._smoothing = torch.tensor(smoothing, device=self.device) if any(smoothing) else None
        self.stepper.bind(self)

    @property
    def ternary_weights(self) -> Tensor:
        """(K, …) latent weights of all quantised layers; they follow embedding and head in a row."""
        return self.state.parameters[:, 2 * self.config.vocabulary_size * self.config.hidden_size :]

    @property
    def worthwhile_size(self) -> int:
        """The most members that are worth a smaller batch."""
        return self.stepper.worthwhile_size(len(self.members))

    def adam_shares(self, member: Member) -> list[Share]:
        """What Adam updates, with Muon embedding and head alone. µP's factor does not change the decay of a step."""
        with_muon, narrow = member.optimizer == "muon", self.factors.rate
        ratio, last = (member.adam_ratio, 2) if with_muon else (1.0, len(self.parameters))
        if narrow == 1.0:
            return [Share(0, last, ratio)]
        return [Share(0, 1, ratio), Share(1, last, ratio * narrow, 1 / narrow)]

    def keep(self, index: Sequence[int]) -> None:
        """Drop all members but those at `index` and close the gaps."""
        self.members = [self.members[k] for k in index]
        self.state = self.state.rows(index)
        self._bind()

    def advance(self, step: int) -> None:
        """Train until update `step`; also measure the relative size of the last update."""
        self.make_steps(step - 1 - self.state.step)
        if self.state.step < step:
            before = self.ternary_weights.clone()
            self.make_steps(1)
            size = torch.linalg.vector_norm(self.ternary_weights - before, dim=1)
            self.state.update_ratio = size / torch.linalg.vector_norm(before, dim=1)

    def make_steps(self, count: int) -> None:
        """Make `count` updates; none if negative."""
        self.stepper.run(self, count)

    def tokens(self, step: int) -> Tensor:
        """The batch of one step, (K, B, T + 1), or (1, B, T + 1) where all members share their seed."""
        seeds = [member.seed for member in self.members]
        by_seed = {seed: torch.from_numpy(self.batches(seed, step)) for seed in dict.fromkeys(seeds)}
        if len(by_seed) == 1:
            return by_seed[seeds[0]].unsqueeze(0)
        return torch.stack([by_seed[seed] for seed in seeds])

    def gradients(self, tokens: Tensor, arithmetic: Arithmetic | None = None) -> list[Tensor]:
        """Gradient of each member's loss for each parameter, (K, …); accumulates micro-batches.

        Args:
            tokens: the result of `tokens`.
            arithmetic: replaces the population's arithmetic (a compiled one, for example).
        """
        arithmetic = arithmetic or self.arithmetic
        size = self.micro_batch or tokens.shape[1]
        total: list[Tensor] = []
        for part in tokens.split(size, dim=1):
            inputs = part[:, :, :-1]
            states = hidden_states(self._leaves, inputs, self.config, arithmetic=arithmetic, gradient=self.gradient)
            targets = part[:, :, 1:].reshape(part.shape[0], -1)
            share = part.shape[1] / tokens.shape[1]
            losses = training_loss(
                states,
                self._leaves["head"],
                targets,
                self._smoothing,
                arithmetic=arithmetic,
                weight=share,
                gradient=self.gradient,
            )
            gradients = torch.autograd.grad(losses.sum(), list(self._leaves.values()))
            if total:
                torch._foreach_add_(total, list(gradients))
            else:
                total = list(gradients)
        return total
