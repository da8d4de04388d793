"""The boundary of collapse and divergence: P(failed) is a logistic in log learning rate that moves with the scales."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from lrtune.law.atoms import Array
from lrtune.law.observations import Cell
from lrtune.rule.data import Boundary, Polynomial

# Prior of the width, in e-folds of learning rate: with sparse rates and single failures, a wide logistic would put the
# 10% line below rates that worked.
_WIDTH, _WIDTH_SPREAD = 0.1, 0.6
_LEVEL_SPREAD, _SLOPE_SPREAD, _UNSEEN_SLOPE = 3.0, 0.4, 0.02


def fit_boundary(cells: Sequence[Cell], z: Array, optima: Array, slopes: Array) -> Boundary | None:
    """The boundary beyond which runs fail; None if no run failed.

    A failure below the cell's optimum does not show that the rate is too high, and the ending of a beaten run is
    unknown: both are omitted.

    Args:
        cells: with their runs.
        z: centred log scales, shape (cells, scales).
        optima: log learning rate of each cell's optimum.
        slopes: of the law: the prior mean of the boundary's slopes.
    """
    x, failed, row = [], [], []
    for i, cell in enumerate(cells):
        for record in cell.records:
            log_rate = math.log(record.learning_rate)
            is_failure = record.status in ("collapsed", "diverged")
            if record.status == "finished" or (is_failure and log_rate > optima[i]):
                x.append(log_rate)
                failed.append(is_failure)
                row.append(i)
    if not any(failed):
        return None
    scales = z.shape[1]
    exponents = ((0,) * scales, *(tuple(int(i == j) for j in range(scales)) for i in range(scales)))
    log_rates, bad = np.array(x), np.array(failed)
    h = np.concatenate([np.ones((len(z), 1)), z], axis=1)[row]
    centre = np.concatenate([[float((log_rates[bad] - h[bad, 1:] @ slopes).min())], slopes])
    # Failures at one value of a scale carry no information on the slope along it.
    several = [len(np.unique(np.round(h[bad, 1 + i], 9))) > 1 for i in range(scales)]
    spread = np.array([_LEVEL_SPREAD, *(np.where(several, _SLOPE_SPREAD, _UNSEEN_SLOPE))])

    def loss(theta: Array) -> float:
        width = math.exp(float(np.clip(theta[-1], -12, 5)))
        logit = (log_rates - h @ theta[:-1]) / width
        fit = np.logaddexp(0.0, np.where(bad, -logit, logit)).sum()
        prior = (((theta[:-1] - centre) / spread) ** 2).sum() + ((theta[-1] - math.log(_WIDTH)) / _WIDTH_SPREAD) ** 2
        return float(fit + 0.5 * prior)

    minimum = minimize(loss, np.concatenate([centre, [math.log(_WIDTH)]]), method="BFGS")
    covariance = np.asarray(minimum.hess_inv)[:-1, :-1]
    line = Polynomial(
        exponents,
        tuple(float(value) for value in minimum.x[:-1]),
        tuple(tuple(float(value) for value in line) for line in (covariance + covariance.T) / 2),
    )
    return Boundary(line, math.exp(float(minimum.x[-1])))
