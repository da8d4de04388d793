"""A program that keeps its own log in a CSV file and knows nothing of lrtune.

    lrtune search --widths 16,32,64 --steps 200 --lr-min 1e-3 --lr-max 1 \
        --command "python examples/own_log.py --lr {learning_rate} --width {hidden_size} --out {output}" \
        --metrics "{output}/metrics.csv" --metric val/loss
"""

import argparse
import csv
import math
import random
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--width", type=int, required=True)
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--out", type=Path, required=True)
arguments = parser.parse_args()

# Gradient descent on a bowl that is steeper the wider it is: too high a rate diverges, too low a one is slow.
draw = random.Random(0)
weights = [draw.gauss(0, 1) for _ in range(arguments.width)]
arguments.out.mkdir(parents=True, exist_ok=True)
with (arguments.out / "metrics.csv").open("w", buffering=1, newline="") as file:
    log = csv.writer(file)
    log.writerow(["step", "train/loss", "val/loss"])
    for step in range(arguments.steps + 1):
        loss = math.log1p(sum(w * w for w in weights))
        if step % 5 == 0:
            log.writerow([step, loss + 0.01, loss])
        for index in range(arguments.width):
            curvature = (index + 1) / 4
            weights[index] = max(-1e6, min(1e6, weights[index] * (1 - arguments.lr * curvature) + draw.gauss(0, 0.01)))
