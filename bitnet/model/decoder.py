"""A decoder of ternary layers: BitLinear, blocks, and K such decoders side by side.

Legend of shapes, used in names and comments throughout:

    K  members: models of one shape trained side by side (1 for a single run)
    B  sequences      T  tokens of a sequence      N = B · T
    D  hidden size    H  heads, D = H · head size  F  FFN size      V  vocabulary

Block: x + attention(x), then x + ffn(x). There is no norm before either: each BitLinear brings its own. Embedding
and head are full-precision and apart from each other; a final RMSNorm stands before the head. Norms have no gain.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bitnet.settings.config import Ffn, Gradient, ModelConfig
from bitnet.ternary import fixed_point, kernels, tiles
from bitnet.ternary.quantize import bit_linear, matmul, rms_norm


class BitLinear(nn.Module):
    """A linear layer with ternary weights and int8 activations, RMSNorm inside and no bias.

    Args:
        in_features, out_features: as in `torch.nn.Linear`; `weight` has shape (out_features, in_features).
        gradient: precision of the backward matrix products, ``fp32`` or ``bf16``.
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


def is_ternary(name: str) -> bool:
    """Whether the parameter of that name is quantised in the forward pass."""
    return name not in ("embedding", "head")


def initial_parameters(config: ModelConfig, *, seed: int, std: float = 0.02) -> Tensor:
    """The parameters of one member as one vector: normal with deviation `std`, a function of (shape, seed) alone."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(config.parameters, generator=generator).mul_(std)


def views(flat: Tensor, config: ModelConfig) -> dict[str, Tensor]:
    """The named parameters (K, …) inside a flat (K, P) tensor, sharing its memory."""
    named, offset = {}, 0
    for name, shape in config.shapes.items():
        size = math.prod(shape)
        named[name] = flat[:, offset : offset + size].view(flat.shape[0], *shape)
        offset += size
    return named


Block = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int, Ffn, Gradient], Tensor]


def hidden_states(
    parameters: dict[str, Tensor],
    tokens: Tensor,
    config: ModelConfig,
    *,
    gradient: Gradient = "fp32",
    compiled: Block | None = None,
) -> Tensor:
    """The normalised states before the head.

    Args:
        parameters: as from `views`, K members.
        tokens: (K, B, T) or, the same for every member, (1, B, T).
        gradient: precision of the backward products; on a GPU, ``bf16`` also holds for attention.
        compiled: a compiled form of `block` to use instead.

    Returns:
        (K, B · T, D).
    """
    members = parameters["embedding"].shape[0]
    sequences, length = tokens.shape[1:]
    x = embed(parameters["embedding"], tokens.expand(members, -1, -1).reshape(members, -1))
    turns = rotations(length, config.head_size, x.device, x.dtype)
    if compiled is not None:
        turns = torch.view_as_real(turns)
    for layer in range(config.depth):
        weights = [parameters[f"{layer}.{name}"] for name in ("qkv", "out", "up", "down")]
        x = (compiled or block)(x, *weights, turns, sequences, config.ffn, gradient)
    return rms_norm(x)


def block(
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
    """One layer: x (K, N, D) → (K, N, D); weights (K, G, O, I); N = `sequences` · T."""
    members, width, head_size = x.shape[0], x.shape[2], 2 * turns.shape[3]
    in_tiles = x.device.type == "cpu" and turns.is_complex()
    if in_tiles and fixed_point.usable(x):
        x = fixed_point.attend(x, qkv, out, turns, sequences, gradient)
        if ffn == "squared-relu":
            return fixed_point.ffn(x, up, down, gradient)
        return x + bit_linear(activation(bit_linear(x, up, gradient=gradient), ffn), down, gradient=gradient)
    mixing = bit_linear(x, qkv, gradient=gradient)
    mixing = mixing.view(members * sequences, -1, 3, width // head_size, head_size)
    if in_tiles:
        mixed = tiles.attention(mixing, turns)
    else:
        mixed = attention(mixing, turns, low=gradient == "bf16" and x.is_cuda)
    x = x + bit_linear(mixed.reshape(members, -1, width), out, gradient=gradient)
    if in_tiles and ffn == "squared-relu":
        return tiles.ffn(x, up, down, gradient=gradient)
    return x + bit_linear(activation(bit_linear(x, up, gradient=gradient), ffn), down, gradient=gradient)


def embed(table: Tensor, tokens: Tensor) -> Tensor:
    """table (K, V, D), tokens (K, N) → (K, N, D)."""
    if table.shape[0] == 1:
        return nn.functional.embedding(tokens[0], table[0]).unsqueeze(0)
    return table.gather(1, tokens.unsqueeze(-1).expand(-1, -1, table.shape[2]))


@functools.lru_cache(maxsize=8)
def rotations(length: int, head_size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """exp(i · position · frequency) as complex numbers (T, 1, 1, head size / 2), for rotary position embedding.

    Source: RoFormer, arXiv 2104.09864, eq. 34, with base 10,000; neighbouring features form a pair.
    """
    frequencies = 10000.0 ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    turns = torch.polar(torch.ones_like(angles), angles)
    kind = torch.complex128 if dtype == torch.float64 else torch.complex64
    return turns[:, None, None].to(device=device, dtype=kind)


def attention(qkv: Tensor, turns: Tensor, low: bool = False) -> Tensor:
    """Causal attention over (B, T, 3, H, head size) → (B, T, H, head size), with rotary positions.

    Args:
        turns: complex, or the same as pairs of real numbers, which compilers prefer.
        low: whether to attend in bfloat16.
    """
    pairs = qkv[:, :, :2].unflatten(-1, (-1, 2))
    if turns.is_complex():
        qk = torch.view_as_real(torch.view_as_complex(pairs) * turns).flatten(-2)
    else:
        (a, b), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        qk = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    q, k, v = qk[:, :, 0].transpose(1, 2), qk[:, :, 1].transpose(1, 2), qkv[:, :, 2].transpose(1, 2)
    if low:
        q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return mixed.transpose(1, 2).to(qkv.dtype)


def activation(up: Tensor, ffn: Ffn) -> Tensor:
    """The FFN's nonlinearity: relu(x)², or silu(gate) · value with the gate in the first half."""
    if ffn == "squared-relu":
        return _SquaredRelu.apply(up)
    gate, value = up.chunk(2, dim=-1)
    return nn.functional.silu(gate) * value


