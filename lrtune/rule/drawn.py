"""A rule's posterior at one place: the distribution of the optimum, and the regret of a rate.

Computed from the rule's draws (`lrtune.rule.data.Draws`). Standard library only.
"""

import math
from collections.abc import Mapping, Sequence

from lrtune.named import NamedTuple
from lrtune.rule.data import HEIGHT_UNIT, RATE_UNIT, Draws, Rule

_GRID, _STRIDE = 48, 8  # steps of the range in which the least expected regret is searched; of the first search
_SMOOTH = 0.35  # kernel width around each draw at an unmeasured place, as a share of the draws' spread
_HALVINGS = 18
EVERY_RATE = (-60.0, 60.0)  # log2
_TOP = 1.0  # largest regret of a rate, as a share of loss


class Place(NamedTuple):
    """One place, by draw: log2 of the best rate, the loss curve's parameters and its height an octave off."""

    optimum: list[float]
    shape: list[tuple[float, ...]]
    height: list[float]
    ratio: bool


def locate(rule: Rule, draws: Draws, scales: Mapping[str, float], *, second: bool = False) -> Place:
    """The draws at a place; at a measured place, those of its cell.

    Unmeasured places have the same `scatter`, so that answers at near ones agree; `second` asks for another one, as if
    the place's own deviation had nothing of the others'.
    """
    z = [math.log(scales[name] / scale.centre) for name, scale in rule.scales.items()]
    law = _law(draws, z)
    for cell, own in zip(rule.cells, draws.cells, strict=True):
        if cell.is_at(scales):
            optimum = [line + off * RATE_UNIT for line, off in zip(law, own.off, strict=True)]
            return place_of(draws, optimum, own.shape, own.height)
    variance: list[float] = [sd**2 for sd in draws.own_sd]
    for s, name in enumerate(rule.scales):
        values = [math.log(value / rule.scales[name].centre) for value in draws.values[s]]
        left, right, share, least = _beside(values, z[s], draws.reach)
        for d in range(len(law)):
            wander = draws.wander[s]
            law[d] += (left[1] * wander[left[0]][d] + right[1] * wander[right[0]][d]) * RATE_UNIT
            variance[d] += share * draws.wander_sd[s][d] ** 2
            if draws.steps:
                if least is None:
                    variance[d] += draws.steps_sd[s][d] ** 2
                else:
                    law[d] += draws.steps[s][least][d] * RATE_UNIT
    alone = [scatter(d, second=second) * math.sqrt(value) * RATE_UNIT for d, value in enumerate(variance)]
    optimum = [line + off for line, off in zip(law, _apart(alone, law), strict=True)]
    return place_of(draws, optimum, draws.shape, draws.height)


