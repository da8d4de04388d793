"""The measurements of a report, for each member: held-out loss, output diversity, state of the weights.

The device computes every figure for all K members; one transfer fetches them. The diversity is that of
`lrtune.diversity`, batched over members. The legend of shapes is in `bitnet.model.decoder`.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bitnet.model.decoder import hidden_states, logits, ternary_views
from bitnet.settings.config import ModelConfig
from bitnet.ternary.arithmetic import Arithmetic
from bitnet.ternary.quantize import quantize_weights
from lrtune.diversity import entropy

PROMPTS = 20
_PROMPT_LENGTH = 8
_PROMPT_SEED = 20
# Largest number of values in an activation or in the logits: limited by the CPU's cache or the GPU's memory.
_AT_ONCE = {"cpu": (2**20, 2**18), "cuda": (2**28, 2**28)}


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The fixed contexts of all measurements.

    Attributes:
        contexts: (B, T + 1) held-out ids for each report. final: a larger set, for the final loss.
        prompts: (20, 8) uniformly random ids, the prompts of the Phase 4 write-up.
        reference_entropy: entropy of the true next tokens of `contexts`, nats.
        unigram_entropy: unigram entropy of the whole held-out text, nats.
    """

    contexts: Tensor
    final: Tensor
    prompts: Tensor
    reference_entropy: float
    unigram_entropy: float

    @classmethod
    def of(cls, contexts: Tensor, final: Tensor, unigram_counts: Tensor, device: str | torch.device) -> "HeldOut":
        size = unigram_counts.numel()
        generator = torch.Generator().manual_seed(_PROMPT_SEED)
        return cls(
            contexts=contexts.to(device),
            final=final.to(device),
            prompts=torch.randint(size, (PROMPTS, _PROMPT_LENGTH), generator=generator).to(device),
            reference_entropy=entropy(torch.bincount(contexts[:, 1:].flatten(), minlength=size).tolist()),
            unigram_entropy=entropy(unigram_counts.tolist()),
        )


Measures = dict[str, list[float]]


@torch.no_grad()
def measure(
    parameters: dict[str, Tensor],
    config: ModelConfig,
    held_out: HeldOut,
    *,
    arithmetic: Arithmetic,
    is_final: bool,
    extra: dict[str, Tensor],
) -> Measures:
    """Name → one value per member.

    ``loss`` (nats per token; at the last report from all of `held_out.final`), ``diversity``,
    ``effective_vocabulary``, ``distinct`` (answers to 20 real contexts), ``distinct_random`` (answers to 20 random
    prompts), ``loss_minus_unigram``, and `extra`, figures (K,) on the device.
    """
    members = parameters["embedding"].shape[0]
    device = parameters["embedding"].device
    histogram = torch.zeros(members, config.vocabulary_size, device=device)
    total, ends = torch.zeros(members, dtype=_wide(device), device=device), []
    read = functools.partial(_scores, parameters, config, arithmetic)
    for part, scores in read(held_out.contexts):
        answers = scores.argmax(dim=-1)
        histogram.scatter_add_(1, answers, torch.ones_like(answers, dtype=histogram.dtype))
        ends.append(answers.view(members, *part[:, 1:].shape)[:, :, -1])
        total += _summed_loss(scores, part)
    loss = total / held_out.contexts[:, 1:].numel()
    if is_final:
        total = sum(
            (_summed_loss(scores, part) for part, scores in read(held_out.final)),
            start=torch.zeros_like(total),
        )
        loss = total / held_out.final[:, 1:].numel()
    variety = _entropy(histogram)
    at_ends = torch.cat(ends, dim=1)
    spread = torch.linspace(0, at_ends.shape[1] - 1, min(PROMPTS, at_ends.shape[1]), device=device).long()
    [(_, prompted)] = read(held_out.prompts, last=True)
    columns = {
        "loss": loss,
        "diversity": variety / held_out.reference_entropy if held_out.reference_entropy > 0 else variety * 0,
        "effective_vocabulary": variety.exp(),
        "distinct": _distinct(at_ends[:, spread], config.vocabulary_size),
        "distinct_random": _distinct(prompted.argmax(dim=-1), config.vocabulary_size),
        "loss_minus_unigram": loss - held_out.unigram_entropy,
        **extra,
    }
    table = torch.stack([column.to(_wide(device)) for column in columns.values()]).cpu()
    return dict(zip(columns, table.tolist(), strict=True))


