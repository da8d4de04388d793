"""The model of a search over several knobs: one `SearchModel` for each.

A knob's model sees the same runs with the expected rise along all other knobs taken out (see `lrtune.law.knobs`), so it
is the model of one rate. The next run explores one knob: the one, with the place and value, from which the regret falls
most. Its other knobs are near their best.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrtune.law.atoms import Array
from lrtune.law.backfit import first_guess, stand
from lrtune.law.couplings import Along
from lrtune.law.knobs import apart, coordinate, slopes
from lrtune.law.observations import Measure, measure_of
from lrtune.records.magnitude import measured
from lrtune.records.record import TrialRecord
from lrtune.rule.knob import FIRST
from lrtune.search.sampling.acquisition import advise
from lrtune.search.sampling.assessment import MOST, Assessment, suffices, worst_90
from lrtune.search.sampling.model import Posterior, SearchModel
from lrtune.search.sampling.proposals import choice, free, next_choice, next_run
from lrtune.search.sampling.space import Place, Space, place_of
from lrtune.study.knob import Knob, coordinates

_ROUNDS = 2
_ZEROS = 3  # runs with a knob at zero, after so many others that the best of the rest is roughly known:
_BEFORE_ZERO = 8
_DITHER = 0.5  # share of a draw's deviation from the best value at which a knob that is not explored is run


Run = tuple[Place, float, Mapping[str, float]]  # place, learning rate, further knobs


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The models of all knobs with their spaces and posteriors, by name."""

    models: Mapping[str, SearchModel]
    spaces: Mapping[str, Space]
    posteriors: Mapping[str, Posterior]

    def along(self, name: str, place: Place, x: float) -> Along:
        """How a run at this log2 coordinate stands along a knob."""
        posterior = self.posteriors[name]
        return stand(posterior.draws, posterior.places.index(place), x)


