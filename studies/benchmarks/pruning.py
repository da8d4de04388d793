"""Which pruner saves most compute without cutting a run that would have been among the best? Replayed on full curves.

    python -m studies.benchmarks.pruning [RECORDS.jsonl …] [--orders 20] [--fresh RECORDS.jsonl …]

A unit is one search at one width: the runs of one optimizer, schedule, width and seed, at all learning rates. Each
pruner sees each unit's runs one after the other, in random orders, report by report. Its settings are chosen on half of
the (width, seed) pairs, the table shows the other half. The settings chosen are those that save most among those whose
mean regret on the first half is at most 0.5%. With --fresh the table shows other records, whole, not the other half.

In some units no run ever gets below the unigram entropy: there is no good run to lose there, and the right thing is to
stop soon. They count in ``saved`` and have a column of their own; the figures of harm are over the other units.

saved       steps not trained, as a share of all, mean over units and orders
of hopeless the same over the units in which nothing learns
wrong       runs cut per unit that would have ended within 1% of the unit's best loss
units hurt  share of (unit, order) pairs with such a cut
regret      relative loss of the best run that reached its end, above the unit's best: mean, and the worst
"""

import argparse
import itertools
import math
import random
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState

from lrtune.errors import InputError
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import verdict
from lrtune.study.study import PruningPolicy

RECORDS = Path(__file__).parents[1] / "pruning" / "records.jsonl"
WITHIN = 0.01
REGRET = 0.005


@dataclass(frozen=True)
class Run:
    """One recorded run: its whole curve, how many distinct answers of 20 each report saw, and its final loss."""

    curve: Curve
    distinct: Sequence[float | None]
    final: float  # inf where it never got there

    @property
    def reports(self) -> int:
        return len(self.curve.steps)

    def upto(self, count: int) -> Curve:
        """The curve as it was after so many reports."""
        return self._prefixes[count - 1]

    @cached_property
    def _prefixes(self) -> list[Curve]:
        diversities = self.curve.diversities
        return [
            replace(
                self.curve,
                steps=self.curve.steps[:count],
                losses=self.curve.losses[:count],
                diversities=None if diversities is None else diversities[:count],
            )
            for count in range(1, self.reports + 1)
        ]


@dataclass(frozen=True)
class Unit:
    """The runs of one search at one width."""

    name: str
    hidden_size: int
    seed: int
    runs: Sequence[Run]

    @property
    def best(self) -> float:
        return min(run.final for run in self.runs)

    @property
    def is_hopeless(self) -> bool:
        """Whether no run ends below the unigram entropy."""
        return self.best >= (self.runs[0].curve.unigram_entropy or math.inf)


class Judge(Protocol):
    """A pruner in one search: told of each run's start, reports and end."""

    def begin(self, run: Run) -> None: ...
    def is_cut(self, count: int) -> bool: ...
    def end(self, finished: bool) -> None: ...


class Ours:
    """`lrtune.search.pruning.verdict.verdict` with the finished runs as peers."""

    def __init__(self, policy: PruningPolicy) -> None:
        self.policy = policy
        self.peers: list[Curve] = []

    def begin(self, run: Run) -> None:
        self.run = run

    def is_cut(self, count: int) -> bool:
        return verdict(self.run.upto(count), self.policy, self.peers).is_cut

    def end(self, finished: bool) -> None:
        if finished:
            self.peers.append(self.run.curve)


class Distinct:
    """The plain rule: at most three distinct answers of 20, so many reports in a row, after a share of the steps."""

    def __init__(self, after: float, patience: int) -> None:
        self.after, self.patience = after, patience

    def begin(self, run: Run) -> None:
        self.run = run

    def is_cut(self, count: int) -> bool:
        last = self.run.distinct[max(0, count - self.patience) : count]
        late = self.run.curve.steps[count - 1] >= self.after * self.run.curve.planned_steps
        return late and len(last) == self.patience and all(value is not None and value <= 3 for value in last)

    def end(self, finished: bool) -> None: ...


