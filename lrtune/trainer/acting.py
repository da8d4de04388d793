"""Whether the rate that is set is the rate that acts: twice a rate must double the first update of the weights.

The first update, since until then two runs of one seed are the same; a warm-up that starts at zero delays it.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrtune.study.study import Study
from lrtune.trainer.finding import Finding
from lrtune.trainer.short_run import short_run, trial_of
from lrtune.trainer.trial import Trainer
from lrtune.trainer.watch import GroupUpdate, Watched, can_watch, watching

_RATE = "learning_rate"
_RATE_LIKE = re.compile(r"(^|_)lr($|_)|learning_rate")
_TOLERANCE = 0.1  # of log2 of a ratio
_SHRUNK = 1.1
_ROUNDING = 1e-4  # of a ratio of updates: they are differences of weights in single precision


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The first updates at one width: as they are, with each rate or knob doubled, and without clipping."""

    width: int
    plain: Watched
    doubled: Mapping[str, Watched]
    free: Watched | None

    def ratio(self, name: str, group: int) -> float:
        """How much the first update of a group grows if this is doubled; NaN for a group that does not move."""
        before = self.plain.updates[group].change
        return self.doubled[name].updates[group].change / before if before else math.nan


def check_acting(trainer: Trainer, study: Study, widths: Sequence[int]) -> Iterator[Finding]:
    """Run the trainer at each width as far as its first updates, with each rate and knob as it is and doubled."""
    if study.command:
        yield Finding("optional", "rates that act: not looked at; the weights of a program cannot be seen")
        return
    looks = [_look(trainer, study, width) for width in widths] if can_watch() else []
    if not looks or not all(look.plain.updates for look in looks):
        error = next((look.plain.error for look in looks if look.plain.error), "no optimizer of torch makes a step")
        yield Finding("optional", f"rates that act: not looked at; {error}")
        return
    names = (_RATE, *study.knobs)
    shapes = [len(seen.updates) for look in looks for seen in (look.plain, *look.doubled.values())]
    if len(set(shapes)) > 1:
        yield Finding("optional", "rates that act: not compared; the optimizers differ between runs")
        return
    groups = range(shapes[0])
    reached = {name: [g for g in groups if all(_is_double(look.ratio(name, g)) for look in looks)] for name in names}
    moving = [group for group in groups if looks[0].plain.updates[group].change]
    free = [group for group in moving if not any(group in reached[name] for name in names)]
    for name in names:
        yield _of_name(name, reached[name], looks, is_elsewhere=not free)
    for group in free:
        yield _of_group(group, names, looks)
    yield from _of_clipping(looks)


def _look(trainer: Trainer, study: Study, width: int) -> _Look:
    trial = trial_of(study, width)

    def first_updates(rate: float, knobs: Mapping[str, float], *, clips: bool = True) -> Watched:
        with watching(clips=clips) as seen:
            seen.error = short_run(trainer, study, width, learning_rate=rate, knobs=knobs).error
        return seen

    rate, knobs = trial.learning_rate, trial.knobs
    plain = first_updates(rate, knobs)
    doubled = {_RATE: first_updates(2 * rate, knobs)} if plain.updates else {}
    for name in knobs if plain.updates else ():
        doubled[name] = first_updates(rate, {**knobs, name: 2 * knobs[name]})
    free = first_updates(rate, knobs, clips=False) if plain.clipped else None
    return _Look(width=width, plain=plain, doubled=doubled, free=free)


def _is_double(ratio: float) -> bool:
    return ratio > 0 and abs(math.log2(ratio) - 1) < _TOLERANCE


def _is_same(ratio: float) -> bool:
    return ratio > 0 and abs(math.log2(ratio)) < _TOLERANCE


