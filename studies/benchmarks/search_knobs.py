"""How much compute does a second knob cost? A search over two knobs beside one over one of them, and others.

    python studies/benchmarks/search_knobs.py --seeds 20 --coupling 0
    python studies/benchmarks/search_knobs.py --seeds 20 --coupling 0.5 --contenders ours "ours, rate alone"
    python studies/benchmarks/search_knobs.py --seeds 20 --recorded

Drawn surfaces over three widths: a power law and a deviation of 0.1 octave (sd) at each width for rate and ratio,
curvature and asymmetry drawn for each, and a product term of `--coupling` times its largest size; noise of 0.3%,
compute of width² for a run. Recorded: the runs of `studies/muon`, interpolated with their noise and compute. "Alone"
searches one knob on the same surface, the other held: at its best (drawn) or at the middle of its range (recorded); its
regret is above the best there. The others search each width by itself in two dimensions, over the same ranges. Columns:
median over seeds of the compute, in runs of the largest width, from which the worst regret over widths stays under 1%
(0.5%); the share of seeds that got there within the limit; for ours, compute at its end, true and said regret there.
"""

import argparse
import math
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import optuna
from drawn import make_record
from knob_surfaces import Point, Surface, drawn, recorded

from lrtune.records.record import TrialRecord
from lrtune.search.adaptive import AdaptiveDesign
from lrtune.study.study import Budget, Study
from lrtune.trainer.trial import Facts

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", module="optuna")

LIMIT = 40.0  # runs of the largest width
BOUNDS = (0.01, 0.005)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Compute so far, in runs of the largest width; the worst true regret over widths, what is said, and the end."""

    cost: float
    regret: float
    said: float = math.nan
    enough: bool = False


Contender = Callable[[Surface, int], Iterator[Step]]


def ours(surface: Surface, seed: int, alone: int | None = None) -> Iterator[Step]:
    """The adaptive design over both knobs; or over one `alone`, the other held where the surface says."""
    widths, knob = surface.widths, surface.knob
    (low, high), knobs = surface.lr_range, {"second": knob}
    if alone is not None:
        knobs = {}
    if alone == 1:
        low, high = knob.low, knob.high
    budget = Budget(tolerance=BOUNDS[0])
    study = Study(widths=tuple(widths), lr_min=low, lr_max=high, seed=seed, knobs=knobs, budget=budget)
    design, records, rng, spent = AdaptiveDesign(study), list[TrialRecord](), np.random.default_rng([seed, 1]), 0.0
    rest = {width: 0.0 if alone is None else surface.height(width, surface.held(width, alone)) for width in widths}

    def point(width: int, x: float, second: float | None) -> Point:
        if alone is None:
            return x, second or 0.0
        held = surface.held(width, alone)
        return (x, held[1]) if alone == 0 else (held[0], x)

    while True:
        (task,) = design.propose(records, [], 1) or (None,)
        if task is None:
            return
        width, rate = task.hidden_size, task.learning_rate
        values = {"learning_rate": rate, **task.knobs}
        other = math.log2(knob.coordinate.at(values["second"], values)) if alone is None else None
        loss = surface.loss(width, point(width, math.log2(rate), other), rng)
        record = make_record(len(records), width, rate, task.seed, "finished", loss, {})
        facts = Facts(parameters=round(1e6 * surface.costs[width]))
        records.append(replace(record, knobs=task.knobs, facts=facts))
        spent += surface.costs[width]
        ended = design.verdict(records, []) is not None
        fit = design.model.fit(design.space()) if alone is None else None
        posterior = fit.posteriors["learning_rate"] if fit else design.model.plain.posterior(design.space())
        advised = {w: posterior.advice[(float(w),)].x for w in widths}
        beside = {w: fit.posteriors["second"].advice[(float(w),)].x if fit else None for w in widths}
        regret = max(surface.height(w, point(w, advised[w], beside[w])) - rest[w] for w in widths)
        yield Step(
            cost=spent,
            regret=regret,
            said=design.assessment.bound if design.assessment else math.nan,
            enough=ended,
        )


def first_alone(surface: Surface, seed: int) -> Iterator[Step]:
    """The adaptive design over the rate alone."""
    return ours(surface, seed, alone=0)


def second_alone(surface: Surface, seed: int) -> Iterator[Step]:
    """The adaptive design over the second knob alone."""
    return ours(surface, seed, alone=1)


def by_width(make: Callable[[int], optuna.samplers.BaseSampler], how: str) -> Contender:
    """One Optuna study a width, one trial at each in turn; advice by the best run or the parabola of the ten best."""

    def contender(surface: Surface, seed: int) -> Iterator[Step]:
        rng, spent = np.random.default_rng([seed, 1]), 0.0
        studies = {w: optuna.create_study(sampler=make(1000 * seed + i)) for i, w in enumerate(surface.widths)}
        seen: dict[int, list[tuple[float, Point]]] = {w: [] for w in surface.widths}
        rates, seconds = surface.ranges
        while True:
            for width, study in studies.items():
                trial = study.ask()
                rate = trial.suggest_float("learning_rate", *rates, log=True)
                at = (math.log2(rate), math.log2(trial.suggest_float("second", *seconds, log=True)))
                loss = surface.loss(width, at, rng)
                study.tell(trial, loss)
                seen[width].append((loss, at))
                spent += surface.costs[width]
            advice = {w: min(runs)[1] if how == "argmin" else parabola(runs) for w, runs in seen.items()}
            yield Step(cost=spent, regret=max(surface.height(w, at) for w, at in advice.items()))

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


def _contenders() -> dict[str, Contender]:
    samplers: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
        "TPE": lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=5),
        "TPE, joint": lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=8, multivariate=True),
        "GPSampler(6)": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=6),
        "CMA-ES": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=1),
    }
    made = {f"{name}, {how}": by_width(make, how) for name, make in samplers.items() for how in ("argmin", "parabola")}
    return {"ours": ours, "ours, rate alone": first_alone, "ours, second alone": second_alone, **made}


CONTENDERS = _contenders()


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Cost from which on each of `BOUNDS` holds (inf: never), and at the end: cost, true and said regret."""

    reached: tuple[float, ...]
    end: tuple[float, float, float]


def trace(task: tuple[str, int, float | None]) -> Trace:
    """Let a contender run to the limit, or to its end; on the recorded surface if there is no coupling to draw."""
    name, seed, coupling = task
    surface: Surface = recorded() if coupling is None else drawn(seed, coupling)
    costs, regrets = list[float](), list[float]()
    end = (math.inf, math.nan, math.nan)
    for step in CONTENDERS[name](surface, seed):
        costs.append(step.cost)
        regrets.append(step.regret)
        if step.enough:
            end = (step.cost, step.regret, step.said)
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
    parser.add_argument("--recorded", action="store_true", help="the Muon study's surface instead of drawn ones")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    coupling = None if arguments.recorded else arguments.coupling
    print("| search | 1% | there | 0.5% | there | at its end | true | most | said |")
    print("|---|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(arguments.workers) as pool:
        for name in arguments.contenders:
            traces = list(pool.map(trace, [(name, seed, coupling) for seed in range(arguments.seeds)]))
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
