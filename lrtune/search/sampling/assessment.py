"""Does a search know enough? The regret at each target, and the value of more runs. The last word is the rule's."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lrtune.law.atoms import Array
from lrtune.rule import Recommendation, Rule, recommend
from lrtune.rule.doubt import WORST_FACTOR, Doubt
from lrtune.rule.drawn import locate, quantile, regrets
from lrtune.rule.knobs import along_knobs, together
from lrtune.search.sampling.space import Place, Space

Scales = Mapping[str, float]

MOST = 60  # ended runs per target, on average, after which more of the same do not help


@dataclass(frozen=True, kw_only=True)
class Known:
    """The state of knowledge at one target.

    Attributes:
        scales: the target.
        learning_rate: the rate of least expected regret.
        low, high: 90% interval of the best rate.
        regret: expected regret of `learning_rate`, as a share of loss.
        regret_90: its 90% quantile.
        trials: ended runs at the target.
        at_edge: the best rate may well lie outside the rates that were run, or that may be run.
        beyond: the last rate that was run, if the best one lies beyond the rates that may be run: "up to 9.5".
        knobs: the best values of further knobs.
    """

    scales: Scales
    learning_rate: float
    low: float
    high: float
    regret: float
    regret_90: float
    trials: int
    at_edge: bool
    beyond: str = ""
    knobs: Mapping[str, float] = field(default_factory=dict)

    @property
    def hidden_size(self) -> int:
        """The target's width."""
        return int(self.scales["hidden_size"])


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """The state of knowledge of a search.

    Attributes:
        known: one per target, in order.
        regret_90: the worst regret over all targets is below it in 90% of draws, by the model; see `bound`.
        tolerance: the wanted regret.
        enough: no place lacks runs, no target has its best rate at an edge, and the regret is low enough: `regret_90`
            below `tolerance`; at targets without runs, what makes an answer supported.
        exhausted: so many runs ended that more of the same do not help: noise hides the rest, or no run finishes.
        no_signal: (low, high) in log2 if all runs between these rates end with the same loss.
        all_equal: each of these runs ends with exactly the loss of the others at its place.
        no_optimum: targets whose best rate lies beyond the rates that may be run.
        no_optimum_of: the knob of `no_optimum`, or "rate".
        lacking: places with too few finished runs.
        ahead: (scales, learning_rate) of the most informative next runs.
        regret_ahead: expected worst regret before them and after each; one longer than `ahead`.
    """

    known: tuple[Known, ...]
    regret_90: float
    tolerance: float
    enough: bool
    exhausted: bool = False
    no_signal: tuple[float, float] | None = None
    all_equal: bool = False
    no_optimum: tuple[Scales, ...] = ()
    no_optimum_of: str = "rate"
    lacking: tuple[Scales, ...] = ()
    ahead: tuple[tuple[Scales, float], ...] = ()
    regret_ahead: tuple[float, ...] = ()

    @property
    def bound(self) -> float:
        """What a search may say of the worst regret: where it is enough, no less than was wanted.

        A search ends at the first `regret_90` below the tolerance, which picks low ones: on the surfaces of
        studies/benchmarks/sureness.md the worst regret is above `regret_90` in 20% of the searches, and above the
        tolerance in 7%.
        """
        return max(self.regret_90, self.tolerance) if self.enough else self.regret_90

    def __str__(self) -> str:
        if self.no_signal is not None:
            low, high = (2**x for x in self.no_signal)
            same = "the same" if self.all_equal else "nearly the same"
            return f"no signal: the loss is {same} at all rates from {low:.3g} to {high:.3g}"
        if self.no_optimum:
            last = sorted({known.beyond for known in self.known if known.scales in self.no_optimum})
            far, remedy = (f" {' and '.join(last)}", "") if self.no_optimum_of == "rate" else ("", ": widen its range")
            return (
                f"no optimum found{far}: at {_list(self.no_optimum)} runs still get better "
                f"at the last {self.no_optimum_of} that may be run{remedy}"
            )
        one = named(self.known[0].scales)
        every, worst = ("every target", "the worst target") if len(self.known) > 1 else (one, one)
        wanted, mean = f"{self.tolerance * 100:.3g}%", max(known.regret for known in self.known)
        is_met = self.enough and self.bound <= self.tolerance
        bound = f"less than {wanted}" if is_met else f"less than {max(self.bound, 1e-4):.2%}"
        if self.regret_90 >= 0.3:  # only its order is known
            text = f"the rate at {worst} may cost 30% of loss or more"
        elif all(known.trials for known in self.known) and (self.enough or not self.exhausted):
            text = f"the rate at {every} costs {bound} of loss in nine cases of ten"
        else:
            text = f"the rate at {worst} costs {mean:.2%} of loss on average, {bound} in nine cases of ten"
        text += ", as wanted" if is_met else f" (wanted: {wanted})"
        edges = [known for known in self.known if known.at_edge]
        if edges and self.regret_90 < self.tolerance:
            text += f", but the best rate may lie beyond the rates that were run at {_list(k.scales for k in edges)}"
        elif self.lacking and self.regret_90 < self.tolerance:
            text += f", but too few runs finished at {_list(self.lacking)}"
        if self.exhausted and not self.enough:
            more = (
                "train more steps" if all(known.trials for known in self.known) else "train sizes nearer to the target"
            )
            return f"{text}; {MOST} runs a target did not suffice: allow a larger tolerance, or {more}"
        if self.enough or not self.ahead:
            return text
        saved = self.regret_ahead[0] - self.regret_ahead[-1]
        where = _list(scales for scales, _ in self.ahead)
        return f"{text}; {len(self.ahead)} more runs (at {where}) would lower it by about {saved:.2%}"


