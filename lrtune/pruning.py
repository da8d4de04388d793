"""Is this run still worth its compute? Pure functions from the curve so far to a verdict.

Two different verdicts end a run early. *collapsed* is absolute: diversity low and flat, loss at or above the unigram
entropy and not on its way below it, nothing in the schedule ahead that could bring it back. *beaten* is relative: some
finished run of the same width shows that what is left of the schedule cannot make up the distance to it. Its constants
come from recorded curves (studies/benchmarks/pruning.md).

Phases of a language-model run, by its last report (first the unigram distribution is learned, then the rest;
Chang & Bergen, arXiv 2110.02406; Belrose et al., arXiv 2402.04362)::

    loss     ln V ───────────── unigram entropy ─────────────────►
    phase    uniform             unigram            learned
             argmax is noise,    argmax nearly      argmax as varied
             so it looks diverse constant           as the text

A run that stays undiverse above the unigram entropy without moving is *collapsed*; low diversity alone is not, since
every healthy run passes through it, and neither is a high loss alone, since the loss of ternary models is S-shaped.
"""

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from lrtune.errors import InputError
from lrtune.records import TrialRecord
from lrtune.study import PruningPolicy

Kind = Literal["keep", "suspect", "collapsed", "beaten", "diverged"]
Phase = Literal["unknown", "uniform", "unigram", "learned", "collapsed", "diverged"]

# Relative width of "at" the unigram entropy: the held-out estimate of a loss is not better than this.
_AT_UNIGRAM = 0.02
# A diversity that moved by less than this share of the floor has not moved.
_FLAT = 0.2
# The share of the steps over which a run's present speed is read, where it is set against a peer's.
_PRESENT = 0.1
# Without a unigram entropy: a peer has begun to learn once it has this share of its whole descent behind it.
_BEGUN = 1 / 3
# How much faster than now a loss may fall from here on (the loss is S-shaped: the slow part can come first).
_FASTER = 2.0
# Without a unigram entropy: a loss about to fall by more than this share until the end is still falling.
_STILL_FALLING = 0.1