class _SquaredRelu(torch.autograd.Function):
    """relu(x)², keeping relu(x) alone for its gradient 2 · relu(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.relu()
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (positive,) = ctx.saved_tensors
        return (grad * positive).mul_(2.0)


def logits(states: Tensor, head: Tensor) -> Tensor:
    """states (K, N, D) times head (K, V, D) transposed → (K, N, V)."""
    return matmul(states, head.transpose(1, 2), states.dtype)


def training_loss(
    states: Tensor,
    head: Tensor,
    targets: Tensor,
    smoothing: Tensor | None = None,
    *,
    weight: float = 1.0,
    gradient: Gradient = "fp32",
) -> Tensor:
    """Cross-entropy with label smoothing, per member.

    The gradients are made on the way, for a slice of tokens at a time, while their logits are at hand: no more than
    one slice of logits is ever in memory.

    Args:
        states: (K, N, D) before the head. head: (K, V, D). targets: (K, N) tokens, or (1, N) for all.
        smoothing: (K,) share of the target's probability that is spread over the whole vocabulary; None for none.
        weight: factor on the loss (the share of a batch that a micro-batch is).
        gradient: on a GPU, ``bf16`` rounds the operands of the head's products, which are summed in float32.

    Returns:
        (K,) mean loss of each member, nats per token, without the smoothing term: only its gradient matters.
    """
    return _HeadLoss.apply(states, head, targets, smoothing, weight, gradient == "bf16" and states.is_cuda)


class _HeadLoss(torch.autograd.Function):
    """Head and cross-entropy in one: ∂loss/∂logits = (softmax − (1 − ε) · onehot − ε / V) / N."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, head: Tensor, targets: Tensor, smoothing: Tensor | None, weight: float, low: bool
    ) -> Tensor:
        members, count, _ = states.shape
        vocabulary = head.shape[1]
        index = targets.expand(members, -1)
        kept = torch.bfloat16 if low else states.dtype
        operand, table = states.to(kept), head.to(kept)
        loss, grad_states = states.new_zeros(members), []
        grad_head: Tensor | None = None
        spread = None if smoothing is None else smoothing.to(states.dtype)
        how = "kernels" if kernels.usable(states) else states.device.type
        size = max(16, LOGITS_AT_ONCE.get(how, 2**24) // (members * vocabulary))
        for start in range(0, count, size):
            part, chosen = operand[:, start : start + size], index[:, start : start + size]
            delta, losses = _cross_entropy(matmul(part, table.transpose(1, 2), states.dtype), chosen, spread)
            loss += losses
            delta = delta.to(kept)
            grad_states.append(matmul(delta, table, states.dtype))
            more = matmul(delta.transpose(1, 2), part, states.dtype)
            grad_head = more if grad_head is None else grad_head.add_(more)
        assert grad_head is not None
        ctx.save_for_backward(torch.cat(grad_states, dim=1) if len(grad_states) > 1 else grad_states[0], grad_head)
        ctx.factor = weight / count
        return loss * ctx.factor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_states, grad_head = ctx.saved_tensors
        scale = (grad * ctx.factor).view(-1, 1, 1)
        return grad_states.mul_(scale), grad_head.mul_(scale), None, None, None, None


def _cross_entropy(scores: Tensor, targets: Tensor, smoothing: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gradient by scores (K, n, V), which it may take the place of, and the sum of each member's losses, (K,)."""
    if kernels.usable(scores):
        losses = scores.new_empty(targets.shape)
        of_rows = losses.numel(), scores.shape[2], targets.contiguous(), targets.shape[1], smoothing
        kernels.run("cross_entropy", scores, *of_rows, losses)
        return scores, losses.sum(dim=1)
    delta, chosen = torch.softmax(scores, dim=-1), targets.unsqueeze(-1)
    right = delta.gather(2, chosen)
    losses = right.squeeze(-1).clamp_min(1e-38).log_().sum(dim=1).neg_()
    if smoothing is None:
        return delta.scatter_(2, chosen, right - 1.0), losses
    spread = smoothing.view(-1, 1, 1)
    delta.sub_(spread / scores.shape[2]).scatter_add_(2, chosen, (spread - 1.0).expand_as(right))
    return delta, losses


# Torch's operations walk over a slice of logits several times: on a CPU it stays within a core's cache. The kernel
# walks over it once, and larger products are faster. On a GPU it is a matter of memory.
LOGITS_AT_ONCE = {"cpu": 2**18, "kernels": 2**20, "cuda": 2**28}


def ternary_views(parameters: dict[str, Tensor]) -> Iterator[Tensor]:
    """The latent weights (K, G, O, I) of all quantised layers."""
    return (value for name, value in parameters.items() if is_ternary(name))
