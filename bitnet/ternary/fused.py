"""A layer on a CPU by kernels of our own: one walk over each array between the products, attention a head at a time.

The forward products are of integers: by torch where the processor multiplies int8 matrices in hardware, else by
`product.c`; the sums are the same bits. The backward ones are of integers (`bitnet.ternary.digits`) or of floats
(`bitnet.ternary.floats`), whichever is faster there. Legend of shapes as in `bitnet.model.decoder`.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from bitnet.settings.config import Ffn, Gradient
from bitnet.ternary import tiles
from bitnet.ternary.kernels import run
from bitnet.ternary.plain import feed_forward
from bitnet.ternary.reference import NORM_EPS, SCALE_FLOOR

_TILE = 2**19  # numbers of a tile, in all of its forms: about a core's 2 MB or so
_MOST_TOKENS = 2**16  # 128 · 127 · tokens stays below 2³¹

IntegerProduct = Literal["torch", "ours"]


class Weights:
    """Ternary weights (G · O, I) as integers, with the scale of each of the G matrices."""

    def __init__(self, w: Tensor, product: IntegerProduct, groups: int = 1) -> None:
        self.integers, self.scale = torch.empty_like(w, dtype=torch.int8), torch.empty(groups)
        run("ternary", w.contiguous(), groups, w.numel() // groups, SCALE_FLOOR, self.integers, self.scale)
        self.packed = _packed(self.integers) if product == "ours" else None
        self.packed_back: Tensor | None = None

    def product(self, x: Tensor) -> Tensor:
        """Sums in int32 of int8 x (R, I) with each of the outputs: (R, G · O), valid until the next product."""
        outputs, inputs = self.integers.shape
        sums = scratch.take(torch.int32, len(x), outputs)
        if self.packed is None:
            return torch._int_mm(x, self.integers.t(), out=sums)
        run("ternary_product", x, len(x), inputs, self.packed, outputs, sums)
        return sums

    def product_back(self, x: Tensor) -> Tensor:
        """Sums of int8 x (R, G · O) with each of the inputs: (R, I), valid until the next product."""
        outputs, inputs = self.integers.shape
        sums = scratch.take(torch.int32, len(x), inputs)
        if self.packed is None:
            return torch._int_mm(x, self.integers, out=sums)
        if self.packed_back is None:
            self.packed_back = _packed(self.integers.t().contiguous())
        run("ternary_product", x, len(x), outputs, self.packed_back, inputs, sums)
        return sums

    def values(self) -> Tensor:
        """The weights that the integers stand for, in float32."""
        flat = self.integers.view(len(self.scale), -1)
        return values(flat, self.scale).view_as(self.integers)


def _packed(integers: Tensor) -> Tensor:
    """Ternary weights (O, I) as `product.c` reads them."""
    outputs, inputs = integers.shape
    packed = torch.empty((outputs + 7) // 8 * 8 * ((inputs + 3) // 4 * 4), dtype=torch.int8)
    run("pack_ternary", integers, outputs, inputs, packed)
    return packed


class Rows:
    """The integers of RMSNorm(x), x (N, I), with their scale and 1 / root mean square, (N,) each."""

    def __init__(self, x: Tensor) -> None:
        self.integers = torch.empty_like(x, dtype=torch.int8)
        self.scale, self.rstd = torch.empty(2, len(x)).unbind()
        run("norm_quantize", x, *x.shape, NORM_EPS, SCALE_FLOOR, self.integers, self.scale, self.rstd)


def values(integers: Tensor, scale: Tensor, out: Tensor | None = None) -> Tensor:
    """Integers (R, C) over the scale (R,) of their row, in float32."""
    out = torch.empty(integers.shape) if out is None else out
    run("values", integers, *integers.shape, scale, out)
    return out


@dataclass(kw_only=True)
class Attended:
    """What the gradient of x + BitLinear(attention(BitLinear(x))) needs of the way there; one member."""

    rows: Rows
    qkv: Weights
    turned: Tensor  # (B, T, 3, H, head size), queries and keys turned by their position
    mixed: Tensor  # (N, D), what attention gave
    largest: Tensor  # (B, H, T), of the scores of each query
    share: Tensor  # (B, H, T), 1 / sum of their exponentials
    turns: Tensor
    mixed_rows: Rows
    out: Weights

    def mixing_gradient(self, grad_mixed: Tensor) -> Tensor:
        """(N, 3 D) from the gradient of `mixed`."""
        sequences, length, _, heads, size = self.turned.shape
        grad, shape = torch.empty(len(grad_mixed), 3 * heads * size), (sequences, length, heads, size)
        run("attention_backward", self.turned, grad_mixed, self.largest, self.share, self.turns, *shape, grad)
        return grad


@dataclass(kw_only=True)
class FedForward:
    """What the gradient of x + BitLinear(relu(BitLinear(x))²) needs of the way there; one member.

    Attributes:
        positive: relu (N, F); its gradient takes its place, so that a graph can be walked back once.
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
        """Note that `positive` is overwritten from now on."""
        assert not self.used, "a graph can be walked back once: the gradient takes the place of relu(x)"
        self.used = True


