"""How many members × tokens a second a population trains, against one model at a time.

    python studies/benchmarks/population.py --device cuda [--tokens FOLDER] [--widths 256,512] [--limit 220]
    chrt -r 5 python studies/benchmarks/population.py --device cpu --widths 64,128 --members 1,2,4

Needs torch and numpy alone. First it checks that one step of a population equals one step of each member by itself;
then it measures K members at once, and prints one Markdown table. "one at a time" is K = 1 run in the same way. A
second table holds what the probe of `bitnet.execution.probe` chooses against the first. On a CPU a third one sets K
members in one process that has all threads against processes of one thread with a model each; the two take turns.
"""

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from bitnet.settings.config import Gradient

sys.path.insert(0, str(Path(__file__).parents[2]))

from bitnet.data.tokens import batch, load_tokens
from bitnet.execution import memory, probe
from bitnet.execution.machine import processor
from bitnet.execution.timing import Shape
from bitnet.settings.config import ModelConfig
from bitnet.settings.schedule import Schedule
from bitnet.training import cpu
from bitnet.training.device_steps import DeviceSteps
from bitnet.training.population import Member, Population
from bitnet.training.steppers import stepper_for

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
            optimizer="adam-l2" if k % 4 == 3 else "adamw",
            clip=0.1 if k % 3 == 1 else 1.0,
            label_smoothing=0.1 if k % 5 == 4 else 0.0,
        )
        for k in range(count)
    ]


def population_of(config, who, batches, *, device="cpu", compiled=False, stepper=None, gradient="fp32") -> Population:
    stepper = stepper or stepper_for(device, compiled=compiled)
    return Population(config, who, batches, stepper=stepper, device=device, gradient=gradient)


def check(device: str, vocabulary: int, batches, gradient: str, compiled: bool) -> str:
    """One step of six members together and apart: the largest difference, in units of the update's size."""
    config = ModelConfig(hidden_size=64, vocabulary_size=vocabulary)
    together = population_of(config, members(6), batches, device=device, gradient=gradient, compiled=compiled)
    start = together.state.parameters.clone()
    together.advance(1)
    worst = typical = 0.0
    for k, member in enumerate(members(6)):
        alone = population_of(config, [member], batches, device=device, gradient=gradient)
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
        one = population_of(config, members(1), batches, device=place)
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


def memory_taken(pipe, width: int, count: int, vocabulary: int, gradient: str, device: str) -> None:
    """In a process of its own: bytes a member that three steps of `count` members take, where the system tells."""
    start = population_of(
        ModelConfig(hidden_size=16, vocabulary_size=vocabulary), members(1), data(None)[1], device=device
    )
    start.advance(3)
    before = resident("VmRSS") if device == "cpu" else torch.cuda.memory_reserved()
    config = ModelConfig(hidden_size=width, vocabulary_size=vocabulary)
    population_of(config, members(count), data(None)[1], device=device, gradient=gradient).advance(8)
    after = resident("VmHWM") if device == "cpu" else torch.cuda.max_memory_reserved()
    pipe.send((after - before) / count)


def resident(name: str) -> float:
    """Bytes that Linux counts under this name for the process; NaN elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith(name)), math.nan)


def in_a_process(function, *arguments):
    """What `function` sends, from a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=function, args=(theirs, *arguments))
    process.start()
    answer = ours.recv()
    process.join()
    return answer


def print_choices(speeds: dict[int, dict[int, float]], device: str, vocabulary: int, gradient: Gradient) -> None:
    """What the probe makes of each width, and how much of the best measured speed that is."""
    print(
        "\n| hidden | MB a member, estimated | taken | probe: ms a step at 1, 2, 4, … members "
        "| chosen | of the best measured |"
    )
    print("|---|---|---|---|---|---|")
    for width, measured in speeds.items():
        config = ModelConfig(hidden_size=width, vocabulary_size=vocabulary)
        shape = Shape(config=config, batch=BATCH, context=CONTEXT, gradient=gradient, device=device)
        each, free = memory.bytes_each(config, tokens=BATCH * CONTEXT, device=device), memory.free_bytes(device)
        seconds = {int(count): value for count, value in probe.time_members(shape, each, free).items()}
        chosen = probe.fastest(seconds)
        share = f"{measured[chosen] / max(measured.values()):.0%}" if chosen in measured else "not measured"
        times = ", ".join(f"{value * 1e3:.1f}" for value in seconds.values())
        taken = in_a_process(memory_taken, width, max(measured), vocabulary, gradient, device) / 1e6
        print(f"| {width} | {each / 1e6:.0f} | {taken:.0f} | {times} | {chosen} | {share} |", flush=True)


