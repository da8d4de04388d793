"""Records → law: every run of every size in one model, and the rule that is written from it.

The steps, each in its own module: `lrtune.law.observations` groups the runs into cells, `lrtune.law.tables` says what
each cell's runs say of its optimum, `lrtune.law.posterior` joins them over the scales, `lrtune.law.draws` takes from
that what a rule carries, `lrtune.law.boundary` finds where runs collapse, `lrtune.law.companions` what else varied.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrtune import __version__
from lrtune.errors import RunFailedError
from lrtune.law.atoms import Array
from lrtune.law.boundary import fit_boundary
from lrtune.law.circumstances import advice, conditions, horizon
from lrtune.law.companions import apart, variance
from lrtune.law.draws import draw
from lrtune.law.formula import formula
from lrtune.law.lawcell import LawCell, describe_cell, rule_cell
from lrtune.law.model import Model, build, left_out
from lrtune.law.observations import Cell, Measure, gather
from lrtune.records.record import TrialRecord
from lrtune.rule.answer import answer
from lrtune.rule.data import Rule, Scale
from lrtune.rule.drawn import locate, regrets

__all__ = ["LawCell", "LawFit", "fit_law", "fit_run"]

_LN2 = math.log(2.0)
_LARGEST = 1e100  # of losses
DRAWS = 64


@dataclass(frozen=True, kw_only=True)
class LawFit:
    """A fitted law: the rule, the cells behind it, and the regret at each size had it been left out.

    Attributes:
        regrets: by what was left out (``hidden_size 64``), mean over its cells.
        left_out: how many records were left out of the fit, by reason.
    """

    rule: Rule
    cells: tuple[LawCell, ...]
    reason: str
    regrets: dict[str, float]
    left_out: dict[str, int]


def fit_law(
    records: Iterable[TrialRecord],
    *,
    scales: Sequence[str] = ("hidden_size",),
    tolerance: float = 0.01,
    level: float = 0.9,
    seed: int = 0,
    provenance: dict[str, str] | None = None,
    every_scale: bool = False,
) -> LawFit:
    """Fit the law of the best learning rate over `scales` to all records, those that ended early included.

    Args:
        records: training runs; losses may be of any sign (a maximised measure enters negated).
        scales: names of the scales (see `TrialRecord.scale`).
        tolerance: relative loss that an answer may cost to be supported, and that the safe range may.
        level: of the intervals.
        seed: taken so that callers may pass their study's; the fit repeats by itself.
        provenance: kept in the rule.
        every_scale: keep scales of one value as well; they are conditions otherwise.

    Raises:
        InputError: the scales are not in the records.
        RunFailedError: there is nothing to fit (no run finished, one learning rate only, losses all the same).
    """
    runs = [_measured(record) for record in records]
    wanted = tuple(scales) if every_scale else _varying(runs, tuple(scales))
    gathered = gather(runs, wanted, tolerance)
    cells = gathered.cells
    values = np.array([[cell.scales[name] for name in wanted] for cell in cells])
    model = build([cell.data for cell in cells], wanted, values)
    z, optima = model.geometry.z, model.posterior.weight @ model.posterior.mean
    scatters = apart(cells, z)
    drawn = draw(
        model,
        DRAWS,
        ratio=gathered.measure.unit is None,
        values=[sorted(set(column.tolist())) for column in values.T],
        extra=variance(scatters, len(cells) - len(wanted) - 1),
    )
    used = [record for cell in cells for record in cell.records]
    rule = Rule(
        form="drawn",
        reason="",
        scales={
            name: Scale(float(values[:, i].min()), float(values[:, i].max()), float(model.centres[i]))
            for i, name in enumerate(wanted)
        },
        cells=tuple(rule_cell(cell, model, i) for i, cell in enumerate(cells)),
        level=level,
        tolerance=tolerance,
        boundary=fit_boundary(cells, z, optima * _LN2, _slopes(model) * _LN2),
        conditions=conditions(used, wanted),
        advice=advice(used),
        horizon=horizon(used),
        provenance={"lrtune": __version__, "runs": str(len(used)), **_fingerprints(used), **(provenance or {})},
        draws=drawn,
    )
    lost = _left_out(rule, model, cells)
    reason = formula(rule, lost) + "".join(
        f"; {name} goes its own way beside {', '.join(wanted)} and is no scale of this law" for name in scatters
    )
    rule = rule._replace(reason=reason, left_out=float(f"{_mean(lost):.4g}") if lost else None)
    rule, law_cells = _described(rule, cells, gathered.measure)
    return LawFit(rule=rule, cells=law_cells, reason=reason, regrets=lost, left_out=gathered.left_out)


def fit_run(records: Iterable[TrialRecord], *, tolerance: float = 0.01) -> LawFit:
    """The law through the records of one run folder, over the width and every other scale that varies in them.

    Runs of an arm are left out: they answer another question.

    Raises:
        RunFailedError: there is nothing to fit, which the message explains.
    """
    own = [record for record in records if record.arm is None]
    if not own:
        raise RunFailedError("no run has ended yet")
    names = sorted({name for record in own for name in record.scales})
    swept = [name for name in names if len({record.scales.get(name) for record in own}) > 1]
    return fit_law(own, scales=("hidden_size", *swept), tolerance=tolerance)


def _measured(record: TrialRecord) -> TrialRecord:
    """The record with a loss that can be squared: beyond `_LARGEST` it has diverged, below its inverse it is zero."""
    if record.loss is None or 1 / _LARGEST <= abs(record.loss) <= _LARGEST:
        return record
    if abs(record.loss) < 1:
        return replace(record, loss=0.0)
    return replace(record, loss=None, status="diverged" if record.status == "finished" else record.status)


def _varying(records: Sequence[TrialRecord], scales: tuple[str, ...]) -> tuple[str, ...]:
    """The scales that vary; the others are conditions. One stays in any case: a rule needs one."""
    values = {name: {record.scale(name) for record in records} for name in scales}
    return tuple(name for name in scales if len(values[name]) > 1 or None in values[name]) or scales[:1]


def _described(rule: Rule, cells: Sequence[Cell], measure: Measure) -> tuple[Rule, tuple[LawCell, ...]]:
    """The rule's own answer written at each cell, and the cells with their curves."""
    found, described = [], []
    for known, cell in zip(rule.cells, cells, strict=True):
        said = answer(rule, None, cell.scales)
        one = describe_cell(rule, cell, said, known, measure)
        described.append(one)
        found.append(
            known._replace(
                learning_rate=one.learning_rate,
                low=one.low,
                high=one.high,
                safe_low=one.safe_low,
                safe_high=one.safe_high,
                loss=one.loss,
                sensitivity=one.sensitivity,
            )
        )
    return rule._replace(cells=tuple(found)), tuple(described)


