"""Implementations of the layers and the loss. Each run chooses one for its device.

All give the same values and gradients up to float rounding; `bitnet.ternary.reference` defines them.
"""

import functools
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from bitnet.ternary import fused, kernels, plain, reference, tiles
from bitnet.ternary.digits import Digits
from bitnet.ternary.floats import Floats
from bitnet.ternary.reference import How, Product

Layer = Callable[[Tensor, Sequence[Tensor], Tensor, How], Tensor]
"""One layer: (x (K, N, D), weights qkv, out, up, down (K, G, O, I) each, rotations from `plain.rotations`, how to
compute it) → (K, N, D)."""

CrossEntropy = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""(Scores (K, n, V), which may be overwritten, targets (K, n), smoothing (K,) or None) → the gradient of the
scores, and the sum of each member's losses, (K,)."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """One implementation of the parts of a training step that have several.

    Attributes:
        name: its name.
        layer, cross_entropy: its functions.
        product: method of the forward products that torch's operations compute.
        logits_at_once: size of a slice of logits. Torch's operations make several passes over a slice, so on a CPU it
            fits a core's cache. The kernel makes one pass, so larger slices are faster. On a GPU memory limits it.
        has_low_precision: whether low-precision gradients are faster than exact ones; if not, ``low`` uses exact ones.
        keeps_squares: whether relu(x)² is stored for the gradient; tiled layers recompute it.
    """

    name: Literal["reference", "device", "compiled", "tiles", "kernels"]
    layer: Layer
    cross_entropy: CrossEntropy = plain.cross_entropy
    product: Product = "float"
    logits_at_once: int = 2**24
    has_low_precision: bool = False
    keeps_squares: bool = True


_DIGITS_PAY = 96  # smallest hidden size at which two digits by AVX2 beat float32 (step.md)

REFERENCE = Arithmetic(name="reference", layer=reference.layer)
DEVICE = Arithmetic(name="device", layer=plain.layer)
CUDA = Arithmetic(name="device", layer=plain.layer, product="bf16", logits_at_once=2**28, has_low_precision=True)
TILES = Arithmetic(name="tiles", layer=tiles.layer, logits_at_once=2**18, keeps_squares=False)
KERNELS = Arithmetic(
    name="kernels",
    layer=fused.Fused(product="ours", backward=lambda gradient, width: Floats()),
    cross_entropy=fused.cross_entropy,
    logits_at_once=2**20,
    keeps_squares=False,
)
AVX2_KERNELS = replace(
    KERNELS,
    layer=fused.Fused(
        product="ours",
        backward=lambda gradient, width: (
            Digits(2, product="ours") if gradient == "low" and width >= _DIGITS_PAY else Floats()
        ),
    ),
    has_low_precision=True,
)
INT8_KERNELS = replace(
    KERNELS,
    layer=fused.Fused(product="torch", backward=lambda gradient, width: Digits(3 if gradient == "fp32" else 2)),
    has_low_precision=True,
)


def choose(device: torch.device) -> Arithmetic:
    """The fastest implementation on this device.

    It depends on the hardware; only `product` depends on a timing, and no bit of a result on `product`.
    """
    if device.type != "cpu":
        return CUDA if device.type == "cuda" else DEVICE
    if kernels.library() is None:
        found = TILES
    elif kernels.int8_in_hardware():
        found = INT8_KERNELS
    else:
        found = AVX2_KERNELS if kernels.uses_avx2() else KERNELS
    return replace(found, product="int8" if _int8_pays() else "float")


def compiled(compiler: Callable[[Layer], Layer], base: Arithmetic) -> Arithmetic:
    """`base` with layers of compiled torch operations."""
    return replace(base, name="compiled", layer=compiler(plain.layer_as_real), keeps_squares=True)


@functools.cache
def _int8_pays() -> bool:
    """Whether this CPU multiplies int8 matrices faster than float32 ones, timed for a millisecond or two."""
    x, w = torch.ones(256, 128, dtype=torch.int8), torch.ones(256, 128, dtype=torch.int8)
    x32, w32 = x.float(), w.float()
    try:
        return _quickest(lambda: torch._int_mm(x, w.t())) < _quickest(lambda: x32 @ w32.t())
    except RuntimeError:
        return False


def _quickest(call: Callable[[], Tensor]) -> float:
    call()
    return min(timeit.repeat(call, number=1, repeat=5))