def tokens_a_second(population: Population, seconds: float) -> float:
    """Members × tokens a second over so many seconds."""
    steps, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds or not steps:
        population.make_steps(1)
        steps += 1
    return len(population.members) * steps * BATCH * CONTEXT / taken


def serve(pipe, width: int, vocabulary: int, tokens: str | None) -> None:
    """A process of one thread with one model: trains for as many seconds as it is told, until it is told 0."""
    cpu.settle(1)
    population = population_of(ModelConfig(hidden_size=width, vocabulary_size=vocabulary), members(1), data(tokens)[1])
    population.make_steps(3)
    pipe.send("ready")
    while seconds := pipe.recv():
        pipe.send(tokens_a_second(population, seconds))


def print_processes(widths: list[int], counts: list[int], tokens: str | None, rounds: int = 9) -> None:
    """K members in one process with all threads against a process a thread, one model each, in turns of a second."""
    vocabulary, batches = data(tokens)
    threads, context = torch.get_num_threads(), multiprocessing.get_context("spawn")
    print(f"\n| hidden | members in a process of {threads} threads | tokens/s | {threads} processes of 1 thread | × |")
    print("|---|---|---|---|---|")
    for width in widths:
        config = ModelConfig(hidden_size=width, vocabulary_size=vocabulary)
        populations = {count: population_of(config, members(count), batches) for count in counts}
        for population in populations.values():
            population.make_steps(3)
        pipes, processes = [], []
        for _ in range(threads):
            ours, theirs = context.Pipe()
            processes.append(context.Process(target=serve, args=(theirs, width, vocabulary, tokens)))
            pipes.append(ours)
            processes[-1].start()
        for pipe in pipes:
            pipe.recv()
        together: dict[int, list[float]] = {count: [] for count in counts}
        apart: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(rounds):
            for count, population in populations.items():
                together[count].append(tokens_a_second(population, 1.0))
                for pipe in pipes:
                    pipe.send(1.0)
                apart[count].append(sum(pipe.recv() for pipe in pipes))
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(0)
            process.join()
        for count in counts:
            ratio = statistics.median(b / a for a, b in zip(together[count], apart[count], strict=True))
            one, many = statistics.median(together[count]), statistics.median(apart[count])
            print(f"| {width} | {count} | {one:,.0f} | {many:,.0f} | {ratio:.2f} |", flush=True)


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
    machine = torch.cuda.get_device_name() if cuda else f"{processor()}, {torch.get_num_threads()} threads"
    if not cuda:
        cpu.settle(None)
    speeds: dict[int, dict[int, float]] = {}
    rate = matmul_rate(device)
    print(f"{machine}, torch {torch.__version__}, matmul {rate / 1e12:.1f} Tflop/s ({'bf16' if cuda else 'fp32'})")
    print(against_cpu(device, vocabulary, batches))
    for precision in ("fp32", "low") if cuda else ("fp32",):
        print(check(device, vocabulary, batches, precision, False), flush=True)

    print("\n| hidden | members | how | ms a step | members × tokens/s | × one at a time | share of matmul rate |")
    print("|---|---|---|---|---|---|---|", flush=True)
    gradient: Gradient = "low" if cuda else "fp32"
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
                    stepper = DeviceSteps(compiled=compiled, graph=graph) if cuda else None
                    population = population_of(
                        config, members(count), batches, device=device, gradient=gradient, stepper=stepper
                    )
                    seconds = seconds_a_step(population, device, 0.5)
                except torch.OutOfMemoryError:
                    print(f"| {width} | {count} | {how} | out of memory | | | |")
                    continue
                except Exception as error:
                    print(f"| {width} | {count} | {how} | failed: {type(error).__name__}: {error!s:.200} | | | |")
                    continue
                finally:
                    population = None  # type: ignore[assignment]
                    if cuda:
                        torch.cuda.empty_cache()
                speed = count * BATCH * CONTEXT / seconds
                alone = alone or speed
                if not compiled and not only:
                    speeds.setdefault(width, {})[count] = speed
                share = 6 * config.parameters * speed / rate
                print(
                    f"| {width} | {count} | {how} | {seconds * 1e3:.2f} | {speed:,.0f} | {speed / alone:.1f} "
                    f"| {share:.0%} |",
                    flush=True,
                )
    print_choices(speeds, device, vocabulary, gradient)
    if not cuda:
        counts = [int(count) for count in options.members.split(",")]
        print_processes([int(width) for width in options.widths.split(",")], counts, options.tokens)
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
