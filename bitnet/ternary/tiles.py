"""Attention and the squared-ReLU FFN for CPUs, one tile of tokens at a time.

`bitnet.ternary.plain` makes about twenty passes per layer over arrays of (N, F). Once such an array exceeds a core's
cache, each pass costs several times more than its arithmetic. Here a tile of a few hundred tokens passes through the
whole FFN, forward and backward, before the next. Scales per token are applied on the narrow side of a product. The
results equal those of `plain` up to float rounding.

Legend of shapes as in `bitnet.model.decoder`; r is 1 / root mean square, s a scale of quantisation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bitnet.settings.config import Gradient
from bitnet.ternary.plain import feed_forward
from bitnet.ternary.quantize import bit_linear, integer_product, stored_as
from bitnet.ternary.reference import NORM_EPS, SCALE_FLOOR, How, Product

_TILE = 2**18  # numbers in one tile of the widest array: 1 MB in float32, half of a core's cache


def layer(x: Tensor, weights: Sequence[Tensor], turns: Tensor, how: How) -> Tensor:
    """See `bitnet.ternary.arithmetic.Layer`. SwiGLU uses `bitnet.ternary.plain`."""
    qkv, out, up, down = weights
    members, width, head_size = x.shape[0], x.shape[2], 2 * turns.shape[3]
    mixing = bit_linear(x, qkv, gradient=how.gradient, product=how.product)
    mixed = attention(mixing.view(members * how.sequences, -1, 3, width // head_size, head_size), turns)
    x = x + bit_linear(mixed.reshape(members, -1, width), out, gradient=how.gradient, product=how.product)
    if how.ffn == "squared-relu":
        return squared_relu_ffn(x, up, down, gradient=how.gradient, product=how.product)
    return feed_forward(x, up, down, how)


def squared_relu_ffn(
    x: Tensor, up: Tensor, down: Tensor, *, gradient: Gradient = "fp32", product: Product = "float"
) -> Tensor:
    """x + BitLinear(relu(BitLinear(x))²): x (K, N, D), up (K, 1, F, D), down (K, 1, D, F) → (K, N, D)."""
    return torch.stack([_Ffn.apply(x[k], up[k, 0], down[k, 0], gradient, product) for k in range(len(x))])


class _Weights:
    """Quantise one matrix (O, I): its integers in the product's dtype, and the scale."""

    def __init__(self, w: Tensor, product: Product) -> None:
        self.scale = w.abs().mean().clamp_(min=SCALE_FLOOR).reciprocal_()
        self.integers = (w * self.scale).round_().clamp_(-1, 1).to(stored_as(product, w))

    def values(self) -> Tensor:
        return self.integers * self.scale.reciprocal()