@dataclass(frozen=True)
class Verdict:
    """What to do with a run, why in words for a person, and the phase that its last report is in."""

    kind: Kind
    reason: str
    phase: Phase = "unknown"

    @property
    def is_cut(self) -> bool:
        """True when the run should end now."""
        return self.kind in ("collapsed", "beaten", "diverged")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The reports of one run so far.

    Reports may come in any order; of a repeated step the last report counts (a resumed run reports again).

    Attributes:
        steps: optimizer steps of the reports.
        losses: validation losses in nats; NaN, inf and None stand for a value that is not finite.
        diversities: one per report, None where it is missing; None when the run reports none at all.
        planned_steps: the run's horizon.
        regime_changes: steps at which the schedule changes; those outside 1 … planned_steps − 1 never come.
        vocabulary_size, unigram_entropy: see `lrtune.trainer.Facts`; None where the trainer does not say.
        learning_rate: the run's peak; tells *beaten* which peers have as much left to gain from the decay.

    Raises:
        InputError: columns of different lengths, a negative step, diversity or entropy, or a step past the end.
    """

    steps: Sequence[int]
    losses: Sequence[float | None]
    planned_steps: int
    diversities: Sequence[float | None] | None = None
    regime_changes: Sequence[int] = ()
    vocabulary_size: int | None = None
    unigram_entropy: float | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        columns = {"losses": self.losses, "diversities": self.diversities}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.steps):
                raise InputError(f"curve: expected {len(self.steps)} {name}, one a step, but got {len(column)}")
        if self.planned_steps < 1:
            raise InputError(f"curve: expected at least 1 planned step, but got {self.planned_steps}")
        for step in self.steps:
            if not 0 <= step <= self.planned_steps:
                raise InputError(f"curve: expected steps within 0 … {self.planned_steps}, but got {step}")
        for value in self.diversities or ():
            if value is not None and value < 0:
                raise InputError(f"curve: expected diversities of at least 0, but got {value:g}")
        if self.vocabulary_size is not None and self.vocabulary_size < 1:
            raise InputError(f"curve: expected a vocabulary of at least 1, but got {self.vocabulary_size}")
        if self.unigram_entropy is not None and not self.unigram_entropy >= 0:
            raise InputError(f"curve: expected a unigram entropy of at least 0, but got {self.unigram_entropy:g}")

    @classmethod
    def from_record(cls, record: TrialRecord) -> "Curve":
        """The curve of a record; reports without a step are left out."""
        rows = [i for i, step in enumerate(record.curve.get("step", ())) if step is not None]
        column = record.curve.get("diversity")
        return cls(
            steps=[int(record.curve["step"][i] or 0) for i in rows],
            losses=[record.curve["loss"][i] for i in rows],
            diversities=None if column is None else [column[i] for i in rows],
            planned_steps=record.steps,
            regime_changes=record.facts.regime_changes,
            vocabulary_size=record.facts.vocabulary_size,
            unigram_entropy=record.facts.unigram_entropy,
            learning_rate=record.learning_rate,
        )

    @cached_property
    def reports(self) -> tuple["Point", ...]:
        """The reports in order of steps, each step once; a diversity that is not finite is missing."""
        diversities = self.diversities if self.diversities is not None else [None] * len(self.steps)
        rows = zip(self.steps, self.losses, diversities, strict=True)
        points = {int(step): Point(int(step), _finite(loss), _finite(value)) for step, loss, value in rows}
        return tuple(points[step] for step in sorted(points))

    @cached_property
    def final_loss(self) -> float | None:
        """The loss at the last planned step; None while the run is not there, or where it is not finite."""
        return self.reports[-1].loss if self.reports and self.reports[-1].step == self.planned_steps else None

    def loss_at(self, step: float) -> float | None:
        """The loss at any step between the first and the last finite one, interpolated linearly."""
        steps, losses = self._known
        after = bisect.bisect_left(steps, step)
        if after == len(steps):
            return None
        if steps[after] == step:
            return losses[after]
        if after == 0:
            return None
        share = (step - steps[after - 1]) / (steps[after] - steps[after - 1])
        return losses[after - 1] + (losses[after] - losses[after - 1]) * share

    @cached_property
    def _known(self) -> tuple[list[int], list[float]]:
        """Steps and losses of the reports whose loss is finite."""
        known = [(point.step, point.loss) for point in self.reports if point.loss is not None]
        return [step for step, _ in known], [loss for _, loss in known]


@dataclass(frozen=True)
class Point:
    """One report; None stands for what is missing or not finite."""

    step: int
    loss: float | None
    diversity: float | None


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def verdict(curve: Curve, policy: PruningPolicy, peers: Iterable[Curve] | None = None) -> Verdict:
    """Judge a run by its reports so far. Pure: the same arguments give the same verdict.

    Args:
        curve: the run to judge, at its last report.
        policy: the constants.
        peers: curves of other runs of the same width and horizon, best with the same seed (then both saw the same
            data from the same weights). Runs that are not finished, or were planned otherwise, do not count.

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
    reason = _beaten(curve, policy, peers or ())
    return Verdict("beaten", reason, by_itself.phase) if reason else by_itself


def _diverged(curve: Curve, policy: PruningPolicy) -> Verdict | None:
    """A loss that is not finite, or far above that of a model that knows nothing."""
    first, last = curve.reports[0], curve.reports[-1]
    if last.loss is None:
        return Verdict("diverged", f"loss is not finite at step {last.step}", "diverged")
    known = []
    if curve.vocabulary_size is not None:
        known.append((math.log(curve.vocabulary_size), "ln(vocabulary)"))
    # A model may start above ln V (an unscaled head); that is its initialisation, not its learning rate.
    if first.loss is not None and (not known or first.step == 0):
        known.append((first.loss, "the first loss"))
    level, name = max(known, default=(math.inf, ""))
    if last.loss <= level + policy.divergence:
        return None
    reason = f"loss {last.loss:.2f} at step {last.step}, more than {policy.divergence:g} above {name} {level:.2f}"
    return Verdict("diverged", reason, "diverged")


def phase_of(curve: Curve, policy: PruningPolicy) -> Phase:
    """The phase of the last report, from loss, ln V and unigram entropy; never ``collapsed``, which takes time."""
    last = curve.reports[-1] if curve.reports else None
    if last is None or last.loss is None or curve.unigram_entropy is None:
        return "unknown"
    entropy = curve.unigram_entropy
    if last.loss < entropy * (1 - _AT_UNIGRAM):
        return "learned"
    if last.diversity is not None and last.diversity < policy.floor:
        return "unigram"
    if curve.vocabulary_size is None:
        return "unknown"
    return "uniform" if last.loss > (entropy + math.log(curve.vocabulary_size)) / 2 else "unigram"


