"""Synthetic sweeps whose truth is known, drawn from families of which at least half the law cannot represent.

They share no code with `lrtune`: kinked and saturating laws, a wandering minimum, plateaus, cliffs, cusps; and laws
over size and tokens in which every size has an offset of its own that all its token counts share.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lrtune.records.record import TrialRecord

LAWS = ("power", "power", "kinked", "curved", "wandering", "saturating")
CURVES = ("parabola", "exponentials", "skewed", "cusp", "plateau", "cliff")


@dataclass(frozen=True)
class Surface:
    """A synthetic truth: log2 of the best rate by width, and the runs that were made."""

    law: str
    curve: str
    optimum: Callable[[float], float]
    widths: tuple[int, ...]
    records: list[TrialRecord]


def draw_surface(seed: int) -> Surface:
    """One surface with its sweep: 3–8 widths, 4–12 rates, exponents −1.5 … +0.5."""
    rng = np.random.default_rng(seed)
    law, curve = LAWS[seed % len(LAWS)], CURVES[(seed // len(LAWS)) % len(CURVES)]
    count = int(rng.integers(3, 9))
    ratio = rng.choice([math.sqrt(2), 1.5, 2.0])
    widths = tuple(round(rng.choice([32, 64, 128, 256]) * ratio**i) for i in range(count))
    optimum = _draw_law(rng, law, widths)
    rise = draw_curve(rng, curve)
    places = [Place(w, optimum(w), 3.0 * (w / widths[0]) ** -0.08) for w in widths]
    return Surface(law, curve, optimum, widths, sweep(rng, places, rise))


@dataclass(frozen=True)
class Place:
    """A cell: its width, log2 of its best rate, its least loss, and its other scales."""

    width: int
    best: float
    loss: float
    scales: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Joint:
    """A synthetic truth over sizes and tokens, with the runs that were made and how the loss rises off the best."""

    curve: str
    places: list[Place]
    rise: Callable[[float], float]
    records: list[TrialRecord]


def draw_joint(seed: int, offset: float) -> Joint:
    """Four sizes × four token counts: a power law in both, and an offset for each size that its token counts share.

    Args:
        offset: sd of that offset, octaves. Draws of one seed differ in nothing else.
    """
    rng = np.random.default_rng([seed, 14])
    curve = CURVES[seed % len(CURVES)]
    first, ratio = rng.choice([32, 64, 128, 256]), rng.choice([math.sqrt(2), 2.0])
    sizes = [round(first * ratio**i) for i in range(4)]
    tokens = [1e6 * rng.choice([2.0, 3.0]) ** j for j in range(4)]
    size_slope, token_slope = rng.uniform(-1.5, 0.3), rng.uniform(-0.5, 0.3)
    level = math.log2(10 ** rng.uniform(-3, -1.2))
    shared, own = rng.normal(size=4), rng.normal(0, 0.03, size=(4, 4))
    rise = draw_curve(rng, curve)
    places = []
    for i, size in enumerate(sizes):
        for j, count in enumerate(tokens):
            best = level + size_slope * math.log2(size / sizes[0]) + token_slope * math.log2(count / tokens[0])
            best += offset * shared[i] + own[i, j]
            places.append(Place(size, best, 3.0 * (i + j + 1) ** -0.08, {"tokens": count}))
    return Joint(curve, places, rise, sweep(rng, places, rise, most_rates=8, seeds_of=(1, 1, 2)))


def draw_asymmetric(seed: int) -> Surface:
    """An analytic trainer, square on both sides and three times steeper above, at three sizes and six rates each."""
    rng = np.random.default_rng([seed, 3])
    widths = (32, 64, 128)
    level = rng.uniform(-7.0, -5.0)

    def optimum(width: float) -> float:
        return level - math.log2(width / widths[0])

    records: list[TrialRecord] = []
    for width in widths:
        start = optimum(width) - 2.5 + rng.uniform(-0.5, 0.5)
        for x in start + np.arange(6):
            records.append(
                make_record(len(records), width, 2.0**x, 0, "finished", asymmetric_loss(x - optimum(width), rng))
            )
    return Surface("power", "asymmetric", optimum, widths, records)


def asymmetric_loss(u: float, rng: np.random.Generator) -> float:
    """Its loss at u octaves from the best, with 0.1% of noise."""
    return 3.0 * (1 + 0.02 * (3.0 if u > 0 else 1.0) * u * u + rng.normal(0, 0.001))


def _draw_law(rng: np.random.Generator, kind: str, widths: tuple[int, ...]) -> Callable[[float], float]:
    """log2 of the best rate as a function of width; z is log2 of width over the middle of those measured."""
    slope = rng.uniform(-1.5, 0.5)
    level = math.log2(10 ** rng.uniform(-3, -1.2))
    middle = float(np.mean(np.log2(widths)))
    span = math.log2(widths[-1] / widths[0])
    kink = rng.uniform(-0.3, 0.3) * span
    other = np.clip(slope + rng.choice([-1, 1]) * rng.uniform(0.2, 0.7), -1.7, 0.6)
    bend = rng.normal(0, 0.05)
    wave, phase, period = rng.uniform(0.05, 0.2), rng.uniform(0, 2 * math.pi), rng.uniform(1.0, 3.0)

    def optimum(width: float) -> float:
        z = math.log2(width) - middle
        if kind == "kinked":
            return level + (slope if z < kink else other) * (z - kink)
        if kind == "curved":
            return level + slope * z + bend * z * z
        if kind == "wandering":
            return level + slope * z + wave * math.sin(2 * math.pi * z / period + phase)
        if kind == "saturating":
            return level + slope * 2 * math.tanh(z / 2.5)
        return level + slope * z

    return optimum


def draw_curve(rng: np.random.Generator, kind: str) -> Callable[[float], float]:
    """Relative rise of the loss at u octaves from the best, about 1–6% an octave away."""
    size = 10 ** rng.uniform(-2.0, -1.2)
    skew = rng.uniform(1.2, 4.0)

    def rise(u: float) -> float:
        if kind == "parabola":
            return size * u * u
        if kind == "exponentials":
            return size * (math.expm1(min(1.2 * u, 6)) / 1.2 - -math.expm1(max(-0.4 * u, -6)) / 0.4) / 0.8
        if kind == "skewed":
            return size * (skew if u > 0 else 1.0) * u * u / (1 + 0.3 * abs(u))
        if kind == "cusp":
            return size * (skew if u > 0 else 1.0) * abs(u) ** 1.2
        if kind == "plateau":
            return size * max(abs(u) - 0.4, 0.0) ** 2 * (skew if u > 0 else 1.0) + 0.02 * size * u * u
        return size * u * u + (5 * size * (u - 0.8) if u > 0.8 else 0.0)

    return lambda u: min(rise(u), 2.0)


def sweep(
    rng: np.random.Generator,
    places: Sequence[Place],
    rise: Callable[[float], float],
    most_rates: int = 12,
    seeds_of: Sequence[int] = (1, 1, 2, 3),
) -> list[TrialRecord]:
    """The runs: a grid of rates by width, noise shared between the rates of a seed, collapse on the high side."""
    count = int(rng.integers(4, most_rates + 1))
    step = float(rng.choice([0.5, 0.75, 1.0])) if count > 5 else 1.0
    seeds = int(rng.choice(seeds_of))
    shared, own = 10 ** rng.uniform(-2.7, -2.0), 10 ** rng.uniform(-3.3, -2.5)
    edge, sharpness = rng.uniform(1.3, 3.0), rng.uniform(0.05, 0.3)
    growth, prunes = rng.normal(0, 0.15), rng.random() < 0.3
    offsets = rng.normal(0, shared, size=(len(places), seeds))
    records: list[TrialRecord] = []
    for i, place in enumerate(places):
        start = place.best - step * (count - 1) / 2 + rng.uniform(-0.8, 0.8)
        for j in range(count):
            x = start + step * j
            u = x - place.best
            for seed in range(seeds):
                chance = 1 / (1 + math.exp(-max(min((u - edge) / sharpness, 50), -50)))
                relative = rise(u) * math.exp(growth * i) + offsets[i, seed] + rng.normal(0, own)
                status = "diverged" if rng.random() < chance else "finished"
                if status == "finished" and prunes and rise(u) > 0.04 and rng.random() < 0.6:
                    status = "beaten"
                loss = place.loss * (1 + relative) if status == "finished" else None
                records.append(make_record(len(records), place.width, 2.0**x, seed, status, loss, place.scales))
    return records


def make_record(
    number: int,
    width: int,
    rate: float,
    seed: int,
    status: str,
    loss: float | None,
    scales: dict[str, float] | None = None,
) -> TrialRecord:
    """A run of 1,000 steps without a curve."""
    return TrialRecord(
        trial=number,
        hidden_size=width,
        learning_rate=rate,
        seed=seed,
        status=status,  # type: ignore[arg-type]
        steps=1000,
        steps_done=1000,
        loss=loss,
        scales=scales or {},
    )
