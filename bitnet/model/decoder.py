"""A decoder of ternary layers, batched over K models, and BitLinear as a layer for any model.

Legend of shapes, used in names and comments throughout:

    K  members: models of one shape trained as one batch (1 for a single run)
    B  sequences      T  tokens of a sequence      N = B · T
    D  hidden size    H  heads, D = H · head size  F  FFN size      V  vocabulary

A layer: x + attention(x), then x + ffn(x). Each BitLinear contains its norm, so there are no other norms in a layer.
Embedding and head are full-precision and not tied; a final RMSNorm precedes the head. Norms have no gain.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bitnet.settings.config import Gradient, ModelConfig
from bitnet.settings.parametrization import Factors
from bitnet.ternary.arithmetic import Arithmetic
from bitnet.ternary.plain import rotations
from bitnet.ternary.quantize import bit_linear, matmul, rms_norm
from bitnet.ternary.reference import How


class BitLinear(nn.Module):
    """A linear layer with ternary weights and int8 activations, RMSNorm inside and no bias.

    Args:
        in_features, out_features: as in `torch.nn.Linear`; `weight` has shape (out_features, in_features).
        gradient: precision of the backward matrix products, ``fp32`` or ``low``.
    """

    def __init__(self, in_features: int, out_features: int, *, gradient: Gradient = "fp32") -> None:
        super().__init__()
        self.in_features, self.out_features, self.gradient = in_features, out_features, gradient
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        rows = x.reshape(1, -1, self.in_features)
        y = bit_linear(rows, self.weight.view(1, 1, *self.weight.shape), gradient=self.gradient)
        return y.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def initial_parameters(config: ModelConfig, *, seed: int, std: float = 0.02, factors: Factors | None = None) -> Tensor:
    """Initial parameters of one member as one vector: normal with deviation `std`, determined by (shape, seed)."""
    factors = factors or Factors()
    table = config.vocabulary_size * config.hidden_size
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(config.parameters, generator=generator).mul_(std)
    drawn[table : 2 * table].mul_(factors.head_std)
    drawn[2 * table :].mul_(factors.hidden_std)
    return drawn


def views(flat: Tensor, config: ModelConfig) -> dict[str, Tensor]:
    """The named parameters (K, …) inside a flat (K, P) tensor, sharing its memory."""
    named, offset = {}, 0
    for name, shape in config.shapes.items():
        size = math.prod(shape)
        named[name] = flat[:, offset : offset + size].view(flat.shape[0], *shape)
        offset += size
    return named


def hidden_states(
    parameters: dict[str, Tensor],
    tokens: Tensor,
    config: ModelConfig,
    *,
    arithmetic: Arithmetic,
    gradient: Gradient = "fp32",
) -> Tensor:
    """The normalised states before the head.

    Args:
        parameters: as from `views`, K members.
        tokens: (K, B, T), or (1, B, T) for all members.
        arithmetic: the implementation of the layers.
        gradient: precision of the backward products; on a GPU, ``low`` also holds for attention.

    Returns:
        (K, B · T, D).
    """
    members = parameters["embedding"].shape[0]
    sequences, length = tokens.shape[1:]
    x = embed(parameters["embedding"], tokens.expand(members, -1, -1).reshape(members, -1))
    turns = rotations(length, config.head_size, x.device, x.dtype)
    how = How(sequences, config.ffn, gradient, arithmetic.product)
    for layer in range(config.depth):
        weights = [parameters[f"{layer}.{name}"] for name in ("qkv", "out", "up", "down")]
        x = arithmetic.layer(x, weights, turns, how)
    return rms_norm(x)


def embed(table: Tensor, tokens: Tensor) -> Tensor:
    """table (K, V, D), tokens (K, N) → (K, N, D)."""
    if table.shape[0] == 1:
        return nn.functional.embedding(tokens[0], table[0]).unsqueeze(0)
    return table.gather(1, tokens.unsqueeze(-1).expand(-1, -1, table.shape[2]))


def logits(states: Tensor, head: Tensor) -> Tensor:
    """states (K, N, D) times head (K, V, D) transposed → (K, N, V)."""
    return matmul(states, head.transpose(1, 2), states.dtype)


def ternary_views(parameters: dict[str, Tensor]) -> Iterator[Tensor]:
    """The latent weights (K, G, O, I) of all quantised layers."""
    return (value for name, value in parameters.items() if name not in ("embedding", "head"))
