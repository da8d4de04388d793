"""BitLinear as in the paper, and a layer built from it: slow, simple, in any precision.

Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ" (microsoft/unilm), Fig. 3. Rounding has no gradient; the
straight-through estimator, ``x + (rounded − x).detach()``, treats it as the identity. The other implementations are
faster; tests compare their values and gradients with this one in float64.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bitnet.settings.config import Ffn, Gradient

NORM_EPS = 1e-6
SCALE_FLOOR = 1e-5
Product = Literal["int8", "bf16", "float"]


class How(NamedTuple):
    """How to compute a layer: sequences of the batch, kind of FFN, precision of the gradients, method of the forward
    products."""

    sequences: int
    ffn: Ffn
    gradient: Gradient
    product: Product = "float"


def bit_linear(x: Tensor, w: Tensor) -> Tensor:
    """RMSNorm without gain, then the quantised linear map: x (N, I), w (O, I) → (N, O)."""
    x = x / (x.square().mean(-1, keepdim=True) + NORM_EPS).sqrt()
    x_scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=SCALE_FLOOR)
    x_rounded = (x * x_scale).round().clamp(-128, 127) / x_scale
    w_scale = 1 / w.abs().mean().clamp(min=SCALE_FLOOR)
    w_rounded = (w * w_scale).round().clamp(-1, 1) / w_scale
    return (x + (x_rounded - x).detach()) @ (w + (w_rounded - w).detach()).T


def attention(qkv: Tensor, turns: Tensor) -> Tensor:
    """Causal attention with rotary positions: qkv (B, T, 3, H, head size) → (B, T, H, head size)."""
    q, k, v = qkv.unbind(2)
    turn = torch.view_as_complex(turns)[:, 0]
    q, k = (torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn).flatten(-2) for x in (q, k))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(later, -math.inf).softmax(-1), v)


def layer(x: Tensor, weights: Sequence[Tensor], turns: Tensor, how: How) -> Tensor:
    """See `bitnet.ternary.arithmetic.Layer`; products and gradients are always in the precision of x."""
    return torch.stack([_layer(x[k], [w[k] for w in weights], turns, how) for k in range(len(x))])


def _layer(x: Tensor, weights: Sequence[Tensor], turns: Tensor, how: How) -> Tensor:
    (qkv, out, up, down), size = weights, 2 * turns.shape[3]
    heads = torch.stack([bit_linear(x, w).view(how.sequences, -1, x.shape[1] // size, size) for w in qkv], dim=2)
    x = x + bit_linear(attention(heads, turns).reshape(x.shape), out[0])
    if how.ffn == "squared-relu":
        hidden = bit_linear(x, up[0]).relu().square()
    else:
        hidden = torch.nn.functional.silu(bit_linear(x, up[0])) * bit_linear(x, up[1])
    return x + bit_linear(hidden, down[0])
