"""The model of a search over several knobs: one `SearchModel` for each.

A run's loss is the best loss at its place, plus a rise along each knob. A knob's model sees the same runs with the
expected rise along all other knobs taken out (backfitting: Friedman and Stuetzle 1981), so it is the model of one rate.
The next run explores the knob, place and value from which the regret falls furthest; its other knobs are near their
best.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrtune.law.atoms import Array
from lrtune.law.observations import Measure, measure_of, measured
from lrtune.records.record import TrialRecord
from lrtune.search.sampling.acquisition import advise
from lrtune.search.sampling.assessment import MOST, Assessment
from lrtune.search.sampling.model import QUICK, SURE, Accuracy, Posterior, SearchModel
from lrtune.search.sampling.space import Place, Space, place_of
from lrtune.study.knob import Knob

RATE = "learning_rate"
_ROUNDS = 2
_DITHER = 0.5  # share of a draw's deviation from the best value at which a knob that is not explored is run
_TOP = 1.0  # largest rise that is taken out


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The models of all knobs with their spaces and posteriors, by name."""

    models: Mapping[str, SearchModel]
    spaces: Mapping[str, Space]
    posteriors: Mapping[str, Posterior]

    def rise(self, name: str, place: Place, x: float) -> float:
        """Expected relative loss of this log2 coordinate above the best."""
        posterior = self.posteriors[name]
        height = posterior.draws.height(posterior.places.index(place), np.array([x]))[:, 0]
        return float(np.minimum(height, _TOP).mean())


