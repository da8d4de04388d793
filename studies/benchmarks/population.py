"""How many members × tokens a second a population trains, against one model at a time.

    python studies/benchmarks/population.py --device cuda [--tokens FOLDER] [--widths 256,512] [--limit 220]

Needs torch and numpy alone. First it checks that one step of a population equals one step of each member by itself;
then it measures K members at once, and prints one Markdown table. "one at a time" is K = 1 run in the same way.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from bitnet.config import ModelConfig
from bitnet.device_steps import DeviceSteps
from bitnet.population import Member, Population
from bitnet.schedule import Schedule
from bitnet.tokens import batch, load_tokens

CONTEXT, BATCH = 64, 16


def data(folder: str | None):
    """The batches of a token folder, or uniformly random ones: the time of a step is the same."""
    if folder is None:
        return 1024, lambda seed, step: np.random.default_rng((seed, step)).integers(0, 1024, (BATCH, CONTEXT + 1))
    tokens = load_tokens(folder)
    return tokens.vocabulary_size, lambda seed, step: batch(
        tokens, seed=seed, step=step, batch_size=BATCH, context=CONTEXT
    )


def members(count: int) -> list[Member]:
    """Rates an octave and a bit apart, two seeds, both kinds of decay, some clipped hard: all that may differ."""
    return [
        Member(
            seed=k % 2,
            schedule=Schedule(peak=1e-3 * 2 ** (4 * k / count), steps=1000, warmup=0),
            coupled=k % 4 == 3,
            clip=0.1 if k % 3 == 1 else 1.0,
            label_smoothing=0.1 if k % 5 == 4 else 0.0,
        )
        for k in range(count)
    ]


def check(device: str, vocabulary: int, batches, gradient: str, compiled: bool) -> str:
    """One step of six members together and apart: the largest difference, in units of the update's size."""
    config = ModelConfig(hidden_size=64, vocabulary_size=vocabulary)
    together = Population(config, members(6), batches, device=device, gradient=gradient, compiled=compiled)
    start = together.state.parameters.clone()
    together.advance(1)
    worst = typical = 0.0
    for k, member in enumerate(members(6)):
        alone = Population(config, [member], batches, device=device, gradient=gradient)
        alone.advance(1)
        moved = alone.state.parameters[0] - start[k]
        difference = together.state.parameters[k] - alone.state.parameters[0]
        worst = max(worst, (difference.abs().max() / moved.abs().max()).item())
        typical = max(typical, (difference.norm() / moved.norm()).item())
    return (
        f"one step, 6 members together and apart ({gradient}{', compiled' if compiled else ''}): "
        f"relative difference of the updates {typical:.1e} (rms), {worst:.1e} (largest)"
    )


def against_cpu(device: str, vocabulary: int, batches) -> str:
    config = ModelConfig(hidden_size=64, vocabulary_size=vocabulary)
    moved = []
    for place in ("cpu", device):
        one = Population(config, members(1), batches, device=place)
        start = one.state.parameters.clone()
        one.advance(1)
        moved.append((one.state.parameters - start).cpu())
    return (
        f"one step on cpu and on {device}: relative difference {((moved[0] - moved[1]).norm() / moved[0].norm()):.1e}"
    )


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds_a_step(population: Population, device: str, least: float) -> float:
    """The best of three rounds, after warming up."""
    population.advance(5)
    synchronize(device)
    start = time.perf_counter()
    population.advance(population.state.step + 3)
    synchronize(device)
    rough = (time.perf_counter() - start) / 3
    count = max(3, min(200, math.ceil(least / rough)))
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        population.advance(population.state.step + count)
        synchronize(device)
        rounds.append((time.perf_counter() - start) / count)
    return min(rounds)


def matmul_rate(device: str) -> float:
    """Floating-point operations a second of a large product in bfloat16 (GPU) or float32 (CPU)."""
    size, kind = (8192, torch.bfloat16) if device.startswith("cuda") else (1024, torch.float32)
    a = torch.randn(size, size, device=device, dtype=kind)
    for _ in range(3):
        a @ a
    synchronize(device)
    start = time.perf_counter()
    for _ in range(20):
        a @ a
    synchronize(device)
    return 20 * 2 * size**3 / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tokens", help="a token folder; random ids without")
    parser.add_argument("--widths", default="256,512")
    parser.add_argument("--members", default="1,4,16,64")
    parser.add_argument("--limit", type=float, default=220.0, help="seconds; what does not fit is left out")
    options = parser.parse_args()
    began, device = time.perf_counter(), options.device
    vocabulary, batches = data(options.tokens)
    cuda = device.startswith("cuda")
    machine = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    rate = matmul_rate(device)
    print(f"{machine}, torch {torch.__version__}, matmul {rate / 1e12:.1f} Tflop/s ({'bf16' if cuda else 'fp32'})")
    print(against_cpu(device, vocabulary, batches))
    for gradient in ("fp32", "bf16") if cuda else ("fp32",):
        print(check(device, vocabulary, batches, gradient, False), flush=True)

    print("\n| hidden | members | how | ms a step | members × tokens/s | × one at a time | share of matmul rate |")
    print("|---|---|---|---|---|---|---|", flush=True)
    gradient = "bf16" if cuda else "fp32"
    ways: list[tuple[str, bool, bool, tuple[int, ...]]] = [
        ("one operation at a time", False, False, (1,) if cuda else ())
    ]
    if cuda:
        ways += [("steps by graph", False, True, ()), ("compiled, by graph", True, True, (1, 16))]
    for how, compiled, graph, only in ways:
        for width in map(int, options.widths.split(",")):
            alone = None
            for count in map(int, options.members.split(",")):
                if only and count not in only:
                    continue
                if time.perf_counter() - began > options.limit:
                    print(f"| {width} | {count} | {how} | left out: over the time limit | | | |")
                    continue
                config = ModelConfig(hidden_size=width, vocabulary_size=vocabulary)
                try:
                    population = Population(
                        config, members(count), batches, device=device, gradient=gradient, compiled=compiled
                    )
                    if cuda and not graph:
                        population._device_steps = DeviceSteps(population, compiled=False, graph=False)
                    seconds = seconds_a_step(population, device, 0.5)
                except torch.OutOfMemoryError:
                    print(f"| {width} | {count} | {how} | out of memory | | | |")
                    continue
                except Exception as error:
                    print(f"| {width} | {count} | {how} | failed: {type(error).__name__}: {error!s:.200} | | | |")
                    continue
                finally:
                    population = None
                    if cuda:
                        torch.cuda.empty_cache()
                speed = count * BATCH * CONTEXT / seconds
                alone = alone or speed
                share = 6 * config.parameters * speed / rate
                print(
                    f"| {width} | {count} | {how} | {seconds * 1e3:.2f} | {speed:,.0f} | {speed / alone:.1f} "
                    f"| {share:.0%} |",
                    flush=True,
                )
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