def _left_out(rule: Rule, model: Model, cells: Sequence[Cell]) -> dict[str, float]:
    """Mean regret at each value of the first scale, predicted from all others."""
    assert rule.draws is not None
    name = next(iter(rule.scales))
    found: dict[str, list[float]] = {}
    if len({cell.scales[name] for cell in cells}) < 3:
        return {}
    for cell, x in zip(cells, left_out(model), strict=True):
        lost = regrets(locate(rule, rule.draws, cell.scales), float(x))
        found.setdefault(f"{name} {cell.scales[name]:g}", []).append(_mean(dict(enumerate(lost))))
    return {key: sum(values) / len(values) for key, values in found.items()}


def _mean(values: dict[object, float] | dict[int, float] | dict[str, float]) -> float:
    return sum(values.values()) / len(values)


def _slopes(model: Model) -> Array:
    """Mean slopes of the law, octaves an e-fold: what the boundary of collapse is thought to follow."""
    optima = model.posterior.weight @ model.posterior.mean
    z = model.geometry.z
    h = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    ridge = np.diag([0.0, *[1e-3] * z.shape[1]])
    return np.asarray(np.linalg.solve(h.T @ h + ridge, h.T @ optima)[1:])


def _fingerprints(records: Sequence[TrialRecord]) -> dict[str, str]:
    found = sorted({record.fingerprint for record in records if record.fingerprint})
    return {"fingerprint": ", ".join(found[:8])} if found else {}
