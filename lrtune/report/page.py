"""A run as one page that needs no network: what was found, charts, and where every number came from."""

import contextlib
import html
import importlib.metadata
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrtune.errors import InputError, LrtuneError, MissingExtraError
from lrtune.files import write_whole
from lrtune.records.jsonl import RecordsFile, read_records
from lrtune.records.record import STATUSES, TrialRecord
from lrtune.rule.ask import Rule, load_rule, recommend
from lrtune.study.study import Study
from lrtune.study.toml import load_study

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.report.plots.theme import Figure


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run folder holds.

    Attributes:
        folder: the folder.
        study: as resolved; None where its file is missing or damaged.
        records, bad_lines: of records.jsonl.
        rule: the rule of this run; None where there is none (yet).
        fit: the fit behind it, for its curves.
        why_no_rule: one line.
    """

    folder: Path
    study: Study | None
    records: Sequence[TrialRecord]
    bad_lines: Sequence[tuple[int, str]]
    rule: Rule | None
    fit: "LawFit | None"
    why_no_rule: str = ""


def read_run(folder: Path, fit: "LawFit | None" = None) -> Run:
    """Read a run folder, as much of it as is there.

    Args:
        folder: the run folder.
        fit: the law through its records, where that is known; else it is fitted.

    Raises:
        InputError: there is no such folder, or nothing of a run in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected the folder of a search, but there is none")
    if not any((folder / name).exists() for name in ("records.jsonl", "study.toml", "study.db")):
        raise InputError(f"{folder}: expected the folder of a search, with study.toml and records.jsonl in it")
    read = (
        read_records(folder / "records.jsonl", within=folder)
        if (folder / "records.jsonl").exists()
        else RecordsFile([], [])
    )
    study = None
    if (folder / "study.toml").exists():
        try:
            study = load_study(folder / "study.toml", within=folder)
        except InputError:
            study = None
    why = ""
    if fit is None:
        from lrtune.law.fit import fit_run

        try:
            fit = fit_run(read.records)
        except LrtuneError as error:
            why = str(error)
    rule = None if fit is None else fit.rule
    if (folder / "rule.json").exists():
        rule = load_rule(folder / "rule.json")
    return Run(
        folder=folder,
        study=study,
        records=read.records,
        bad_lines=read.bad_lines,
        rule=rule,
        fit=fit,
        why_no_rule=why,
    )


def write_report(folder: Path, *, images: bool = False, fit: "LawFit | None" = None) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Args:
        folder: the run folder.
        images: also each figure as SVG and PNG, in ``figures/`` beside it.
        fit: see `read_run`.

    Raises:
        InputError: no run there.
        MissingExtraError: Altair or vl-convert is not installed.
    """
    run = read_run(folder, fit)
    figures = _figures(run)
    path = folder / "report.html"
    write_whole(path, page(run, figures))
    if images:
        write_images(figures, folder / "figures")
    return path


def _figures(run: Run) -> "list[Figure]":
    try:
        from lrtune.report.plots import figures
    except ImportError as error:
        raise MissingExtraError("report", "altair", "the report") from error
    return figures(run.records, run.rule, run.fit)


def write_images(figures: "Sequence[Figure]", folder: Path) -> list[Path]:
    """Each figure as SVG and PNG."""
    from lrtune.report.plots import image_spec

    converter = _vl_convert()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for figure in figures:
        spec = image_spec(figure)
        for ending, content in (
            ("svg", converter.vegalite_to_svg(spec)),
            ("png", converter.vegalite_to_png(spec, scale=2.0)),
        ):
            paths.append(folder / f"{figure.name}.{ending}")
            write_whole(paths[-1], content)
    return paths


def _vl_convert() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise MissingExtraError("report", "vl-convert-python", "the report") from error
    return vl_convert


def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; bundling takes seconds, so it is kept in the user's cache."""
    converter = _vl_convert()
    kept = None
    with contextlib.suppress(ImportError):
        import platformdirs

        version = importlib.metadata.version("vl-convert-python")
        kept = platformdirs.user_cache_path("lrtune") / f"vega-{version}.js"
    if kept is not None and kept.is_file():
        return kept.read_text(encoding="utf-8")
    script = str(converter.javascript_bundle()).replace("</script", "<\\/script")
    if kept is not None:
        with contextlib.suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, script)
    return script


def page(run: Run, figures: "Sequence[Figure]") -> str:
    """The whole page."""
    name = run.study.name if run.study else run.folder.name
    template = resources.files("lrtune.report").joinpath("report-template.html").read_text(encoding="utf-8")
    specs = {f"{figure.name}-{n}": panel for figure in figures for n, panel in enumerate(_specs(figure))}
    parts = {
        "TITLE": html.escape(f"{name}: learning rate by hidden size"),
        "NAME": html.escape(name),
        "FINDINGS": "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in findings(run)),
        "ADVICE": _advice_table(run.rule),
        "FIGURES": "\n".join(_figure_html(figure) for figure in figures) or "<p>There is nothing to draw yet.</p>",
        "PROVENANCE": _provenance(run),
        "SPECS": _script_json(specs),
        "LIBRARY": _library() if figures else "",
    }
    # In one pass: what a user wrote may look like a placeholder, too.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place.group(1)], template)