class KnobsModel:
    """Ended runs in, the next run and an assessment out, for the learning rate and further knobs."""

    def __init__(self, seed: int, scales: Sequence[str], knobs: Mapping[str, Knob]) -> None:
        self.seed, self.scales, self.knobs = seed, tuple(scales), dict(knobs)
        self.coordinates = coordinates(knobs)
        self.plain = SearchModel(seed, scales)  # all runs, by rate alone
        self._runs: dict[int, TrialRecord] = {}
        self._last: tuple[object, Fit] | None = None

    def take(self, number: int, record: TrialRecord | None) -> None:
        """Add an ended run once."""
        self.plain.take(number, record)
        if record is not None and record.status != "failed" and place_of(record, self.scales) is not None:
            self._runs[number] = record

    @property
    def taken(self) -> set[int]:
        """Numbers of the runs that were taken."""
        return self.plain.taken

    @property
    def records(self) -> list[TrialRecord]:
        """The ended runs."""
        return self.plain.records

    def cost(self, place: Place) -> float:
        """Compute of a whole run at a place, in any unit."""
        return self.plain.cost(place)

    def logs(self, rate: float, knobs: Mapping[str, float]) -> dict[str, float]:
        """log2 of each knob's coordinate, the learning rate included; without those at zero."""
        values = {FIRST: rate, **knobs}
        found = {name: of.at(knobs[name], values) for name, of in self.coordinates.items()}
        return {name: math.log2(value) for name, value in {FIRST: rate, **found}.items() if value > 0}

    def values(self, found: Mapping[str, float]) -> dict[str, float]:
        """The knobs' values at these log2 coordinates, without the learning rate."""
        values = {name: 2.0**x for name, x in found.items() if name == FIRST or self.knobs[name].coordinate == ("", "")}
        for name, x in found.items():
            if name not in values:
                values[name] = self.knobs[name].coordinate.value(2.0**x, values)
        del values[FIRST]
        return values

    def space_of(self, name: str, space: Space) -> Space:
        """The space of one knob; the range of a knob is a hard bound, that of the rate a soft one."""
        if name == FIRST:
            return space
        low, high = math.log2(self.knobs[name].low), math.log2(self.knobs[name].high)
        return replace(space, low=low, high=high, focus=(low, high), rates=())

    def fit(self, space: Space) -> Fit:
        """The models of all knobs on the ended runs. Cached."""
        key = (space, len(self.plain.taken))
        if self._last is None or self._last[0] != key:
            self._last = key, self._fitted(space)
        return self._last[1]

    def _fitted(self, space: Space) -> Fit:
        names, records = (FIRST, *self.knobs), measured(self._runs.values())
        losses = [r.loss for r in records if r.status == "finished" and r.loss is not None]
        measure = measure_of(losses) if losses else Measure()
        guess = first_guess(records, self.scales, self.coordinates, measure)
        fit = Fit(models={}, spaces={name: self.space_of(name, space) for name in names}, posteriors={})

        def along(record: TrialRecord, name: str) -> Along:
            x = math.log2(coordinate(record, name, self.coordinates))
            place = place_of(record, self.scales) or ()
            return fit.along(name, place, x) if name in fit.models else guess.along(place, name, x)

        for _ in range(_ROUNDS if len(losses) > 1 else 1):
            for name in names:
                model = SearchModel(self.seed, self.scales, slopes(name, self.coordinates))
                seen: Sequence[TrialRecord]
                if losses:
                    seen = apart(records, self.coordinates, along, measure, self.scales).records[name]
                else:
                    seen = records if name == FIRST else []  # without a finished run, the rate is too high
                for record in seen:
                    model.take(record.trial, record)
                posterior = model.posterior(fit.spaces[name])
                fit = replace(fit, models={**fit.models, name: model}, posteriors={**fit.posteriors, name: posterior})
        return fit

    def next_run(
        self,
        space: Space,
        running: Sequence[Run],
        *,
        number: int,
        place: Place | None = None,
        undecided: int = 0,
    ) -> tuple[Place, float, dict[str, float]]:
        """Place, learning rate and further knobs of run `number`; see `lrtune.search.sampling.proposals.next_run`."""
        if not self.knobs:
            under = [(p, math.log2(r)) for p, r, _ in running]
            found, x = next_run(self.plain, space, under, number=number, place=place, undecided=undecided)
            return found, 2.0**x, {}
        if place is not None and place not in space.places:
            space = replace(space, places=(*space.places, place), costs=(*space.costs, self.cost(place)))
        rng, runs = np.random.default_rng([self.seed, number]), list(running)
        for _ in range(undecided):
            runs.append(self._next(space, runs, rng, None))
        return self._next(space, runs, rng, place)

    def _next(
        self, space: Space, running: Sequence[Run], rng: np.random.Generator, place: Place | None
    ) -> tuple[Place, float, dict[str, float]]:
        fit = self.fit(space)
        under = [(where, self.logs(rate, knobs)) for where, rate, knobs in running]
        started = len(under) + len(self._runs)
        best: tuple[tuple[float, float], str, Place, float] | None = None
        for name in (FIRST, *self.knobs):
            model, posterior = fit.models[name], fit.posteriors[name]
            own = [(where, x[name]) for where, x in under if name in x]
            ask = next_choice if name == FIRST else choice
            chosen = ask(model, fit.spaces[name], posterior, own, rng, place=place)
            at = posterior.places[chosen.place]
            worst = max(advice.regret for advice in posterior.advice.values())
            key = (chosen.gain, worst)
            if best is None or key > best[0]:
                best = key, name, at, free(model, at, chosen.x, fit.spaces[name], own)
            if name == FIRST and (started < 3 or self.plain.flat(space.tolerance)):
                break
        zero = next(iter(self._lacks_zero(under)), None) if started >= _BEFORE_ZERO else None
        if zero is not None:
            at = space.places[int(np.argmin(space.costs))] if place is None else place
            found = {name: self._near_best(fit, name, at, rng) for name in fit.models if name != zero}
            return at, 2.0 ** found[FIRST], {**self.values(found), zero: 0.0}
        if place is None and suffices(space, self._regret(fit, space)):
            for name, target in self._edges(fit, space):
                model, own = fit.models[name], [(where, x[name]) for where, x in under if name in x]
                chosen = choice(model, fit.spaces[name], fit.posteriors[name], own, rng, place=target)
                best = (math.inf, 0.0), name, target, free(model, target, chosen.x, fit.spaces[name], own)
                break
        assert best is not None
        _, explored, at, x = best
        found = {name: x if name == explored else self._near_best(fit, name, at, rng) for name in (FIRST, *self.knobs)}
        return at, 2.0 ** found[FIRST], self.values(found)

    def _lacks_zero(self, under: Sequence[tuple[Place, Mapping[str, float]]] = ()) -> list[str]:
        """Knobs that may be zero and have too few runs there."""
        logs = [*(self.logs(run.learning_rate, run.knobs) for run in self._runs.values()), *(x for _, x in under)]
        return [n for n, knob in self.knobs.items() if knob.zero and sum(n not in x for x in logs) < _ZEROS]

    def _edges(self, fit: Fit, space: Space) -> Iterator[tuple[str, Place]]:
        """Each further knob and trained target whose best value may lie outside the runs but inside the range."""
        for name in self.knobs:
            model, own, posterior = fit.models[name], fit.spaces[name], fit.posteriors[name]
            closed = model.beyond(own, posterior)
            for target in space.targets:
                if target in space.places and target not in closed and model.at_edge(own, posterior, target):
                    yield name, target

    def _near_best(self, fit: Fit, name: str, place: Place, rng: np.random.Generator) -> float:
        """A log2 coordinate near the best one at a place, the further the less is known."""
        posterior, space = fit.posteriors[name], fit.spaces[name]
        at = posterior.places.index(place)
        best = advise(posterior.draws, at, space.low, space.high).x
        drawn = float(rng.choice(posterior.draws.optimum[:, at]))
        return float(np.clip(best + _DITHER * (drawn - best), space.low, space.high))

    def assess(self, space: Space) -> Assessment:
        """What the runs say, with the regret of all knobs together."""
        if not self.knobs:
            return self.plain.assess(space)
        fit = self.fit(space)
        rate = fit.models[FIRST].assess(space)
        total = self._regret(fit, space)
        open_ended = rate.lacking or rate.no_signal or any(known.at_edge for known in rate.known) or self._lacks_zero()
        enough = not open_ended and suffices(space, total)
        known = tuple(
            replace(
                one,
                regret=float(total[t].mean()),
                regret_90=float(np.quantile(total[t], 0.9)),
                knobs=self.values({name: posterior.advice[t].x for name, posterior in fit.posteriors.items()}),
            )
            for one, t in zip(rate.known, space.targets, strict=True)
        )
        runs = len(self._runs)
        if enough:  # the rule's word decides whether that matters
            beyond = {name: fit.models[name].beyond(fit.spaces[name], fit.posteriors[name]) for name in self.knobs}
            name, places = max(beyond.items(), key=lambda each: len(each[1]))
            scales = tuple(dict(zip(self.scales, place, strict=True)) for place in places)
            rate = replace(rate, no_optimum=scales, no_optimum_of=name)
        return replace(
            rate,
            known=known,
            regret_90=worst_90(total.values()),
            enough=enough,
            exhausted=runs >= MOST * len(space.targets) * (1 + len(self.knobs)),
        )

    def _regret(self, fit: Fit, space: Space) -> dict[Place, Array]:
        """By target and draw, the regret of all knobs' advice; their draws are independent."""
        rng = np.random.default_rng([self.seed, 3])
        total: dict[Place, Array] = {}
        for posterior in fit.posteriors.values():
            order = rng.permutation(len(posterior.draws.optimum))
            for target in space.targets:
                total[target] = total.get(target, 0.0) + posterior.advice[target].by_draw[order]
        return total
