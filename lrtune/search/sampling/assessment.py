"""Does a search know enough? What is known at each target width, and what more budget would buy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrtune.search.sampling.acquisition import expected_regrets
from lrtune.search.sampling.belief import Belief, Posterior, Space

_AHEAD = 6  # runs that are looked ahead
_MOST = 60  # ended runs per target, on average, after which more of the same is not expected to help


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of one target width.

    Attributes:
        hidden_size: the width.
        learning_rate: the rate with the least expected regret.
        low, high: 90% interval of the best rate.
        regret: expected regret of `learning_rate`, as a share of loss.
        regret_90: the regret that it stays under with 90% confidence.
        trials: ended runs at this width.
        at_edge: the best rate may well lie beyond the bounds that runs may have.
    """

    hidden_size: int
    learning_rate: float
    low: float
    high: float
    regret: float
    regret_90: float
    trials: int
    at_edge: bool


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What a search knows.

    Attributes:
        known: by target width, smallest first.
        regret_90: the worst regret over all targets stays under it with the wanted confidence.
        tolerance: what was asked for.
        enough: `regret_90` is under `tolerance`, and no target lacks finished runs.
        exhausted: not enough, and not for want of runs: noise hides what is left, or no run ends well.
        lacking: targets with too few finished runs to believe a prediction.
        ahead: (hidden_size, learning_rate) of the runs that would teach most next.
        regret_ahead: expected worst regret after each of them, beginning with none: one longer than `ahead`.
    """

    known: tuple[Known, ...]
    regret_90: float
    tolerance: float
    enough: bool
    exhausted: bool = False
    lacking: tuple[int, ...] = ()
    ahead: tuple[tuple[int, float], ...] = ()
    regret_ahead: tuple[float, ...] = ()

    def __str__(self) -> str:
        bound = f"{self.regret_90:.1%}" if self.regret_90 < 0.3 else "30% or more"
        text = f"predicted regret at every width is under {bound} of loss (wanted: {self.tolerance * 100:.3g}%)"
        if self.lacking and self.regret_90 < self.tolerance:
            text += f", but too few runs ended well at {', '.join(map(str, self.lacking))} to believe it"
        if self.exhausted:
            return f"{text}; {_MOST} runs a width did not get there: noise hides the rest, so ask for less or add steps"
        if self.enough or not self.ahead:
            return text
        saved = self.regret_ahead[0] - self.regret_ahead[-1]
        widths = ", ".join(str(width) for width in sorted({width for width, _ in self.ahead}))
        return f"{text}; {len(self.ahead)} more runs (at {widths}) would lower it by about {saved:.2%}"


def assess(
    belief: Belief,
    space: Space,
    posterior: Posterior,
    running: Sequence[tuple[int, float]],
    rng: np.random.Generator,
    *,
    tolerance: float,
    confidence: float = 0.9,
    look_ahead: bool = True,
) -> Assessment:
    """Judge whether `tolerance` (a share of loss) is met at all targets at once, and look a few runs ahead."""
    draws, at = posterior.draws, {width: i for i, width in enumerate(posterior.widths)}
    known = []
    for width in sorted(space.targets):
        advice, o = posterior.advice[width], draws.o[:, at[width]]
        low, high = np.quantile(o, [0.05, 0.95])
        known.append(
            Known(
                hidden_size=width,
                learning_rate=2**advice.x,
                low=float(2**low),
                high=float(2**high),
                regret=advice.regret,
                regret_90=float(np.quantile(advice.by_draw, 0.9)),
                trials=belief.trials(width),
                at_edge=bool(np.mean((o < space.low) | (o > space.high)) > 0.25),
            )
        )
    bound = float(np.quantile(posterior.worst, confidence))
    lacking = tuple(belief.lacking(space))
    runs, regrets = _ahead(belief, space, posterior, running, rng) if look_ahead else ([], [])
    return Assessment(
        known=tuple(known),
        regret_90=bound,
        tolerance=tolerance,
        enough=bound < tolerance and not lacking,
        exhausted=sum(k.trials for k in known) >= _MOST * len(known) and not (bound < tolerance and not lacking),
        lacking=lacking,
        ahead=tuple((width, 2**x) for width, x in runs),
        regret_ahead=tuple(regrets),
    )


def _ahead(
    belief: Belief, space: Space, posterior: Posterior, running: Sequence[tuple[int, float]], rng: np.random.Generator
) -> tuple[list[tuple[int, float]], list[float]]:
    """The next runs one after another, and the expected worst regret after each."""
    runs: list[tuple[int, float]] = []
    regrets = [_worst(space, posterior, running, rng)]
    for _ in range(_AHEAD):
        choice = belief.next_run(space, posterior, [*running, *runs], rng)
        runs.append((choice.width, choice.x))
        regrets.append(min(regrets[-1], _worst(space, posterior, [*running, *runs], rng)))
    return runs, regrets


def _worst(space: Space, posterior: Posterior, running: Sequence[tuple[int, float]], rng: np.random.Generator) -> float:
    at: Mapping[int, int] = {width: i for i, width in enumerate(posterior.widths)}
    left = expected_regrets(
        posterior.draws,
        regrets=[posterior.advice[t].regret for t in space.targets],
        targets=[at[t] for t in space.targets],
        running=[(at[w], x) for w, x in running if w in at],
        rng=rng,
    )
    return float(np.max(left))
