"""A trainer that replays recorded runs: it trains nothing and reports the results of runs at nearby rates.

``lrtune search --trainer replay`` with ``records = "path/to/records.jsonl"`` (and ``arm = "…"`` if there are several)
under ``[options]`` runs a search on recorded surfaces in seconds. A smoother interpolates between recorded rates.
Noise has two parts, both estimated from the records: one shared by all rates of a seed, and one for each run.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from lrtune.errors import InputError
from lrtune.fields import unknown_key
from lrtune.files import open_file
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.trainer.trial import Facts, Trial

Array = NDArray[np.float64]

_BANDWIDTH = 0.75  # octaves: sd of the smoother's weights
_NEAR = 0.05  # largest relative regret at which residuals count as noise
_LEAST_RATES = 4


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The smoothed loss of one width as a function of log2 rate.

    Attributes:
        x: recorded log2 rates, rising, (R,).
        y: their smoothed log loss, (R,).
        dead: log2 rate at and above which every recorded run diverged; inf if none did.
        shared, own: sd of log loss between seeds (the same for all rates), and between runs.
        best_x, best_y: the minimum of the smoothed curve.
    """

    x: Array
    y: Array
    dead: float
    shared: float
    own: float
    best_x: float
    best_y: float

    def log_loss(self, x: Array | float) -> Array:
        """Smoothed log loss: a cubic through the smoothed points, straight lines outside their range."""
        return _curve(self.x, self.y, np.asarray(x, dtype=float))

    def regret(self, rate: float) -> float:
        """Relative loss of a rate above the best one; 1 if runs diverge there."""
        x = math.log2(rate)
        return 1.0 if x >= self.dead else float(np.expm1(self.log_loss(x) - self.best_y))


def smooth(rates: Sequence[float], losses: Sequence[Sequence[float]]) -> Surface:
    """Smooth one width's runs.

    Args:
        rates: recorded learning rates, each once.
        losses: final losses by rate and seed, (R, S); NaN or inf where a run diverged.

    Raises:
        InputError: fewer than four rates have a finite loss.
    """
    order = np.argsort(rates)
    x_all = np.log2(np.asarray(rates, dtype=float)[order])
    table = np.asarray(losses, dtype=float)[order]
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(np.isfinite(table) & (table > 0), np.log(table), np.nan)
    alive = np.isfinite(logs).any(axis=1)
    if alive.sum() < _LEAST_RATES:
        raise InputError(f"records: expected at least {_LEAST_RATES} rates with a finite loss, but got {alive.sum()}")
    x, kept = x_all[alive], logs[alive]
    above = x_all[~alive & (x_all > x[np.nanargmin(np.nanmean(kept, axis=1))])]
    means = np.nanmean(kept, axis=1)
    y = np.array([_local(x, means, at) for at in x])
    fine = np.linspace(x[0], x[-1], 2001)
    values = _curve(x, y, fine)
    best = int(np.argmin(values))
    shared, own = _noise(kept - y[:, None], y - values[best] < _NEAR)
    return Surface(
        x=x,
        y=y,
        dead=float(above[0] + x[-1]) / 2 if len(above) else math.inf,
        shared=shared,
        own=own,
        best_x=float(fine[best]),
        best_y=float(values[best]),
    )


def _noise(residuals: Array, near: NDArray[np.bool_]) -> tuple[float, float]:
    """(sd by seed, sd by run) of the residuals (R, S) near the best: a two-way table's variance components."""
    kept = residuals[near] if near.sum() > 1 else residuals
    kept = kept[:, np.isfinite(kept).all(axis=0)]
    rates, seeds = kept.shape
    if seeds < 2 or rates < 2:
        return 0.0, float(np.nanstd(residuals[near]))
    by_seed = kept.mean(axis=0)
    inner = kept - kept.mean(axis=1, keepdims=True) - by_seed + kept.mean()
    own = float(np.square(inner).sum() / ((rates - 1) * (seeds - 1)))
    return math.sqrt(max(float(by_seed.var(ddof=1)) - own / rates, 0.0)), math.sqrt(own)


def _local(x: Array, y: Array, at: float) -> float:
    """Local quadratic regression; a point next to a cliff stays unsmoothed."""
    weight = np.exp(-0.5 * np.square((x - at) / _BANDWIDTH))
    weight *= np.exp(-np.abs(y - y[np.argmin(np.abs(x - at))]) / 0.1)  # avoid smoothing across a cliff
    basis = np.stack([np.ones_like(x), x - at, np.square(x - at)], axis=1)
    root = np.sqrt(weight)[:, None]
    solution, *_ = np.linalg.lstsq(basis * root, y * root[:, 0], rcond=None)
    return float(solution[0])