def suffices(space: Space, regrets: Mapping[Place, Array]) -> bool:
    """Whether the regret is low enough: at trained targets the worst, in 90% of draws; at others as answers ask.

    Runs elsewhere leave some of an untrained target's uncertainty, so only what makes an answer supported is asked.
    """
    trained = [regrets[target] for target in space.targets if target in space.places]
    if trained and not worst_90(trained) < space.tolerance:
        return False
    others = [regrets[target] for target in space.targets if target not in space.places]
    return all(
        float(each.mean()) <= space.tolerance and float(np.quantile(each, 0.9)) <= WORST_FACTOR * space.tolerance
        for each in others
    )


def worst_90(regrets: Iterable[Array]) -> float:
    """The 90% quantile over draws of the worst regret of all targets, each (N,)."""
    return float(np.quantile(np.max([*regrets], axis=0), 0.9))


def by_rule(said: Assessment, space: Space, rule: Rule, places: Sequence[Scales]) -> Assessment:
    """The assessment as the rule of the same runs has it: its rates, its regret; enough if it supports all answers.

    Args:
        places: the targets in the scales of the rule.
    """
    answers = [recommend(rule=rule, **place) for place in places]
    lost = {target: np.array(_by_draw(rule, given)) for target, given in zip(space.targets, answers, strict=True)}
    # A design with lenient runs checks the cuts before it ends.
    is_supported = all(answer.doubt in (None, Doubt.CUT) for answer in answers)
    enough = said.enough and is_supported and suffices(space, lost)
    return replace(
        said,
        known=tuple(map(_as_given, said.known, answers, (list(lost[target]) for target in space.targets))),
        regret_90=worst_90(lost.values()),
        enough=enough,
        no_optimum=tuple(
            one.scales
            for one, given in zip(said.known, answers, strict=True)
            if given.doubt is Doubt.ONE_SIDED and one.scales in said.no_optimum
        ),
    )


def _as_given(known: Known, given: Recommendation, lost: Sequence[float]) -> Known:
    """What is known of a target in the words of the rule's answer; its regret by draw, also if it rests on cut runs."""
    return replace(
        known,
        learning_rate=given.learning_rate,
        low=given.low,
        high=given.high,
        regret=sum(lost) / len(lost),
        regret_90=quantile(lost, 0.9),
        knobs={name: one.value for name, one in given.knobs.items()},
    )


def _by_draw(rule: Rule, given: Recommendation) -> list[float]:
    """The regret of an answer with its knobs, by draw; draws at several places belong together."""
    assert rule.draws is not None
    scales = {name: given.scales[name] for name in rule.scales}
    lost = regrets(locate(rule, rule.draws, scales), math.log2(given.learning_rate))
    return together([lost, *(one.lost for one in along_knobs(rule, scales, given.learning_rate).values())])


def named(scales: Scales) -> str:
    """A place in words: ``128``, or ``128 (steps 300)``."""
    others = ", ".join(f"{name} {value:g}" for name, value in scales.items() if name != "hidden_size")
    width = f"{scales['hidden_size']:g}" if "hidden_size" in scales else ""
    return f"{width} ({others})" if width and others else width or others


def _list(every: Iterable[Scales]) -> str:
    return ", ".join(dict.fromkeys(named(scales) for scales in sorted(every, key=lambda scales: [*scales.values()])))
