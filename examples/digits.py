"""A plain PyTorch trainer: an MLP of any width on scikit-learn's digits.

lrtune check-trainer examples.digits:train --widths 16,32
lrtune search --trainer examples.digits:train --widths 16,32,64 --steps 200 --lr-min 3e-4 --lr-max 0.3
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import lrtune
from lrtune.diversity import diversity

DATA = load_digits()
IMAGES = torch.tensor(DATA.data / 16.0, dtype=torch.float32)
LABELS = torch.tensor(DATA.target)
HELD_OUT = 300
BATCH = 64


def train(trial: lrtune.Trial) -> None:
    torch.manual_seed(trial.seed)
    model = nn.Sequential(nn.Linear(64, trial.hidden_size), nn.ReLU(), nn.Linear(trial.hidden_size, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=trial.learning_rate)
    trial.describe(parameters=sum(p.numel() for p in model.parameters()), vocabulary_size=10)
    order = torch.Generator().manual_seed(trial.seed)
    for step in range(trial.steps + 1):
        if step % trial.report_every == 0 or step == trial.steps:
            loss, variety = measure(model)
            if not trial.report(step, loss=loss, diversity=variety):
                return
        batch = torch.randint(HELD_OUT, len(LABELS), (BATCH,), generator=order)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(IMAGES[batch]), LABELS[batch]).backward()
        optimizer.step()


@torch.no_grad()
def measure(model: nn.Module) -> tuple[float, float]:
    logits, labels = model(IMAGES[:HELD_OUT]), LABELS[:HELD_OUT]
    guessed = torch.bincount(logits.argmax(dim=1), minlength=10)
    true = torch.bincount(labels, minlength=10)
    return nn.functional.cross_entropy(logits, labels).item(), diversity(guessed.tolist(), true.tolist())
