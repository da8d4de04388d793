"""Verdicts on a run: pure functions from the curve so far to a decision whether to continue.

Two verdicts end a poor run early. *collapsed* is absolute: diversity is low and flat, the loss is at or above the
unigram entropy and will not get below it, and no schedule change is ahead. *beaten* is relative: by the curve of a
finished run of the same width, the rest of the schedule cannot close the distance to it (see
`lrtune.search.pruning.beaten`). The constants come from recorded curves (studies/benchmarks/pruning.md).

Phases of a language-model run, by its last report (it first learns the unigram distribution, then the rest;
Chang & Bergen, arXiv 2110.02406; Belrose et al., arXiv 2402.04362)::

    loss     ln V ───────────── unigram entropy ─────────────────►
    phase    uniform             unigram            learned
             argmax is noise,    argmax nearly      argmax as varied
             so it looks diverse constant           as the text

A run with low diversity and a loss above the unigram entropy, both flat, is *collapsed*. Low diversity alone is not a
collapse: every healthy run passes through it. Nor is a high loss alone: the loss of some models is S-shaped.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from lrtune.search.pruning.beaten import Beaten, beaten
from lrtune.search.pruning.curve import AT_UNIGRAM, Curve, Point
from lrtune.study.study import PruningPolicy

Kind = Literal["keep", "suspect", "collapsed", "beaten", "diverged"]
Phase = Literal["unknown", "uniform", "unigram", "learned", "collapsed", "diverged"]

# A diversity is flat if it changed by less than this share of the floor.
_FLAT = 0.2
# The loss may fall this much faster than now (it is S-shaped: the slow part can come first).
_FASTER = 2.0
# Without a vocabulary, a loss may have any unit: only a rise by this share of the first one is divergence.
_RISE = 0.2
# Without a unigram entropy, a loss is still falling if it will fall by more than this share by the end.
_STILL_FALLING = 0.1


@dataclass(frozen=True)
class Verdict:
    """The decision on a run, its reason in words, the phase of its last report, and what makes it *beaten*."""

    kind: Kind
    reason: str
    phase: Phase = "unknown"
    beaten: Beaten | None = None

    @property
    def is_cut(self) -> bool:
        """True when the run should end now."""
        return self.kind in ("collapsed", "beaten", "diverged")


def verdict(curve: Curve, policy: PruningPolicy, peers: Iterable[Curve] | None = None) -> Verdict:
    """Judge a run by its reports so far. A pure function.

    Args:
        curve: the run, judged at its last report.
        policy: the constants.
        peers: curves of other runs of the same width and horizon, preferably with the same seed (the same data and
            initial weights). Unfinished runs and runs with another horizon do not count.

    Returns:
        ``diverged`` before ``collapsed`` before ``beaten`` before ``suspect`` before ``keep``. Without diversity
        only ``diverged``, ``beaten`` and ``keep`` are possible.
    """
    if not curve.reports:
        return Verdict("keep", "no report yet")
    diverged = _diverged(curve, policy)
    if diverged is not None:
        return diverged
    by_itself = _by_itself(curve, policy)
    if by_itself.kind == "collapsed" or curve.reports[-1].step == curve.planned_steps:
        return by_itself
    found = beaten(curve, policy, peers or ())
    return by_itself if found is None else Verdict("beaten", found.reason, by_itself.phase, found)


def _diverged(curve: Curve, policy: PruningPolicy) -> Verdict | None:
    """The verdict on a loss that is not finite, or far above an untrained model's."""
    first, last, words = curve.reports[0], curve.reports[-1], curve.words
    if last.loss is None:
        return Verdict("diverged", f"{words.what} is not finite at step {last.step}", "diverged")
    levels = []
    if curve.uniform is not None:
        levels.append((curve.uniform, f"{words.minus}ln(vocabulary)"))
    # A model with an unscaled head may start above ln V; its learning rate did not cause that.
    if first.loss is not None and (not levels or first.step == 0):
        levels.append((first.loss, f"the first {words.what}"))
    level, name = max(levels, default=(math.inf, ""))
    least = _RISE * abs(level) if curve.uniform is None else 0.0
    rise = max(policy.divergence, least)
    if last.loss <= level + rise:
        return None
    reason = f"{words.what} {curve.shown(last.loss)} at step {last.step}, "
    reason += f"more than {rise:.3g} {words.worse} {name} {curve.shown(level)}"
    return Verdict("diverged", reason, "diverged")


def phase_of(curve: Curve, policy: PruningPolicy) -> Phase:
    """The phase of the last report, from loss, ln V and unigram entropy; never ``collapsed``, which needs a window."""
    last = curve.reports[-1] if curve.reports else None
    entropy, uniform = curve.unigram, curve.uniform
    if last is None or last.loss is None or entropy is None:
        return "unknown"
    if last.loss < entropy * (1 - AT_UNIGRAM):
        return "learned"
    if last.diversity is not None and last.diversity < policy.floor:
        return "unigram"
    if uniform is None:
        return "unknown"
    return "uniform" if last.loss > (entropy + uniform) / 2 else "unigram"