def scatter(d: int, *, second: bool = False) -> float:
    """The standard normal deviation of draw `d` at an unmeasured place; pairs of draws are antithetic."""
    start, stride = (0.5, 0.7548776662) if second else (0.25, 0.6180339887)
    return (1 if d % 2 else -1) * normal((d // 2 * stride + start) % 1)


def _apart(own: list[float], law: list[float]) -> list[float]:
    """Deviations without their chance correlation to the law's draws, of the same size.

    Both are fixed sequences: with the correlation, the spread at a place is too small or too large in every rule.
    """
    mean = sum(law) / len(law)
    off = [value - mean for value in law]
    tie = sum(a * b for a, b in zip(off, own, strict=True)) / (sum(a * a for a in off) or 1.0)
    left = [b - tie * a for a, b in zip(off, own, strict=True)]
    size = math.sqrt(sum(b * b for b in own) / (sum(b * b for b in left) or 1.0))
    return [size * b for b in left]


def _law(draws: Draws, z: Sequence[float]) -> list[float]:
    terms = [(z[s], draws.slopes[s]) for s in range(len(z))]
    pairs = [(i, j) for i in range(len(z)) for j in range(i, len(z))]
    terms += [
        (z[i] * z[j] * (0.5 if i == j else 1.0), column) for (i, j), column in zip(pairs, draws.bends, strict=True)
    ]
    return [
        (level + sum(factor * column[d] for factor, column in terms)) * RATE_UNIT for d, level in enumerate(draws.level)
    ]


def place_of(draws: Draws, optimum: list[float], shape: Sequence[int], height: Sequence[int]) -> Place:
    """The place of these optima, and of these curves as a rule file has them, by draw."""
    heights = [2.0 ** (value * HEIGHT_UNIT) for value in height]
    return Place(optimum, [draws.shapes[index] for index in shape], heights, draws.ratio)


def _beside(
    values: Sequence[float], at: float, reach: float
) -> tuple[tuple[int, float], tuple[int, float], float, int | None]:
    """The neighbours of a value with their weights, the remaining share of variance, and the value's own index.

    An Ornstein–Uhlenbeck process (1930) depends between two neighbours only on those two.
    """
    for i, value in enumerate(values):
        if abs(value - at) < 1e-6:
            return (i, 1.0), (i, 0.0), 0.0, i
    above = next((i for i, value in enumerate(values) if value > at), len(values))
    if above in (0, len(values)):
        end = 0 if above == 0 else len(values) - 1
        tie = math.exp(-abs(at - values[end]) / reach)
        return (end, tie), (end, 0.0), 1 - tie**2, None
    low, high = (math.exp(-abs(at - values[i]) / reach) for i in (above - 1, above))
    rest = 1 - (low * high) ** 2
    return (
        (above - 1, low * (1 - high**2) / rest),
        (above, high * (1 - low**2) / rest),
        (1 - low**2) * (1 - high**2) / rest,
        None,
    )


def normal(share: float) -> float:
    """The quantile of the standard normal distribution; `statistics` would take a third of the time of an answer.

    By Newton's method: from 0 it comes ever nearer, since the distribution is convex below 0 and concave above.
    """
    x = 0.0
    for _ in range(50):
        step = (0.5 + 0.5 * math.erf(x / math.sqrt(2)) - share) * math.sqrt(2 * math.pi) * math.exp(x * x / 2)
        x -= step
        if abs(step) < 1e-9:
            break
    return x


def curve(shape: Sequence[float], u: float) -> float:
    """Height of a loss curve `u` octaves above its best, 1 an octave away on average."""
    kind, low, high, power, bend, wall, wall_at, scale = shape
    if not -14.0 <= u <= 14.0:
        u = math.copysign(14.0, u)
    if kind > 0.5:
        size = abs(u)
        rise: float = size**power / (1 + size / bend) ** (power - 1) * (high if u > 0 else low)
    else:
        base = math.expm1(min(high * u, 20)) / high + math.expm1(min(-low * u, 20)) / low
        rise = bend * math.log1p(max(base, 0.0) ** power / bend)
    return rise * scale + (wall * (u - wall_at) if u > wall_at else 0.0)


def regrets(place: Place, x: float) -> list[float]:
    """Relative loss of a rate above the best, by draw; x is its log2."""
    found = []
    for optimum, shape, height in zip(place.optimum, place.shape, place.height, strict=True):
        rise = height * curve(shape, x - optimum)
        found.append(min(math.expm1(min(rise, 1.0)) if place.ratio else rise, _TOP))
    return found


def advise(place: Place, low: float, high: float) -> float:
    """log2 of the rate with the least expected regret, within [low, high]."""
    order = sorted(place.optimum)
    start, end = order[len(order) // 40], order[-1 - len(order) // 40]
    start, end = max(min(start, high), low), max(min(end, high), low)
    cost: dict[int, float] = {}
    stride, nearby = _STRIDE, [*range(0, _GRID + 1, _STRIDE)]
    while stride:
        cost |= {i: sum(regrets(place, start + (end - start) * i / _GRID)) for i in nearby if 0 <= i <= _GRID}
        best, stride = min(cost, key=cost.__getitem__), stride // 2
        nearby = [best - stride, best + stride]
    return start + (end - start) * best / _GRID


def interval(values: Sequence[float], level: float, *, smooth: bool) -> tuple[float, float]:
    """The central interval of draws, in their unit; `smooth` for draws with random scatter."""
    tails = ((1 - level) / 2, (1 + level) / 2)
    order = sorted(values)
    count = len(order)
    if not smooth:
        return _interpolated(order, tails[0]), _interpolated(order, tails[1])
    mean = sum(order) / count
    spread = math.sqrt(sum((value - mean) ** 2 for value in order) / count)
    if spread < 1e-12:
        return mean, mean
    drawn = [mean + math.sqrt(1 - _SMOOTH**2) * (value - mean) for value in order]

    def passed(share: float) -> float:
        scale = _SMOOTH * spread * math.sqrt(2)
        start, end = order[0] - spread, order[-1] + spread
        for _ in range(_HALVINGS):
            middle = (start + end) / 2
            below = sum(0.5 + 0.5 * math.erf((middle - value) / scale) for value in drawn) / count
            start, end = (middle, end) if below < share else (start, middle)
        return (start + end) / 2

    return passed(tails[0]), passed(tails[1])


def _interpolated(order: Sequence[float], share: float) -> float:
    at = max(0.0, min(len(order) - 1.0, share * len(order) - 0.5))
    base = min(int(at), len(order) - 2)
    return order[base] + (at - base) * (order[base + 1] - order[base])


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile of draws, by linear interpolation."""
    return _interpolated(sorted(values), share)


def safe_range(place: Place, best: float, tolerance: float) -> tuple[float, float] | None:
    """log2 rates around `best` that cost at most the tolerance with 90% probability; None if there are none."""

    def safe(x: float) -> bool:
        return quantile(regrets(place, x), 0.9) <= tolerance

    if not safe(best):
        return None
    ends = []
    for way in (-1, 1):
        inside, step = best, 0.4
        while step > 0.015:
            if abs(inside + way * step - best) < 8 and safe(inside + way * step):
                inside += way * step
            else:
                step /= 2
        ends.append(inside)
    return ends[0], ends[1]
