"""The *beaten* verdict: can a run still come close to its finished peers?

Each finished peer gives an upper bound on a run's remaining gain: the peer's gain from the same step on, plus `margin`,
plus the run's present excess speed over the peer, kept up to the end. The gain from the decay of the learning rate
grows with the rate (by a factor of at least 2 ** 0.2 per octave in recorded runs with equal final losses), so the bound
is larger above the peer's rate and smaller below it. studies/benchmarks/pruning.md derives the constants.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lrtune.search.pruning.curve import AT_UNIGRAM, Curve
from lrtune.study.study import PruningPolicy

# The share of the steps over which a run's present speed is measured.
_PRESENT = 0.1
# No run is beaten after this share of the steps: a cut would save little, a finished run tells the law more, and the
# remaining gain is smaller than the noise between two runs.
_UNTIL = 0.9
# For each octave above its peer's rate, a run's remaining gain grows by a factor of 2 to this power.
_GAIN_PER_OCTAVE = 0.2
# Without a unigram entropy, a peer has begun to learn after this share of its total descent.
_BEGUN = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Beaten:
    """Why a run can no longer come close to its peers.

    Attributes:
        reason: in words.
        step: of the run's last report.
        loss: a final loss up to this counts as close to the best peer's.
        peer: the learning rate of the peer that says so, at the run's rate or above it if one of these does.
    """

    reason: str
    step: int
    loss: float
    peer: float | None


def beaten(curve: Curve, policy: PruningPolicy, peers: Iterable[Curve]) -> Beaten | None:
    """Why the run, at its last report, can no longer come close to its peers; None if it can.

    Args:
        curve: a run with a finite last loss.
        policy: uses `beaten`, `beaten_grace`, `peers`, `margin`, `margin_per_octave` and `regret`.
        peers: see `lrtune.search.pruning.verdict.verdict`.
    """
    step, planned = curve.reports[-1].step, curve.planned_steps
    # Without a unigram entropy we cannot tell when learning starts, so use the longer grace period.
    grace = policy.beaten_grace if curve.unigram is not None else max(policy.beaten_grace, policy.grace)
    if not policy.beaten or not grace * planned <= step < _UNTIL * planned:
        return None
    finished = [
        (final, peer) for peer in peers if peer.planned_steps == planned and (final := peer.final_loss) is not None
    ]
    if len(finished) < max(1, int(policy.peers)):
        return None
    # The better of the last two reports, so that one noisy evaluation cuts no run.
    loss = min(point.loss for point in curve.reports[-2:] if point.loss is not None)
    speed = _speed(curve, step)
    found: list[tuple[bool, float, Beaten]] = []
    bars = [final + policy.regret * abs(final) for final, _ in finished]
    for bar, (final, peer) in zip(bars, finished, strict=True):
        gain = _gain_left(curve, peer, speed, policy) if loss > bar else None
        if gain is not None and loss - gain > bar:
            rate = f" at {peer.learning_rate:.3g}" if peer.learning_rate else ""
            reason = f"{curve.words.what} {curve.shown(loss)} at step {step}; it could reach {curve.shown(loss - gain)}"
            reason += f" at best, judged by its peer{rate}, which ended at {curve.shown(final)}"
            verdict = Beaten(reason=reason, step=step, loss=min(bars), peer=peer.learning_rate)
            found.append((is_at_or_above(peer, curve), loss - gain - bar, verdict))
    return max(found, key=lambda one: one[:2])[2] if found else None


def is_at_or_above(peer: Curve, curve: Curve) -> bool:
    """Whether a peer has the run's learning rate or a higher one."""
    return bool(peer.learning_rate and curve.learning_rate and peer.learning_rate >= curve.learning_rate)


def _speed(curve: Curve, step: int) -> float | None:
    """Decrease of loss per step just before `step`; None if the curve starts too late."""
    window = _PRESENT * curve.planned_steps
    now, before = curve.loss_at(step), curve.loss_at(step - window)
    return None if now is None or before is None else (before - now) / window


def _gain_left(curve: Curve, peer: Curve, speed: float | None, policy: PruningPolicy) -> float | None:
    """An upper bound on the remaining gain of `curve`, from `peer`; None if the peer gives none."""
    step = curve.reports[-1].step
    there = peer.loss_at(step)
    if there is None or peer.final_loss is None or not _is_under_way(peer, step, there):
        return None
    gain = max(0.0, there - peer.final_loss) * _share_of(curve, peer, policy)
    peer_speed = _speed(peer, step)
    if speed is None or peer_speed is None:
        return gain
    return gain + max(0.0, speed - peer_speed) * (curve.planned_steps - step)


def _is_under_way(peer: Curve, step: int, loss: float) -> bool:
    """Whether the peer had begun to learn by `step`: before that, the order of the runs means nothing."""
    if peer.unigram is not None:
        return loss < peer.unigram * (1 - AT_UNIGRAM)
    first = next(point.loss for point in peer.reports if point.loss is not None)
    assert peer.final_loss is not None
    return not any(change >= step for change in peer.changes) and first - loss > _BEGUN * (first - peer.final_loss)


def _share_of(curve: Curve, peer: Curve, policy: PruningPolicy) -> float:
    """The bound on a run's gain as a share of its peer's gain: larger above the peer's rate, smaller below it."""
    if not curve.learning_rate or not peer.learning_rate:
        return 1 + policy.margin
    above = math.log2(curve.learning_rate / peer.learning_rate)
    if above > 0:
        return (1 + policy.margin) * 2 ** (_GAIN_PER_OCTAVE * above)
    return 1 + max(0.0, policy.margin + policy.margin_per_octave * above)
