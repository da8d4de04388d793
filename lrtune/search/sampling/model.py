"""The model of a search: ended runs in, the next run and an assessment out.

It has two users: `lrtune.search.adaptive` with records, and `lrtune.search.sampling.sampler` with the trials of an
Optuna study. Its answers depend on the ended runs alone; other state is a cache.
"""

import math
from collections.abc import Sequence

import numpy as np

from lrtune.search.sampling.assessment import Assessment, assess
from lrtune.search.sampling.belief import Belief, Observation, Posterior, Space


class Model:
    """The model of one search's ended runs. Random choices depend on `seed` and on counts of runs alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.belief = Belief()
        self.taken: set[int] = set()
        self._parameters: dict[int, float] = {}
        self._last: tuple[object, Posterior] | None = None

    def take(self, number: int, observation: Observation | None, parameters: object = None) -> None:
        """Add an ended run once: its observation, if any, and its model's parameter count, if known."""
        self.taken.add(number)
        if observation is None:
            return
        self.belief.add([observation])
        if isinstance(parameters, int | float) and parameters > 0:
            self._parameters[observation.width] = float(parameters)

    def cost(self, width: int) -> float:
        """Parameters at a width: from its runs, scaled from the nearest width with runs, or width²."""
        if not self._parameters:
            return float(width) ** 2
        nearest = min(self._parameters, key=lambda w: abs(math.log(w / width)))
        return self._parameters[nearest] * (width / nearest) ** 2

    def next_run(
        self,
        space: Space,
        running: Sequence[tuple[int, float]],
        *,
        number: int,
        width: int | None = None,
        undecided: int = 0,
    ) -> tuple[int, float]:
        """Width and log2 rate of run `number`, given the `running` ones; `width` fixes its width.

        `undecided` runs have started without a width and rate. The model predicts those, so that this run differs.
        """
        rng = np.random.default_rng([self.seed, number])
        posterior = self._posterior(space, also=width)
        running = list(running)
        for _ in range(undecided):
            predicted = self.belief.next_run(space, posterior, running, rng)
            running.append((predicted.width, predicted.x))
        chosen = self.belief.next_run(space, posterior, running, rng, width=width)
        return chosen.width, chosen.x

    def assess(
        self,
        space: Space,
        running: Sequence[tuple[int, float]] = (),
        *,
        count: int = 0,
        confidence: float = 0.9,
        tolerance: float | None = None,
        look_ahead: bool = True,
    ) -> Assessment:
        """The best rates so far and the value of more runs; `count` runs have started so far."""
        return assess(
            self.belief,
            space,
            self._posterior(space),
            running,
            np.random.default_rng([self.seed, count, 1]),
            tolerance=space.tolerance if tolerance is None else tolerance,
            confidence=confidence,
            look_ahead=look_ahead,
        )

    def _posterior(self, space: Space, *, also: int | None = None) -> Posterior:
        """The posterior of the ended runs. Cached: the assessment and the next choice use the same draws."""
        more = () if also is None or also in space.widths else (int(also),)
        key = (space, more, len(self.taken))
        if self._last is None or self._last[0] != key:
            rng = np.random.default_rng([self.seed, len(self.taken), 2])
            self._last = key, self.belief.posterior(space, rng, also=more)
        return self._last[1]
