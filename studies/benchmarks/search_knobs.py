"""How much compute does a second knob cost? A search over rate and ratio beside one over the rate alone, and others.

    python studies/benchmarks/search_knobs.py --seeds 20 --coupling 0
    python studies/benchmarks/search_knobs.py --seeds 20 --coupling 0.5 --contenders ours "ours, rate alone"

Drawn surfaces over three widths: a power law and a deviation of 0.1 octave (sd) at each width for both knobs, curvature
and asymmetry drawn for each, and a product term of `--coupling` times its largest size. Noise of 0.3% of loss. "Rate
alone" searches the same surface with the second knob at its best. The others search each width by itself in two
dimensions, over the same ranges. Compute is width² for a run; columns: median over seeds of the compute from which on
the worst regret over widths stays under 1% (0.5%), in runs of the largest width; of the share of seeds that got there
within the limit; for ours, compute at its end, true and said regret there.
"""

import argparse
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import optuna
from drawn import make_record

from lrtune.records.record import TrialRecord
from lrtune.rule.knob import Coordinate
from lrtune.search.adaptive import AdaptiveDesign
from lrtune.study.knob import Knob
from lrtune.study.study import Budget, Study

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", module="optuna")

WIDTHS = (32, 64, 128)
RATES, RATIOS = (1e-4, 1.0), (0.02, 4.0)
NOISE = 0.003
LIMIT = 40.0  # runs of the largest width
BOUNDS = (0.01, 0.005)

Point = tuple[float, float]  # log2 of rate and ratio


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A drawn truth: log2 of the best (rate, ratio) by width, curvatures below and above, and the product term."""

    best: Mapping[int, Point]
    low: Point
    high: Point
    product: float

    def height(self, width: int, at: Point) -> float:
        """Relative loss above the best."""
        u = [x - o for x, o in zip(at, self.best[width], strict=True)]
        rise = sum(d * d * (above if d > 0 else below) for d, below, above in zip(u, self.low, self.high, strict=True))
        return min(max(rise + self.product * u[0] * u[1], 0.0), 0.5)

    def loss(self, width: int, at: Point, rng: np.random.Generator) -> float:
        """The final loss of a run."""
        return 3 * math.exp(self.height(width, at) + rng.normal(0, NOISE))

    def worst(self, advice: Mapping[int, Point]) -> float:
        """The largest regret over widths; 1 where nothing is advised."""
        return max(self.height(w, advice[w]) if w in advice else 1.0 for w in WIDTHS)


def drawn(seed: int, coupling: float) -> Surface:
    """One surface."""
    rng = np.random.default_rng([seed, 23])
    slopes, start = (rng.normal(-1, 0.3), rng.normal(0, 0.3)), (rng.uniform(-8, -4), rng.uniform(-4, 0.5))
    low = (0.02 * math.exp(rng.normal(0, 0.4)), 0.01 * math.exp(rng.normal(0, 0.6)))
    skew = (math.exp(rng.normal(0.7, 0.4)), math.exp(rng.normal(0.3, 0.5)))
    best = {
        w: tuple(p + s * math.log2(w / 64) + rng.normal(0, 0.1) for p, s in zip(start, slopes, strict=True))
        for w in WIDTHS
    }
    return Surface(
        best={w: (p[0], p[1]) for w, p in best.items()},
        low=low,
        high=(low[0] * skew[0], low[1] * skew[1]),
        product=coupling * 2 * math.sqrt(low[0] * low[1]) * float(rng.choice([-1, 1])),
    )


@dataclass(frozen=True, kw_only=True)
class Step:
    """Compute so far, in runs of the largest width; advice by width; what is said, and whether the search would end."""

    cost: float
    advice: Mapping[int, Point]
    said: float = math.nan
    enough: bool = False


def ours(surface: Surface, seed: int, knobs: bool = True) -> Iterator[Step]:
    """The adaptive design; without `knobs` at the best ratio."""
    ratio = Knob(low=RATIOS[0], high=RATIOS[1], coordinate=Coordinate(times="learning_rate"))
    study = Study(
        widths=WIDTHS,
        lr_min=1e-3,
        lr_max=0.3,
        seed=seed,
        knobs={"adam_lr": ratio} if knobs else {},
        budget=Budget(tolerance=BOUNDS[0]),
    )
    design, records, rng, spent = AdaptiveDesign(study), list[TrialRecord](), np.random.default_rng([seed, 1]), 0.0
    while True:
        (task,) = design.propose(records, [], 1) or (None,)
        if task is None:
            return
        w = task.hidden_size
        ratio_at = math.log2(task.knobs["adam_lr"] / task.learning_rate) if knobs else surface.best[w][1]
        loss = surface.loss(w, (math.log2(task.learning_rate), ratio_at), rng)
        record = make_record(len(records), w, task.learning_rate, task.seed, "finished", loss, {})
        records.append(TrialRecord(**{**vars(record), "knobs": task.knobs}))
        spent += (w / WIDTHS[-1]) ** 2
        ended = design.verdict(records, []) is not None
        fit = design.model.fit(design.space()) if knobs else None
        advice = {}
        for width in WIDTHS:
            place = (float(width),)
            if fit is not None:
                found = [fit.posteriors[name].advice[place].x for name in ("learning_rate", "adam_lr")]
                advice[width] = (found[0], found[1])
            else:
                posterior = design.model.plain.posterior(design.space())
                advice[width] = (posterior.advice[place].x, surface.best[width][1])
        said = design.assessment.regret_90 if design.assessment else math.nan
        yield Step(cost=spent, advice=advice, said=said, enough=ended)


def rate_alone(surface: Surface, seed: int) -> Iterator[Step]:
    """The adaptive design over the rate, with the ratio at its best."""
    return ours(surface, seed, knobs=False)


def by_width(make: Callable[[int], optuna.samplers.BaseSampler], how: str) -> Callable[[Surface, int], Iterator[Step]]:
    """One Optuna study a width, one trial at each in turn; advice by the best run or the parabola of the ten best."""

    def contender(surface: Surface, seed: int) -> Iterator[Step]:
        rng, spent = np.random.default_rng([seed, 1]), 0.0
        studies = {w: optuna.create_study(sampler=make(1000 * seed + i)) for i, w in enumerate(WIDTHS)}
        seen: dict[int, list[tuple[float, Point]]] = {w: [] for w in WIDTHS}
        while True:
            for width, study in studies.items():
                trial = study.ask()
                rate = trial.suggest_float("learning_rate", *RATES, log=True)
                at = (math.log2(rate), math.log2(trial.suggest_float("ratio", *RATIOS, log=True)))
                loss = surface.loss(width, at, rng)
                study.tell(trial, loss)
                seen[width].append((loss, at))
                spent += (width / WIDTHS[-1]) ** 2
            yield Step(
                cost=spent, advice={w: min(runs)[1] if how == "argmin" else parabola(runs) for w, runs in seen.items()}
            )

    return contender


def parabola(runs: list[tuple[float, Point]]) -> Point:
    """The minimum of the quadratic through the ten best runs; the best run where it has none inside their range."""
    best = sorted(runs)[:10]
    if len(best) < 8:
        return best[0][1]
    x = np.array([at for _, at in best])
    y = np.log([loss for loss, _ in best])
    u, v = (x - x.mean(axis=0)).T
    coefficients = np.linalg.lstsq(np.stack([np.ones_like(u), u, v, u * u, v * v, u * v], axis=1), y, rcond=None)[0]
    hessian = np.array([[2 * coefficients[3], coefficients[5]], [coefficients[5], 2 * coefficients[4]]])
    if np.linalg.eigvalsh(hessian)[0] <= 1e-6:
        return best[0][1]
    at = x.mean(axis=0) - np.linalg.solve(hessian, coefficients[1:3])
    a, b = np.clip(at, x.min(axis=0), x.max(axis=0))
    return float(a), float(b)


def _contenders() -> dict[str, Callable[[Surface, int], Iterator[Step]]]:
    samplers: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
        "TPE": lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=5),
        "TPE, joint": lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=8, multivariate=True),
        "GPSampler(6)": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=6),
        "CMA-ES": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=1),
    }
    made = {f"{name}, {how}": by_width(make, how) for name, make in samplers.items() for how in ("argmin", "parabola")}
    return {"ours": ours, "ours, rate alone": rate_alone, **made}


CONTENDERS = _contenders()


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Cost from which on each of `BOUNDS` holds (inf: never), and at the end: cost, true and said regret."""

    reached: tuple[float, ...]
    end: tuple[float, float, float]