def _by_itself(curve: Curve, policy: PruningPolicy) -> Verdict:
    """``keep``, ``suspect`` or ``collapsed``, from this run alone."""
    phase = phase_of(curve, policy)
    last = curve.reports[-1]
    loss, entropy = last.loss, curve.unigram_entropy
    assert loss is not None, "diverged comes first"
    if last.diversity is None:
        return Verdict("keep", f"loss {loss:.2f}, no diversity reported", phase)
    share = f"diversity {last.diversity:.2f}"
    if last.diversity >= policy.floor:
        if phase == "uniform" and last.step >= policy.grace * curve.planned_steps:
            assert entropy is not None
            reason = f"{share}, but nothing is learned: loss {loss:.2f}, far above the unigram entropy {entropy:.2f}"
            return Verdict("suspect", reason, phase)
        return Verdict("keep", f"{share} is above the floor {policy.floor:g}", phase)
    if phase == "learned":
        return Verdict("keep", f"{share} is low, but loss {loss:.2f} is below the unigram entropy {entropy:.2f}", phase)

    window = _low_since(curve, policy)
    where = f"{share} since step {window[0].step}"
    if entropy is not None:
        where += f", loss {loss:.2f} {_against(loss, entropy)} the unigram entropy {entropy:.2f}"
    reprieve = _reprieve(curve, policy, window)
    if reprieve:
        return Verdict("suspect", f"{where}; {reprieve}", phase)
    flat = f"flat for {len(window)} reports, no stage change ahead"
    if entropy is not None and window[0].loss is not None and loss < window[0].loss * (1 - _AT_UNIGRAM):
        flat += f", loss falls too slowly to get below by step {curve.planned_steps}"
    return Verdict("collapsed", f"{where}, {flat}", "collapsed")


def _against(loss: float, entropy: float) -> str:
    return "above" if loss > entropy * (1 + _AT_UNIGRAM) else "at"


def _low_since(curve: Curve, policy: PruningPolicy) -> list[Point]:
    """The unbroken tail of low reports of the present regime; the last report is always in it."""
    present = max((change for change in _changes(curve) if change < curve.reports[-1].step), default=-1)
    tail: list[Point] = []
    for point in reversed(curve.reports):
        if point.step <= present or (point.diversity is not None and point.diversity >= policy.floor):
            break
        if point.diversity is not None and point.loss is not None:
            tail.append(point)
    return tail[::-1]


def _changes(curve: Curve) -> list[int]:
    return sorted(change for change in curve.regime_changes if 0 < change < curve.planned_steps)


def _reprieve(curve: Curve, policy: PruningPolicy, window: list[Point]) -> str:
    """Why a run with low diversity is not given up yet, or nothing."""
    last = window[-1]
    ahead = [change for change in _changes(curve) if change >= last.step]
    if ahead:
        return f"a stage change at step {ahead[0]} may bring it back"
    if last.step < policy.grace * curve.planned_steps:
        return f"grace until step {math.ceil(policy.grace * curve.planned_steps)}"
    patience = max(2, int(policy.patience))
    if len(window) < patience:
        return f"low for {len(window)} of {patience} reports"
    span = last.step - window[0].step
    if span < policy.span * curve.planned_steps * (1 - 1e-9):
        return f"low for {span} of {math.ceil(policy.span * curve.planned_steps)} steps"
    recent = _recent(curve, policy, window)
    if _rises([(point.step, point.diversity or 0.0) for point in recent], policy.floor * _FLAT):
        return f"diversity rises, {recent[0].diversity:.3f} → {last.diversity:.3f}"
    return _falling(curve, recent)


def _recent(curve: Curve, policy: PruningPolicy, window: list[Point]) -> list[Point]:
    """The end of the window that trends are read from: `patience` reports and `span` steps at the least."""
    start = window[-1].step - policy.span * curve.planned_steps
    count = max(max(2, int(policy.patience)), sum(point.step >= start for point in window))
    return window[-count:]


def _rises(points: Sequence[tuple[float, float]], least: float) -> bool:
    """Whether the later half lies above the earlier one by more than `least`, by their medians."""
    half = len(points) // 2
    values = [value for _, value in points]
    return _median(values[-half:]) - _median(values[:half]) > least