def _scores(
    parameters: dict[str, Tensor],
    config: ModelConfig,
    arithmetic: Arithmetic,
    contexts: Tensor,
    last: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(contexts (b, T + 1), logits (K, b · T, V)) in pieces that fit in memory; `last`: prompts, their last logits."""
    members, vocabulary = parameters["head"].shape[:2]
    length = contexts.shape[1] - (0 if last else 1)
    states_room, logits_room = _AT_ONCE.get(contexts.device.type, (2**22, 2**24))
    size = len(contexts) if last else max(1, states_room // (members * length * config.ffn_width))
    step = len(contexts) if last else max(1, logits_room // (members * length * vocabulary))
    for part in contexts.split(size):
        states = hidden_states(parameters, part[None, :, :length], config, arithmetic=arithmetic)
        states = states.view(members, -1, length, config.hidden_size)
        for start in range(0, len(part), step):
            some = states[:, :, -1] if last else states[:, start : start + step].flatten(1, 2)
            yield part[start : start + step], logits(some, parameters["head"])


def _summed_loss(scores: Tensor, contexts: Tensor) -> Tensor:
    """(K,) summed cross-entropy of the next tokens."""
    targets = contexts[:, 1:].reshape(1, -1, 1).expand(scores.shape[0], -1, -1)
    chosen = scores.gather(2, targets).squeeze(-1)
    return (torch.logsumexp(scores, dim=-1) - chosen).sum(dim=1, dtype=_wide(scores.device))


def _wide(device: torch.device) -> torch.dtype:
    """The dtype of sums over many tokens; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _entropy(histogram: Tensor) -> Tensor:
    """(K, V) counts → (K,) entropy in nats, as `lrtune.diversity.entropy`."""
    p = histogram.to(_wide(histogram.device)) / histogram.sum(dim=1, keepdim=True)
    return 0.0 - torch.special.xlogy(p, p).sum(dim=1).clamp_max(0.0)  # 0, not −0, for a single answer


def _distinct(answers: Tensor, vocabulary: int) -> Tensor:
    """(K, n) ids → (K,) number of distinct ids."""
    seen = torch.zeros(answers.shape[0], vocabulary, device=answers.device)
    return seen.scatter_(1, answers, 1.0).sum(dim=1)


@torch.no_grad()
def ternary(parameters: dict[str, Tensor]) -> Tensor:
    """(K, W) int8: the current ternary weights."""
    return torch.cat([quantize_weights(w).integers.flatten(1) for w in ternary_views(parameters)], dim=1)


@torch.no_grad()
def weight_figures(latent: Tensor, now: Tensor, before: Tensor | None) -> dict[str, Tensor]:
    """(K,) each: RMS of the latent ternary weights, share of zeros, share that flipped since the last report."""
    figures = {
        "weight_rms": torch.linalg.vector_norm(latent, dim=1) / math.sqrt(latent.shape[1]),
        "zero_share": (now == 0).float().mean(dim=1),
    }
    if before is not None:
        figures["flipped_share"] = (now != before).float().mean(dim=1)
    return figures


@torch.no_grad()
def write_on(
    parameters: dict[str, Tensor],
    config: ModelConfig,
    prompt: Tensor,
    *,
    arithmetic: Arithmetic,
    count: int,
    context: int,
) -> Tensor:
    """Greedy continuation of a prompt (T,) by each member: (K, count) ids."""
    members = parameters["embedding"].shape[0]
    ids = prompt.expand(members, 1, -1)
    for _ in range(count):
        states = hidden_states(parameters, ids[:, :, -context:], config, arithmetic=arithmetic)
        answer = logits(states[:, -1:], parameters["head"]).argmax(dim=-1)
        ids = torch.cat([ids, answer.view(members, 1, 1)], dim=2)
    return ids[:, 0, prompt.shape[0] :]
