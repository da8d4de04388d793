"""The training loss: head and cross-entropy fused, so that memory holds only a slice of the logits.

The legend of shapes is in `bitnet.model.decoder`.
"""

from typing import Any

import torch
from torch import Tensor

from bitnet.settings.config import Gradient
from bitnet.ternary.arithmetic import Arithmetic
from bitnet.ternary.quantize import matmul


def training_loss(
    states: Tensor,
    head: Tensor,
    targets: Tensor,
    smoothing: Tensor | None = None,
    *,
    arithmetic: Arithmetic,
    weight: float = 1.0,
    gradient: Gradient = "fp32",
) -> Tensor:
    """Cross-entropy with label smoothing, per member.

    The forward pass also computes the gradients, one slice of tokens at a time.

    Args:
        states: (K, N, D) before the head. head: (K, V, D). targets: (K, N) tokens, or (1, N) for all.
        smoothing: (K,) share of the target's probability to spread over the whole vocabulary; None for none.
        arithmetic: the implementation of cross-entropy.
        weight: factor on the loss (the micro-batch's share of the batch).
        gradient: on a GPU, ``low`` rounds the operands of the head's products to bfloat16; sums stay in float32.

    Returns:
        (K,) mean loss of each member, nats per token, without the smoothing term; the gradient includes it.
    """
    return _HeadLoss.apply(states, head, targets, smoothing, arithmetic, weight, gradient == "low" and states.is_cuda)


class _HeadLoss(torch.autograd.Function):
    """∂loss/∂logits = (softmax − (1 − ε) · onehot − ε / V) / N."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        head: Tensor,
        targets: Tensor,
        smoothing: Tensor | None,
        arithmetic: Arithmetic,
        weight: float,
        low: bool,
    ) -> Tensor:
        members, count, _ = states.shape
        index = targets.expand(members, -1)
        kept = torch.bfloat16 if low else states.dtype
        operand, table = states.to(kept), head.to(kept)
        loss, grad_states = states.new_zeros(members), []
        grad_head: Tensor | None = None
        spread = None if smoothing is None else smoothing.to(states.dtype)
        size = max(16, arithmetic.logits_at_once // (members * head.shape[1]))
        for start in range(0, count, size):
            part, chosen = operand[:, start : start + size], index[:, start : start + size]
            scores = matmul(part, table.transpose(1, 2), states.dtype)
            delta, losses = arithmetic.cross_entropy(scores, chosen, spread)
            loss += losses
            delta = delta.to(kept)
            grad_states.append(matmul(delta, table, states.dtype))
            more = matmul(delta.transpose(1, 2), part, states.dtype)
            grad_head = more if grad_head is None else grad_head.add_(more)
        assert grad_head is not None
        ctx.save_for_backward(torch.cat(grad_states, dim=1) if len(grad_states) > 1 else grad_states[0], grad_head)
        ctx.factor = weight / count
        return loss * ctx.factor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_head = ctx.saved_tensors
        scale = (grad * ctx.factor).view(-1, 1, 1)
        return grad_states.mul_(scale), grad_head.mul_(scale), None, None, None, None, None