def findings(run: Run) -> list[str]:
    """Three sentences: what was found, how sure it is, what to do next."""
    ended = _counts(run.records)
    if run.rule is None:
        return [
            f"No rule was found: {run.why_no_rule}.",
            f"{len(run.records)} runs have ended ({ended})." if run.records else "No run has ended.",
            _what_to_mend(run.records),
        ]
    rule = run.rule
    sizes = sorted({cell.scales["hidden_size"] for cell in rule.cells if "hidden_size" in cell.scales})
    if not sizes or set(rule.scales) != {"hidden_size"}:
        return [
            f"A {rule.form} law over {', '.join(rule.scales)} was fitted to {len(run.records)} runs ({ended}).",
            f"{_sentence(rule.reason)}",
            "Ask it with lrtune lr, giving every scale.",
        ]
    first, last, beyond = (recommend(size, rule=rule) for size in (sizes[0], sizes[-1], sizes[-1] * 2))
    slope = "" if len(sizes) < 2 else f", from {first.learning_rate:.3g} at {sizes[0]:g}"
    sure = (
        f"At {sizes[-1] * 2:g} the rule says {beyond.learning_rate:.3g} with a {beyond.level:.0%} interval of "
        f"{beyond.low:.3g} to {beyond.high:.3g}"
    )
    if beyond.supported:
        todo = f"Train with lrtune lr SIZE; lrtune verify {sizes[-1]:g} tries the answer on fresh seeds."
    else:
        todo = f"Measure a size near {sizes[-1] * 2:g} before you rely on the law there: add it to --widths."
    return [
        f"The best peak learning rate at hidden size {sizes[-1]:g} is {last.learning_rate:.3g} "
        f"({last.low:.3g} to {last.high:.3g}){slope}; {len(run.records)} runs were trained ({ended}).",
        f"{_sentence(rule.reason)} {sure}{'' if beyond.supported else ', which the data do not support'}.",
        todo,
    ]


def _what_to_mend(records: Sequence[TrialRecord]) -> str:
    """What to do next where there is no rule."""
    again = "run the search again in the same folder: it goes on where it stopped."
    if not records or any(record.status == "finished" for record in records):
        return _sentence(again)
    last = records[-1]
    return (
        f"The last run {last.status}{f' ({last.reason})' * bool(last.reason)}: see what lrtune check-trainer "
        f"says of the trainer, mend it or search lower rates, and {again}"
    )


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _counts(records: Sequence[TrialRecord]) -> str:
    counts = {status: sum(record.status == status for record in records) for status in STATUSES}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none ended"


def _advice_table(rule: Rule | None) -> str:
    if rule is None or set(rule.scales) != {"hidden_size"}:
        return ""
    sizes = sorted({cell.scales["hidden_size"] for cell in rule.cells})
    safe_range = f"within {rule.tolerance * 100:g}% of loss"
    head = ("hidden size", "learning rate", f"{rule.level:.0%} interval", safe_range, "basis")
    rows = []
    for size in [*sizes, sizes[-1] * 2, sizes[-1] * 4]:
        answer = recommend(size, rule=rule)
        safe = f"{answer.safe_low:.2g} … {answer.safe_high:.2g}" if answer.safe_low and answer.safe_high else "–"
        basis = answer.basis + ("" if answer.supported else ", not supported by the data")
        cells = (f"{size:g}", f"{answer.learning_rate:.3g}", f"{answer.low:.2g} … {answer.high:.2g}", safe, basis)
        named = zip(head, cells, strict=True)
        rows.append(
            "<tr>" + "".join(f'<td data-is="{html.escape(n)}">{html.escape(cell)}</td>' for n, cell in named) + "</tr>"
        )
    titles = "".join(f"<th scope=col>{html.escape(title)}</th>" for title in head)
    return f"<div class=wide><table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


_GLYPHS = {"finished": "●", "beaten": "■", "collapsed": "✚", "diverged": "▲", "failed": "◆"}


def _figure_html(figure: "Figure") -> str:
    says = html.escape(figure.says)
    panels = "".join(
        f'<div class=panel id="{figure.name}-{number}" role=img aria-label="{says}"></div>'
        for number in range(len(figure.panels))
    )
    several = len(figure.panels) > 1
    legend = "".join(
        f'<li><span style="color:var(--{verdict})">{_GLYPHS[verdict]}</span> {verdict}</li>'
        for verdict in figure.verdicts
    )
    return (
        f'<figure id="{figure.name}"><h2>{html.escape(figure.title)}</h2>'
        f'<div class="panels{" several" * several}" style="--minimum:{figure.minimum}px">{panels}</div>'
        f"<ul class=legend>{legend * several}</ul><figcaption>{says}</figcaption></figure>"
    )


def _provenance(run: Run) -> str:
    rows: list[tuple[str, str]] = [("run folder", str(run.folder))]
    rows += [("repeat with", f"lrtune search {run.folder / 'study.toml'} --out {run.folder}-again")]
    if run.study is not None:
        trainer = "a command line" if run.study.command else run.study.trainer
        rows += [("trainer", trainer), ("steps of a run", str(run.study.steps)), ("seed", str(run.study.seed))]
    if run.rule is not None:
        rows += [(name, _shown(value)) for name, value in run.rule.conditions.items()]
        rows += [(f"horizon, {name}", f"{value:,.0f}") for name, value in run.rule.horizon.items()]
        rows += [(name.replace("_", " "), f"{value:g}") for name, value in run.rule.advice.items()]
        rows += [(name, value) for name, value in run.rule.provenance.items()]
    rows += [("fingerprint", ", ".join(sorted({r.fingerprint for r in run.records if r.fingerprint})) or "–")]
    rows += [("devices", ", ".join(sorted({r.device for r in run.records})) or "–")]
    rows += [("training time", f"{sum(r.seconds for r in run.records):,.0f} s over all runs")]
    rows += [(f"line {number} of records.jsonl", f"left out: {why}") for number, why in run.bad_lines[:10]]
    return "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in rows)


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return " … ".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _specs(figure: "Figure") -> list[dict[str, Any]]:
    from lrtune.report.plots import vega_lite

    return [vega_lite(panel) for panel in figure.panels]


def _script_json(value: object) -> str:
    """JSON that can stand in a script element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
