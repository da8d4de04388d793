"""Steps on a CPU, and with Muon on any device: gradients of all members together, then torch's optimizer for each."""

import torch
from torch import Tensor, nn

from bitnet.model.decoder import views
from bitnet.training.population import Member, Population, Stepper


class HostSteps(Stepper):
    """See `bitnet.training.population.Stepper`."""

    is_compiled = False

    def bind(self, population: Population) -> None:
        state, config = population.state, population.config
        self._parameters, self._first, self._second = (
            [[view[k] for view in views(rows, config).values()] for k in range(len(population.members))]
            for rows in (state.parameters, state.first, state.second)
        )
        self._counter = torch.zeros((), dtype=torch.float32, device=population.device)
        self._shares = [population.adam_shares(member) for member in population.members]
        self._muon = [
            muon_for(self._parameters[k][2:], self._first[k][2:]) if member.optimizer == "muon" else None
            for k, member in enumerate(population.members)
        ]

    def run(self, population: Population, count: int) -> None:
        for _ in range(count):
            step = population.state.step
            gradients = population.gradients(population.tokens(step).to(population.device))
            self._counter.fill_(float(step + 1))
            norms = [
                self._update(population, k, member, [gradient[k] for gradient in gradients])
                for k, member in enumerate(population.members)
            ]
            population.state.gradient_norm = torch.stack(norms)
            population.state.step = step + 1

    def worthwhile_size(self, members: int) -> int:
        """All but one member: a new shape costs nothing here."""
        return members - 1

    def _update(self, population: Population, k: int, member: Member, gradients: list[Tensor]) -> Tensor:
        """Clip and update member k; returns its gradient norm."""
        rate, decay = member.pace(population.state.step)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        excess = (norm + 1e-6) / member.clip
        update = torch._fused_adam_ if member.coupled else torch._fused_adamw_
        for first, last, rate_factor, decay_factor in self._shares[k]:
            update(
                self._parameters[k][first:last],
                gradients[first:last],
                self._first[k][first:last],
                self._second[k][first:last],
                [],
                [self._counter] * (last - first),
                lr=rate * rate_factor,
                beta1=population.betas[0],
                beta2=population.betas[1],
                weight_decay=decay if member.coupled else decay * decay_factor,
                eps=population.epsilon,
                amsgrad=False,
                maximize=False,
                grad_scale=excess if excess > 1 else None,
                found_inf=None,
            )
        if (muon := self._muon[k]) is not None:
            move_by_muon(muon, gradients[2:], rate=rate, decay=decay, scale=excess.clamp_min(1.0))
        return norm


def muon_for(weights: list[Tensor], momentum: list[Tensor]) -> torch.optim.Muon:
    """Muon over the matrices (G, O, I), one by one; it changes them and `momentum` (same shapes) in place."""
    matrices = [nn.Parameter(matrix) for group in weights for matrix in group]
    muon = torch.optim.Muon(matrices)
    for matrix, buffer in zip(matrices, [one for group in momentum for one in group], strict=True):
        muon.state[matrix]["momentum_buffer"] = buffer
    return muon


def move_by_muon(muon: torch.optim.Muon, gradients: list[Tensor], *, rate: float, decay: float, scale: Tensor) -> None:
    """One update by the gradients (G, O, I) ÷ `scale`."""
    (group,) = muon.param_groups
    group["lr"], group["weight_decay"] = rate, decay
    torch._foreach_div_(gradients, scale)
    for matrix, gradient in zip(group["params"], [one for each in gradients for one in each], strict=True):
        matrix.grad = gradient
    muon.step()
    muon.zero_grad()
