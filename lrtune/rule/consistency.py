"""What the fields of a rule demand of each other: scales of cells, columns of draws, coordinates of knobs."""

from lrtune.errors import InputError
from lrtune.rule.data import Draws, KnobLaw, Rule
from lrtune.rule.knob import FIRST

_HIGHEST = 1000  # of a height, in units
_STEEPEST = 100  # power of a loss curve; those of lrtune are below 3


def check_rule(rule: Rule) -> None:
    """Check what the fields of a rule demand of each other.

    Raises:
        InputError: names the field.
    """
    for cell in rule.cells:
        if set(cell.scales) != set(rule.scales):
            raise InputError(f"cells: expected the scales {sorted(rule.scales)} in each, but got {sorted(cell.scales)}")
    for line in (rule.law, rule.boundary.line if rule.boundary else None):
        if line and any(len(exponents) != len(rule.scales) for exponents in line.exponents):
            raise InputError(f"law: expected {len(rule.scales)} exponents a term, one for each scale")
    if rule.form == "step" and not (rule.step and rule.step.scale in rule.scales):
        raise InputError("step: expected a threshold on one of the rule's scales")
    for name, knob in rule.knobs.items():
        _check_knob(rule, name, knob)
    if rule.draws:
        _check_draws(rule, rule.draws)
    elif rule.form == "drawn":
        raise InputError("draws: expected those of the posterior, but got null")
    if rule.form not in ("drawn", "step", "table") and rule.law is None:
        raise InputError(f"law: expected a polynomial for the form {rule.form!r}, but got null")


def _check_knob(rule: Rule, name: str, knob: KnobLaw) -> None:
    other = knob.coordinate.relative
    fixed = {FIRST, *(each for each, law in rule.knobs.items() if not law.coordinate.relative and law.zero is None)}
    if (other and other not in fixed) or (knob.coordinate.times and knob.coordinate.over):
        raise InputError(
            f"knobs.{name}: expected a coordinate relative to {FIRST} or to a knob that is neither relative nor zero"
        )
    if name == FIRST or name in rule.scales or set(knob.rule.scales) != set(rule.scales) or knob.rule.form != "drawn":
        raise InputError(f"knobs.{name}: expected a name of its own, and a drawn law over the rule's scales")


def _check_draws(rule: Rule, draws: Draws) -> None:
    """Check that the columns have one length and match the rule's scales and cells."""
    scales, sizes = len(rule.scales), [len(values) for values in draws.values]
    lengths = (len(draws.slopes), len(draws.wander_sd), len(draws.inert), len(sizes), len(draws.steps_sd) or scales)
    if (
        set(lengths) != {scales}
        or len(draws.bends) != scales * (scales + 1) // 2
        or len(draws.cells) != len(rule.cells)
    ):
        raise InputError("draws: expected a column for each scale, pair of scales and cell of the rule")
    along = (draws.wander, draws.steps) if draws.steps_sd else (draws.wander,)
    if any([len(part) for part in parts] != sizes for parts in along):
        raise InputError("draws: expected a deviation for each measured value of each scale")
    curves = [draws.shape, *(cell.shape for cell in draws.cells)]
    rest = [draws.level, draws.own_sd, draws.height, *draws.slopes, *draws.bends, *draws.wander_sd, *draws.steps_sd]
    rest += [column for cell in draws.cells for column in (cell.off, cell.height)]
    rest += [column for parts in along for part in parts for column in part]
    if {len(column) for column in (*curves, *rest)} != {len(draws.level)}:
        raise InputError(f"draws: expected {len(draws.level)} numbers in each column")
    if min(map(min, curves)) < 0 or max(map(max, curves)) >= len(draws.shapes):
        raise InputError(f"draws: expected indices of the {len(draws.shapes)} shapes")
    if any(min(*shape[1:5], shape[7]) <= 0 for shape in draws.shapes):
        raise InputError("draws.shapes: expected positive factors, powers, bends and scales")
    if any(shape[3] > _STEEPEST for shape in draws.shapes):
        raise InputError(f"draws.shapes: expected powers up to {_STEEPEST}")
    if min(map(min, (draws.own_sd, *draws.wander_sd, *draws.steps_sd))) < 0:
        raise InputError("draws: expected no negative standard deviation")
    heights = [draws.height, *(cell.height for cell in draws.cells)]
    if min(map(min, heights)) < -_HIGHEST or max(map(max, heights)) > _HIGHEST:
        raise InputError(f"draws: expected heights from {-_HIGHEST} to {_HIGHEST}")
