"""The shapes that a width's loss curve may have, and how well a true curve follows one of them.

Notation
--------
z       octaves (log2) of a learning rate above the best one of its width.
g_s(z)  height of the curve above its floor, one of S fixed shapes s:
            z < 0   A z² / (1 − z/ζ)                        quadratic, then linear: undertrained
            z > 0   A r z² / (1 + z/ζ) + C max(0, z − q)²   steeper by r, a wall of slope C from q octaves above on
ρ(g)    misfit: how far a true curve may lie from its shape (see `misfit`).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.floating]
Indices = NDArray[np.intp]

CAP = 0.5  # heights beyond it are all alike: "far too high"
COUNT = 192  # S
FINE = 8  # cells of the height table per octave
REACH = 40.0  # octaves of z that it covers either way
_MISFIT, _MISFIT_BEND = 0.25, 0.2  # ρ, and the height at which it is half of it


@dataclass(frozen=True)
class Shapes:
    """The S curve shapes, spread evenly (R-sequence, Roberts 2018) over their prior; each an array of (S,)."""

    curvature: Array
    ratio: Array
    bend: Array
    cliff: Array
    wall: Array

    def height(self, z: Array, s: Indices | slice = slice(None)) -> Array:
        """g_s(z), capped; `s` broadcasts against `z` (give (S, 1) for a table)."""
        a, r, bend, q, wall = self.curvature[s], self.ratio[s], self.bend[s], self.cliff[s], self.wall[s]
        size = np.abs(z)
        body = a * size * size / (1 + size / bend)
        high = body * r + wall * np.square(np.maximum(0.0, z - q))
        return np.minimum(np.where(z > 0, high, body), CAP)


@cache
def shapes() -> Shapes:
    """The fixed set of shapes; their spread is the prior, chosen on synthetic surfaces and FACTS of the field."""
    phi = 1.0
    for _ in range(60):
        phi = (1 + phi) ** (1 / 6)  # the generalised golden ratio of five dimensions
    steps = phi ** -np.arange(1.0, 6.0)
    u = (0.5 + np.arange(1, COUNT + 1)[:, None] * steps) % 1
    normal = ndtri(np.clip(u, 0.01, 0.99))
    bend = 1.8 * np.exp(1.2 * normal[:, 2])  # from nearly pointed to nearly parabolic
    two_below = 0.03 * np.exp(0.8 * normal[:, 0])  # height two octaves below the best
    return Shapes(
        curvature=two_below * (1 + 2 / bend) / 4,
        ratio=1.8 * np.exp(0.6 * normal[:, 1]),
        bend=bend,
        cliff=0.1 + 5.0 * u[:, 3] ** 1.4,
        wall=0.15 * np.exp(2.5 * u[:, 4]),
    )


@cache
def height_table() -> Array:
    """g_s at z = −REACH … REACH in steps of 1/FINE octave, (S, Z), in single precision."""
    z = np.arange(-REACH * FINE, REACH * FINE + 1) / FINE
    return shapes().height(z[None, :], np.arange(COUNT)[:, None]).astype(np.float32)


@cache
def misfit_table() -> Array:
    """ρ(g)² over the same z, (S, Z)."""
    return np.square(misfit(height_table()))


@cache
def kinship() -> Array:
    """P(s' | s), (S, S): widths differ a little in curvature, asymmetry and cliff."""
    form = shapes()
    features = np.stack(
        [
            np.log(form.curvature) / 0.45,
            np.log(form.ratio) / 0.4,
            np.log(form.bend) / 0.5,
            form.cliff / 1.2,
            np.log(form.wall) / 1.5,
        ],
        axis=1,
    )
    distance = np.square(features[:, None, :] - features[None, :, :]).sum(axis=2)
    weight = np.exp(-0.5 * distance)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def misfit(height: Array) -> Array:
    """How far (sd) a true curve may lie from its shape: a share of the height, less than that high up.

    Without the bend, curves whose optimum lies far away from all trials would explain anything.
    """
    return np.asarray(_MISFIT * height / (1 + height / _MISFIT_BEND))
