"""Ways to find the best learning rate of every width, each as a stream of (cost spent, recommendations).

A recommendation maps width → rate; widths that a contender knows nothing of are left out and count as regret 1.
All use the same noise, the same courses, and the same rule for runs that diverge: they stop at a tenth of their
cost, and samplers that cannot take NaN are told the worst loss that a trained run has.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState
from surfaces import CLIFF, DIVERGED_SHARE, HIGH, LOW, REPORTS, Problem

from lrtune.search.sampling.sampler import ScaleAwareSampler

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", module="optuna")

Rates = Mapping[int, float]


class Step(NamedTuple):
    """Where a search stands: its cost so far; rates by method (argmin, parabola, model); the worst regret that it says
    with 90% confidence, the one that it wants, and whether it would end here, where it says any."""

    cost: float
    rates: Mapping[str, Rates]
    said: float = math.nan
    wanted: float = math.nan
    enough: bool = False


Contender = Callable[[Problem, int], Iterator[Step]]


class Runs:
    """What has been run: pays, remembers, and recommends by argmin and by parabola."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.seed, self.spent = problem, seed, 0.0
        self.seen: dict[int, dict[float, list[float]]] = {w: {} for w in problem.widths}
        self.worst = {w: math.exp(problem.floor[w] + CLIFF) for w in problem.widths}

    def run(self, width: int, rate: float, stop: Callable[[int, float], bool] = lambda step, loss: False) -> float:
        """Train one run; `stop` prunes it at a report. Returns the final loss, or NaN (diverged or pruned)."""
        done = self.seen[width].get(rate, [])
        course = self.problem.course(width, rate, 1000 * self.seed + len(done))
        last = math.nan
        for step, loss in enumerate(course, start=1):
            if math.isnan(loss):
                self.spent += DIVERGED_SHARE * width**2
                self.seen[width].setdefault(rate, []).append(math.inf)
                return math.nan
            self.spent += width**2 / REPORTS
            last = loss
            if step < REPORTS and stop(step, loss):
                return math.nan
        self.seen[width].setdefault(rate, []).append(last)
        return last

    def step(self, **more: Rates) -> Step:
        return Step(self.spent, {"argmin": self.argmin(), "parabola": self.parabola(), **more})

    def means(self, width: int) -> dict[float, float]:
        return {rate: float(np.mean(v)) for rate, v in self.seen[width].items() if math.isfinite(float(np.mean(v)))}

    def argmin(self) -> dict[int, float]:
        known = {w: self.means(w) for w in self.problem.widths}
        return {w: min(means, key=means.__getitem__) for w, means in known.items() if means}

    def parabola(self) -> dict[int, float]:
        return {w: parabola(self.means(w)) for w in self.problem.widths if self.means(w)}


def parabola(means: Mapping[float, float]) -> float:
    """The vertex of the parabola through the best rate and its two neighbours, in log rate and log loss."""
    rates = sorted(means)
    best = rates.index(min(means, key=means.__getitem__))
    if not 0 < best < len(rates) - 1:
        return rates[best]
    x = np.log2(rates[best - 1 : best + 2])
    y = np.log([means[rate] for rate in rates[best - 1 : best + 2]])
    a, b, _ = np.polyfit(x, y, 2)
    return float(2 ** np.clip(-b / (2 * a), x[0], x[2])) if a > 0 else rates[best]


def ours(problem: Problem, seed: int, at_once: int = 1) -> Iterator[Step]:
    """ScaleAwareSampler in one study over width × rate, `at_once` trials running at a time."""
    runs = Runs(problem, seed)
    space = {
        "hidden_size": optuna.distributions.IntDistribution(1, 10**6),
        "learning_rate": optuna.distributions.FloatDistribution(LOW, HIGH, log=True),
    }
    sampler = ScaleAwareSampler(problem.widths, search_space=space, seed=seed)
    study = optuna.create_study(sampler=sampler)
    running: list[optuna.Trial] = []
    while True:
        while len(running) < at_once:
            running.append(study.ask(space))
        trial = running.pop(0)
        loss = runs.run(trial.params["hidden_size"], trial.params["learning_rate"])
        study.tell(trial, math.inf if math.isnan(loss) else loss)
        known = sampler.assessment(study, look_ahead=False)
        step = runs.step(model={k.hidden_size: k.learning_rate for k in known.known})
        yield step._replace(said=known.bound, wanted=known.tolerance, enough=known.enough)


def ours_four(problem: Problem, seed: int) -> Iterator[Step]:
    """Four trials running at a time."""
    return ours(problem, seed, at_once=4)


def _per_width(
    make_sampler: Callable[[int], optuna.samplers.BaseSampler], make_pruner: Callable[[], optuna.pruners.BasePruner]
) -> Contender:
    """One Optuna study a width, one trial at each in turn."""

    def contender(problem: Problem, seed: int) -> Iterator[Step]:
        runs = Runs(problem, seed)
        studies = {
            w: optuna.create_study(sampler=make_sampler(1000 * seed + i), pruner=make_pruner())
            for i, w in enumerate(problem.widths)
        }
        while True:
            for width, study in studies.items():
                trial = study.ask()
                _train(runs, study, trial, width, trial.suggest_float("learning_rate", LOW, HIGH, log=True))
            yield runs.step()

    return contender


def _train(runs: Runs, study: optuna.Study, trial: optuna.Trial, width: int, rate: float) -> None:
    pruned = False

    def stop(step: int, loss: float) -> bool:
        nonlocal pruned
        trial.report(loss, step)
        pruned = trial.should_prune()
        return pruned

    loss = runs.run(width, rate, stop)
    if pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, runs.worst[width] if math.isnan(loss) else min(loss, runs.worst[width]))


