"""The GPT of gpt.py with Muon for its hidden matrices and AdamW for the rest (torch 2.9 or newer).

The learning rate that lrtune searches is Muon's; AdamW's is `adam_ratio` times it, a scale or an option:

lrtune search --trainer examples.muon:train --widths 64 --scale adam_ratio=0.1,0.3,1
lrtune search --trainer examples.muon:train --option adam_ratio=0.3
"""

import torch

import lrtune
from examples.gpt import BATCH, CONTEXT, DEPTH, GPT, run


def train(trial: lrtune.Trial) -> None:
    torch.manual_seed(trial.seed)
    model = GPT(trial.hidden_size).to(trial.device)
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside]
    ratio = trial.scales.get("adam_ratio", trial.options.get("adam_ratio", 0.3))
    muon = torch.optim.Muon(matrices, lr=trial.learning_rate, weight_decay=0.1)
    adam = torch.optim.AdamW(others, lr=trial.learning_rate * ratio, weight_decay=0.1)
    trial.describe(
        parameters=sum(p.numel() for p in model.parameters()),
        tokens_per_step=BATCH * CONTEXT,
        vocabulary_size=256,
        conditions={"model": "gpt", "optimizer": "muon", "schedule": "linear to zero", "depth": DEPTH},
    )
    run(trial, model, [muon, adam])
