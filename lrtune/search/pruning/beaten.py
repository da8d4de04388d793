"""Whether a run's finished peers leave it a plausible way back among the best.

Each finished peer bounds by itself how far a run can still get: by what the peer gained from the same step on, by
`margin` more than that, and by what this run falls faster at present, kept up to the end. What a falling learning rate
still brings grows with the rate (by a factor of 2 ** 0.2 or more an octave, over recorded runs with equally good ends),
so a run above its peer's rate is trusted to gain more than one below it. Where the constants come from:
studies/benchmarks/pruning.md.
"""

import math
from collections.abc import Iterable

from lrtune.search.pruning.curve import AT_UNIGRAM, Curve
from lrtune.study.study import PruningPolicy

# The share of the steps over which a run's present speed is read, where it is set against a peer's.
_PRESENT = 0.1
# From this share of the steps on no run is beaten: a cut saves little there, a finished run teaches the law more, and
# with next to nothing left to gain the verdict would rest on the noise between two runs.
_UNTIL = 0.9
# How much more a run gains from here for each octave of rate above its peer's: a factor of 2 to this power.
_GAIN_PER_OCTAVE = 0.2
# Without a unigram entropy: a peer has begun to learn once it has this share of its whole descent behind it.
_BEGUN = 1 / 3


def beaten(curve: Curve, policy: PruningPolicy, peers: Iterable[Curve]) -> str:
    """Why the run, at its last report, has no plausible way back among the best; nothing where it has one.

    Args:
        curve: a run whose last loss is finite.
        policy: its `beaten`, `beaten_grace`, `peers`, `margin`, `margin_per_octave` and `regret`.
        peers: as of `lrtune.search.pruning.verdict.verdict`.
    """
    step, planned = curve.reports[-1].step, curve.planned_steps
    # Where nobody says what a model knows that has only counted words, early distances say less.
    grace = policy.beaten_grace if curve.unigram_entropy is not None else max(policy.beaten_grace, policy.grace)
    if not policy.beaten or not grace * planned <= step < _UNTIL * planned:
        return ""
    finished = [
        (final, peer) for peer in peers if peer.planned_steps == planned and (final := peer.final_loss) is not None
    ]
    if len(finished) < max(1, int(policy.peers)):
        return ""
    # The better of the last two reports, so that one noisy evaluation cuts nothing.
    loss = min(point.loss for point in curve.reports[-2:] if point.loss is not None)
    speed = _speed(curve, step)
    beyond, reason = 0.0, ""
    for final, peer in finished:
        bar = final + policy.regret * abs(final)
        if loss - bar <= beyond:
            continue
        gain = _gain_left(curve, peer, speed, policy)
        if gain is not None and loss - gain - bar > beyond:
            beyond = loss - gain - bar
            rate = f" at {peer.learning_rate:.3g}" if peer.learning_rate else ""
            reason = f"loss {loss:.3f} at step {step}; going on as its peer{rate} did, it could reach "
            reason += f"{loss - gain:.3f} at best, and that one ended at {final:.3f}"
    return reason


def _speed(curve: Curve, step: int) -> float | None:
    """Loss lost per step of late, before `step`; None where the curve does not reach back so far."""
    window = _PRESENT * curve.planned_steps
    now, before = curve.loss_at(step), curve.loss_at(step - window)
    return None if now is None or before is None else (before - now) / window


def _gain_left(curve: Curve, peer: Curve, speed: float | None, policy: PruningPolicy) -> float | None:
    """The most that `curve` can still gain if it goes on as `peer` did; None where the peer cannot say."""
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
    """Whether the peer had begun to learn by then: until it has, all runs stand alike and their order means nothing."""
    if peer.unigram_entropy is not None:
        return loss < peer.unigram_entropy * (1 - AT_UNIGRAM)
    first = next(point.loss for point in peer.reports if point.loss is not None)
    assert peer.final_loss is not None
    return not any(change >= step for change in peer.changes) and first - loss > _BEGUN * (first - peer.final_loss)


def _share_of(curve: Curve, peer: Curve, policy: PruningPolicy) -> float:
    """How much of what its peer gained a run may gain, at most: more above the peer's rate, less below it."""
    if not curve.learning_rate or not peer.learning_rate:
        return 1 + policy.margin
    above = math.log2(curve.learning_rate / peer.learning_rate)
    if above > 0:
        return (1 + policy.margin) * 2 ** (_GAIN_PER_OCTAVE * above)
    return 1 + max(0.0, policy.margin + policy.margin_per_octave * above)