class Optuna:
    """One of Optuna's pruners, in a real study in memory."""

    def __init__(self, make: Callable[[], optuna.pruners.BasePruner]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = make()
        # Hyperband deals trials to its brackets by the study's name.
        sampler = optuna.samplers.RandomSampler(seed=0)
        self.study = optuna.create_study(study_name="replay", pruner=pruner, sampler=sampler)

    def begin(self, run: Run) -> None:
        self.run, self.trial, self.last = run, self.study.ask(), math.inf

    def is_cut(self, count: int) -> bool:
        loss = self.run.curve.losses[count - 1]
        self.last = math.nan if loss is None else float(loss)
        self.trial.report(self.last, self.run.curve.steps[count - 1])
        return self.trial.should_prune()

    def end(self, finished: bool) -> None:
        if finished and math.isfinite(self.last):
            self.study.tell(self.trial, self.last)
        else:
            self.study.tell(self.trial, state=TrialState.FAIL if finished else TrialState.PRUNED)


@dataclass(frozen=True)
class Outcome:
    """One unit replayed in one order."""

    saved: float
    wrong: int
    regret: float
    is_hopeless: bool


def replay(unit: Unit, judge: Judge, order: Sequence[int]) -> Outcome:
    """Run a unit's runs in that order under a pruner."""
    spent = total = 0
    wrong, best = 0, math.inf
    for index in order:
        run = unit.runs[index]
        judge.begin(run)
        count = 1
        # A cut at the last report saves nothing, and a run whose loss is no number ends by itself.
        while count < run.reports and not judge.is_cut(count):
            count += 1
        finished = count == run.reports
        if finished:
            judge.is_cut(count)
        judge.end(finished)
        spent += run.curve.steps[count - 1]
        total += run.curve.steps[-1]
        if finished:
            best = min(best, run.final)
        elif run.final <= unit.best * (1 + WITHIN):
            wrong += 1
    return Outcome(1 - spent / total, wrong, best / unit.best - 1, unit.is_hopeless)


@dataclass(frozen=True)
class Score:
    """Means over units and orders; what the table shows."""

    saved: float
    hopeless: float
    wrong: float
    hurt: float
    regret: float
    worst: float


def score(units: Sequence[Unit], make: Callable[[Unit], Judge], orders: int) -> Score:
    """Replay every unit in so many random orders, the same ones for every pruner."""
    outcomes = []
    for unit, seed in itertools.product(units, range(orders)):
        order = list(range(len(unit.runs)))
        random.Random(f"{unit.name} {seed}").shuffle(order)
        outcomes.append(replay(unit, make(unit), order))
    some = [outcome for outcome in outcomes if not outcome.is_hopeless]
    return Score(
        saved=_mean(outcome.saved for outcome in outcomes),
        hopeless=_mean(outcome.saved for outcome in outcomes if outcome.is_hopeless),
        wrong=_mean(outcome.wrong for outcome in some),
        hurt=_mean(outcome.wrong > 0 for outcome in some),
        regret=_mean(outcome.regret for outcome in some),
        worst=max((outcome.regret for outcome in some), default=math.nan),
    )


def _mean(values: Iterable[float]) -> float:
    """The mean, NaN of nothing."""
    found = list(values)
    return statistics.fmean(found) if found else math.nan


Settings = dict[str, Any]


def _grid(**axes: Sequence[Any]) -> Iterator[Settings]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _horizon(unit: Unit) -> int:
    return unit.runs[0].curve.planned_steps


def _median(unit: Unit, startup: int, warmup: float) -> optuna.pruners.BasePruner:
    return optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=round(warmup * _horizon(unit)))