def _curve(x: Array, y: Array, at: Array) -> Array:
    """A monotone cubic (PCHIP) through the points; straight lines with a minimum slope outside."""
    cubic = PchipInterpolator(x, y)
    first, last = cubic(x[[0, -1]], nu=1)
    below, above = np.maximum(x[0] - at, 0.0), np.maximum(at - x[-1], 0.0)
    return np.asarray(cubic(np.clip(at, x[0], x[-1])) + below * max(-first, 0.01) + above * max(last, 0.02))


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Recorded surfaces by width, and one recorded learning curve per rate."""

    surfaces: Mapping[int, Surface]
    courses: Mapping[int, Mapping[float, TrialRecord]] = field(default_factory=dict)
    facts: Mapping[int, Facts] = field(default_factory=dict)

    def final(self, width: int, rate: float, seed: int) -> float:
        """The final loss of a run, including noise; NaN if it diverges."""
        surface = self.surfaces[width]
        if math.log2(rate) >= surface.dead:
            return math.nan
        shared = _normal("seed", width, seed)
        own = _normal("run", width, seed, f"{rate:.6g}")
        return float(np.exp(surface.log_loss(math.log2(rate)) + surface.shared * shared + surface.own * own))

    def course(self, width: int, rate: float, seed: int, steps: Sequence[int], planned: int) -> list[dict[str, float]]:
        """The reports of a run: the curve of the nearest recorded rate, rescaled to end at `final`."""
        final = self.final(width, rate, seed)
        courses = self.courses.get(width, {})
        if not courses:
            return [{"loss": _plain(final, step / planned)} for step in steps]
        record = courses[min(courses, key=lambda known: abs(math.log(known / rate)))]
        at = np.asarray(record.curve["step"], dtype=float) / max(record.steps, 1)
        columns = {}
        for name in ("loss", "diversity"):
            column = np.array([math.nan if v is None else v for v in record.curve.get(name, ())], dtype=float)
            if len(column) == len(at) and np.isfinite(column).any():
                columns[name] = column
        ended = record.loss if record.status == "finished" else None
        reports = []
        for step in steps:
            share = step / planned
            loss = float(np.interp(share, at, columns["loss"])) if "loss" in columns else _plain(final, share)
            if ended is not None and math.isfinite(final):
                loss *= (final / ended) ** share
            elif not math.isfinite(final) and share > at[-1]:
                loss = math.nan
            report = {"loss": loss}
            if "diversity" in columns:
                report["diversity"] = float(np.interp(share, at, columns["diversity"]))
            reports.append(report)
        return reports


def _plain(final: float, share: float) -> float:
    """A curve for records without one: it falls to the final loss, or becomes NaN after a tenth of the steps."""
    if not math.isfinite(final):
        return math.nan if share > 0.1 else 10.0
    return final * (1 + 0.6 * (1 - share) ** 3)


def _normal(*key: object) -> float:
    """A standard normal number, determined by the key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return float(np.random.default_rng(int.from_bytes(digest, "big")).standard_normal())


def replay_records(records: Iterable[TrialRecord], arm: str | None = None) -> Replay:
    """Fit surfaces to the records of one arm, for every width with at least four rates with finished runs.

    Without `arm`: the records without an arm, else the arm with the most records.

    Raises:
        InputError: no width has four such rates.
    """
    by_width: dict[int, dict[float, list[TrialRecord]]] = {}
    records = list(records)
    arms = Counter(record.arm for record in records)
    if arm is None and None not in arms and arms:
        arm = max(arms, key=lambda name: arms[name])
    for record in records:
        if record.status in ("finished", "diverged") and record.arm == arm:
            by_width.setdefault(record.hidden_size, {}).setdefault(record.learning_rate, []).append(record)
    surfaces, courses, facts = {}, {}, {}
    for width, rates in sorted(by_width.items()):
        seeds = max(len(runs) for runs in rates.values())
        table = [[_final(run) for run in runs] + [math.nan] * (seeds - len(runs)) for runs in rates.values()]
        if sum(any(map(math.isfinite, row)) for row in table) < _LEAST_RATES:
            continue
        surfaces[width] = smooth(list(rates), table)
        courses[width] = {rate: runs[0] for rate, runs in rates.items() if runs[0].curve}
        facts[width] = next(iter(rates.values()))[0].facts
    if not surfaces:
        raise InputError(f"records: expected a width with runs at {_LEAST_RATES} rates or more, but got none")
    return Replay(surfaces=surfaces, courses=courses, facts=facts)


def _final(record: TrialRecord) -> float:
    return record.loss if record.status == "finished" and record.loss is not None else math.nan


def _path(options: Mapping[str, Any]) -> Path:
    path = options.get("records")
    if not isinstance(path, str) or not path:
        raise InputError(f"options.records: expected the path of a records.jsonl to replay, but got {path!r}")
    return Path(path)


def _loaded(options: Mapping[str, Any]) -> Replay:
    return _load(_path(options).resolve(), options.get("arm"))


@lru_cache(maxsize=4)
def _load(path: Path, arm: str | None) -> Replay:
    return replay_records(read_records(path).records, arm)


def check(study: Any) -> None:
    """Reject a study whose widths or scales were not recorded, before any run."""
    for option in study.options:
        if option not in ("records", "arm"):
            raise InputError(unknown_key("[options]", option, ("records", "arm")))
    known = _loaded(study.options).surfaces
    missing = [width for width in study.widths if width not in known]
    if missing:
        raise InputError(
            f"scales.hidden_size: expected widths among those recorded, {sorted(known)}, but got {missing}"
        )


def prepare(study: Any) -> Mapping[str, str]:
    """Identify the records as the study's data, which its fingerprint covers."""
    path = _path(study.options)
    try:
        with open_file(path) as file:
            return {"records": hashlib.file_digest(file, "sha256").hexdigest()[:16]}
    except OSError as error:
        raise InputError(f"options.records: cannot read {path}: {error.strerror}") from error


def train(trial: Trial) -> None:
    """Replay the run of this width, rate and seed."""
    replay = _loaded(trial.options)
    facts = replay.facts.get(trial.hidden_size, Facts())
    trial.describe(
        parameters=facts.parameters,
        tokens_per_step=facts.tokens_per_step,
        vocabulary_size=facts.vocabulary_size,
        unigram_entropy=facts.unigram_entropy,
        regime_changes=[step for step in facts.regime_changes if step <= trial.steps],
        conditions=facts.conditions,
    )
    steps = sorted({*range(0, trial.steps, trial.report_every), trial.steps})
    course = replay.course(trial.hidden_size, trial.learning_rate, trial.seed, steps, trial.steps)
    for step, numbers in zip(steps, course, strict=True):
        if not trial.report(step, **numbers):
            return
