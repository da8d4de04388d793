"""Steps on a CPU: gradients of all members together, then torch's fused Adam for each member."""

import torch
from torch import Tensor

from bitnet.model.decoder import views
from bitnet.training.population import Member, Population


class HostSteps:
    """See `bitnet.training.population.Stepper`."""

    is_compiled = False

    def bind(self, population: Population) -> None:
        """See `bitnet.training.population.Stepper.bind`."""
        state, config = population.state, population.config
        self._parameters, self._first, self._second = (
            [[view[k] for view in views(rows, config).values()] for k in range(len(population.members))]
            for rows in (state.parameters, state.first, state.second)
        )
        self._counter = torch.zeros((), dtype=torch.float32)

    def run(self, population: Population, count: int) -> None:
        """See `bitnet.training.population.Stepper.run`."""
        for _ in range(count):
            step = population.state.step
            gradients = population.gradients(population.tokens(step))
            self._counter.fill_(float(step + 1))
            norms = [
                self._update(population, k, member, [gradient[k] for gradient in gradients])
                for k, member in enumerate(population.members)
            ]
            population.state.gradient_norm = torch.stack(norms)
            population.state.step = step + 1

    def worthwhile_size(self, members: int) -> int:
        """All but one member: a new shape costs nothing on a CPU."""
        return members - 1

    def _update(self, population: Population, k: int, member: Member, gradients: list[Tensor]) -> Tensor:
        """Clip and apply Adam to member k; returns its gradient norm."""
        rate, decay = member.pace(population.state.step)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        excess = (norm + 1e-6) / member.clip
        update = torch._fused_adam_ if member.coupled else torch._fused_adamw_
        update(
            self._parameters[k],
            gradients,
            self._first[k],
            self._second[k],
            [],
            [self._counter] * len(gradients),
            lr=rate,
            beta1=population.betas[0],
            beta2=population.betas[1],
            weight_decay=decay,
            eps=population.epsilon,
            amsgrad=False,
            maximize=False,
            grad_scale=excess if excess > 1 else None,
            found_inf=None,
        )
        return norm
