"""The shape of a model and the precision of its gradients.

Loads no torch: the search process checks studies without it.
"""

import math
from dataclasses import dataclass
from typing import Literal

from lrtune.trainer import InputError

Ffn = Literal["squared-relu", "swiglu"]
Gradient = Literal["fp32", "low"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder; heads and FFN follow from the hidden size.

    Attributes:
        hidden_size: width, a multiple of `head_size`.
        vocabulary_size: tokens.
        depth: blocks.
        head_size: size of an attention head, constant over a study: wider models have more heads.
        ffn: squared ReLU (4 × hidden size wide) or SwiGLU (8/3 × hidden size, rounded to a multiple of the head size).
        ffn_size: width of the FFN, instead of that default.
    """

    hidden_size: int
    vocabulary_size: int
    depth: int = 4
    head_size: int = 16
    ffn: Ffn = "squared-relu"
    ffn_size: int | None = None

    def __post_init__(self) -> None:
        if self.head_size < 2 or self.head_size % 2:
            raise InputError(f"head_size: expected a positive even number, but got {self.head_size}")
        if self.hidden_size <= 0 or self.hidden_size % self.head_size:
            below = self.hidden_size // self.head_size * self.head_size
            near = [size for size in (below, below + self.head_size) if size > 0]
            raise InputError(
                f"hidden_size: expected a positive multiple of the head size {self.head_size}, "
                f"but got {self.hidden_size}; try {' or '.join(map(str, near))}, or set head_size"
            )

    @property
    def heads(self) -> int:
        return self.hidden_size // self.head_size

    @property
    def gates(self) -> int:
        """Input matrices of the FFN: 2 for SwiGLU (gate and value), else 1."""
        return 2 if self.ffn == "swiglu" else 1

    @property
    def ffn_width(self) -> int:
        if self.ffn_size is not None:
            return self.ffn_size
        if self.ffn == "swiglu":
            return max(1, round(self.hidden_size * 8 / 3 / self.head_size)) * self.head_size
        return 4 * self.hidden_size

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of each parameter of one member, in memory order."""
        d, f = self.hidden_size, self.ffn_width
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocabulary_size, d), "head": (self.vocabulary_size, d)}
        for layer in range(self.depth):
            shapes[f"{layer}.qkv"] = (3, d, d)
            shapes[f"{layer}.out"] = (1, d, d)
            shapes[f"{layer}.up"] = (self.gates, f, d)
            shapes[f"{layer}.down"] = (1, d, f)
        return shapes

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())
