"""A layer on a CPU with fused C kernels: one pass over each array between the products, attention one head at a time.

The forward products are exact integer products: torch's on a processor with int8 hardware, else those of `product.c`.
The backward products use integers (`bitnet.ternary.digits`) or floats (`bitnet.ternary.floats`), whichever is faster.
Legend of shapes as in `bitnet.model.decoder`.
"""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from bitnet.settings.config import Gradient
from bitnet.ternary import tiles
from bitnet.ternary.kernels import run
from bitnet.ternary.plain import feed_forward
from bitnet.ternary.reference import NORM_EPS, SCALE_FLOOR, How

_TILE = 2**19  # size of a tile; all its forms together fit a core's cache of about 2 MB
_MOST_TOKENS = 2**16  # 128 · 127 · tokens stays below 2³¹

IntegerProduct = Literal["torch", "ours"]


class Weights:
    """Ternary weights (G · O, I) as integers, and the scale of each of the G matrices."""

    def __init__(self, w: Tensor, product: IntegerProduct, groups: int = 1) -> None:
        self.integers, self.scale = torch.empty_like(w, dtype=torch.int8), torch.empty(groups)
        run("ternary", w.contiguous(), groups, w.numel() // groups, SCALE_FLOOR, self.integers, self.scale)
        self.packed = _packed(self.integers) if product == "ours" else None
        self.packed_back: Tensor | None = None

    def product(self, x: Tensor) -> Tensor:
        """int32 sums of x (R, I), int8, over the inputs: (R, G · O), valid until the next product."""
        outputs, inputs = self.integers.shape
        sums = scratch.take(torch.int32, len(x), outputs)
        if self.packed is None:
            return torch._int_mm(x, self.integers.t(), out=sums)
        run("ternary_product", x, len(x), inputs, self.packed, outputs, sums)
        return sums

    def product_back(self, x: Tensor) -> Tensor:
        """int32 sums of x (R, G · O), int8, over the outputs: (R, I), valid until the next product."""
        outputs, inputs = self.integers.shape
        sums = scratch.take(torch.int32, len(x), inputs)
        if self.packed is None:
            return torch._int_mm(x, self.integers, out=sums)
        if self.packed_back is None:
            self.packed_back = _packed(self.integers.t().contiguous())
        run("ternary_product", x, len(x), outputs, self.packed_back, inputs, sums)
        return sums

    def values(self) -> Tensor:
        """The weights in float32."""
        flat = self.integers.view(len(self.scale), -1)
        return values(flat, self.scale).view_as(self.integers)


def _packed(integers: Tensor) -> Tensor:
    """Ternary weights (O, I) in the layout of `product.c`."""
    outputs, inputs = integers.shape
    packed = torch.empty((outputs + 7) // 8 * 8 * ((inputs + 3) // 4 * 4), dtype=torch.int8)
    run("pack_ternary", integers, outputs, inputs, packed)
    return packed


class Rows:
    """The integers of RMSNorm(x), x (N, I), their scale and 1 / root mean square, (N,) each."""

    def __init__(self, x: Tensor) -> None:
        self.integers = torch.empty_like(x, dtype=torch.int8)
        self.scale, self.rstd = torch.empty(2, len(x)).unbind()
        run("norm_quantize", x, *x.shape, NORM_EPS, SCALE_FLOOR, self.integers, self.scale, self.rstd)


def values(integers: Tensor, scale: Tensor) -> Tensor:
    """Integers (R, C) ÷ the scale (R,) of their row, in float32."""
    out = torch.empty(integers.shape)
    run("values", integers, *integers.shape, scale, integers.shape[1], out)
    return out


@dataclass(kw_only=True)
class Attended:
    """Saved values for the gradient of x + BitLinear(attention(BitLinear(x))); one member."""

    rows: Rows
    qkv: Weights
    turned: Tensor  # (B, T, 3, H, head size), queries and keys rotated by their position
    mixed: Tensor  # (N, D), output of attention
    largest: Tensor  # (B, H, T), largest score of each query
    share: Tensor  # (B, H, T), 1 / sum of the exponentials of its scores
    turns: Tensor
    mixed_rows: Rows
    out: Weights

    def mixing_gradient(self, grad_mixed: Tensor) -> Tensor:
        """The gradient (N, 3 D) of qkv from that of `mixed`."""
        sequences, length, _, heads, size = self.turned.shape
        grad, shape = torch.empty(len(grad_mixed), 3 * heads * size), (sequences, length, heads, size)
        run("attention_backward", self.turned, grad_mixed, self.largest, self.share, self.turns, *shape, grad)
        return grad


@dataclass(kw_only=True)
class FedForward:
    """Saved values for the gradient of x + BitLinear(relu(BitLinear(x))²); one member.

    Attributes:
        positive: relu (N, F). Its gradient overwrites it, so the backward pass can run only once.
        z, z_scale, z_rstd: the integers of RMSNorm(positive²), their scale, and 1 / root mean square.
    """

    rows: Rows
    up: Weights
    positive: Tensor
    z: Tensor
    z_scale: Tensor
    z_rstd: Tensor
    down: Weights
    used: bool = field(default=False)

    def use_up(self) -> None:
        """Mark `positive` as overwritten."""
        assert not self.used, "the backward pass can run only once: the gradient overwrites relu(x)"
        self.used = True


class Backward(Protocol):
    """Computes the gradients of both halves of a layer."""

    def attend(self, x: Tensor, grad: Tensor, way: Attended) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of x (N, D), qkv (3 D, D) and out (D, D)."""

    def ffn(self, x: Tensor, grad: Tensor, way: FedForward) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of x (N, D), up (F, D) and down (D, F)."""


@dataclass(frozen=True, kw_only=True)
class Fused:
    """The layer for one kind of integer products, with one kind of gradients for each precision."""

    product: IntegerProduct
    backward: Callable[[Gradient, int], Backward]  # from the requested precision and the hidden size

    def __call__(self, x: Tensor, weights: Sequence[Tensor], turns: Tensor, how: How) -> Tensor:
        """See `bitnet.ternary.arithmetic.Layer`. SwiGLU uses `bitnet.ternary.plain`, and with it `how.product`."""
        if x.shape[1] > _MOST_TOKENS:
            return tiles.layer(x, weights, turns, how)
        (qkv, out, up, down), by = weights, self.backward(how.gradient, x.shape[2])
        x = _each(lambda a, b, c: _Attend.apply(a, b, c, turns, how.sequences, self.product, by), x, qkv, out)
        if how.ffn == "squared-relu":
            return _each(lambda a, b, c: _Ffn.apply(a, b, c, self.product, by), x, up, down)
        return feed_forward(x, up, down, how)


def cross_entropy(scores: Tensor, targets: Tensor, smoothing: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `bitnet.ternary.arithmetic.CrossEntropy`; the gradient overwrites the scores."""
    losses = scores.new_empty(targets.shape)
    of_rows = losses.numel(), scores.shape[2], targets.contiguous(), targets.shape[1], smoothing
    run("cross_entropy", scores, *of_rows, losses)
    return scores, losses.sum(dim=1)


def _each(layer: Any, *tensors: Tensor) -> Tensor:
    """Apply `layer` to each member's tensors; weights become (G · O, I)."""
    if len(tensors[0]) == 1:
        return layer(*(t.reshape(-1, t.shape[-1]) for t in tensors)).unsqueeze(0)
    members = zip(*(t.flatten(1, -2).unbind() for t in tensors), strict=True)
    return torch.stack([layer(*own) for own in members])


class _Scratch(threading.local):
    """Scratch arrays, reused so that they stay in the cache."""

    def __init__(self) -> None:
        self.kept: dict[torch.dtype, Tensor] = {}

    def take(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """An uninitialised array of that shape; it reuses the memory of the last one of its type."""
        size = math.prod(shape)
        if dtype not in self.kept or self.kept[dtype].numel() < size:
            self.kept[dtype] = torch.empty(size, dtype=dtype)
        return self.kept[dtype][:size].view(shape)


scratch = _Scratch()


class _Attend(torch.autograd.Function):
    """One member: x (N, D), qkv (3 D, D), out (D, D), turns (T, 1, 1, d / 2, 2)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        qkv: Tensor,
        out: Tensor,
        turns: Tensor,
        sequences: int,
        product: IntegerProduct,
        by: Backward,
    ) -> Tensor:
        x = x.contiguous()
        count, width = x.shape
        length, size = turns.shape[0], 2 * turns.shape[3]
        rows, w_qkv, w_out = Rows(x), Weights(qkv, product, 3), Weights(out, product)
        turned = torch.empty(sequences, length, 3, width // size, size)
        flat_turned = turned.view(count, 3 * width)
        for i in tiles_of(count, 3 * width):
            sums, place = w_qkv.product(rows.integers[i]), (i.start, length, size)
            of_tile = rows.scale[i], w_qkv.scale, turns, *place, flat_turned[i]
            run("unscale_turned", sums, len(sums), width, *of_tile)
        mixed, heads = torch.empty_like(x), width // size
        largest, share = torch.empty(2, sequences, heads, length).unbind()
        run("attention", turned, sequences, length, heads, size, mixed, largest, share)
        mixed_rows = Rows(mixed)
        y = torch.empty_like(x)
        run("unscale", w_out.product(mixed_rows.integers), count, width, mixed_rows.scale, w_out.scale, x, y)
        ctx.save_for_backward(x)
        ctx.by = by
        ctx.way = Attended(
            rows=rows,
            qkv=w_qkv,
            turned=turned,
            mixed=mixed,
            largest=largest,
            share=share,
            turns=turns,
            mixed_rows=mixed_rows,
            out=w_out,
        )
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return *ctx.by.attend(x, grad.contiguous(), ctx.way), None, None, None, None


class _Ffn(torch.autograd.Function):
    """One member: x (N, D), up (F, D), down (D, F). Processes one tile of tokens at a time between the two products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, down: Tensor, product: IntegerProduct, by: Backward) -> Tensor:
        x = x.contiguous()
        count, wide = len(x), len(up)
        rows, w_up, w_down = Rows(x), Weights(up, product), Weights(down, product)
        positive, z = torch.empty(count, wide), torch.empty(count, wide, dtype=torch.int8)
        z_scale, z_rstd = torch.empty(2, count).unbind()
        y = torch.empty_like(x)
        for i in tiles_of(count, wide):
            sums = w_up.product(rows.integers[i])
            scales = NORM_EPS, SCALE_FLOOR, positive[i], z[i], z_scale[i], z_rstd[i]
            run("squared_relu_quantize", sums, *sums.shape, rows.scale[i], w_up.scale, *scales)
            sums = w_down.product(z[i])
            run("unscale", sums, *sums.shape, z_scale[i], w_down.scale, x[i], y[i])
        ctx.save_for_backward(x)
        ctx.by = by
        ctx.way = FedForward(rows=rows, up=w_up, positive=positive, z=z, z_scale=z_scale, z_rstd=z_rstd, down=w_down)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        ctx.way.use_up()
        return *ctx.by.ffn(x, grad.contiguous(), ctx.way), None, None


def tiles_of(count: int, width: int) -> list[slice]:
    """`count` rows in even parts of about `_TILE` numbers per thread."""
    size = max(64, _TILE * torch.get_num_threads() // width)
    size = math.ceil(count / math.ceil(count / size))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
