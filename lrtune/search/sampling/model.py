"""The one model of a search: ended runs in, the next run and what is known out.

Both adapters ask it: `lrtune.search.adaptive`, which has records, and `lrtune.search.sampling.sampler`, which has the
trials of an Optuna study. Everything follows from what it took in; what it keeps beside that only saves time.
"""

import math
from collections.abc import Sequence

import numpy as np

from lrtune.search.sampling.assessment import Assessment, assess
from lrtune.search.sampling.belief import Belief, Observation, Posterior, Space


class Model:
    """What the ended runs of one search say. Random choices are seeded by `seed` and by counts of runs alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.belief = Belief()
        self.taken: set[int] = set()
        self._parameters: dict[int, float] = {}
        self._last: tuple[object, Posterior] | None = None

    def take(self, number: int, observation: Observation | None, parameters: object = None) -> None:
        """Take in an ended run, once: what it says, if anything, and the parameters of its model, where known."""
        self.taken.add(number)
        if observation is None:
            return
        self.belief.add([observation])
        if isinstance(parameters, int | float) and parameters > 0:
            self._parameters[observation.width] = float(parameters)

    def cost(self, width: int) -> float:
        """Parameters of a width: said by its runs, scaled from the nearest known width, or width²."""
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
        """Width and log2 rate of run `number`, while others are `running`; its width may be given.

        `undecided` runs have started without a choice of their own yet. Theirs are foreseen, so that this one differs.
        """
        rng = np.random.default_rng([self.seed, number])
        posterior = self._posterior(space, also=width)
        running = list(running)
        for _ in range(undecided):
            foreseen = self.belief.next_run(space, posterior, running, rng)
            running.append((foreseen.width, foreseen.x))
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
        """What is known, and what more runs would add; `count` runs were begun so far."""
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
        """Drawn once for what is known: a run that ends is judged, and the next one chosen, from the same draws."""
        more = () if also is None or also in space.widths else (int(also),)
        known = (space, more, len(self.taken))
        if self._last is None or self._last[0] != known:
            rng = np.random.default_rng([self.seed, len(self.taken), 2])
            self._last = known, self.belief.posterior(space, rng, also=more)
        return self._last[1]
