"""Forecast the final loss of a beaten run from the curve of its nearest peer p.

    final ≈ final_p + c · (loss − loss_p),   both losses at the step s of N at which the run ended

Below the peer's rate the distance stays (c = 1). Above it, part of the distance is the noise of a high rate, which
vanishes as the rate decays: at the share f = s/N, a linear decay has (1 − f)² of its area left, and c = 1 − (1 − f)².
On recorded curves, 94–98% of the runs rise more than half of this forecast above the cell's best
(studies/benchmarks/early_ends.md).
"""

import math
from collections.abc import Sequence

import numpy as np

from lrtune.records.record import TrialRecord


def forecast(record: TrialRecord, finished: Sequence[TrialRecord]) -> float | None:
    """The forecast of a run's final loss; None if its curve or those of its peers do not suffice.

    Args:
        record: a run that ended early.
        finished: runs of the same cell; the peer is the nearest rate of the same seed, else of another seed.
    """
    curve = _points(record)
    if curve is None:
        return None
    step, loss = curve[0][-1], curve[1][-1]
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
    """Steps and losses of the reports with both; None if there are none."""
    columns = zip(record.curve.get("step", ()), record.curve.get("loss", ()), strict=False)
    points = [(step, loss) for step, loss in columns if step is not None and loss is not None and math.isfinite(loss)]
    return ([step for step, _ in points], [loss for _, loss in points]) if points else None