def _of_name(name: str, reached: Sequence[int], looks: Sequence[_Look], *, is_elsewhere: bool) -> Finding:
    """What doubling one rate or knob does; `is_elsewhere` if every group that was seen follows another one."""
    groups = range(len(looks[0].plain.updates))
    if reached:
        which = "every group" if len(reached) == len(groups) > 1 else ", ".join(_named(looks, g) for g in reached)
        share = _at(looks, lambda look: f"{_share([look.plain.updates[g] for g in reached]):.2g}%")
        return Finding("right", f"{name}: twice of it doubles the first update of {which}; of the weights, {share}")
    ratios = [[look.ratio(name, g) for g in groups] for look in looks]
    is_rate = name == _RATE or _RATE_LIKE.search(name)
    if is_rate and is_elsewhere:
        return Finding("optional", f"{name}: not looked at; it sets no rate of an optimizer of torch")
    if is_rate:
        most = _at(looks, lambda look: f"{max(_known(look.ratio(name, g) for g in groups)):.3g} times")
        return Finding("wrong", f"{name}: expected twice of it to double a first update, but the most is {most}")
    if any(abs(ratio - 1) > _ROUNDING for row in ratios for ratio in _known(row)):
        return Finding("right", f"{name}: twice of it changes the first update")
    return Finding("optional", f"{name}: twice of it hardly changes the first update; it may act on later ones")


def _of_group(group: int, names: Sequence[str], looks: Sequence[_Look]) -> Finding:
    """What stands between the rates and a group whose first update none of them doubles."""
    which, rate = _named(looks, group), looks[0].plain.updates[group].rate

    def grows(name: str, what: str) -> bool:
        rates = [(getattr(each.updates[group], what) for each in (look.plain, look.doubled[name])) for look in looks]
        return all(_is_double(after / before) if before else False for before, after in rates)

    acts = next((name for name in names if grows(name, "rate")), None)
    if acts is not None:
        by = _at(looks, lambda look: f"{look.ratio(acts, group):.3g} times")
        return Finding(
            "wrong",
            f"{which}: its rate doubles with {acts}, but its first update grows {by}; something shrinks it, such as "
            "clipping of the update",
        )
    given = next((name for name in names if grows(name, "built")), None)
    if given is not None:
        return Finding(
            "wrong",
            f"{which}: it is built with a rate that follows {given}, but its first update has {rate:.3g} whatever "
            f"{given} is; a scheduler overwrites its rate",
        )
    if all(_is_same(look.ratio(name, group)) for look in looks for name in names):
        return Finding("missing", f"{which}: no rate or knob reaches it; its rate is always {rate:.3g}")
    by = ", ".join(f"{looks[-1].ratio(name, group):.3g} with {name}" for name in names)
    return Finding("missing", f"{which}: no rate doubles its first update; it grows {by}")


def _of_clipping(looks: Sequence[_Look]) -> Iterator[Finding]:
    """Groups whose first update is smaller because of clipped gradients."""
    for group in range(len(looks[0].plain.updates)):
        shrunk = {}
        for look in looks:
            if look.free is not None and len(look.free.updates) == len(look.plain.updates):
                plain = look.plain.updates[group].change
                shrunk[look.width] = look.free.updates[group].change / plain if plain else 1.0
        if max(shrunk.values(), default=1.0) > _SHRUNK:
            by = ", ".join(f"{ratio:.3g} times at hidden {width}" for width, ratio in shrunk.items())
            yield Finding(
                "missing",
                f"{_named(looks, group)}: clipping of gradients shrinks its first update {by}; the rate that acts is "
                "as much smaller than the one that is set",
            )


def _named(looks: Sequence[_Look], group: int) -> str:
    update = looks[0].plain.updates[group]
    return f"{update.name} ({update.what})"


def _known(ratios: Iterable[float]) -> list[float]:
    """Those of groups that move."""
    return [ratio for ratio in ratios if not math.isnan(ratio)] or [1.0]


def _at(looks: Sequence[_Look], value: Callable[[_Look], str]) -> str:
    """``2.1 times at hidden 32, 3 times at 64``."""
    return ", ".join(f"{value(look)} at {'hidden ' * (look is looks[0])}{look.width}" for look in looks)


def _share(updates: Sequence[GroupUpdate]) -> float:
    """The relative change of these weights, in percent."""
    return 100 * math.hypot(*(u.change for u in updates)) / (math.hypot(*(u.size for u in updates)) or math.nan)
