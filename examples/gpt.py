"""A small GPT in plain PyTorch on the sources of Python's standard library, for a target that is never trained.

lrtune check-trainer examples.gpt:train --widths 32,64
lrtune search --trainer examples.gpt:train --widths 32,64,128 --steps 50,100,200 --target hidden_size=256,steps=800
"""

import sysconfig
from functools import cache
from pathlib import Path

import torch
from torch import nn

import lrtune

CONTEXT, BATCH, DEPTH, HEAD = 32, 16, 2, 16
HELD_OUT = 20_000  # bytes


class Block(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.heads = size // HEAD
        self.before_attention, self.before_mlp = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, size = x.shape
        parts = self.attention(self.before_attention(x)).view(batch, length, 3, self.heads, HEAD)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, size))
        return x + self.mlp(self.before_mlp(x))


class GPT(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(256, size), nn.Embedding(CONTEXT, size)
        self.blocks = nn.Sequential(*(Block(size) for _ in range(DEPTH)))
        self.last, self.head = nn.LayerNorm(size), nn.Linear(size, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.last(self.blocks(self.letters(x) + self.places.weight)))


def train(trial: lrtune.Trial) -> None:
    torch.manual_seed(trial.seed)
    model = GPT(trial.hidden_size).to(trial.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=trial.learning_rate, weight_decay=0.1)
    trial.describe(
        parameters=sum(p.numel() for p in model.parameters()),
        tokens_per_step=BATCH * CONTEXT,
        vocabulary_size=256,
        conditions={"model": "gpt", "optimizer": "adamw", "schedule": "linear to zero", "depth": DEPTH},
    )
    run(trial, model, [optimizer])


def run(trial: lrtune.Trial, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    """Train to the last step, with rates that fall to zero, and report the loss on held-out text."""
    schedules = [torch.optim.lr_scheduler.LinearLR(each, 1.0, 0.0, trial.steps) for each in optimizers]
    order = torch.Generator().manual_seed(trial.seed)
    for step in range(trial.steps + 1):
        if step % trial.report_every == 0 or step == trial.steps:
            with torch.no_grad():
                loss = loss_of(model, windows(text()[:HELD_OUT]).to(trial.device)).item()
            if not trial.report(step, loss=loss):
                return  # lrtune stops this run early
        starts = torch.randint(HELD_OUT, len(text()) - CONTEXT - 1, (BATCH,), generator=order)
        batch = torch.stack([text()[start : start + CONTEXT + 1] for start in starts]).to(trial.device)
        for each in optimizers:
            each.zero_grad()
        loss_of(model, batch).backward()
        for each in (*optimizers, *schedules):
            each.step()


def loss_of(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    batch = batch.long()
    return nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def windows(text: torch.Tensor) -> torch.Tensor:
    """Every stretch of CONTEXT + 1 bytes, without overlap, at most 256 of them."""
    return text.unfold(0, CONTEXT + 1, CONTEXT + 1)[:256]


@cache
def text() -> torch.Tensor:
    """About a megabyte of Python."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-f]*.py"))
    return torch.frombuffer(bytearray(b"\n".join(file.read_bytes() for file in files)), dtype=torch.uint8)
