"""Is the fast inference right? Compares the fit with NUTS samples of the same kind of model.

    pip install numpyro
    python studies/benchmarks/exact.py --data FOLDER          # public tables
    python studies/benchmarks/exact.py --drawn 6              # synthetic surfaces of law.py
    python studies/benchmarks/exact.py --widest 6             # only sweeps of at most so many sizes

    y_i = c + f(g(x_i − o; θ)) + ε_i        y relative loss above the cell's best, f(h) = C ln(1 + h / C)
    o   = β₀ + β z + ½ γ z² + wander(z) + own

The optimum o of each size has a slope, a curvature, a short-range process and a deviation of its own; each size has
its own height and asymmetry around shared ones; bends, a pointedness, a wall, noise with heavy tails and a share of the
height that no shape carries are shared; all are learned. Continuous where the fit has a set of shapes and a grid, so
the two should agree within what such choices move, not to the last digit. Slow: NUTS (Hoffman & Gelman 2014), half a
minute to minutes a table. With `--leave-out` every size is left out and asked for: what this model can do at best.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from drawn import draw_surface
from jax.scipy.special import log_ndtr
from numpyro.infer import MCMC, NUTS
from sweeps import SIZE, Array, Sweep, own_sweeps, public_sweeps

from lrtune.errors import LrtuneError
from lrtune.law.fit import fit_law
from lrtune.rule import recommend

# Octaves; slopes in octaves per e-fold of size. Medians and sd of the log where a size cannot be negative.
PLACE, SLOPE = 6.0, (-0.9, 1.2)
CURVATURE, WANDER, OWN = (0.06, 0.9), (0.12, 0.8), (0.065, 1.0)
REACH = 1.2
SKEW, BEND, WALL = (0.35, 0.75), (3.5, 1.0), (1.5, 1.0)
HEIGHTS, SKEWS = 0.45, 0.25  # between sizes
NOISE, MISFIT = (0.1, 1.2), (0.1, 0.8)  # in units of the height an octave away; a share of the height
CAP, DOUBT, FAILED = 6.0, 0.04, 0.5


@dataclass(frozen=True, kw_only=True)
class Data:
    """The runs of all sizes.

    Attributes:
        z: centred log of each size, those asked for last, (N,).
        count: how many of them were run.
        cell, x, y: of each finished run its size, log2 rate and relative loss above that size's best.
        early_cell, early_x: of each beaten run.
        failed: lowest log2 rate that failed at each size that was run; inf where none did.
        unit: a rough height an octave away from the best.
    """

    z: Array
    count: int
    cell: np.ndarray
    x: Array
    y: Array
    early_cell: np.ndarray
    early_x: Array
    failed: Array
    unit: float


def gather(sweep: Sweep, asked: Sequence[float]) -> Data:
    """A sweep over one scale as arrays."""
    sizes = [key[0] for key, runs in sweep.cells().items() if any(r.status == "finished" for r in runs)]
    z = np.log([*sizes, *asked])
    index = {size: number for number, size in enumerate(sizes)}
    done = [r for r in sweep.records if r.status == "finished" and r.loss is not None]
    early = [r for r in sweep.records if r.status == "beaten" and r.scale(SIZE) in index]
    cell = np.array([index[r.scale(SIZE) or 0.0] for r in done])
    loss = np.array([r.loss for r in done], dtype=float)
    x = np.array([math.log2(r.learning_rate) for r in done])
    y = np.log(loss) if loss.min() > 0 else loss / abs(loss.min())
    failed = np.full(len(sizes), math.inf)
    unit = []
    for number, size in enumerate(sizes):
        mine = cell == number
        y[mine] -= y[mine].min()
        best = x[mine][np.argmin(y[mine])]
        lost = [
            math.log2(r.learning_rate)
            for r in sweep.records
            if r.scale(SIZE) == size and r.status in ("diverged", "collapsed")
        ]
        failed[number] = min((v for v in lost if v > best), default=math.inf)
        near = mine & (abs(x - best) > 0.4) & (abs(x - best) < 2.2)
        unit += [float(np.median(y[near] / np.abs(x[near] - best) ** 1.5))] if near.any() else []
    return Data(
        z=z - z[: len(sizes)].mean(),
        count=len(sizes),
        cell=cell,
        x=x,
        y=y,
        early_cell=np.array([index[r.scale(SIZE) or 0.0] for r in early], dtype=int),
        early_x=np.array([math.log2(r.learning_rate) for r in early]),
        failed=failed,
        unit=max(float(np.median(unit)), 1e-6) if unit else 0.02,
    )


def log_normal(name: str, prior: tuple[float, float]) -> jax.Array:
    return numpyro.sample(name, dist.LogNormal(math.log(prior[0]), prior[1]))


def normal(name: str, count: int) -> jax.Array:
    return numpyro.sample(name, dist.Normal(0, 1).expand([count]).to_event(1))


def model(data: Data) -> None:
    """The joint density; `optima` are those of all sizes, in log2 rate."""
    z, n = jnp.asarray(data.z), data.count
    middle = numpyro.sample("middle", dist.Normal(float(np.mean(data.x)), PLACE))
    slope = numpyro.sample("slope", dist.Normal(*SLOPE))
    bend = log_normal("curvature", CURVATURE) * numpyro.sample("bend", dist.Normal(0, 1))
    kernel = jnp.exp(-jnp.abs(z[:, None] - z[None]) / REACH) + 1e-5 * jnp.eye(len(z))
    wander = log_normal("wander", WANDER) * (jnp.linalg.cholesky(kernel) @ normal("wanders", len(z)))
    own = log_normal("own", OWN) * normal("owns", len(z))
    optima = numpyro.deterministic("optima", middle + slope * z + 0.5 * bend * z**2 + wander + own)

    heights = data.unit * jnp.exp(numpyro.sample("height", dist.Normal(0, 1.0)) + HEIGHTS * normal("heights", n))
    skews = numpyro.sample("skew", dist.Normal(*SKEW)) + SKEWS * normal("skews", n)
    power = numpyro.sample("power", dist.Uniform(1.0, 2.8))
    bends = jnp.stack([log_normal("bend below", BEND), log_normal("bend above", BEND)])
    wall = log_normal("wall", WALL)
    wall_at = numpyro.sample("wall at", dist.Uniform(0.3, 6.0))

    def rise(cell: np.ndarray, x: Array) -> jax.Array:
        """Height above the best of runs at these rates."""
        u = jnp.asarray(x) - optima[cell]
        size = jnp.sqrt(u**2 + 1e-4)
        above = jax.nn.sigmoid(u / 0.02)
        split = size**power / (1 + size / jnp.where(u > 0, bends[1], bends[0])) ** (power - 1)
        side = jnp.exp(skews[cell] * (above - 0.5))
        return heights[cell] * (split * side + wall * 0.1 * jax.nn.softplus((u - wall_at) / 0.1))

    floor = data.unit * numpyro.sample("floor", dist.Normal(0, 2.0).expand([n]).to_event(1))
    cap = CAP * data.unit

    def compressed(height: jax.Array | Array) -> jax.Array:
        return cap * jnp.log1p(jnp.maximum(height, -0.9 * cap) / cap)

    sigma, misfit = data.unit * log_normal("noise", NOISE), log_normal("misfit", MISFIT)
    seen = compressed(data.y)
    spread = jnp.sqrt(sigma**2 + (misfit * seen) ** 2)
    numpyro.sample("y", dist.StudentT(5.0, compressed(floor[data.cell] + rise(data.cell, data.x)), spread), obs=seen)
    finite = np.isfinite(data.failed)
    bound = log_ndtr((np.where(finite, data.failed, 0.0) - optima[:n]) / FAILED)
    numpyro.factor("failed", jnp.where(finite, jnp.logaddexp(math.log(DOUBT), math.log1p(-DOUBT) + bound), 0).sum())
    if len(data.early_x):
        over = (floor[data.early_cell] + rise(data.early_cell, data.early_x) - 0.01) / jnp.hypot(sigma, 0.005)
        numpyro.factor("beaten", jnp.logaddexp(math.log(DOUBT), math.log1p(-DOUBT) + log_ndtr(over)).sum())


def sample(data: Data, draws: int, chains: int, seed: int) -> tuple[np.ndarray, float, int]:
    """Draws of the optima, (S, N); the worst R̂ over them; how many transitions diverged."""
    kernel = NUTS(model, target_accept_prob=0.92, max_tree_depth=9)
    mcmc = MCMC(
        kernel, num_warmup=draws, num_samples=draws, num_chains=chains, chain_method="sequential", progress_bar=False
    )
    mcmc.run(jax.random.PRNGKey(seed), data, extra_fields=("diverging",))
    optima = mcmc.get_samples(group_by_chain=True)["optima"]
    worst = float(numpyro.diagnostics.gelman_rubin(np.asarray(optima)).max())
    return np.asarray(optima).reshape(-1, optima.shape[-1]), worst, int(mcmc.get_extra_fields()["diverging"].sum())


def compare(sweep: Sweep, args: argparse.Namespace) -> list[str]:
    """One line per trained or requested size: the exact optimum, then the fit's answer and interval."""
    sizes = sweep.sizes()
    asked = [2 * sizes[-1], 4 * sizes[-1]]
    data = gather(sweep, asked)
    start = time.process_time()
    optima, worst, diverged = sample(data, args.draws, args.chains, args.seed)
    used = time.process_time() - start
    rule = fit_law(sweep.records, scales=sweep.scales).rule
    lines = []
    runs = [key[0] for key, own in sweep.cells().items() if any(r.status == "finished" for r in own)]
    for number, size in enumerate([*runs, *asked]):
        low, middle, high = np.quantile(optima[:, number], [0.05, 0.5, 0.95])
        mean, sd = optima[:, number].mean(), optima[:, number].std()
        cells = [sweep.name, f"{size:g}", f"{mean:.2f} ± {sd:.2f}", f"{low:.2f}, {middle:.2f}, {high:.2f}"]
        try:
            found = recommend(size, rule=rule)
            ours = [math.log2(v) for v in (found.low, found.learning_rate, found.high)]
            cells += [f"{ours[0]:.2f}, {ours[1]:.2f}, {ours[2]:.2f}", f"{ours[1] - middle:+.2f}"]
            cells += [f"{(ours[1] - middle) / sd:+.2f}", f"{(ours[2] - ours[0]) / (high - low):.2f}"]
        except LrtuneError:
            cells += ["–"] * 4
        lines.append("| " + " | ".join([*cells, f"{worst:.3f}, {diverged}", f"{used:.0f}"]) + " |")
    return lines


