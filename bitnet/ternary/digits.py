"""The gradients of a fused layer by integer products.

One factor of every product is an integer: the weights (−1, 0, 1) in the gradient of the activations, the activations
(int8) in the gradient of the weights. The other factor, the gradient g, is written in fixed point,

    g = unit · (65536 a + 256 b + c),  with a, b, c in −128 … 127,

with 24 bits below its largest value. Three int8 products with exact int32 sums then replace one float32 product, with
float32's precision, in a third of the time or less on int8 hardware. Sums over outputs use one unit per token, sums
over tokens one unit per output. A gradient in low precision has two digits: 16 bits, more than bfloat16. Two digits are
also faster with the products of `product.c` (two ternary products) and `pairs.c` (16 by 8 bits, for the weights'
gradient).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bitnet.ternary.fused import Attended, Backward, FedForward, IntegerProduct, Weights, scratch, tiles_of
from bitnet.ternary.kernels import run


@dataclass(frozen=True)
class Digits(Backward):
    """See `bitnet.ternary.fused.Backward`.

    Attributes:
        planes: digits per number; two with product ``ours``.
        product: whether torch or the C kernels (``ours``) compute integer products.
    """

    planes: int
    product: IntegerProduct = "torch"

    def attend(self, x: Tensor, grad: Tensor, way: Attended) -> tuple[Tensor, Tensor, Tensor]:
        planes, width = self.planes, x.shape[1]
        grad_mixed, grad_x = torch.empty_like(x), torch.empty_like(x)

        def before_out(i: slice, sums: Tensor, unit: Tensor) -> None:
            own = unit, way.mixed[i], way.mixed_rows.rstd[i], None, grad_mixed[i]
            run("norm_backward", sums, planes, len(unit), width, *own)

        columns = _input_gradient(grad, way.out, way.mixed_rows.scale, planes, before_out)
        grad_out = self._weights(grad, way.mixed_rows.integers, way.mixed_rows.scale, columns)
        mixing = way.mixing_gradient(grad_mixed)

        def before_qkv(i: slice, sums: Tensor, unit: Tensor) -> None:
            run("norm_backward", sums, planes, len(unit), width, unit, x[i], way.rows.rstd[i], grad[i], grad_x[i])

        columns = _input_gradient(mixing, way.qkv, way.rows.scale, planes, before_qkv)
        return grad_x, self._weights(mixing, way.rows.integers, way.rows.scale, columns), grad_out

    def ffn(self, x: Tensor, grad: Tensor, way: FedForward) -> tuple[Tensor, Tensor, Tensor]:
        planes, width, wide, p = self.planes, x.shape[1], len(way.up.integers), way.positive
        up_columns, grad_x = torch.zeros(wide + 1), torch.empty_like(x)

        def before_down(i: slice, sums: Tensor, unit: Tensor) -> None:
            size, own = len(unit), torch.empty(len(unit))
            digits = scratch.take(torch.int8, size * planes, wide)
            of_tile = unit, p[i], way.z_rstd[i], way.up.scale, way.rows.scale[i], digits, own, up_columns
            run("squared_relu_backward", sums, planes, size, wide, *of_tile)
            sums = way.up.product_back(digits)
            run("norm_backward", sums, planes, size, width, own, x[i], way.rows.rstd[i], grad[i], grad_x[i])

        columns = _input_gradient(grad, way.down, way.z_scale, planes, before_down)
        grad_down = self._weights(grad, way.z, way.z_scale, columns)
        grad_up = self._weights(p, way.rows.integers, way.rows.scale, up_columns)
        return grad_x, grad_up, grad_down

    def _weights(self, g: Tensor, x_integers: Tensor, scale: Tensor, columns: Tensor) -> Tensor:
        if self.product == "ours":
            return _weight_gradient_by_pairs(g, x_integers, scale, columns)
        return _weight_gradient(g, x_integers, scale, columns, self.planes)


def _input_gradient(
    g: Tensor, w: Weights, scale: Tensor, planes: int, consume: Callable[[slice, Tensor, Tensor], None]
) -> Tensor:
    """Products of g (N, O) with the weights, one tile of tokens at a time; `consume` gets position, sums and units.

    Returns:
        (O + 1,) the largest |g / scale| of each column, for `_weight_gradient`.
    """
    (count, width), columns = g.shape, g.new_zeros(g.shape[1] + 1)
    for i in tiles_of(count, planes * max(width, w.integers.shape[1])):
        size = i.stop - i.start
        digits, unit = scratch.take(torch.int8, size * planes, width), torch.empty(size)
        groups = len(w.scale)
        run("row_digits", g[i], size, width, groups, w.scale, scale[i], planes, digits, unit, columns)
        consume(i, w.product_back(digits), unit)
    return columns


def _weight_gradient(g: Tensor, x_integers: Tensor, scale: Tensor, columns: Tensor, planes: int) -> Tensor:
    """gᵀ (integers of x / scale): (O, I), computed a few outputs at a time."""
    (rows, width), inputs = g.shape, x_integers.shape[1]
    gradient = torch.empty(width, inputs)
    for i in tiles_of(width, planes * max(rows // 4, inputs)):
        size = i.stop - i.start
        digits, unit = scratch.take(torch.int8, rows, planes * size), torch.empty(size)
        run("column_digits", g, rows, width, i.start, size, scale, columns, planes, digits, unit)
        sums = torch._int_mm(digits.t(), x_integers, out=scratch.take(torch.int32, planes * size, inputs))
        run("join", sums, planes, size, inputs, unit, gradient[i])
    return gradient


def _weight_gradient_by_pairs(g: Tensor, x_integers: Tensor, scale: Tensor, columns: Tensor) -> Tensor:
    """`_weight_gradient` by products of 16 by 8 bits."""
    (rows, width), inputs = g.shape, x_integers.shape[1]
    of_x, unit, gradient = (
        torch.empty(_room(rows, inputs), dtype=torch.int16),
        torch.empty(width),
        torch.empty(width, inputs),
    )
    of_g = scratch.take(torch.int16, _room(rows, width))
    run("pack_pairs", x_integers, rows, inputs, of_x)
    run("column_pairs", g, rows, width, scale, columns, of_g, unit)
    run("pair_product", of_g, of_x, rows, width, inputs, unit, gradient)
    return gradient


def _room(rows: int, width: int) -> int:
    """Size of (rows, width) as pairs of rows and panels of eight columns."""
    return (rows + 1) // 2 * 2 * ((width + 7) // 8 * 8)