class KnobsModel:
    """Ended runs in, the next run and an assessment out, for the learning rate and further knobs."""

    def __init__(self, seed: int, scales: Sequence[str], knobs: Mapping[str, Knob]) -> None:
        self.seed, self.scales, self.knobs = seed, tuple(scales), dict(knobs)
        self.plain = SearchModel(seed, scales)  # all runs, by rate alone
        self._runs: dict[int, TrialRecord] = {}
        self._last: tuple[object, Fit] | None = None

    def take(self, number: int, record: TrialRecord | None) -> None:
        """Add an ended run once."""
        self.plain.take(number, record)
        if record is not None and record.status != "failed" and place_of(record, self.scales) is not None:
            self._runs[number] = measured(record)

    def cost(self, place: Place) -> float:
        """Compute of a whole run at a place, in any unit."""
        return self.plain.cost(place)

    def coordinates(self, rate: float, knobs: Mapping[str, float]) -> dict[str, float]:
        """log2 of each knob's coordinate, the learning rate included."""
        values = {RATE: rate, **knobs}
        found = {RATE: math.log2(rate)}
        for name, knob in self.knobs.items():
            if knobs[name] > 0:
                found[name] = math.log2(knob.coordinate.at(knobs[name], values))
        return found

    def values(self, found: Mapping[str, float]) -> dict[str, float]:
        """The knobs' values at these log2 coordinates, without the learning rate."""
        values = {name: 2.0**x for name, x in found.items() if name == RATE or self.knobs[name].coordinate == ("", "")}
        for name, x in found.items():
            if name not in values:
                values[name] = self.knobs[name].coordinate.value(2.0**x, values)
        del values[RATE]
        return values

    def space_of(self, name: str, space: Space) -> Space:
        """The space of one knob; the range of a knob is a hard bound, that of the rate a soft one."""
        if name == RATE:
            return space
        low, high = math.log2(self.knobs[name].low), math.log2(self.knobs[name].high)
        return replace(space, low=low, high=high, focus=(low, high))

    def fit(self, space: Space, accuracy: Accuracy = QUICK) -> Fit:
        """The models of all knobs on the ended runs. Cached."""
        key = (space, accuracy, len(self.plain.taken))
        if self._last is None or self._last[0] != key:
            self._last = key, self._fitted(space, accuracy)
        return self._last[1]

    def _fitted(self, space: Space, accuracy: Accuracy) -> Fit:
        names = (RATE, *self.knobs)
        losses = [r.loss for r in self._runs.values() if r.status == "finished" and r.loss is not None]
        measure = measure_of(losses) if losses else Measure()
        at = {number: self.coordinates(r.learning_rate, r.knobs) for number, r in self._runs.items()}
        place = {number: place_of(r, self.scales) or () for number, r in self._runs.items()}
        rises = {name: dict.fromkeys(self._runs, 0.0) for name in names}
        fit = Fit(models={}, spaces={name: self.space_of(name, space) for name in names}, posteriors={})
        for _ in range(_ROUNDS if len(self._runs) > 1 else 1):
            for name in names:
                model = SearchModel(self.seed, self.scales)
                for number, record in self._runs.items():
                    others = sum(rises[other][number] for other in names if other != name)
                    model.take(number, _projected(record, 2.0 ** at[number][name], others, measure))
                posterior = model.posterior(fit.spaces[name], accuracy=accuracy)
                fit = replace(fit, models={**fit.models, name: model}, posteriors={**fit.posteriors, name: posterior})
                rises[name] = {n: fit.rise(name, place[n], at[n][name]) for n in self._runs}
        return fit

    def next_run(
        self, space: Space, running: Sequence[tuple[Place, float, Mapping[str, float]]], *, number: int
    ) -> tuple[Place, float, dict[str, float]]:
        """Place, learning rate and further knobs of run `number`, given the `running` ones."""
        if not self.knobs:
            own_place, x = self.plain.next_run(space, [(p, math.log2(r)) for p, r, _ in running], number=number)
            return own_place, 2.0**x, {}
        rng = np.random.default_rng([self.seed, number])
        fit = self.fit(space)
        under = [(place, self.coordinates(rate, knobs)) for place, rate, knobs in running]
        started = len(under) + len(self._runs)
        best: tuple[tuple[float, float], str, Place, float] | None = None
        for name in (RATE, *self.knobs):
            model, posterior = fit.models[name], fit.posteriors[name]
            own = [(place, x[name]) for place, x in under if name in x]
            ask = model.next_choice if name == RATE else model.choice
            choice = ask(fit.spaces[name], posterior, own, rng)
            at = posterior.places[choice.place]
            worst = max(advice.regret for advice in posterior.advice.values())
            key = (choice.gain, worst)
            if best is None or key > best[0]:
                best = key, name, at, model.free(at, choice.x, fit.spaces[name], own)
            if name == RATE and (started < 3 or self.plain.flat(space.tolerance)):
                break
        assert best is not None
        _, explored, at, x = best
        found = {name: x if name == explored else self._near_best(fit, name, at, rng) for name in (RATE, *self.knobs)}
        return at, 2.0 ** found[RATE], self.values(found)

    def _near_best(self, fit: Fit, name: str, place: Place, rng: np.random.Generator) -> float:
        """A log2 coordinate near the best one at a place, the further the less is known."""
        posterior, space = fit.posteriors[name], fit.spaces[name]
        at = posterior.places.index(place)
        best = advise(posterior.draws, at, space.low, space.high).x
        drawn = float(rng.choice(posterior.draws.optimum[:, at]))
        return float(np.clip(best + _DITHER * (drawn - best), space.low, space.high))

    def assess(self, space: Space, confidence: float = 0.9) -> Assessment:
        """What the runs say, with the regret of all knobs together."""
        if not self.knobs:
            return self.plain.assess(space, confidence=confidence, look_ahead=False)
        for accuracy in (QUICK, SURE):
            fit = self.fit(space, accuracy)
            rate = fit.models[RATE].assess(space, look_ahead=False)
            total = self._regret(fit, space)
            worst = np.max(np.stack([*total.values()]), axis=0)
            regret_90 = float(np.quantile(worst, confidence))
            settled = not rate.lacking and rate.no_signal is None and not any(known.at_edge for known in rate.known)
            enough = settled and regret_90 < space.tolerance
            if not enough:
                break
        known = tuple(
            replace(one, regret=float(total[t].mean()), regret_90=float(np.quantile(total[t], 0.9)))
            for one, t in zip(rate.known, space.targets, strict=True)
        )
        runs = len(self._runs)
        return replace(
            rate,
            known=known,
            regret_90=regret_90,
            enough=enough,
            exhausted=not enough and runs >= MOST * len(space.targets) * (1 + len(self.knobs)),
        )

    def _regret(self, fit: Fit, space: Space) -> dict[Place, Array]:
        """By target and draw, the regret of all knobs' advice; their draws are independent."""
        rng = np.random.default_rng([self.seed, 3])
        total: dict[Place, Array] = {}
        for posterior in fit.posteriors.values():
            order = rng.permutation(len(posterior.worst))
            for target in space.targets:
                total[target] = total.get(target, 0.0) + posterior.advice[target].by_draw[order]
        return total


def _projected(record: TrialRecord, coordinate: float, others: float, measure: Measure) -> TrialRecord:
    """The record as one of this knob alone."""
    if record.loss is None or not others:
        return replace(record, learning_rate=coordinate)
    factor = measure.loss(float(measure.relative(np.array(record.loss))) - others)
    curve = dict(record.curve)
    if "loss" in curve:
        ratio = factor / record.loss if record.loss else 1.0
        curve["loss"] = [None if v is None else v * ratio for v in curve["loss"]]
    return replace(record, learning_rate=coordinate, loss=factor, curve=curve)
