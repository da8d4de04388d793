"""The report page of a run: findings, charts and the origin of every number; it needs no network."""

import base64
import html
import json
import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrtune.errors import InputError, plain
from lrtune.extras import import_extra
from lrtune.files import write_whole
from lrtune.report.advice import sentence, shown
from lrtune.report.findings import Findings, findings, places
from lrtune.report.library import vega_script, vl_convert
from lrtune.report.run import Run, load_run
from lrtune.rule import Rule
from lrtune.rule.display import advice_head, advice_rows

if TYPE_CHECKING:
    from lrtune.law.fit import LawFit
    from lrtune.report.plots.theme import Figure

_GLYPHS = {"finished": "●", "beaten": "■", "collapsed": "✚", "diverged": "▲", "failed": "◆"}


def write_report(
    folder: Path, *, output: Path | None = None, images: bool = False, fit: "LawFit | None" = None
) -> Path:
    """Write the report of a run and return its path.

    Args:
        folder: the run folder.
        output: the file; ``report.html`` in the run folder if None.
        images: also each figure as SVG and PNG, in ``figures/`` next to it.
        fit: see `load_run`.

    Raises:
        InputError: there is no run in the folder.
        MissingExtraError: Altair or vl-convert is not installed.
        OSError: a file cannot be written; it is named.
    """
    run = load_run(folder, fit)
    import_extra("altair", extra="report", purpose="the report")
    from lrtune.report.plots import figures

    drawn = figures(run.records, run.rule, run.fit)
    path = output or folder / "report.html"
    write_whole(path, page(run, drawn))
    if images:
        write_images(drawn, path.with_name("figures"))
    return path


def write_images(figures: "Sequence[Figure]", folder: Path) -> list[Path]:
    """Each figure as SVG and PNG."""
    from lrtune.report.plots import whole_chart

    if folder.is_symlink():
        raise InputError(f"{folder}: cannot write figures there: it is a link")
    converter = vl_convert()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for figure in figures:
        spec = {**whole_chart(figure).to_dict(), "description": figure.says}
        for ending, content in (
            ("svg", converter.vegalite_to_svg(spec)),
            ("png", converter.vegalite_to_png(spec, scale=2.0)),
        ):
            paths.append(folder / f"{figure.name}.{ending}")
            write_whole(paths[-1], content)
    return paths


def page(run: Run, figures: "Sequence[Figure]") -> str:
    """The whole page."""
    from lrtune.report.plots import vega_lite

    template = resources.files("lrtune.report").joinpath("report-template.html").read_text(encoding="utf-8")
    specs = {f"{figure.name}-{n}": vega_lite(chart) for figure in figures for n, chart in enumerate(figure.panels)}
    parts = {
        "TITLE": _escaped(f"{run.name}: learning rate by hidden size"),
        "NAME": _escaped(run.name),
        "LEAD": _lead_html(findings(run)),
        "ADVICE": _advice_table(run.rule, places(run)),
        "FIGURES": "\n".join(_figure_html(figure) for figure in figures) or "<p>There is nothing to draw yet.</p>",
        "PROVENANCE": "".join(
            f"<dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd>" for name, value in _provenance(run)
        ),
        "PACKED": _packed(specs, vega_script()) if figures else "",
    }
    # In one pass, since a user's text may look like a placeholder.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place.group(1)], template)


def _escaped(text: str) -> str:
    return html.escape(plain(text))


