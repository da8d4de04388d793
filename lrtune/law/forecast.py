"""What a run that was beaten was heading for, by the curve of its nearest peer.

    final ≈ final_p + c · (loss − loss_p),   both losses at the step s of N at which the run ended

Below the peer's rate the distance stays (c = 1). Above it, part of the distance is the noise of a high rate, which goes
as the rate decays: with a share f = s/N behind it, a linear decay has (1 − f)² of its area left, and c = 1 − (1 − f)².
On recorded curves half of the rise that this gives above the cell's best is exceeded by 94–98% of the runs
(studies/benchmarks/early_ends.md).
"""

import math
from collections.abc import Sequence

import numpy as np

from lrtune.records.record import TrialRecord


def forecast(record: TrialRecord, finished: Sequence[TrialRecord]) -> float | None:
    """The final loss that a run was heading for; None where its curve, or those of its peers, do not say.

    Args:
        record: a run that ended early.
        finished: runs of the same cell; the nearest rate counts, those of the same seed before all others.
    """
    own = _points(record)
    if own is None:
        return None
    step, loss = own[0][-1], own[1][-1]
    peers = (peer for peer in finished if peer.steps == record.steps and peer.curve.get("step"))
    for peer in sorted(peers, key=lambda peer: (peer.seed != record.seed, abs(_octaves(record, peer)))):
        points = _points(peer)
        if points is None or not points[0][0] <= step <= points[0][-1] or peer.loss is None:
            continue
        left = 1.0 - min(step / record.steps, 1.0)
        share = 1.0 - left**2 if _octaves(record, peer) > 0 else 1.0
        return peer.loss + share * (loss - float(np.interp(step, *points)))
    return None


def _octaves(record: TrialRecord, peer: TrialRecord) -> float:
    return math.log2(record.learning_rate / peer.learning_rate)


def _points(record: TrialRecord) -> tuple[list[float], list[float]] | None:
    """Steps and losses of the reports that have both; None where there are none."""
    columns = zip(record.curve.get("step", ()), record.curve.get("loss", ()), strict=False)
    known = [(step, loss) for step, loss in columns if step is not None and loss is not None and math.isfinite(loss)]
    return ([step for step, _ in known], [loss for _, loss in known]) if known else None