def trace(task: tuple[str, int, float]) -> Trace:
    """Let a contender run to the limit, or to its end."""
    name, seed, coupling = task
    surface, costs, regrets = drawn(seed, coupling), [], []
    end = (math.inf, math.nan, math.nan)
    for step in CONTENDERS[name](surface, seed):
        costs.append(step.cost)
        regrets.append(surface.worst(step.advice))
        if step.enough:
            end = (step.cost, regrets[-1], step.said)
            break
        if step.cost >= LIMIT:
            break
    reached = []
    for bound in BOUNDS:
        over = [i for i, regret in enumerate(regrets) if regret > bound]
        first = over[-1] + 1 if over else 0
        reached.append(costs[first] if first < len(costs) else math.inf)
    return Trace(reached=tuple(reached), end=end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--coupling", type=float, default=0.0)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print("| search | 1% | there | 0.5% | there | at its end | true | most | said |")
    print("|---|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(arguments.workers) as pool:
        for name in arguments.contenders:
            traces = list(pool.map(trace, [(name, seed, arguments.coupling) for seed in range(arguments.seeds)]))
            cells = []
            for i in range(len(BOUNDS)):
                values = np.array([one.reached[i] for one in traces])
                cells += [f"{np.median(values):.1f}", f"{np.isfinite(values).mean():.0%}"]
            ended = np.array([one.end for one in traces])
            if np.isfinite(ended[:, 0]).any():
                cells += [f"{np.median(ended[:, 0]):.1f}", f"{np.nanmedian(ended[:, 1]):.2%}"]
                cells += [f"{np.nanmax(ended[:, 1]):.2%}", f"{np.nanmedian(ended[:, 2]):.2%}"]
            else:
                cells += [""] * 4
            print("| " + " | ".join([name, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