def _lead_html(found: Findings) -> str:
    """The box at the top: the rates to use, the law, its certainty, and the next command with a button to copy it."""
    uses = [
        f'<p class="use{"" if use.supported else " doubtful"}">Use <strong>{_escaped(use.rate)}</strong> at '
        f"{_escaped(use.place)} <small>{_escaped(use.certainty)}</small>"
        + "".join(f"<small>{_escaped(name)}: {_escaped(text)}</small>" for name, text in use.knobs)
        + "</p>"
        for use in found.uses
    ]
    warning = [f"<p class=doubtful><strong>{_escaped(sentence(found.warning))}</strong></p>"] if found.warning else []
    formulas = [f"<p><code class=formula>{_escaped(formula)}</code></p>" for formula in found.formulas]
    sentences = f"<p>{_escaped(' '.join(found.sentences))}</p>"
    command = (
        f"<span class=command><code>{_escaped(found.command)}</code><button type=button>Copy</button></span>"
        if found.command
        else ""
    )
    advice = f"<p class=next><b>Next:</b> {_escaped(found.advice)}{command}</p>"
    return "\n".join([*warning, *uses, *formulas, sentences, advice])


def _advice_table(rule: Rule | None, targets: Sequence[Mapping[str, float]]) -> str:
    rows = advice_rows(rule, targets) if rule is not None else []
    if rule is None or not rows:
        return ""
    head = [html.escape(title) for title in advice_head(rule)]
    cells = [
        "".join(f'<td data-is="{title}">{html.escape(cell)}</td>' for title, cell in zip(head, row.cells, strict=True))
        for row in rows
    ]
    titles = "".join(f"<th scope=col>{title}</th>" for title in head)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<div class=wide><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"


def _figure_html(figure: "Figure") -> str:
    says = _escaped(figure.says)
    panels = "".join(
        f'<div class=panel id="{figure.name}-{number}" role=img aria-label="{says}"></div>'
        for number in range(len(figure.panels))
    )
    kind, legend = "panels", ""
    if len(figure.panels) > 1:  # they share the legend below them
        kind = "panels several"
        legend = "".join(
            f'<li><span style="color:var(--{verdict})">{_GLYPHS[verdict]}</span> {verdict}</li>'
            for verdict in figure.verdicts
        )
    return (
        f'<figure id="{figure.name}"><h2>{html.escape(figure.title)}</h2>'
        f'<div class="{kind}" style="--minimum:{figure.minimum}px">{panels}</div>'
        f"<ul class=legend>{legend}</ul><figcaption>{says}</figcaption></figure>"
    )


def _provenance(run: Run) -> list[tuple[str, str]]:
    """Names and values of all inputs of the result."""
    again = ["lrtune", "search", str(run.folder / "study.toml"), "--out", f"{run.folder}-again"]
    rows = [("run folder", str(run.folder)), ("repeat with", shlex.join(again))]
    if run.study is not None:
        trainer = "a command line" if run.study.command else run.study.trainer
        steps = ", ".join(f"{value:g}" for value in run.study.scales.get("steps", (run.study.steps,)))
        rows += [("trainer", trainer), ("steps of a run", steps), ("seed", str(run.study.seed))]
    if run.rule is not None:
        conditions = {name: value for name, value in run.rule.conditions.items() if name != "data_fingerprint"}
        rows += [(name, shown(value)) for name, value in conditions.items()]
        rows += [(f"horizon, {name}", f"{value:,.0f}") for name, value in run.rule.horizon.items()]
        rows += [(name.replace("_", " "), f"{value:g}") for name, value in run.rule.advice.items()]
        rows += [(name, value) for name, value in run.rule.provenance.items() if name != "fingerprint"]
    rows += [("fingerprint", ", ".join(sorted({r.fingerprint for r in run.records if r.fingerprint})) or "–")]
    rows += [("devices", ", ".join(sorted({r.device for r in run.records})) or "–")]
    rows += [("training time", f"{sum(r.seconds for r in run.records):,.0f} s over all runs")]
    rows += [(f"line {number} of records.jsonl", f"left out: {why}") for number, why in run.bad_lines[:10]]
    return rows


def _packed(specs: Mapping[str, Any], library: str) -> str:
    """The charts and the library that draws them, deflated: a third of their size. Base64 is safe in any element."""
    parts = (json.dumps(specs, ensure_ascii=True, allow_nan=False), library)
    return json.dumps([base64.b64encode(zlib.compress(part.encode(), 9)).decode() for part in parts])
