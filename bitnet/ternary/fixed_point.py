"""A layer on a CPU whose products are all of integers, gradients included.

One factor of every product of a ternary layer is an integer already: the weights (−1, 0, 1) in the gradient of the
activations, the activations (int8) in that of the weights. The other, the gradient g, is written in fixed point,

    g = unit · (65536 a + 256 b + c),  with a, b, c in −128 … 127,

24 bits below its largest value, so that three int8 products with exact int32 sums give what one float32 product
gives, to float32's precision, in a third of its time or less where int8 products run in hardware. The unit is one a
token where the sum is over outputs, and one an output where it is over tokens. A gradient that may be rounded to
bfloat16 takes two digits, 16 bits: more than bfloat16 keeps.

What lies between the products is done in one walk each by `kernels.c`, and attention by `attention.c`. Legend of
shapes as in `bitnet.model.decoder`.
"""

import math
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitnet.settings.config import Ffn, Gradient
from bitnet.ternary import tiles
from bitnet.ternary.kernels import run
from bitnet.ternary.plain import feed_forward
from bitnet.ternary.reference import NORM_EPS, SCALE_FLOOR

_TILE = 2**19  # sums at once, digits and all: about a core's 2 MB or so
_MOST_TOKENS = 2**16  # 128 · 127 · tokens stays below 2³¹


