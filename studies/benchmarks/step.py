"""How fast one training step of a BitNet model is: ours, other implementations of its layers, and the floor.

    python studies/benchmarks/step.py [--device cpu] [--widths 64,128,256,512] [--threads 2] [--compile]

All contenders train the same decoder (4 layers, head size 16, FFN 4 ×, vocabulary 1,024) on the same batches of
16 × 64 tokens, with AdamW and gradients clipped to 1. They take turns every few steps, so that a busy machine slows
all of them alike; the table gives the median step. Others' layers stand in the same decoder, with a norm before each
where the layer has none.

``LRTUNE_CPU=avx2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2`` lets a newer processor stand in for one with
AVX2 alone. What torch compiled for one kind crashes on another, so each set of caps, and none, has a folder of its own.

The floor is the sum of the bare matrix products of the step: forward ones at the rate of the fastest product that is
exact for ternary × int8 (int8, bfloat16), the head's and the backward ones in float32.

PyPI's `bitlinear` is measured where it can be imported: ``pip install --no-deps --target FOLDER bitlinear``, then
``PYTHONPATH=FOLDER``. It wants mean and range given, which are median and 128 by default.
"""

import argparse
import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch._dynamo
from torch import nn

from bitnet.settings.config import Gradient

sys.path.insert(0, str(Path(__file__).parents[2]))

from bitnet.settings.config import ModelConfig
from bitnet.settings.schedule import Schedule
from bitnet.ternary import fused, kernels
from bitnet.ternary.quantize import rms_norm
from bitnet.training.cpu import settle
from bitnet.training.population import Member, Population
from bitnet.training.steppers import stepper_for

VOCABULARY, DEPTH, HEAD, CONTEXT, BATCH = 1024, 4, 16, 64, 16
CAPS = ("LRTUNE_CPU", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
Step = Callable[[], object]


class Decoder(nn.Module):  # type: ignore[misc]
    """The plain form of the same model, with any layer in the place of BitLinear."""

    def __init__(self, width: int, linear: Callable[[int, int], nn.Module], norm: bool) -> None:
        super().__init__()
        self.norm = norm
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [*(linear(width, width) for _ in range(4)), linear(width, 4 * width), linear(4 * width, width)]
            )
            for _ in range(DEPTH)
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)
        angles = torch.arange(CONTEXT)[:, None] * 10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD)
        self.register_buffer("cos", angles.cos().repeat_interleave(2, -1))
        self.register_buffer("sin", angles.sin().repeat_interleave(2, -1))

    def turn(self, x: torch.Tensor) -> torch.Tensor:
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
        return x * self.cos + turned * self.sin

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        before = rms_norm if self.norm else (lambda x: x)
        x = self.embedding(ids)
        for query, key, value, out, up, down in self.blocks:
            y = before(x)
            heads = [layer(y).unflatten(-1, (-1, HEAD)).transpose(1, 2) for layer in (query, key, value)]
            mixed = nn.functional.scaled_dot_product_attention(
                self.turn(heads[0]), self.turn(heads[1]), heads[2], is_causal=True
            )
            x = x + out(before(mixed.transpose(1, 2).flatten(-2)))
            x = x + down(before(up(before(x)).relu().square()))
        return self.head(rms_norm(x))