def _patient(unit: Unit, startup: int, warmup: float, patience: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.PatientPruner(_median(unit, startup, warmup), patience=patience)


def _halving(unit: Unit, least: float, factor: int, bootstrap: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=max(1, round(least * _horizon(unit))), reduction_factor=factor, bootstrap_count=bootstrap
    )


def _hyperband(unit: Unit, least: float, factor: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(
        min_resource=max(1, round(least * _horizon(unit))), max_resource=_horizon(unit), reduction_factor=factor
    )


# name → (settings to choose from, settings → a judge for a unit)
CONTENDERS: dict[str, tuple[list[Settings], Callable[..., Judge]]] = {
    "none": ([{}], lambda unit: Distinct(2.0, 1)),
    "distinct ≤ 3": (
        list(_grid(after=(0.1, 0.25, 0.5, 0.75), patience=(1, 3, 5))),
        lambda unit, **s: Distinct(**s),
    ),
    "MedianPruner": (
        list(_grid(startup=(1, 2, 3, 5), warmup=(0.1, 0.25, 0.4, 0.5, 0.6, 0.75))),
        lambda unit, **s: Optuna(lambda: _median(unit, **s)),
    ),
    "PatientPruner(MedianPruner)": (
        list(_grid(startup=(1, 3, 5), warmup=(0.1, 0.25, 0.5), patience=(1, 3, 5))),
        lambda unit, **s: Optuna(lambda: _patient(unit, **s)),
    ),
    "SuccessiveHalvingPruner": (
        list(_grid(least=(0.1, 0.25, 0.5), factor=(2, 3, 4), bootstrap=(0, 2))),
        lambda unit, **s: Optuna(lambda: _halving(unit, **s)),
    ),
    "HyperbandPruner": (
        list(_grid(least=(0.05, 0.1, 0.25, 0.5), factor=(2, 3, 4))),
        lambda unit, **s: Optuna(lambda: _hyperband(unit, **s)),
    ),
    "ours, collapse alone": ([{}], lambda unit: Ours(PruningPolicy(beaten=False))),
    "ours": ([{}], lambda unit: Ours(PruningPolicy())),
}


def choose(units: Sequence[Unit], name: str, orders: int) -> Settings:
    """The settings of a contender that save most on these units within the regret allowed; else the least regret."""
    options, make = CONTENDERS[name]
    if len(options) == 1:
        return options[0]

    def rank(settings: Settings) -> tuple[bool, float, float]:
        found = score(units, lambda unit: make(unit, **settings), orders)
        within = found.regret <= REGRET
        return within, found.saved if within else -found.regret, -found.wrong

    return max(options, key=rank)


def load(paths: Sequence[Path]) -> list[Unit]:
    """The units in records files.

    Raises:
        InputError: no unit with at least four runs.
    """
    by_unit: dict[tuple[Any, ...], list[TrialRecord]] = {}
    for record in (record for path in paths for record in read_records(path).records):
        if record.curve.get("step"):
            by_unit.setdefault((record.arm, record.hidden_size, record.seed, record.steps), []).append(record)
    units = []
    for (arm, hidden_size, seed, _), records in sorted(by_unit.items(), key=lambda item: str(item[0])):
        runs = [_run(record) for record in sorted(records, key=lambda record: record.learning_rate)]
        if len(runs) >= 4 and any(math.isfinite(run.final) for run in runs):
            units.append(Unit(f"{arm} {hidden_size} seed {seed}", hidden_size, seed, runs))
    if not units:
        raise InputError(f"{', '.join(map(str, paths))}: expected at least four runs of one width and arm")
    return units


def _run(record: TrialRecord) -> Run:
    curve = Curve.from_record(record)
    distinct = record.curve.get("distinct") or [None] * len(curve.steps)
    return Run(curve, distinct, math.inf if curve.final_loss is None else curve.final_loss)


def halves(units: Sequence[Unit]) -> tuple[list[Unit], list[Unit]]:
    """(to choose settings on, to show): a chessboard over width and seed, so that each half has all of both."""
    widths = sorted({unit.hidden_size for unit in units})
    parity = {unit.name: (widths.index(unit.hidden_size) + unit.seed) % 2 for unit in units}
    return [unit for unit in units if not parity[unit.name]], [unit for unit in units if parity[unit.name]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare pruners on recorded curves.")
    parser.add_argument("records", type=Path, nargs="*", default=[RECORDS])
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--choose-orders", type=int, default=3, help="orders to choose settings on")
    parser.add_argument("--only", nargs="*", help="contenders, instead of all")
    parser.add_argument("--fresh", type=Path, nargs="*", default=[], help="records to show, all of them")
    flags = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    units = load(flags.records)
    chosen, shown = halves(units)
    if flags.fresh:
        units = shown = load(flags.fresh)
    hopeless = sum(unit.is_hopeless for unit in shown)
    runs, orders = sum(len(unit.runs) for unit in units), flags.orders
    print(
        f"{runs} runs in {len(units)} units; the {len(shown)} shown, {hopeless} of them hopeless, in {orders} orders\n"
    )
    print("| pruner | saved | of hopeless | wrong | units hurt | regret | worst | settings, chosen on the other half |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (_, make) in CONTENDERS.items():
        if flags.only and name not in flags.only:
            continue
        settings = choose(chosen, name, flags.choose_orders)
        row = score(shown, lambda unit, make=make, settings=settings: make(unit, **settings), flags.orders)  # type: ignore[misc]
        text = ", ".join(f"{key} {value:g}" for key, value in settings.items())
        figures = [f"{row.saved:.1%}", f"{row.hopeless:.1%}", f"{row.wrong:.2f}", f"{row.hurt:.1%}"]
        regrets = [f"{value:.2%}" if math.isfinite(value) else "∞" for value in (row.regret, row.worst)]
        print(f"| {' | '.join([name, *figures, *regrets, text])} |", flush=True)


if __name__ == "__main__":
    main()
