"""The gradients of a fused layer by float32 products, as precise as torch's."""

import torch
from torch import Tensor

from bitnet.ternary.fused import Attended, FedForward, scratch, tiles_of, values
from bitnet.ternary.kernels import run


class Floats:
    """See `bitnet.ternary.fused.Backward`."""

    def attend(self, x: Tensor, grad: Tensor, way: Attended) -> tuple[Tensor, Tensor, Tensor]:
        """See `bitnet.ternary.fused.Backward.attend`."""
        grad_mixed, grad_x = torch.empty_like(x), torch.empty_like(x)
        run("norm_gradient", grad @ way.out.values(), *x.shape, way.mixed, way.mixed_rows.rstd, None, grad_mixed)
        grad_out = grad.t() @ values(way.mixed_rows.integers, way.mixed_rows.scale)
        mixing = way.mixing_gradient(grad_mixed)
        run("norm_gradient", mixing @ way.qkv.values(), *x.shape, x, way.rows.rstd, grad, grad_x)
        return grad_x, mixing.t() @ values(way.rows.integers, way.rows.scale), grad_out

    def ffn(self, x: Tensor, grad: Tensor, way: FedForward) -> tuple[Tensor, Tensor, Tensor]:
        """See `bitnet.ternary.fused.Backward.ffn`."""
        up, down, p = way.up.values(), way.down.values(), way.positive
        grad_x, grad_up, grad_down = torch.empty_like(x), torch.zeros_like(up), torch.zeros_like(down)
        x_values = values(way.rows.integers, way.rows.scale)
        for i in tiles_of(len(x), p.shape[1]):
            wide = scratch.take(torch.float32, i.stop - i.start, p.shape[1])
            grad_down.addmm_(grad[i].t(), values(way.z[i], way.z_scale[i], wide))
            torch.mm(grad[i], down, out=wide)
            run("squared_relu_gradient", wide, *wide.shape, p[i], way.z_rstd[i])
            grad_up.addmm_(p[i].t(), x_values[i])
            narrow = p[i] @ up
            run("norm_gradient", narrow, *narrow.shape, x[i], way.rows.rstd[i], grad[i], grad_x[i])
        return grad_x, grad_up, grad_down
