"""Fine-tuning at one size: a GPT that was trained on Python learns English.

The base model is trained once, before the search, and kept in the folder that the option `base` names; put the path of
your own checkpoint in its place.

lrtune search --trainer examples.finetune:train --widths 64 --steps 60 --lr-min 1e-5 --lr-max 1e-2
"""

from collections.abc import Mapping
from pathlib import Path
from pydoc_data.topics import topics

import torch

import lrtune
from examples import gpt

BATCH = 8
BASE_STEPS = 300


def prepare(study: lrtune.Study) -> Mapping[str, str]:
    """Train the base model unless it is there; lrtune calls this once, before its workers start."""
    path = base_of(study.options, study.widths[0])
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        trial = lrtune.Trial(hidden_size=study.widths[0], learning_rate=3e-3, steps=BASE_STEPS, report_every=BASE_STEPS)
        model = gpt.GPT(trial.hidden_size)
        gpt.run(trial, model, [torch.optim.AdamW(model.parameters(), lr=trial.learning_rate)])
        torch.save(model.state_dict(), path)
    return {"base": path.name}


def base_of(options: Mapping[str, object], size: int) -> Path:
    return Path(str(options.get("base", "runs/base"))) / f"gpt-{size}.pt"


def train(trial: lrtune.Trial) -> None:
    torch.manual_seed(trial.seed)
    model = gpt.GPT(trial.hidden_size).to(trial.device)
    model.load_state_dict(torch.load(base_of(trial.options, trial.hidden_size), weights_only=True))
    optimizer = torch.optim.AdamW(model.parameters(), lr=trial.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, trial.steps)
    trial.describe(parameters=sum(p.numel() for p in model.parameters()), tokens_per_step=BATCH * gpt.CONTEXT)
    pieces = gpt.windows(manual()).to(trial.device)
    held_out, own = pieces[::5], pieces[torch.arange(len(pieces)) % 5 > 0]
    order = torch.Generator().manual_seed(trial.seed)
    for step in range(trial.steps + 1):
        if step % trial.report_every == 0 or step == trial.steps:
            with torch.no_grad():
                loss = gpt.loss_of(model, held_out).item()
            if not trial.report(step, loss=loss):
                return
        optimizer.zero_grad()
        gpt.loss_of(model, own[torch.randint(len(own), (BATCH,), generator=order)]).backward()
        optimizer.step()
        schedule.step()


def manual() -> torch.Tensor:
    """A part of Python's manual, which every installation carries."""
    return torch.frombuffer(bytearray("".join(topics.values()).encode()[:40_000]), dtype=torch.uint8)
