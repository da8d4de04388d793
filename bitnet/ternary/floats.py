"""The gradients of a fused layer by float32 products, as precise as torch's."""

import torch
from torch import Tensor

from bitnet.ternary.fused import Attended, Backward, FedForward, scratch, tiles_of, values
from bitnet.ternary.kernels import run

# Numbers between the rows of a wide array. Rows a power of two apart share few places of the cache: the products over
# rows, which give the gradients of up and down, were up to a tenth slower (step.md).
_GAP = 16


class Floats(Backward):
    """See `bitnet.ternary.fused.Backward`."""

    def attend(self, x: Tensor, grad: Tensor, way: Attended) -> tuple[Tensor, Tensor, Tensor]:
        grad_mixed, grad_x = torch.empty_like(x), torch.empty_like(x)
        run("norm_gradient", grad @ way.out.values(), *x.shape, way.mixed, way.mixed_rows.rstd, None, grad_mixed)
        grad_out = grad.t() @ values(way.mixed_rows.integers, way.mixed_rows.scale)
        mixing = way.mixing_gradient(grad_mixed)
        run("norm_gradient", mixing @ way.qkv.values(), *x.shape, x, way.rows.rstd, grad, grad_x)
        return grad_x, mixing.t() @ values(way.rows.integers, way.rows.scale), grad_out

    def ffn(self, x: Tensor, grad: Tensor, way: FedForward) -> tuple[Tensor, Tensor, Tensor]:
        up, down, p = way.up.values(), way.down.values(), way.positive
        count, width = p.shape
        grad_x, grad_up, grad_down = torch.empty_like(x), torch.empty_like(up), x.new_empty(width, x.shape[1])
        x_values = values(way.rows.integers, way.rows.scale)
        for i in tiles_of(count, width):
            rows, stride = i.stop - i.start, width + _GAP
            kept = min(i.start, 1)  # the first tile replaces what is there
            whole = scratch.take(torch.float32, rows, stride)
            wide = whole[:, :width]
            run("values", way.z[i], rows, width, way.z_scale[i], stride, whole)
            grad_down.addmm_(wide.t(), grad[i], beta=kept)
            torch.mm(grad[i], down, out=wide)
            run("squared_relu_gradient", whole, rows, width, stride, p[i], way.z_rstd[i])
            grad_up.addmm_(wide.t(), x_values[i], beta=kept)
            narrow = wide @ up
            run("norm_gradient", narrow, *narrow.shape, x[i], way.rows.rstd[i], grad[i], grad_x[i])
        return grad_x, grad_up, grad_down.t().contiguous()
