"""A program that knows nothing of lrtune: it takes its settings as arguments and prints one JSON object a line.

    lrtune search --widths 16,32,64 --steps 200 --lr-min 1e-3 --lr-max 1 \
        --command "python examples/program.py --lr {learning_rate} --width {hidden_size} --steps {steps} --seed {seed}"
"""

import argparse
import json
import math
import random

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--width", type=int, required=True)
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

# Gradient descent on a bowl that is steeper the wider it is: too high a rate diverges, too low a one is slow.
draw = random.Random(arguments.seed)
weights = [draw.gauss(0, 1) for _ in range(arguments.width)]
for step in range(arguments.steps + 1):
    loss = math.log1p(sum(w * w for w in weights))
    if step % 20 == 0 or step == arguments.steps:
        print(json.dumps({"step": step, "loss": loss}), flush=True)
    for index in range(arguments.width):
        curvature = (index + 1) / 4
        weights[index] = max(-1e6, min(1e6, weights[index] * (1 - arguments.lr * curvature) + draw.gauss(0, 0.01)))