def _falling(curve: Curve, recent: list[Point]) -> str:
    """Whether the loss, falling up to twice as fast as now, gets below the unigram entropy before the end."""
    rate = -_slope([(point.step, point.loss or 0.0) for point in recent])
    last = recent[-1]
    assert last.loss is not None
    ahead = last.loss - _FASTER * rate * (curve.planned_steps - last.step)
    entropy = curve.unigram_entropy
    if entropy is None:
        falls = ahead < last.loss * (1 - _STILL_FALLING)
        return f"loss {last.loss:.2f} still falls" if falls else ""
    if ahead < entropy * (1 - _AT_UNIGRAM):
        return f"loss on its way down, {recent[0].loss:.2f} → {last.loss:.2f}"
    return ""


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil–Sen: the median slope over all pairs."""
    return _median(
        [(y1 - y0) / (x1 - x0) for i, (x0, y0) in enumerate(points) for x1, y1 in points[i + 1 :] if x1 > x0]
    )


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return 0.0
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _beaten(curve: Curve, policy: PruningPolicy, peers: Iterable[Curve]) -> str:
    """Why no plausible way leads back among the best, or nothing.

    Each finished peer bounds by itself how far this run can still get: by what the peer gained from this step on, by
    `margin` more than that, and by what this run falls faster at present, kept up to the end.
    """
    if not policy.beaten:
        return ""
    step = curve.reports[-1].step
    finished = [peer for peer in peers if peer.planned_steps == curve.planned_steps and peer.final_loss is not None]
    # Where nobody says what a model knows that has only counted words, early distances say less.
    grace = policy.beaten_grace if curve.unigram_entropy is not None else max(policy.beaten_grace, policy.grace)
    if len(finished) < max(1, int(policy.peers)) or step < grace * curve.planned_steps:
        return ""
    # The better of the last two reports, so that one noisy evaluation cuts nothing.
    loss = min(point.loss for point in curve.reports[-2:] if point.loss is not None)
    beyond, reason = 0.0, ""
    for peer in finished:
        gain = _gain_left(curve, peer, policy)
        assert peer.final_loss is not None
        bar = peer.final_loss + policy.regret * abs(peer.final_loss)
        if gain is not None and loss - gain - bar > beyond:
            beyond = loss - gain - bar
            rate = f" at {peer.learning_rate:.3g}" if peer.learning_rate else ""
            reason = f"loss {loss:.3f} at step {step}; going on as its peer{rate} did, it could reach "
            reason += f"{loss - gain:.3f} at best, and that one ended at {peer.final_loss:.3f}"
    return reason


def _gain_left(curve: Curve, peer: Curve, policy: PruningPolicy) -> float | None:
    """The most that `curve` can still gain if it goes on as `peer` did; None where the peer cannot say."""
    step, left = curve.reports[-1].step, curve.planned_steps - curve.reports[-1].step
    there = peer.loss_at(step)
    if there is None or peer.final_loss is None or not _is_under_way(peer, step, there):
        return None
    gain = max(0.0, there - peer.final_loss) * (1 + _margin(curve, peer, policy))
    window = _PRESENT * curve.planned_steps
    own, own_before, peer_before = curve.loss_at(step), curve.loss_at(step - window), peer.loss_at(step - window)
    if own is None or own_before is None or peer_before is None:
        return gain
    return gain + max(0.0, (own_before - own) - (peer_before - there)) * left / window


def _is_under_way(peer: Curve, step: int, loss: float) -> bool:
    """Whether the peer had begun to learn by then: until it has, all runs stand alike and their order means nothing."""
    if peer.unigram_entropy is not None:
        return loss < peer.unigram_entropy * (1 - _AT_UNIGRAM)
    first = next(point.loss for point in peer.reports if point.loss is not None)
    assert peer.final_loss is not None
    return not any(change >= step for change in _changes(peer)) and first - loss > _BEGUN * (first - peer.final_loss)


def _margin(curve: Curve, peer: Curve, policy: PruningPolicy) -> float:
    """How much more than the peer this run may gain, as a share: lower rates have less to gain from the decay."""
    if not curve.learning_rate or not peer.learning_rate:
        return policy.margin
    below = max(0.0, math.log2(peer.learning_rate / curve.learning_rate))
    return max(0.0, policy.margin - policy.margin_per_octave * below)
