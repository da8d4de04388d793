"""A layer of torch operations, for all members at once and any device.

Legend of shapes as in `bitnet.model.decoder`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitnet.settings.config import Ffn
from bitnet.ternary.quantize import bit_linear
from bitnet.ternary.reference import How


@functools.lru_cache(maxsize=8)
def rotations(length: int, head_size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Cosine and sine of position · frequency, (T, 1, 1, head size / 2, 2), for rotary position embedding.

    Source: RoFormer, arXiv 2104.09864, eq. 34, with base 10,000; neighbouring features form a pair.
    """
    frequencies = 10000.0 ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    turns = torch.view_as_real(torch.polar(torch.ones_like(angles), angles))
    return turns[:, None, None].to(device=device, dtype=dtype)


def turned_as_complex(pairs: Tensor, turns: Tensor) -> Tensor:
    """Rotate pairs of features (…, 2) by their position."""
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns))


def turned_as_real(pairs: Tensor, turns: Tensor) -> Tensor:
    """`turned_as_complex` with real numbers, for compilers."""
    (a, b), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)


def attention(qkv: Tensor, turns: Tensor, *, low: bool = False, turned: Any = turned_as_complex) -> Tensor:
    """Causal attention over (B, T, 3, H, head size) → (B, T, H, head size), with rotary positions.

    Args:
        turns: the result of `rotations`.
        low: whether to compute in bfloat16.
        turned: the function that rotates pairs by their position.
    """
    qk = turned(qkv[:, :, :2].unflatten(-1, (-1, 2)), turns).flatten(-2)
    q, k, v = qk[:, :, 0].transpose(1, 2), qk[:, :, 1].transpose(1, 2), qkv[:, :, 2].transpose(1, 2)
    if low:
        q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return mixed.transpose(1, 2).to(qkv.dtype)


def layer(x: Tensor, weights: Sequence[Tensor], turns: Tensor, how: How, *, turned: Any = turned_as_complex) -> Tensor:
    """See `bitnet.ternary.arithmetic.Layer`; on a GPU, ``low`` also computes attention in bfloat16."""
    qkv, out, up, down = weights
    members, width, head_size = x.shape[0], x.shape[2], 2 * turns.shape[3]
    mixing = bit_linear(x, qkv, gradient=how.gradient, product=how.product)
    mixing = mixing.view(members * how.sequences, -1, 3, width // head_size, head_size)
    mixed = attention(mixing, turns, low=how.gradient == "low" and x.is_cuda, turned=turned)
    x = x + bit_linear(mixed.reshape(members, -1, width), out, gradient=how.gradient, product=how.product)
    return feed_forward(x, up, down, how)


def layer_as_real(x: Tensor, weights: Sequence[Tensor], turns: Tensor, how: How) -> Tensor:
    """`layer` with real numbers only, for compilers."""
    return layer(x, weights, turns, how, turned=turned_as_real)


def feed_forward(x: Tensor, up: Tensor, down: Tensor, how: How) -> Tensor:
    """x + BitLinear(activation(BitLinear(x)))."""
    hidden = activation(bit_linear(x, up, gradient=how.gradient, product=how.product), how.ffn)
    return x + bit_linear(hidden, down, gradient=how.gradient, product=how.product)


def activation(up: Tensor, ffn: Ffn) -> Tensor:
    """The FFN's nonlinearity: relu(x)², or silu(gate) · value with the gate in the first half."""
    if ffn == "squared-relu":
        return _SquaredRelu.apply(up)
    gate, value = up.chunk(2, dim=-1)
    return nn.functional.silu(gate) * value


class _SquaredRelu(torch.autograd.Function):
    """relu(x)², which stores only relu(x) for its gradient 2 · relu(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.relu()
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (grad * positive).mul_(2.0)


def cross_entropy(scores: Tensor, targets: Tensor, smoothing: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `bitnet.ternary.arithmetic.CrossEntropy`."""
    delta, chosen = torch.softmax(scores, dim=-1), targets.unsqueeze(-1)
    right = delta.gather(2, chosen)
    losses = right.squeeze(-1).clamp_min(1e-38).log_().sum(dim=1).neg_()
    if smoothing is None:
        return delta.scatter_(2, chosen, right - 1.0), losses
    spread = smoothing.view(-1, 1, 1)
    delta.sub_(spread / scores.shape[2]).scatter_add_(2, chosen, (spread - 1.0).expand_as(right))
    return delta, losses
