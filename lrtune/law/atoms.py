"""The possible shapes of a cell's loss curve: a fixed set of atoms φ_s, spread evenly over their prior.

    u < 0   base(|u|)             base(v) = v^p / (1 + v/b)^(p−1), flat within w
    u > 0   r · base(u) + C · max(0, u − q)

or two exponentials that cancel to first order at 0 (smooth, one side growing faster). Each is scaled to an average
of 1 an octave to either side of the best, without the wall C.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from lrtune.law.priors import APART, ATOMS, KIN, SKEW

Array = NDArray[np.floating]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]

# Columns of the table of atoms.
KIND, LOW, HIGH, POWER, BEND, WALL, WALL_AT = range(7)


@cache
def atoms(count: int = ATOMS) -> Array:
    """Parameters of each atom, (count, 7): kind (0 exponentials, 1 powers), low and high factor, p, b, C, q."""
    phi = 1.0
    for _ in range(60):
        phi = (1 + phi) ** (1 / 7)  # the generalised golden ratio of six dimensions (Roberts 2018)
    u = (0.5 + np.arange(1, count + 1)[:, None] * phi ** -np.arange(1.0, 7.0)) % 1
    normal = ndtri(np.clip(u, 0.01, 0.99))
    table = np.zeros((count, 7))
    power = u[:, 0] > 0.4
    table[:, KIND] = power
    skew = SKEW[0] + SKEW[1] * normal[:, 1]
    table[:, LOW] = np.where(power, 1.0, 0.45 * np.exp(-0.6 * skew))
    table[:, HIGH] = np.where(power, np.exp(skew), 0.45 * np.exp(0.9 * skew))
    pointed = 1.0 + 0.8 * u[:, 2] / 0.35
    table[:, POWER] = np.where(
        power, np.where(u[:, 2] < 0.35, pointed, np.where(u[:, 2] < 0.8, 2.0, 2.8)), np.where(u[:, 2] < 0.8, 1.0, 1.5)
    )
    table[:, BEND] = 3.5 * np.exp(1.0 * normal[:, 3])
    walled = u[:, 4] > 0.7
    table[:, WALL] = np.where(walled, 1.5 * np.exp(1.0 * normal[:, 5]), 0.0)
    table[:, WALL_AT] = np.where(walled, 0.3 + 2.2 * (u[:, 4] - 0.7) / 0.3, 9.0)
    return table


def height(u: Array, atom: Array) -> Array:
    """φ at distances `u` octaves for rows of the table of atoms; `atom[..., column]` broadcasts against `u`."""
    one = body(np.ones(atom.shape[:-1]), atom)
    minus = body(-np.ones(atom.shape[:-1]), atom)
    wall = atom[..., WALL] * np.maximum(u - atom[..., WALL_AT], 0.0)
    return np.asarray(body(u, atom) / (0.5 * (one + minus)) + wall)


def body(u: Array, atom: Array) -> Array:
    """φ before scaling, without the wall."""
    v = np.clip(u, -14.0, 14.0)
    size = np.abs(v)
    p, b = atom[..., POWER], atom[..., BEND]
    split = size**p / (1 + size / b) ** (p - 1) * np.where(v > 0, atom[..., HIGH], atom[..., LOW])
    low, high = atom[..., LOW], atom[..., HIGH]
    base = np.maximum(np.expm1(np.minimum(high * v, 20)) / high + np.expm1(np.minimum(-low * v, 20)) / low, 0.0) ** p
    tailed = b * np.log1p(base / b)
    return np.where(atom[..., KIND] > 0, split, tailed)


@cache
def kinship(count: int = ATOMS) -> Array:
    """P(s' | s), (count, count): most cells share similar shapes, a few differ."""
    at = np.array([-3.0, -2.0, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0])
    rise = np.log(height(at, atoms(count)[:, None, :]) + 0.1)
    distance = np.square(rise[:, None] - rise[None, :]).mean(axis=2)
    weight = np.exp(-0.5 * distance / KIN**2)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray((1 - APART) * weight + APART / count)
