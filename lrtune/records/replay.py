"""A trainer that replays recorded runs: it trains nothing and reports the results of runs at nearby rates.

``lrtune search --trainer replay`` with ``records = "path/to/records.jsonl"`` (and ``arm = "…"`` if there are several)
under ``[options]`` runs a search on recorded surfaces in seconds. A smoother interpolates between recorded rates. Runs
with knobs are averages of the nearest recorded ones (see `lrtune.records.cloud`).
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

from lrtune.errors import InputError
from lrtune.fields import unknown_key
from lrtune.files import open_file
from lrtune.records.cloud import Cloud, cloud
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.records.surface import LEAST_RATES, Surface, smooth
from lrtune.trainer.trial import Facts, Trial

_NO_KNOBS: Mapping[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Recorded surfaces by width, and one recorded learning curve per rate; with knobs, clouds of runs by width."""

    surfaces: Mapping[int, Surface] = field(default_factory=dict)
    clouds: Mapping[int, Cloud] = field(default_factory=dict)
    courses: Mapping[int, Mapping[float, TrialRecord]] = field(default_factory=dict)
    facts: Mapping[int, Facts] = field(default_factory=dict)

    @property
    def widths(self) -> list[int]:
        """The widths that can be replayed."""
        return sorted(self.clouds or self.surfaces)

    def final(self, width: int, rate: float, seed: int, knobs: Mapping[str, float] = _NO_KNOBS) -> float:
        """The final loss of a run, including noise; NaN if it diverges."""
        if self.clouds:
            runs = self.clouds[width]
            own = _normal("run", width, seed, f"{rate:.6g}", *(f"{knobs[name]:.6g}" for name in runs.names))
            return math.exp(runs.log_loss(rate, knobs) + runs.noise * own)
        surface = self.surfaces[width]
        if math.log2(rate) >= surface.dead:
            return math.nan
        shared = _normal("seed", width, seed)
        own = _normal("run", width, seed, f"{rate:.6g}")
        return float(np.exp(surface.log_loss(math.log2(rate)) + surface.shared * shared + surface.own * own))

    def course(
        self,
        width: int,
        rate: float,
        seed: int,
        steps: Sequence[int],
        planned: int,
        knobs: Mapping[str, float] = _NO_KNOBS,
    ) -> list[dict[str, float]]:
        """The reports of a run: the curve of the nearest recorded one, rescaled to end at `final`."""
        final = self.final(width, rate, seed, knobs)
        record = self._nearest(width, rate, knobs)
        if record is None:
            return [{"loss": _plain(final, step / planned)} for step in steps]
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

    def _nearest(self, width: int, rate: float, knobs: Mapping[str, float]) -> TrialRecord | None:
        """The nearest run with a curve; None if there is none."""
        if self.clouds:
            record = self.clouds[width].nearest(rate, knobs)
            return record if record.curve else None
        courses = self.courses.get(width, {})
        return courses[min(courses, key=lambda known: abs(math.log(known / rate)))] if courses else None


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
        InputError: no width has four such rates, or runs have different knobs.
    """
    by_width: dict[int, dict[float, list[TrialRecord]]] = {}
    records = list(records)
    arms = Counter(record.arm for record in records)
    if arm is None and None not in arms and arms:
        arm = max(arms, key=lambda name: arms[name])
    for record in records:
        if record.status in ("finished", "diverged") and record.arm == arm:
            by_width.setdefault(record.hidden_size, {}).setdefault(record.learning_rate, []).append(record)
    surfaces, courses, facts, clouds = {}, {}, {}, {}
    for width, rates in sorted(by_width.items()):
        seeds = max(len(runs) for runs in rates.values())
        table = [[_final(run) for run in runs] + [math.nan] * (seeds - len(runs)) for runs in rates.values()]
        if sum(any(map(math.isfinite, row)) for row in table) < LEAST_RATES:
            continue
        runs_here = [run for runs in rates.values() for run in runs]
        if any(run.knobs for run in runs_here):
            clouds[width] = cloud(runs_here)
        else:
            surfaces[width] = smooth(list(rates), table)
            courses[width] = {rate: runs[0] for rate, runs in rates.items() if runs[0].curve}
        facts[width] = next(iter(rates.values()))[0].facts
    if surfaces and clouds:
        raise InputError("records: expected the same knobs in all runs")
    if not (surfaces or clouds):
        raise InputError(f"records: expected a width with runs at {LEAST_RATES} rates or more, but got none")
    return Replay(surfaces=surfaces, clouds=clouds, courses=courses, facts=facts)


def _final(record: TrialRecord) -> float:
    return record.loss if record.status == "finished" and record.loss is not None else math.nan


def _path(options: Mapping[str, Any]) -> Path:
    path = options.get("records")
    if not isinstance(path, str) or not path:
        raise InputError(f"options.records: expected the path of a records.jsonl to replay, but got {path!r}")
    return Path(path)


@lru_cache(maxsize=4)
def _load(path: Path, arm: str | None) -> Replay:
    return replay_records(read_records(path).records, arm)


def check(study: Any) -> None:
    """Reject a study whose widths, scales or knobs were not recorded, before any run."""
    for option in study.options:
        if option not in ("records", "arm"):
            raise InputError(unknown_key("[options]", option, ("records", "arm")))
    replay = _load(_path(study.options).resolve(), study.options.get("arm"))
    known = replay.widths
    missing = [width for width in study.widths if width not in known]
    if missing:
        raise InputError(f"scales.hidden_size: expected widths among those recorded, {known}, but got {missing}")
    names = sorted({name for each in replay.clouds.values() for name in each.names})
    if names != sorted(study.knobs):
        shown = [", ".join(each) or "none" for each in (names, sorted(study.knobs))]
        raise InputError(f"knobs: expected those of the recorded runs, {shown[0]}, but got {shown[1]}")


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
    replay = _load(_path(trial.options).resolve(), trial.options.get("arm"))
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
    course = replay.course(trial.hidden_size, trial.learning_rate, trial.seed, steps, trial.steps, trial.knobs)
    for step, numbers in zip(steps, course, strict=True):
        if not trial.report(step, **numbers):
            return