def _by_itself(curve: Curve, policy: PruningPolicy) -> Verdict:
    """``keep``, ``suspect`` or ``collapsed``, from this run alone."""
    phase = phase_of(curve, policy)
    last, words = curve.reports[-1], curve.words
    loss, entropy = last.loss, curve.unigram
    assert loss is not None, "diverged comes first"
    told = f"{words.what} {curve.shown(loss)}"
    unigram = "" if entropy is None else f"{words.minus}the unigram entropy {curve.shown(entropy)}"
    if last.diversity is None:
        return Verdict("keep", f"{told}, no diversity reported", phase)
    share = f"diversity {last.diversity:.2f}"
    if last.diversity >= policy.floor:
        if phase == "uniform" and last.step >= policy.grace * curve.planned_steps:
            return Verdict("suspect", f"{share}, but the {told} is still far {words.worse} {unigram}", phase)
        return Verdict("keep", f"{share} is above the floor {policy.floor:g}", phase)
    if phase == "learned":
        return Verdict("keep", f"{share} is low, but {told} is {words.better} {unigram}", phase)

    window = _low_since(curve, policy)
    where = f"{share} since step {window[0].step}"
    if entropy is not None:
        where += f", {told} {words.worse if loss > entropy * (1 + AT_UNIGRAM) else 'at'} {unigram}"
    reprieve = _reprieve(curve, policy, window)
    if reprieve:
        return Verdict("suspect", f"{where}; {reprieve}", phase)
    flat = f"flat for {len(window)} reports, no stage change ahead"
    if entropy is not None and window[0].loss is not None and loss < window[0].loss * (1 - AT_UNIGRAM):
        flat += f", {words.what} {words.improves} too slowly to get {words.better} it by step {curve.planned_steps}"
    return Verdict("collapsed", f"{where}, {flat}", "collapsed")


def _low_since(curve: Curve, policy: PruningPolicy) -> list[Point]:
    """The unbroken series of low reports up to the last one, within the present regime."""
    present = max((change for change in curve.changes if change < curve.reports[-1].step), default=-1)
    tail: list[Point] = []
    for point in reversed(curve.reports):
        if point.step <= present or (point.diversity is not None and point.diversity >= policy.floor):
            break
        if point.diversity is not None and point.loss is not None:
            tail.append(point)
    return tail[::-1]


def _reprieve(curve: Curve, policy: PruningPolicy, window: list[Point]) -> str:
    """Why a run with low diversity continues for now; empty if it does not."""
    last = window[-1]
    ahead = [change for change in curve.changes if change >= last.step]
    if ahead:
        return f"a stage change at step {ahead[0]} may bring it back"
    if last.step < policy.grace * curve.planned_steps:
        return f"grace until step {math.ceil(policy.grace * curve.planned_steps)}"
    patience = max(2, int(policy.patience))
    if len(window) < patience:
        return f"low for {len(window)} of {patience} reports"
    span, least = last.step - window[0].step, max(policy.span * curve.planned_steps, policy.least_steps)
    if span < least * (1 - 1e-9):
        return f"low for {span} of {math.ceil(least)} steps"
    recent = _recent(curve, policy, window)
    if _rises([point.diversity or 0.0 for point in recent], policy.floor * _FLAT):
        return f"diversity rises, {recent[0].diversity:.3f} → {last.diversity:.3f}"
    return _falling(curve, recent)


def _recent(curve: Curve, policy: PruningPolicy, window: list[Point]) -> list[Point]:
    """The end of the window, for trends: at least `patience` reports and `span` steps."""
    start = window[-1].step - policy.span * curve.planned_steps
    count = max(max(2, int(policy.patience)), sum(point.step >= start for point in window))
    return window[-count:]


def _rises(values: Sequence[float], least: float) -> bool:
    """Whether the median of the later half exceeds that of the earlier half by more than `least`."""
    half = max(1, len(values) // 2)
    return median(values[-half:]) - median(values[:half]) > least


def _falling(curve: Curve, recent: list[Point]) -> str:
    """A reason if the loss, falling twice as fast as now, would get below the unigram entropy; else empty."""
    rate = -_slope([(point.step, point.loss or 0.0) for point in recent])
    last, words = recent[-1], curve.words
    assert last.loss is not None
    ahead = last.loss - _FASTER * rate * (curve.planned_steps - last.step)
    entropy = curve.unigram
    if entropy is None:
        falls = ahead < last.loss - _STILL_FALLING * abs(last.loss)
        return f"{words.what} {curve.shown(last.loss)} still {words.improves}" if falls else ""
    if ahead < entropy * (1 - AT_UNIGRAM):
        return f"{words.what} {words.improves}, {curve.shown(recent[0].loss or 0.0)} → {curve.shown(last.loss)}"
    return ""


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil–Sen: the median slope over all pairs."""
    slopes = [(y1 - y0) / (x1 - x0) for i, (x0, y0) in enumerate(points) for x1, y1 in points[i + 1 :] if x1 > x0]
    return median(slopes) if slopes else 0.0