def leave_out(sweep: Sweep, args: argparse.Namespace) -> list[str]:
    """A line for each size with an optimum inside its rates, predicted from all others."""
    lines = []
    for key, truth in sweep.truths().items():
        rest = replace(sweep, records=tuple(r for r in sweep.records if r.scale(SIZE) != key[0]))
        if not truth.is_interior:
            continue
        start = time.process_time()
        optima, worst, diverged = sample(gather(rest, [key[0]]), args.draws, args.chains, args.seed)
        low, middle, high = np.quantile(optima[:, -1], [0.05, 0.5, 0.95])
        cells = [sweep.name, f"{key[0]:g}", f"{truth.best:.2f} ± {truth.error:.2f}"]
        cells += [f"{low:.2f}, {middle:.2f}, {high:.2f}", f"{middle - truth.best:+.2f}"]
        cells += ["yes" if low <= truth.best <= high else "no", f"{truth.curve.regret(float(middle)):.2%}"]
        lines.append(
            "| " + " | ".join([*cells, f"{worst:.3f}, {diverged}", f"{time.process_time() - start:.0f}"]) + " |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the public tables")
    parser.add_argument("--only", default="", help="sweeps whose name begins so")
    parser.add_argument("--drawn", type=int, default=0, help="so many synthetic surfaces too")
    parser.add_argument("--widest", type=int, default=12, help="leave out sweeps of more sizes")
    parser.add_argument("--draws", type=int, default=1000, help="of each chain, after as many to warm up")
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leave-out", action="store_true", help="predict each size from the others instead")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    sweeps = [*(public_sweeps(args.data) if args.data else []), *own_sweeps()]
    sweeps = [
        s for s in sweeps if len(s.scales) == 1 and s.name.startswith(args.only) and len(s.sizes()) <= args.widest
    ]
    for seed in range(args.drawn):
        surface = draw_surface(seed)
        records = tuple(surface.records)
        sweeps.append(Sweep(name=f"drawn {seed}, {surface.law}, {surface.curve}", scales=(SIZE,), records=records))
    columns = "size | exact optimum, log2 | 5%, 50%, 95% | the fit's low, rate, high | off, octaves | off, sd"
    columns += " | width over exact | R̂, divergences | s |"
    if args.leave_out:
        columns = "left out | truth, log2 | exact 5%, 50%, 95% | off, octaves | held | regret | R̂, divergences | s |"
    print(f"| sweep | {columns}\n{'|---' * (columns.count('|') + 1)}|")
    for sweep in sweeps:
        print("\n".join((leave_out if args.leave_out else compare)(sweep, args)), flush=True)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
