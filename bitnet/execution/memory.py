"""The memory that a population needs, and the memory that its device has.

Bytes per member that `bitnet.training` and `bitnet.ternary` allocate (legend of shapes in `bitnet.model.decoder`;
P parameters, P' of them ternary; N tokens of a pass; i bytes of a stored integer: 1 int8, 2 bfloat16, 4 for float
products):

    lasting     4 P · 3     parameters and Adam's two moments
                4 P         a copy of them to measure the last update before a report
                1 P' · 2    ternary weights of this report and the last
                4 P         on a GPU, all gradients in one row
    a step      4 P         gradients as autograd gives them
                4 P · 3     on a GPU, Adam's intermediate results
                i P'        integers of the weights
        a layer (4 + i) N D · 3     the inputs of qkv, out and up, and their integers
                24 N D              q, k, v (12), rotated q and k (8), output of attention (4)
                (4 + i) N F         the input of down and its integers
                4 N F               relu(x), or 12 N F for SwiGLU: gate and value, silu(gate)
        once    8 N V               logits and their softmax, for one slice of tokens
                12 N max(F', 3 D)   gradients on their way through the widest layer, F' = gates · F

A tiled layer does not keep the input of its `down` (4 N F less). A captured graph has a separate memory pool for a
step's allocations, so on a GPU the part of a step counts twice.
"""

import contextlib
import os
from pathlib import Path

import torch

from bitnet.settings.config import ModelConfig
from bitnet.ternary.arithmetic import choose

_SHARE = 0.8  # of the free memory: allocators leave gaps, and reports need memory too


def bytes_each(config: ModelConfig, *, tokens: int, device: str) -> int:
    """Peak memory of one member in a step of `tokens` tokens, in bytes."""
    kind, arithmetic = device.partition(":")[0], choose(torch.device(device))
    d, f, v = config.hidden_size, config.ffn_width, config.vocabulary_size
    parameters = config.parameters
    ternary = parameters - 2 * v * d
    stored = 1 if arithmetic.name == "kernels" else {"int8": 1, "bf16": 2, "float": 4}[arithmetic.product]
    in_tiles = not arithmetic.keeps_squares and config.ffn == "squared-relu"
    layer = layer_bytes(config, tokens=tokens, stored=stored, in_tiles=in_tiles)
    logits = 8 * min(tokens * v, arithmetic.logits_at_once)
    once = max(logits, 12 * tokens * max(config.gates * f, 3 * d))
    lasting = 16 * parameters + 2 * ternary
    step = 4 * parameters + stored * ternary + config.depth * layer + once
    if kind == "cuda":
        lasting += 4 * parameters
        step = 2 * (step + 12 * parameters)
    return lasting + step


def layer_bytes(config: ModelConfig, *, tokens: int, stored: int, in_tiles: bool) -> int:
    """Bytes that one layer keeps for its gradient, without its weights; an integer takes `stored` bytes."""
    middle = (4 + stored) + (12 if config.ffn == "swiglu" else 0 if in_tiles else 4)
    return tokens * (config.hidden_size * (3 * (4 + stored) + 24) + config.ffn_width * middle)


def free_bytes(device: str) -> int | None:
    """Free memory of the device in bytes, including unused memory of this process; None if unknown."""
    place = torch.device(device)
    if place.type == "cuda":
        unused = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
        return int(torch.cuda.mem_get_info(place)[0] + unused)
    if place.type != "cpu":
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):  # unlike SC_AVPHYS_PAGES, includes reclaimable page cache
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def most_that_fit(count: int, each: int, free: int | None) -> int:
    """`count`, halved until that many members fit into the free memory; at least one."""
    while count > 1 and free is not None and count * each > _SHARE * free:
        count //= 2
    return max(1, count)
