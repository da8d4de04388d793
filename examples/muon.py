"""The GPT of gpt.py with Muon for its hidden matrices and AdamW for the rest (torch 2.9 or newer): two rates.

lrtune searches both, AdamW's as a ratio to Muon's, or Muon's alone, with AdamW's at 0.3 times it:

lrtune search --trainer examples.muon:train --widths 32,64 --knob "adam_lr=0.02..2*learning_rate"
lrtune search --trainer examples.muon:train --widths 32,64
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
    muon = torch.optim.Muon(matrices, lr=trial.learning_rate, weight_decay=0.1)
    adam = torch.optim.AdamW(others, lr=trial.knobs.get("adam_lr", 0.3 * trial.learning_rate), weight_decay=0.1)
    trial.describe(
        parameters=sum(p.numel() for p in model.parameters()),
        tokens_per_step=BATCH * CONTEXT,
        vocabulary_size=256,
        conditions={"model": "gpt", "optimizer": "muon", "schedule": "linear to zero", "depth": DEPTH},
    )
    run(trial, model, [muon, adam])
