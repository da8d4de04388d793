"""Is the posterior calibrated? Simulation-based calibration (Talts et al. 2018, arXiv 1804.06788).

    python studies/benchmarks/calibration.py --simulator module:name --draws 1000
    python studies/benchmarks/calibration.py --draws 1000         # the machinery itself, on a model solved by hand

Truths and runs are drawn from the model's own prior, the runs are fitted, and the rank of each truth among the draws
of its posterior is taken: over many draws every rank is equally likely, or the inference is wrong. A hump in the
histogram means intervals that are too wide, a bowl too narrow ones, a slope bias. χ² is over its bins.
"""

import argparse
import importlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

Array = NDArray[np.float64]


class Simulator(Protocol):
    """A model that can say what it believes before any run, and after some."""

    def simulate(self, seed: int) -> tuple[Mapping[str, float], Any]:
        """Truths by name (the slope, the optimum at the target) drawn from the prior, and runs drawn from them."""
        ...

    def posterior(self, runs: Any) -> Mapping[str, Sequence[float]]:
        """Equally likely draws of each of these given the runs, as many for all."""
        ...


class Straight:
    """A straight line through five sizes with known noise: its posterior is a Gaussian that can be written down."""

    z = np.linspace(-1.0, 1.0, 5)
    noise = 0.2

    def simulate(self, seed: int) -> tuple[Mapping[str, float], Array]:
        rng = np.random.default_rng([seed, 1])
        level, slope = rng.standard_normal(2)
        seen = level + slope * self.z + self.noise * rng.standard_normal(5)
        return {"slope": slope, "target": level + 2 * slope}, seen

    def posterior(self, runs: Array) -> Mapping[str, Sequence[float]]:
        design = np.stack([np.ones(5), self.z], axis=1)
        covariance = np.linalg.inv(np.eye(2) + design.T @ design / self.noise**2)
        mean = covariance @ design.T @ runs / self.noise**2
        rng = np.random.default_rng(np.frombuffer(runs.tobytes(), np.uint32))
        draws = rng.multivariate_normal(mean, covariance, size=64)
        return {"slope": list(draws[:, 1]), "target": list(draws[:, 0] + 2 * draws[:, 1])}


def find(name: str) -> Simulator:
    """The simulator named ``module:name``."""
    module, _, attribute = name.partition(":")
    found: Simulator = getattr(importlib.import_module(module), attribute)()
    return found


def ranks(seed: int, name: str) -> dict[str, float]:
    """Where each truth stands among its posterior's draws, from 0 to 1."""
    simulator = find(name)
    truths, runs = simulator.simulate(seed)
    rng = np.random.default_rng([seed, 2])
    found = {}
    for quantity, draws in simulator.posterior(runs).items():
        values = np.asarray(draws)
        below, equal = int((values < truths[quantity]).sum()), int((values == truths[quantity]).sum())
        found[quantity] = float((below + rng.integers(equal + 1) + 0.5) / (len(values) + 1))
    return found


def row(name: str, places: Array, bins: int) -> str:
    """The histogram of one quantity, χ² with its probability, and the share within the central 90%."""
    counts = np.bincount(np.minimum((places * bins).astype(int), bins - 1), minlength=bins)
    expected = len(places) / bins
    value = float(np.square(counts - expected).sum() / expected)
    chance = float(chi2.sf(value, bins - 1))
    inside = float(np.mean((places > 0.05) & (places < 0.95)))
    cells = [name, str(len(places)), " ".join(map(str, counts)), f"{value:.1f}", f"{chance:.3f}", f"{inside:.1%}"]
    return "| " + " | ".join([*cells, f"{places.mean():.3f}", "passes" if chance > 0.01 else "fails"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulator", default="calibration:Straight", help="module:name")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--bins", type=int, default=13, help="a divisor of the posterior's draws and one")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    with ProcessPoolExecutor(given.jobs) as pool:
        found = list(pool.map(partial(ranks, name=given.simulator), range(given.draws), chunksize=8))
    print(f"| quantity | draws | ranks in {given.bins} bins | χ² | p | in the central 90% | mean rank | at 1% |")
    print("|---" * 8 + "|")
    for name in found[0]:
        print(row(name, np.array([places[name] for places in found]), given.bins))
    used = os.times()
    print(f"\n{used.children_user + used.children_system:.0f} s of processor time")


if __name__ == "__main__":
    main()