def layer(
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
    planes = 3 if gradient == "fp32" else 2
    x = _each(lambda a, b, c: _Attend.apply(a, b, c, turns, sequences, planes), x, qkv, out)
    if ffn == "squared-relu":
        return _each(lambda a, b, c: _Ffn.apply(a, b, c, planes), x, up, down)
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


class _Weights:
    """Ternary weights (G · O, I) and the scale of each of the G matrices."""

    def __init__(self, w: Tensor, groups: int = 1) -> None:
        self.integers, self.scale = torch.empty_like(w, dtype=torch.int8), torch.empty(groups)
        run("ternary", w.contiguous(), groups, w.numel() // groups, SCALE_FLOOR, self.integers, self.scale)


class _Rows:
    """The integers of RMSNorm(x), x (N, I), with their scale and 1 / root mean square, (N,) each."""

    def __init__(self, x: Tensor) -> None:
        self.integers = torch.empty_like(x, dtype=torch.int8)
        self.scale, self.rstd = torch.empty(2, len(x)).unbind()
        run("norm_quantize", x, *x.shape, NORM_EPS, SCALE_FLOOR, self.integers, self.scale, self.rstd)


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


_scratch = _Scratch()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Sums in int32 of a (R, C) @ b (C, O), valid until the next product."""
    return torch._int_mm(a, b, out=_scratch.take(torch.int32, a.shape[0], b.shape[1]))


def _input_gradient(
    g: Tensor, w: _Weights, scale: Tensor, planes: int, consume: Callable[[slice, Tensor, Tensor], None]
) -> Tensor:
    """Products of g (N, O) with the weights, a tile of tokens at a time: `consume` gets its place, sums and units.

    Returns:
        (O + 1,) the largest |g / scale| of each column, for `_weight_gradient`.
    """
    (count, width), columns = g.shape, g.new_zeros(g.shape[1] + 1)
    for i in _tiles(count, planes * max(width, w.integers.shape[1])):
        size = i.stop - i.start
        digits, unit = _scratch.take(torch.int8, size * planes, width), torch.empty(size)
        groups = len(w.scale)
        run("row_digits", g[i], size, width, groups, w.scale, scale[i], planes, digits, unit, columns)
        consume(i, _product(digits, w.integers), unit)
    return columns


def _weight_gradient(g: Tensor, x_integers: Tensor, scale: Tensor, columns: Tensor, planes: int) -> Tensor:
    """gᵀ (integers of x / scale): (O, I), a few outputs at a time."""
    (rows, width), inputs = g.shape, x_integers.shape[1]
    gradient = torch.empty(width, inputs)
    for i in _tiles(width, planes * max(rows // 4, inputs)):
        size = i.stop - i.start
        digits, unit = _scratch.take(torch.int8, rows, planes * size), torch.empty(size)
        run("column_digits", g, rows, width, i.start, size, scale, columns, planes, digits, unit)
        run("join", _product(digits.t(), x_integers), planes, size, inputs, unit, gradient[i])
    return gradient


class _Attend(torch.autograd.Function):
    """One member: x (N, D), qkv (3 D, D), out (D, D), angles (T, 1, 1, d / 2, 2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, qkv: Tensor, out: Tensor, angles: Tensor, sequences: int, planes: int) -> Tensor:
        x = x.contiguous()
        count, width = x.shape
        length, size = angles.shape[0], 2 * angles.shape[3]
        rows, w_qkv, w_out = _Rows(x), _Weights(qkv, 3), _Weights(out)
        turned = torch.empty(sequences, length, 3, width // size, size)
        flat_turned = turned.view(count, 3 * width)
        for i in _tiles(count, 3 * width):
            sums, place = _product(rows.integers[i], w_qkv.integers.t()), (i.start, length, size)
            of_tile = rows.scale[i], w_qkv.scale, angles, *place, flat_turned[i]
            run("unscale_turned", sums, len(sums), width, *of_tile)
        mixed, heads = torch.empty_like(x), width // size
        largest, share = torch.empty(2, sequences, heads, length).unbind()
        run("attention", turned, sequences, length, heads, size, mixed, largest, share)
        mixed_rows = _Rows(mixed)
        sums = _product(mixed_rows.integers, w_out.integers.t())
        y = torch.empty_like(x)
        run("unscale", sums, count, width, mixed_rows.scale, w_out.scale, x, y)
        ctx.save_for_backward(x, turned, mixed, largest, share, angles)
        ctx.integers = rows, w_qkv, mixed_rows, w_out
        ctx.planes = planes
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, turned, mixed, largest, share, angles = ctx.saved_tensors
        rows, w_qkv, mixed_rows, w_out = ctx.integers
        planes, grad = ctx.planes, grad.contiguous()
        (count, width), (sequences, length, _, heads, size) = x.shape, turned.shape
        grad_mixed, grad_x = torch.empty_like(x), torch.empty_like(x)

        def before_out(i: slice, sums: Tensor, unit: Tensor) -> None:
            own = unit, mixed[i], mixed_rows.rstd[i], None, grad_mixed[i]
            run("norm_backward", sums, planes, len(unit), width, *own)

        columns = _input_gradient(grad, w_out, mixed_rows.scale, planes, before_out)
        grad_out = _weight_gradient(grad, mixed_rows.integers, mixed_rows.scale, columns, planes)
        grad_turned = torch.empty(count, 3 * width)
        shape = sequences, length, heads, size
        run("attention_backward", turned, grad_mixed, largest, share, angles, *shape, grad_turned)

        def before_qkv(i: slice, sums: Tensor, unit: Tensor) -> None:
            run("norm_backward", sums, planes, len(unit), width, unit, x[i], rows.rstd[i], grad[i], grad_x[i])

        columns = _input_gradient(grad_turned, w_qkv, rows.scale, planes, before_qkv)
        grad_qkv = _weight_gradient(grad_turned, rows.integers, rows.scale, columns, planes)
        return grad_x, grad_qkv, grad_out, None, None, None


class _Ffn(torch.autograd.Function):
    """One member: x (N, D), up (F, D), down (D, F). Between the two layers, a tile of tokens at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, down: Tensor, planes: int) -> Tensor:
        x = x.contiguous()
        count, wide = len(x), len(up)
        rows, w_up, w_down = _Rows(x), _Weights(up), _Weights(down)
        positive, z = torch.empty(count, wide), torch.empty(count, wide, dtype=torch.int8)
        z_scale, z_rstd = torch.empty(2, count).unbind()
        y = torch.empty_like(x)
        for i in _tiles(count, wide):
            sums = _product(rows.integers[i], w_up.integers.t())
            scales = NORM_EPS, SCALE_FLOOR, positive[i], z[i], z_scale[i], z_rstd[i]
            run("squared_relu_quantize", sums, *sums.shape, rows.scale[i], w_up.scale, *scales)
            sums = _product(z[i], w_down.integers.t())
            run("unscale", sums, *sums.shape, z_scale[i], w_down.scale, x[i], y[i])
        ctx.save_for_backward(x)
        ctx.integers = rows, w_up, z, z_scale, z_rstd, w_down
        ctx.positive, ctx.planes = positive, planes
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        rows, w_up, z, z_scale, z_rstd, w_down = ctx.integers
        positive, ctx.positive, planes, grad = ctx.positive, None, ctx.planes, grad.contiguous()
        assert positive is not None, "a graph can be walked back once: the gradient takes the place of relu(x)"
        width, wide = x.shape[1], len(w_up.integers)
        up_columns, grad_x = torch.zeros(wide + 1), torch.empty_like(x)

        def before_down(i: slice, sums: Tensor, unit: Tensor) -> None:
            size, own = len(unit), torch.empty(len(unit))
            digits = _scratch.take(torch.int8, size * planes, wide)
            of_tile = unit, positive[i], z_rstd[i], w_up.scale, rows.scale[i], digits, own, up_columns
            run("squared_relu_backward", sums, planes, size, wide, *of_tile)
            sums = _product(digits, w_up.integers)
            run("norm_backward", sums, planes, size, width, own, x[i], rows.rstd[i], grad[i], grad_x[i])

        columns = _input_gradient(grad, w_down, z_scale, planes, before_down)
        grad_down = _weight_gradient(grad, z, z_scale, columns, planes)
        grad_up = _weight_gradient(positive, rows.integers, rows.scale, up_columns, planes)
        return grad_x, grad_up, grad_down, None


def _tiles(count: int, width: int) -> list[slice]:
    """Even parts of `count` rows, each of about `_TILE` numbers a thread."""
    size = max(64, _TILE * torch.get_num_threads() // width)
    size = math.ceil(count / math.ceil(count / size))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
