"""Truths and runs drawn from the law's own prior, for `calibration.py`: four sizes, rates from far below to far above.

    python studies/benchmarks/calibration.py --simulator prior:LawPrior --draws 1000

The rates do not depend on where the optima lie, so some sizes show one side only. A fit takes the optimum of a size
with runs to lie at most `BEYOND` octaves outside of them, so draws of the law with one that lies farther are drawn
again. Loss is made relative to a rough height that the fit estimates from the runs, so the prior of heights is met
within that estimate.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from drawn import make_record

from lrtune.law import priors
from lrtune.law.atoms import atoms, height, kinship
from lrtune.law.fit import fit_law
from lrtune.law.geometry import Geometry, bends, stray_set
from lrtune.law.posterior import kernels, prior_shared
from lrtune.law.tables import BEYOND
from lrtune.records.record import TrialRecord
from lrtune.rule.data import RATE_UNIT
from lrtune.rule.drawn import locate

SIZES = (64, 128, 256, 512)
TARGET = 1024
PLACE, REACH, STEP = -7.0, 10.0, 0.75  # log2 of the middle rate; rates so many octaves to either side; between two
UNIT = 0.02  # height an octave away from the best, relative
STRAYS = 1023  # settings of the prior, of which each draw takes one


class LawPrior:
    """See `calibration.Simulator`: the exponent of the size, and the optimum at twice the largest."""

    def simulate(self, seed: int) -> tuple[Mapping[str, float], list[TrialRecord]]:
        rng = np.random.default_rng([seed, 21])
        rates = PLACE + rng.uniform(-0.3, 0.3, (len(SIZES), 1)) + np.arange(-REACH, REACH + 0.1, STEP)
        while True:
            slope, optima = self._optima(rng)
            off = np.maximum(rates[:, 0] - optima[:-1], optima[:-1] - rates[:, -1])
            if off.max() <= BEYOND:
                return {"slope": slope, "target": optima[-1]}, self._runs(rng, optima[:-1], rates)

    def _optima(self, rng: np.random.Generator) -> tuple[float, np.ndarray]:
        """The slope, and the optimum of each size and of the target."""
        z = np.log([*SIZES, TARGET])
        geometry = Geometry(scales=("hidden_size",), z=(z - z[:-1].mean())[:, None], place=PLACE)
        stray = stray_set(STRAYS, geometry).take(np.array([rng.integers(STRAYS)]))
        slope = rng.normal(stray.slope_mean[0, 0], stray.slope_sd[0, 0])
        optima = PLACE + priors.PLACE * rng.standard_normal() + slope * geometry.z[:, 0]
        optima += stray.curvature[0] * rng.standard_normal() * bends(geometry.z)[:, 0]
        gap = np.abs(geometry.z - geometry.z.T)
        kin = np.linalg.cholesky(np.exp(-gap / priors.REACH) + 1e-9 * np.eye(len(z)))
        optima += stray.wander[0, 0] * (kin @ rng.standard_normal(len(z)))
        optima += np.hypot(stray.level[0, 0], stray.own[0]) * rng.standard_normal(len(z))
        return slope, optima

    def _runs(self, rng: np.random.Generator, optima: np.ndarray, rates: np.ndarray) -> list[TrialRecord]:
        """One run at each rate of each size."""
        shared = np.exp(prior_shared(priors.ATOMS))
        chosen = rng.choice(shared.size, p=(shared / shared.sum()).ravel())
        rho, noise, shape, k = np.unravel_index(chosen, shared.shape)
        noises, heights = kernels()
        records: list[TrialRecord] = []
        for size, optimum, x in zip(SIZES, optima, rates, strict=True):
            sigma = priors.NOISE_GRID[rng.choice(len(noises), p=noises[noise])]
            factor = priors.K_GRID ** (rng.choice(len(heights), p=heights[k]) - priors.K_COUNT // 2)
            atom = atoms()[rng.choice(priors.ATOMS, p=kinship()[shape])]
            rise = priors.CAP * np.log1p(factor * height(x - optimum, atom[None]) / priors.CAP)
            spread = np.hypot(sigma, priors.MISFIT[rho] * rise**2 / (rise + 0.5))
            seen = np.maximum(rise + spread * rng.standard_normal(len(x)), -0.9 * priors.CAP)
            for rate, value in zip(2.0**x, UNIT * priors.CAP * np.expm1(seen / priors.CAP), strict=True):
                loss = 3.0 * math.exp(min(value, 500.0))
                records.append(make_record(len(records), size, float(rate), len(records), "finished", loss))
        return records

    def posterior(self, runs: list[TrialRecord]) -> Mapping[str, Sequence[float]]:
        rule = fit_law(runs).rule
        assert rule.draws is not None
        target = locate(rule, rule.draws, {"hidden_size": float(TARGET)})
        return {"slope": [value * RATE_UNIT for value in rule.draws.slopes[0]], "target": target.optimum}
