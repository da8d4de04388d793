"""Fits the rule from the recorded sweeps without the held-out sizes, and holds it and its rivals against them.

    python -m studies.reference.check [-o rule.json]

Kept out of the fit: hidden 192 (between fitted sizes), 1,024 (twice the largest), and 256 at four times the tokens.
Prints one Markdown table for the held-out cells, one for how the optimum moves with the horizon, and one for each
search (see `study.toml`): the rule that lrtune found by itself, held against the sweeps.
"""

import argparse
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from lrtune.compare.check import check_rule
from lrtune.law.fit import LawFit, fit_law
from lrtune.records.jsonl import read_records
from lrtune.records.record import TrialRecord
from lrtune.rule import load_rule, recommend
from lrtune.rule.data import Rule
from lrtune.rule.file import save_rule
from lrtune.rule.opinions import published_rates

STUDIES = Path(__file__).parents[1]
ARM = "adamw-two-stage"
HELD_OUT = {(192, 800), (1024, 800), (256, 3200)}
SCALES = ("hidden_size", "tokens")


def sweeps(*arms: str) -> list[TrialRecord]:
    """The recorded runs of these arms, from studies/pruning and from here."""
    paths = (STUDIES / "pruning" / "records.jsonl", STUDIES / "reference" / "held-out.jsonl")
    return [record for path in paths for record in read_records(path).records if record.arm in arms]


def split(records: Iterable[TrialRecord]) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """Runs to fit, and runs at the sizes and horizons that are held out."""
    fitted: list[TrialRecord] = []
    held: list[TrialRecord] = []
    for record in records:
        (held if (record.hidden_size, record.steps) in HELD_OUT else fitted).append(record)
    return fitted, held


def rivals(rule: Rule, hidden_size: int, tokens: float, depth: int) -> dict[str, float]:
    """Peak rates that one would have used instead: published rules, and 1/width from the smallest width's best."""
    smallest = rule.scales["hidden_size"].low
    base = recommend(smallest, rule=rule, tokens=tokens).learning_rate
    found = {"1/width from the smallest": base * smallest / hidden_size}
    for opinion in published_rates(hidden_size, tokens=tokens, depth=depth).opinions:
        if opinion.learning_rate is not None:
            found[opinion.name] = opinion.learning_rate
    return found


def held_out_table(rule: Rule, held: Sequence[TrialRecord]) -> list[str]:
    """One row a held-out cell and candidate: rate, distance in octaves, relative loss above the cell's best."""
    own = fit_law(held, scales=SCALES)
    rows = ["| hidden | tokens | candidate | peak LR | octaves off | regret |", "|---|---|---|---|---|---|"]
    for row in check_rule(rule, held).rows:
        cell = next(cell for cell in own.cells if dict(cell.scales) == dict(row.scales))
        best = cell.loss_at(cell.learning_rate)
        hidden_size, tokens = int(row.scales["hidden_size"]), row.scales["tokens"]
        where = f"| {hidden_size} | {tokens:.3g} "
        rows.append(f"{where}| measured ({row.measured_low:.3g} … {row.measured_high:.3g}) | {row.measured:.3g} | | |")
        answer = f"this rule ({row.low:.3g} … {row.high:.3g}{'' if row.supported else ', not supported'})"
        candidates = {answer: row.predicted, **rivals(rule, hidden_size, tokens, depth=4)}
        for name, rate in candidates.items():
            regret = max(0.0, cell.loss_at(rate) / best - 1)
            outside = min(max(rate, sampled_low(held, row.scales)), sampled_high(held, row.scales)) != rate
            text = "outside the sweep" if outside else f"{regret:.2%}"
            rows.append(f"{where}| {name} | {rate:.3g} | {math.log2(rate / row.measured):+.2f} | {text} |")
    return rows


def _rates(held: Sequence[TrialRecord], scales: dict[str, float]) -> list[float]:
    return [r.learning_rate for r in held if all(r.scale(name) == value for name, value in scales.items())]


def sampled_low(held: Sequence[TrialRecord], scales: dict[str, float]) -> float:
    """The lowest rate of a cell's sweep."""
    return min(_rates(held, scales))


def sampled_high(held: Sequence[TrialRecord], scales: dict[str, float]) -> float:
    """The highest rate of a cell's sweep."""
    return max(_rates(held, scales))


def optima_table(fit: LawFit) -> list[str]:
    """Each measured optimum with its interval."""
    rows = ["| hidden | tokens | best LR | 90% interval | runs |", "|---|---|---|---|---|"]
    return rows + [
        f"| {cell.scales['hidden_size']:g} | {cell.scales.get('tokens', fit.rule.horizon['tokens']):.3g} "
        f"| {cell.learning_rate:.3g} "
        f"| {cell.low:.3g} … {cell.high:.3g} | {cell.trials} |"
        for cell in fit.cells
    ]


def search_table(found: Sequence[TrialRecord], dense: Sequence[TrialRecord]) -> list[str]:
    """What one search found by itself, held against the sweeps at its horizon, larger sizes included."""
    fit = fit_law(found)
    truth = [record for record in dense if record.steps == found[0].steps]
    sizes = {record.hidden_size for record in found}
    share = _compute(found) / _compute([record for record in truth if record.hidden_size in sizes])
    rows = [
        f"{len(found)} runs of {found[0].steps} steps, {share:.0%} of the compute of the sweeps there: {fit.reason}\n",
        "| hidden | found | 90% interval | basis | measured | octaves off | regret |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in check_rule(fit.rule, truth).rows:
        hidden_size = row.scales["hidden_size"]
        basis = recommend(hidden_size, rule=fit.rule).basis + ("" if row.supported else ", not supported")
        rows.append(
            f"| {hidden_size:g} | {row.predicted:.3g} | {row.low:.3g} … {row.high:.3g} | {basis} | {row.measured:.3g} "
            f"| {math.log2(row.predicted / row.measured):+.2f} | {_percent(row.regret)} |"
        )
    return rows


def _compute(records: Iterable[TrialRecord]) -> float:
    """Tokens trained on × parameters."""
    return sum(r.steps_done * (r.facts.tokens_per_step or 0) * (r.facts.parameters or 0) for r in records)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="where to write the rule")
    flags = parser.parse_args()
    records = sweeps(ARM, "width", "horizon")
    searches = {path.name: read_records(path).records for path in sorted(STUDIES.glob("reference/search-*.jsonl"))}
    fitted, held = split([*records, *itertools.chain(*searches.values())])
    fit = fit_law(fitted, scales=SCALES, provenance={"study": "studies/reference: two searches, and dense sweeps"})
    if flags.out:
        save_rule(fit.rule, flags.out)
        load_rule(flags.out)
    print(f"fitted to {len(fitted)} runs: {fit.reason}\n")
    print(*held_out_table(fit.rule, held), sep="\n", end="\n\n")
    print(*optima_table(fit_law(records, scales=SCALES)), sep="\n", end="\n\n")
    print("prose corpus:", *optima_table(fit_law(sweeps("prose"), scales=SCALES)), sep="\n", end="\n\n")
    for name, found in searches.items():
        print(f"{name}:", *search_table(found, records), sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
