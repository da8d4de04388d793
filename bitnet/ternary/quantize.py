"""Ternary weights, int8 activations, and their product with a straight-through gradient.

Source: "The Era of 1-bit LLMs: Training Tips, Code and FAQ" (microsoft/unilm), Fig. 3:

    activations, per token     s = 127 / max|x|      integers = round(x · s) in −128 … 127
    weights, per tensor        s = 1 / mean|w|       integers = round(w · s) in −1 … 1

The value is integer / s. Rounding has no gradient; the straight-through estimator treats it as the identity, so the
gradient of y = x̂ ŵᵀ is g ŵ for the activations and gᵀ x̂ for the weights, with the *quantised* operands x̂, ŵ.
`bit_linear` computes that directly; `bitnet.ternary.reference` builds the graph of detached differences.

Integers make the forward product exact: |sum| ≤ 127 · in_features stays below 2²⁴ for layers up to 132,000 inputs
wide. Therefore int8 products with int32 sums, bfloat16 products with float32 sums, and float32 products all give the
same bits; only their speed differs.

Shapes: K members (models in one batch), N tokens, I inputs, O outputs, G weight matrices that share one input
(query, key and value; gate and up), each with its own scale.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitnet.settings.config import Gradient
from bitnet.ternary.reference import NORM_EPS, SCALE_FLOOR, Product


class Quantized(NamedTuple):
    """Integers (int8) and their scale: the value is ``integers / scale``."""

    integers: Tensor
    scale: Tensor


def quantize_weights(w: Tensor) -> Quantized:
    """Ternary weights, one scale per matrix.

    Args:
        w: (…, out, in).

    Returns:
        Integers −1, 0, 1 of the shape of `w`, and the scale 1 / mean|w|, of shape (…, 1, 1).
    """
    scale = w.abs().mean(dim=(-2, -1), keepdim=True).clamp_(min=SCALE_FLOOR).reciprocal_()
    return Quantized((w * scale).round_().clamp_(-1, 1).to(torch.int8), scale)


def rms_norm(x: Tensor) -> Tensor:
    """x ÷ its root mean square along the last axis; no gain."""
    return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=NORM_EPS)


def bit_linear(x: Tensor, w: Tensor, *, gradient: Gradient = "fp32", product: Product = "float") -> Tensor:
    """RMSNorm, then the quantised linear maps, for K members at once.

    Args:
        x: (K, N, I).
        w: (K, G, O, I), latent full-precision weights.
        gradient: the precision of the two matrix products of the backward pass: ``fp32`` (that of the operands),
            or ``low``, where the incoming gradient is rounded and the integer operands are exact.
        product: method of the forward product.

    Returns:
        (K, N, G · O), in the dtype of x.
    """
    return _BitLinear.apply(x, w, gradient, product)


class _BitLinear(torch.autograd.Function):
    """y = RMSNorm(x)^ ŵᵀ, as y = (integers of x · integers of w) · step, with step = 1 / (scale of x · scale of w)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, gradient: Gradient, product: Product) -> Tensor:
        members, groups, outputs, inputs = w.shape
        kept = stored_as(product, x)
        # The norm cancels in x · s, so quantise x itself; only s depends on the norm.
        rstd = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_() / inputs + NORM_EPS).rsqrt_()
        x_scale = 127.0 / (x.abs().amax(dim=-1, keepdim=True) * rstd).clamp_(min=SCALE_FLOOR)
        x_integers = (x * (x_scale * rstd)).round_().to(kept)
        w_scale = w.abs().mean(dim=(-2, -1), keepdim=True).clamp_(min=SCALE_FLOOR).reciprocal_()
        w_integers = (w * w_scale).round_().clamp_(-1, 1).to(kept).view(members, groups * outputs, inputs)
        sums = integer_product(x_integers, w_integers, product)
        step = (x_scale * w_scale.view(members, 1, groups)).reciprocal_()  # (K, N, G)
        y = (sums.view(members, -1, groups, outputs) * step.unsqueeze(-1)).view(members, -1, groups * outputs)
        ctx.save_for_backward(x, rstd, x_integers, x_scale, w_integers, w_scale, step)
        ctx.gradient = gradient
        ctx.shape = w.shape
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, rstd, x_integers, x_scale, w_integers, w_scale, step = ctx.saved_tensors
        members, groups, outputs, _ = ctx.shape
        if ctx.gradient == "low":
            # Both products use one rounded copy: the gradient of the integer sums.
            sums_grad = (grad.view(members, -1, groups, outputs) * step.unsqueeze(-1)).to(torch.bfloat16)
            sums_grad = sums_grad.view(members, -1, groups * outputs)
            grad_x = matmul(sums_grad, w_integers.to(torch.bfloat16), grad.dtype).mul_(x_scale)
            grad_w = matmul(sums_grad.transpose(1, 2), x_integers.to(torch.bfloat16), grad.dtype)
            grad_w = grad_w.view(ctx.shape).mul_(w_scale)
        else:
            values = w_integers.view(ctx.shape) * w_scale.reciprocal()
            grad_x = matmul(grad, values.view(members, groups * outputs, -1), grad.dtype)
            grad_w = matmul(grad.transpose(1, 2), x_integers * x_scale.reciprocal(), grad.dtype).view(ctx.shape)
        # RMSNorm: x̄ = x · r, so dx = r · (ḡ − x̄ · mean(ḡ · x̄)).
        inner = (grad_x * x).mean(dim=-1, keepdim=True).mul_(rstd * rstd)
        return grad_x.addcmul_(x, inner, value=-1.0).mul_(rstd), grad_w, None, None


def stored_as(product: Product, x: Tensor) -> torch.dtype:
    """The dtype of a product's integers."""
    return {"int8": torch.int8, "bf16": torch.bfloat16, "float": x.dtype}[product]


def integer_product(x: Tensor, w: Tensor, product: Product) -> Tensor:
    """x (K, N, I) · w (K, R, I) transposed → (K, N, R), exact for integers with every method."""
    if product == "int8":
        sums = [torch._int_mm(a, b.t()) for a, b in zip(x, w, strict=True)]
        return sums[0].unsqueeze(0) if len(sums) == 1 else torch.stack(sums)
    return matmul(x, w.transpose(1, 2), torch.float32 if product == "bf16" else x.dtype)


def matmul(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Batched matrix product with sums and result in `dtype`; the unbatched product is faster for one member."""
    if a.is_cuda and a.dtype != dtype:
        return _wide_product(a, b)
    if a.shape[0] == 1:
        return (a[0] @ b[0]).unsqueeze(0).to(dtype)
    return torch.bmm(a, b).to(dtype)


@torch.library.custom_op("bitnet::wide_product", mutates_args=())
def _wide_product(a: Tensor, b: Tensor) -> Tensor:
    """bfloat16 × bfloat16 with sums and result in float32. A custom operator, opaque to compilers."""
    return torch.bmm(a, b, out_dtype=torch.float32).contiguous()


@_wide_product.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2], dtype=torch.float32)