def joint_tpe(problem: Problem, seed: int) -> Iterator[Step]:
    """One TPE study over width and rate."""
    runs = Runs(problem, seed)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.NopPruner())
    while True:
        trial = study.ask()
        width = trial.suggest_categorical("hidden_size", list(problem.widths))
        _train(runs, study, trial, width, trial.suggest_float("learning_rate", LOW, HIGH, log=True))
        yield runs.step()


def joint_tpe_ratio(problem: Problem, seed: int) -> Iterator[Step]:
    """The same, told loss over the width's lowest so far: else it spends its runs on the width with the lowest loss."""
    runs = Runs(problem, seed)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=4)
    turn = 0
    while True:
        study = optuna.create_study(sampler=sampler)
        space = {
            "octave": optuna.distributions.IntDistribution(0, len(problem.widths) - 1),
            "learning_rate": optuna.distributions.FloatDistribution(LOW, HIGH, log=True),
        }
        for index, width in enumerate(problem.widths):
            means = runs.means(width)
            for rate, losses in runs.seen[width].items():
                least = min(means.values(), default=runs.worst[width])
                value = min(float(np.mean(losses)), runs.worst[width]) / least
                study.add_trial(
                    optuna.create_trial(
                        params={"octave": index, "learning_rate": rate}, distributions=space, value=value
                    )
                )
        study.enqueue_trial({"octave": turn % len(problem.widths)})
        trial = study.ask(space)
        runs.run(problem.widths[trial.params["octave"]], trial.params["learning_rate"])
        turn += 1
        yield runs.step()


def walk(problem: Problem, seed: int) -> Iterator[Step]:
    """Bracket the smallest width by factor 8, parabola; extrapolate in log-log; three or four runs at each next."""
    runs = Runs(problem, seed)
    found: dict[int, float] = {}
    for index, width in enumerate(problem.widths):
        if index == 0:
            start, ratio = math.sqrt(LOW * HIGH), 8.0
        else:
            start, ratio = _extrapolated(found, width), 2.5
        tried: dict[float, float] = {}
        todo = [start, start / ratio, start * ratio]
        while todo:
            rate = min(max(todo.pop(0), LOW), HIGH)
            if rate in tried:
                continue
            loss = runs.run(width, rate)
            tried[rate] = runs.worst[width] if math.isnan(loss) else loss
            found[width] = parabola(tried)
            yield runs.step(model={w: _extrapolated(found, w) if w not in found else found[w] for w in problem.widths})
            best = min(tried, key=tried.__getitem__)
            if not todo and len(tried) < 8 and best in (min(tried), max(tried)):
                todo = [best / ratio if best == min(tried) else best * ratio]
        if index == 0:
            tried[found[width]] = runs.run(width, found[width])
            tried = {r: (runs.worst[width] if math.isnan(v) else v) for r, v in tried.items()}
            found[width] = parabola(tried)
    for ratio in (1.4, 1 / 1.4, 1.9, 1 / 1.9, 1.0, 1.2, 1 / 1.2):  # more of the same, for those who have the budget
        for width in problem.widths:
            runs.run(width, min(max(found[width] * ratio, LOW), HIGH))
            means = runs.means(width)
            found[width] = parabola(means) if means else found[width]
            yield runs.step(model=dict(found))


def _extrapolated(found: Mapping[int, float], width: int) -> float:
    if not found:
        return math.sqrt(LOW * HIGH)
    if len(found) == 1:
        return next(iter(found.values()))
    slope, start = np.polyfit(np.log2(list(found)), np.log2(list(found.values())), 1)
    return float(np.clip(2 ** (start + slope * math.log2(width)), LOW, HIGH))


def grid(ratio: float) -> Contender:
    """All rates of a grid, in a seeded order, one at each width in turn."""

    def contender(problem: Problem, seed: int) -> Iterator[Step]:
        runs = Runs(problem, seed)
        count = round(math.log(HIGH / LOW) / math.log(ratio)) + 1
        rates = np.random.default_rng(seed).permutation(np.geomspace(LOW, HIGH, count))
        for rate in rates:
            for width in problem.widths:
                runs.run(width, float(rate))
            yield runs.step()

    return contender


def random_rates(problem: Problem, seed: int) -> Iterator[Step]:
    """Rates drawn evenly in log, one at each width in turn."""
    runs, rng = Runs(problem, seed), np.random.default_rng(seed)
    while True:
        for width in problem.widths:
            runs.run(width, float(np.exp(rng.uniform(math.log(LOW), math.log(HIGH)))))
        yield runs.step()


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)


def _gp(startup: int) -> Callable[[int], optuna.samplers.BaseSampler]:
    return lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)


CONTENDERS: dict[str, Contender] = {
    "ours": ours,
    "ours, 4 at once": ours_four,
    "walk": walk,
    "random": random_rates,
    "grid, factor 2": grid(2.0),
    "TPE": _per_width(_tpe, optuna.pruners.NopPruner),
    "TPE + Median": _per_width(_tpe, lambda: optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2)),
    "Hyperband": _per_width(
        _tpe, lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=REPORTS, reduction_factor=3)
    ),
    "joint TPE": joint_tpe,
    "joint TPE, ratios": joint_tpe_ratio,
    "GPSampler(4)": _per_width(_gp(4), optuna.pruners.NopPruner),
    "GPSampler(10)": _per_width(_gp(10), optuna.pruners.NopPruner),
}
