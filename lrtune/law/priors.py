"""Priors of the law and its runs, each with its source or measurement; the proportions of shapes are in `atoms`.

Octaves are log2 of the learning rate. A scale's slope is counted in octaves per e-fold of the scale: an exponent of −1
is −1.44.
"""

# Mean and standard deviation of the slope by scale; `OTHER_SLOPE` for scales that nobody knows, and for a knob that is
# relative to another one: what moves both is not in it.
SLOPES = {
    # −0.3 … −0.8 in published recipes, −0.8 … −3 in small models: Step Law, arXiv 2310.11453, nanochat
    "hidden_size": (-0.9, 1.2),
    "tokens": (-0.4, 0.7),  # D^-0.32 at a fixed batch (arXiv 2409.19913), D^+0.31 where it grows along (Step Law)
    "steps": (-0.4, 0.7),
    "batch_tokens": (0.7, 0.7),  # √B to B (arXiv 2505.13738)
    "batch": (0.7, 0.7),
    "depth": (-0.5, 0.7),  # √(1/depth), or none (CompleteP, arXiv 2505.01618)
}
OTHER_SLOPE = (0.0, 1.0)
INERT = 0.1  # share of scales on which the best rate does not depend: µP and normalised optimizers aim at that
INERT_SLOPE = 0.03

# Log-normal sizes (median, sd of the log) of what bends away from a power law, in octaves.
# Per e-fold squared, heavy-tailed: laws are straight or curve slightly, but exponents of −2 to −3 at widths of tens and
# −0.3 to −0.8 at thousands make 0.3 and more (arXiv 2606.29158). With a tighter prior, intervals at four times the
# largest size did not hold.
CURVATURE = (0.12, 1.3)
INTERACTION = (0.04, 0.9)  # of two scales, likewise: published laws are products of powers and have none
WANDER = (0.12, 0.8)  # short-range deviation along a scale
LEVEL = (0.1, 0.9)  # of one level of a scale, shared by its cells: 0 … 0.3 on public tables
OWN = (0.04, 1.0)  # of one cell
LAWLESS = 1.5  # octaves of scatter where optima follow nothing: one setting of each set
REACH = 1.2  # e-folds of a scale over which the short-range deviation is forgotten
PLACE = 6.0  # octaves around the middle of the rates that were run

# Shapes of a cell's loss curve.
ATOMS = 96
# Log of the ratio of the slopes above and below the best: mean and sd. With a median ratio of 1.4 instead of 2, answers
# on the surfaces of studies/benchmarks/law.py were 0.01 octave less accurate, and lower by 0.015.
SKEW = (0.7, 0.7)
KIN = 0.35  # distance in log height over which two shapes are alike
APART = 0.08  # share of cells whose shape has nothing of the others'
K_GRID = 1.7  # ratio of neighbouring heights an octave away from the best
K_COUNT = 11
K_SPREAD = 0.45  # sd of log k over cells: synthetic and recorded sweeps lie at 0.2 to 0.6
NOISE_GRID = tuple(10.0 ** (-2.0 + 0.45 * i) for i in range(6))  # σ, times the pilot k
NOISE_SPREAD = 0.7
MISFIT = (0.04, 0.12, 0.35)  # ρ: share of a height that no shape carries
# Coupling of two knobs: sd in units of the mean height an octave off; at 2 the surface has no lowest point.
COUPLING = 0.5
CAP = 6.0  # heights are compressed from so many pilot k on: far off is far off

UNSEEN = (0.05, 0.07)  # octaves, and share of the spacing: what no shape tells of an optimum
STRANGE = 1e-9  # of a cell's likelihood at its best: no cell is sure beyond it

# Early ends.
DOUBT = 0.04  # share of early ends that say nothing
FAILED_SPREAD = 0.5  # octaves: how far below its optimum a cell may start to fail