def plain_step(linear: Callable[[int, int], nn.Module], norm: bool, width: int, ids: torch.Tensor) -> Step:
    model = Decoder(width, linear, norm).to(ids.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        logits = model(ids[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def our_step(width: int, ids: torch.Tensor, gradient: Gradient, compiled: bool) -> Step:
    population = our_population(width, ids, gradient, compiled)
    return lambda: population.make_steps(1)


def our_population(width: int, ids: torch.Tensor, gradient: Gradient, compiled: bool) -> Population:
    config = ModelConfig(hidden_size=width, vocabulary_size=VOCABULARY, depth=DEPTH, head_size=HEAD)
    member = Member(seed=0, schedule=Schedule(peak=1e-3, steps=10**6), clip=1.0)
    host = ids.cpu().numpy()
    stepper = stepper_for(ids.device, compiled=compiled)
    return Population(config, [member], lambda seed, step: host, stepper=stepper, device=ids.device, gradient=gradient)


def optimizer_share(width: int, ids: torch.Tensor, until: float) -> str:
    """What clipping and AdamW take of our step: whole steps and their gradients alone, in turns."""
    population = our_population(width, ids, "fp32", False)
    whole: list[float] = []
    alone: list[float] = []
    while time.perf_counter() < until or len(alone) < 5:
        whole.append(seconds(lambda: population.make_steps(1), ids.device))
        alone.append(seconds(lambda: population.gradients(population.tokens(0)), ids.device))
    step, gradients = statistics.median(whole[3:] or whole), statistics.median(alone[3:] or alone)
    return (
        f"{width}: clipping and AdamW {(step - gradients) * 1e3:.2f} of {step * 1e3:.1f} ms, {1 - gradients / step:.1%}"
    )


def contenders(width: int, ids: torch.Tensor, compiled: bool) -> tuple[dict[str, Step], list[str]]:
    found = {
        "ours, fp32 gradients": our_step(width, ids, "fp32", False),
        "ours, low gradients": our_step(width, ids, "low", False),
    }
    if compiled:
        found["ours, fp32 gradients, compiled"] = our_step(width, ids, "fp32", True)
        found["ours, low gradients, compiled"] = our_step(width, ids, "low", True)
    found["nn.Linear"] = plain_step(lambda i, o: nn.Linear(i, o, bias=False), True, width, ids)
    missing = []
    try:
        from transformers.integrations.bitnet import AutoBitLinear

        found["transformers AutoBitLinear, online"] = plain_step(
            lambda i, o: AutoBitLinear(i, o, bias=False, online_quant=True), True, width, ids
        )
    except ImportError as error:
        missing.append(f"transformers AutoBitLinear: {error}")
    try:
        import bitlinear

        found["PyPI bitlinear"] = plain_step(
            lambda i, o: bitlinear.BitLinear(i, o, bias=False, weight_measure="AbsMean", activation_range=[-127, 127]),
            False,
            width,
            ids,
        )
    except ImportError as error:
        missing.append(f"PyPI bitlinear: {error}")
    return found, missing


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(call: Step, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def floor(width: int, device: torch.device) -> dict[str, Step]:
    """Name → all products of one step, and nothing else. `int8 forward`: the fastest exact one here; the issue's
    yardstick is a bfloat16 forward."""
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    tokens = BATCH * CONTEXT
    layers = [
        (torch.randn(tokens, i, device=device), torch.randn(o, i, device=device), torch.randn(tokens, o, device=device))
        for i, o in shapes
    ]
    head = (
        torch.randn(tokens, width, device=device),
        torch.randn(VOCABULARY, width, device=device),
        torch.randn(tokens, VOCABULARY, device=device),
    )
    low = [(x.bfloat16(), w.bfloat16()) for x, w, _ in layers]
    whole = [(x.to(torch.int8), w.to(torch.int8)) for x, w, _ in layers]

    def backward() -> None:
        for _ in range(DEPTH):
            for x, w, g in layers:
                g @ w, g.t() @ x
        x, w, g = head
        x @ w.t(), g @ w, g.t() @ x

    def forward(products: list[tuple[torch.Tensor, torch.Tensor]], multiply: Callable[..., torch.Tensor]) -> None:
        for _ in range(DEPTH):
            for x, w in products:
                multiply(x, w.t())

    def both(products: list[tuple[torch.Tensor, torch.Tensor]], multiply: Callable[..., torch.Tensor]) -> Step:
        def run() -> None:
            forward(products, multiply)
            backward()

        return run

    found = {"floor, bf16 forward": both(low, torch.mm)}
    if device.type == "cpu":
        found["floor, int8 forward"] = both(whole, torch._int_mm)
        if kernels.library() is not None:
            ternary = [(x, fused.Weights(w.float(), "ours")) for x, w in whole]
            found["floor, our ternary forward"] = lambda: (
                [weights.product(x) for _ in range(DEPTH) for x, weights in ternary],
                backward(),
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--widths", default="64,128,256,512")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each width")
    parser.add_argument("--optimizer", action="store_true", help="only what the optimizer takes of our step")
    parser.add_argument("--compile", action="store_true", help="also ours with compiled blocks")
    options = parser.parse_args()
    device = torch.device(options.device)
    capped = " ".join(f"{name}={os.environ[name]}" for name in CAPS if name in os.environ)
    own = f"step-{hashlib.sha256(capped.encode()).hexdigest()[:12]}"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(tempfile.gettempdir(), own))  # torch has set it on import
    settle(options.threads)
    torch._dynamo.config.recompile_limit = 64  # others' compiled layers would give up after eight shapes
    warnings.filterwarnings("ignore")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{cpu_name()}, {options.threads} threads"
    print(f"{name}, torch {torch.__version__}; {BATCH} × {CONTEXT} tokens a step")
    print(f"{kernels.describe()}; {capped or 'no caps'}\n")
    widths = [int(width) for width in options.widths.split(",")]
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, CONTEXT + 1))).to(device)
    if options.optimizer:
        for width in widths:
            print(optimizer_share(width, ids, time.perf_counter() + options.seconds), flush=True)
        return
    print("| hidden | what | ms a step | tokens/s | × AutoBitLinear | share of the bf16 floor |")
    print("|---|---|---|---|---|---|")
    missing: list[str] = []
    for width in widths:
        steps, missing = contenders(width, ids, options.compile)
        steps |= floor(width, device)
        for step in steps.values():
            step(), step(), step()
        times: dict[str, list[float]] = {what: [] for what in steps}
        until = time.perf_counter() + options.seconds
        while time.perf_counter() < until or len(times["nn.Linear"]) < 5:
            for what, step in steps.items():
                step()  # brings its own things back into the cache, as the step before does in training
                times[what] += [seconds(step, device) for _ in range(3)]
        middle = {what: statistics.median(values) for what, values in times.items()}
        other = middle.get("transformers AutoBitLinear, online")
        for what, value in middle.items():
            ratio = f"{other / value:.2f}" if other else "–"
            share = middle["floor, bf16 forward"] / value
            print(f"| {width} | {what} | {value * 1e3:.1f} | {BATCH * CONTEXT / value:,.0f} | {ratio} | {share:.0%} |")
        sys.stdout.flush()
    for line in missing:
        print(f"\nnot measured: {line}")


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