class Backward(Protocol):
    """How the gradients of both halves of a layer are made."""

    def attend(self, x: Tensor, grad: Tensor, way: Attended) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of x (N, D), qkv (3 D, D) and out (D, D)."""

    def ffn(self, x: Tensor, grad: Tensor, way: FedForward) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of x (N, D), up (F, D) and down (D, F)."""


@dataclass(frozen=True, kw_only=True)
class Fused:
    """The layer, by one kind of integer products and one kind of gradients for each precision."""

    product: IntegerProduct
    backward: Callable[[Gradient, int], Backward]  # of the precision asked for, and the hidden size

    def __call__(
        self,
        x: Tensor,
        qkv: Tensor,
        out: Tensor,
        up: Tensor,
        down: Tensor,
        turns: Tensor,
        sequences: int,
        ffn: Ffn,
        gradient: Gradient,
    ) -> Tensor:
        """See `bitnet.ternary.arithmetic.Layer`. SwiGLU is computed by the plain form."""
        if x.shape[1] > _MOST_TOKENS:
            return tiles.layer(x, qkv, out, up, down, turns, sequences, ffn, gradient)
        by = self.backward(gradient, x.shape[2])
        x = _each(lambda a, b, c: _Attend.apply(a, b, c, turns, sequences, self.product, by), x, qkv, out)
        if ffn == "squared-relu":
            return _each(lambda a, b, c: _Ffn.apply(a, b, c, self.product, by), x, up, down)
        return feed_forward(x, up, down, ffn, gradient)


def cross_entropy(scores: Tensor, targets: Tensor, smoothing: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `bitnet.ternary.arithmetic.CrossEntropy`; the gradient takes the place of the scores."""
    losses = scores.new_empty(targets.shape)
    of_rows = losses.numel(), scores.shape[2], targets.contiguous(), targets.shape[1], smoothing
    run("cross_entropy", scores, *of_rows, losses)
    return scores, losses.sum(dim=1)


def _each(layer: Any, *tensors: Tensor) -> Tensor:
    """`layer` of each member's tensors; weights become (G · O, I)."""
    if len(tensors[0]) == 1:
        return layer(*(t.reshape(-1, t.shape[-1]) for t in tensors)).unsqueeze(0)
    members = zip(*(t.flatten(1, -2).unbind() for t in tensors), strict=True)
    return torch.stack([layer(*own) for own in members])


class _Scratch(threading.local):
    """Arrays that are filled and used up again at once: kept, so that they stay in the cache."""

    def __init__(self) -> None:
        self.kept: dict[torch.dtype, Tensor] = {}

    def take(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """An array of that shape, its contents anything; it is the last one of its type again."""
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
        ctx.by, ctx.way = (
            by,
            Attended(
                rows=rows,
                qkv=w_qkv,
                turned=turned,
                mixed=mixed,
                largest=largest,
                share=share,
                turns=turns,
                mixed_rows=mixed_rows,
                out=w_out,
            ),
        )
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return *ctx.by.attend(x, grad.contiguous(), ctx.way), None, None, None, None


class _Ffn(torch.autograd.Function):
    """One member: x (N, D), up (F, D), down (D, F). Between the two products, a tile of tokens at a time."""

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
        ctx.by, ctx.way = (
            by,
            FedForward(rows=rows, up=w_up, positive=positive, z=z, z_scale=z_scale, z_rstd=z_rstd, down=w_down),
        )
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        ctx.way.use_up()
        return *ctx.by.ffn(x, grad.contiguous(), ctx.way), None, None


def tiles_of(count: int, width: int) -> list[slice]:
    """Even parts of `count` rows, each of about `_TILE` numbers a thread."""
    size = max(64, _TILE * torch.get_num_threads() // width)
    size = math.ceil(count / math.ceil(count / size))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