def _quantize(x: Tensor, largest: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Fill `out` with the integers of RMSNorm(x); returns (s, r), each (n, 1)."""
    rstd = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_() / x.shape[-1] + NORM_EPS).rsqrt_()
    scale = 127.0 / (largest * rstd).clamp_(min=SCALE_FLOOR)
    out.copy_((x * (scale * rstd)).round_())
    return scale, rstd


class _Ffn(torch.autograd.Function):
    """One member: x (N, D), up (F, D), down (D, F)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, down: Tensor, gradient: Gradient, product: Product) -> Tensor:
        kept = stored_as(product, x)
        w_up, w_down = _Weights(up, product), _Weights(down, product)
        count, width = x.shape[0], up.shape[0]
        positive = x.new_empty(count, width)
        x_integers = torch.empty(x.shape, dtype=kept)
        z_integers = torch.empty((count, width), dtype=kept)
        x_largest = x.abs().amax(dim=-1, keepdim=True)
        x_scale, x_rstd = _quantize(x, x_largest, x_integers)
        z_scale, z_rstd, y = torch.empty_like(x_scale), torch.empty_like(x_rstd), torch.empty_like(x)
        x_step = (x_scale * w_up.scale).reciprocal_()
        for rows in _tiles(count, width):
            p = positive[rows]
            sums = integer_product(x_integers[None, rows], w_up.integers[None], product)[0]
            torch.mul(sums, x_step[rows], out=p).relu_()
            z = p * p
            z_scale[rows], z_rstd[rows] = _quantize(z, p.amax(dim=-1, keepdim=True).square_(), z_integers[rows])
            sums = integer_product(z_integers[None, rows], w_down.integers[None], product)[0]
            torch.addcmul(x[rows], sums.to(x.dtype), (z_scale[rows] * w_down.scale).reciprocal_(), out=y[rows])
        ctx.save_for_backward(x, positive, x_integers, z_integers, x_scale, x_rstd, z_scale, z_rstd)
        ctx.weights = w_up, w_down
        ctx.gradient = gradient
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, positive, x_integers, z_integers, x_scale, x_rstd, z_scale, z_rstd = ctx.saved_tensors
        w_up, w_down = ctx.weights
        up, down = w_up.values(), w_down.values()
        product, add_product = _gradient_products(ctx.gradient)
        z_unit = z_scale.reciprocal()
        grad_x = torch.empty_like(x)
        grad_up, grad_down = torch.zeros_like(up), torch.zeros_like(down)
        for rows in _tiles(x.shape[0], up.shape[0]):
            g, p = grad[rows], positive[rows]
            # Apply the scale per token on the narrow side: gᵀ (z / s) = (g / s)ᵀ z.
            add_product(grad_down, (g * z_unit[rows]).t(), z_integers[rows].to(x.dtype))
            # With z = p² and ẑ = r z: dz = r (ĝ − ẑ mean(ĝ ẑ)), dp = 2 p dz; the factor 2 r waits until the end.
            d = product(g, down).mul_(p)
            inner = torch.linalg.vecdot(d, p).unsqueeze(-1).mul_(z_rstd[rows].square() / p.shape[1])
            d.addcmul_(p * p, p * inner, value=-1.0)
            factor = z_rstd[rows] * 2.0
            add_product(grad_up, d.t(), x_integers[rows] * (factor / x_scale[rows]))
            torch.mul(product(d, up), factor, out=grad_x[rows])
        inner = torch.linalg.vecdot(grad_x, x).unsqueeze(-1).mul_(x_rstd.square() / x.shape[1])
        grad_x.addcmul_(x, inner, value=-1.0).mul_(x_rstd).add_(grad)
        return grad_x, grad_up, grad_down, None, None


def _gradient_products(gradient: Gradient) -> tuple[Any, Any]:
    """a @ b and c += a @ b for the backward pass, exact or with both factors rounded to bfloat16."""
    if gradient == "fp32":
        return torch.mm, lambda c, a, b: c.addmm_(a, b)

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a.bfloat16() @ b.bfloat16()).to(a.dtype)

    return product, lambda c, a, b: c.add_(product(a, b))


def _tiles(count: int, width: int) -> list[slice]:
    size = max(64, _TILE // width)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def attention(qkv: Tensor, turns: Tensor) -> Tensor:
    """`bitnet.ternary.plain.attention` with one array for the three gradients."""
    return _Attention.apply(qkv, torch.view_as_complex(turns))


class _Attention(torch.autograd.Function):
    """(B, T, 3, H, head size) → (B, T, H, head size)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, turns: Tensor) -> Tensor:
        turned = torch.empty_like(qkv[:, :, :2])
        torch.mul(_pairs(qkv[:, :, :2]), turns, out=_pairs(turned))
        q, k, v = turned[:, :, 0].transpose(1, 2), turned[:, :, 1].transpose(1, 2), qkv[:, :, 2].transpose(1, 2)
        mixed, spread = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
        ctx.save_for_backward(q, k, v, mixed, spread, turns)
        return mixed.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        q, k, v, mixed, spread, turns = ctx.saved_tensors
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        dq, dk, dv = backward(grad.transpose(1, 2), q, k, v, mixed, spread, 0.0, True)
        batch, heads, length, size = q.shape
        total = q.new_empty(batch, length, 3, heads, size)
        back = turns.conj().resolve_conj()[:, 0]
        torch.mul(_pairs(dq.transpose(1, 2)), back, out=_pairs(total[:, :, 0]))
        torch.mul(_pairs(dk.transpose(1, 2)), back, out=_pairs(total[:, :, 1]))
        total[:, :, 2] = dv.transpose(1, 2)
        return total, None


def _pairs(x: Tensor) -> Tensor:
    """Neighbouring features as one complex number."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
