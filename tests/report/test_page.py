"""The report: one page, offline, whatever the run holds; its charts drawn in a real browser."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from builders import finished_run
from reports import of_a_known_model, records, specs, unpacked, write_run

from lrtune.errors import InputError
from lrtune.law.fit import LawFit, fit_law
from lrtune.records.record import STATUSES, TrialRecord
from lrtune.report.findings import findings
from lrtune.report.outlook import verify_words
from lrtune.report.page import write_images, write_report
from lrtune.report.plots import figures, vega_lite
from lrtune.report.plots.theme import SHAPES, trial_row
from lrtune.report.run import load_run
from lrtune.search.ending import Ending, StopReason
from lrtune.study.study import Budget, Study
from lrtune.study.toml import to_toml


def test_the_page_carries_its_figures_and_its_own_library(run: Path) -> None:
    page = (run / "report.html").read_text()
    names = {name.rsplit("-", 1)[0] for name in specs(page)}
    assert names == {"loss", "law", "courses", "collapse", "budget"}
    assert len([name for name in specs(page) if name.startswith("loss-")]) == 3
    assert "vegaEmbed" in unpacked(page)[1] and "<script src" not in page and '<link rel="stylesheet' not in page
    assert len(page) < 600_000


def test_names_are_escaped(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{LIBRARY}}" in page
    assert "<script>alert" not in page and "<b>for</b>" not in page


@pytest.fixture(scope="module")
def fit() -> LawFit:
    return fit_law(records())


def test_each_figure_has_a_description(fit: LawFit) -> None:
    found = records()
    for figure in figures(found, fit.rule, None):
        assert len(figure.says) > 60, figure.name
    loss = figures(found, None, None)[0].says
    assert "Hidden 32: lowest loss" in loss and "at 0.008" in loss


def test_runs_from_before_a_scale_was_swept_have_a_panel_of_their_own() -> None:
    """The rule, over the scale, has no answer and no curve for them."""
    older = [replace(record, hidden_size=48) for record in records()[:6]]
    swept = [replace(record, scales={"depth": depth}) for depth in (2.0, 4.0) for record in records()]
    found = fit_law(swept, scales=("hidden_size", "depth"))
    loss = figures([*older, *swept], found.rule, found)[0]
    titles = [panel.to_dict()["title"] for panel in loss.panels]
    assert titles[:3] == ["hidden 32, depth 2", "hidden 32, depth 4", "hidden 48"]
    assert len(loss.panels[2].to_dict()["layer"]) == 1, "its runs alone"


def test_every_chart_is_one_by_the_grammar(fit: LawFit) -> None:
    """The report writes them as they are; here they are held against Vega-Lite's schema."""
    panels = [panel for figure in figures(records(), fit.rule, fit) for panel in figure.panels]
    assert len(panels) > 5
    for panel in panels:
        assert panel.to_dict(validate=True) == vega_lite(panel)


@pytest.mark.slow
def test_images_are_written_as_svg_and_png(run: Path) -> None:
    write_report(run, images=True)
    for name in ("loss", "law", "courses", "collapse", "budget"):
        assert (run / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert (run / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_lead_gives_the_rate_the_law_its_certainty_and_a_command(run: Path) -> None:
    found = findings(load_run(run))
    (use,) = found.uses
    assert float(use.rate) == pytest.approx(0.3 / 128, rel=0.3)
    assert use.place == "hidden size 128" and "90% interval; measured" in use.certainty and use.supported
    assert found.formulas[0].startswith("lr ≈ ") and "(hidden_size/32)^" in found.formulas[0]
    assert found.sentences[0].startswith("21 runs were trained (") and "diverged" in found.sentences[0]
    assert found.command.startswith("lrtune verify 128 --study ") and found.command.endswith(f"study.toml --rule {run}")
    page = (run / "report.html").read_text()
    assert f"Use <strong>{use.rate}</strong> at hidden size 128" in page and "<button" in page


def test_a_loss_that_rises_in_every_run_leads_the_page(tmp_path: Path) -> None:
    rising = [replace(record, curve={"step": [0, record.steps], "loss": [1.0, 3.0]}) for record in swept()]
    run = write_run(tmp_path / "run", rising)
    page = write_report(run).read_text()
    assert "Warning: the loss rises in 45 of 45 runs and falls in none" in page.partition("Use <strong>")[0]
    found = findings(load_run(run))
    assert found.advice == "Report a loss, or pass --maximize if more is better."
    assert found.command.startswith("lrtune check-trainer ")
    assert not findings(load_run(write_run(tmp_path / "other", swept()))).warning


def swept(noise: float = 0.0) -> list[TrialRecord]:
    """Runs over hidden size and steps, without collapses and without diversity."""
    made: list[TrialRecord] = []
    for width in (32, 64, 128):
        for steps in (40, 80, 160):
            for octave in (-2, -1, 0, 1, 2):
                rate = 0.3 / width * (80 / steps) ** 0.2 * 2.0**octave
                made.append(
                    finished_run(
                        width,
                        rate,
                        3 + 0.02 * octave**2 + noise * (-1) ** len(made),
                        trial=len(made),
                        steps=steps,
                        scales={"steps": float(steps)},
                        curve={"step": [0, steps], "loss": [5.0, 3.0]},
                    )
                )
    return made


def test_runs_whose_tokens_differ_by_rounding_share_a_panel(tmp_path: Path) -> None:
    counted = [
        replace(run, scales={"tokens": run.scales["steps"] * 1000 + run.trial % 5 * 9.0})
        for run in swept()
        if run.steps > 40
    ]
    found = load_run(write_run(tmp_path / "run", counted))
    assert found.rule is not None and len(found.rule.cells) == 6
    assert {run.scale("tokens") for run in found.records} == {cell.scales["tokens"] for cell in found.rule.cells}


@pytest.mark.parametrize("ending", [Ending.NO_SIGNAL, Ending.NO_OPTIMUM])
def test_the_lead_of_a_search_that_found_nothing_asks_to_check_the_trainer(tmp_path: Path, ending: Ending) -> None:
    folder = write_run(tmp_path / "run", swept())
    (folder / "study.toml").write_text(to_toml(Study(name="t", trainer="a:b", scales={"steps": (40, 80, 160)})))
    (folder / "ending.json").write_text(StopReason(ending, "nothing found").to_json())
    found = findings(load_run(folder))
    assert found.advice.lower() == f"{ending.value.lower()}." and found.command == "lrtune check-trainer a:b"


def test_the_lead_gives_the_targets_first_and_then_how_to_measure_nearer_to_them(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", swept(noise=0.01))
    target = {"hidden_size": 4096.0, "steps": 160.0}
    study = Study(name="t", trainer="a:b", widths=(32, 64, 128), scales={"steps": (40, 80, 160)}, targets=(target,))
    study = replace(study, budget=Budget(seconds=600))
    (folder / "study.toml").write_text(to_toml(study))
    (folder / "ending.json").write_text(StopReason(Ending.SECONDS_SPENT, "the budget of 600 s is spent").to_json())
    found = findings(load_run(folder))
    assert [(use.place, use.supported) for use in found.uses] == [("hidden size 4,096, steps 160", False)]
    assert "Ended: the budget of 600 s is spent." in found.sentences
    assert found.advice == "Measure hidden size 256 too: the rate there rests on extrapolation."
    assert found.command.endswith("run --widths 32,64,128,256 --budget 30m")  # as the terminal says it
    page = write_report(folder).read_text()
    assert '<p class="use doubtful">Use <strong>' in page
    assert '<td data-is="hidden size">4096</td><td data-is="steps">160</td>' in page
    # Each place has a panel of its own, and each scale a chart of the law.
    names = list(specs(page))
    assert len([name for name in names if name.startswith("loss-")]) == 9
    assert [name for name in names if name.startswith("law-")] == ["law-0", "law-1"]


@pytest.mark.parametrize("targets", [(), ({"hidden_size": 160.0, "steps": 160.0},)])
def test_the_lead_asks_for_a_whole_run_where_all_above_the_best_rate_were_ended_early(
    tmp_path: Path, targets: tuple[dict[str, float], ...]
) -> None:
    """As the terminal and `lrtune lr` do; the search that resumes makes the run, at a trained size."""
    large = {"hidden_size": 128.0, "steps": 160.0}
    best = 0.3 / 128 * 0.5**0.2
    found = [
        replace(run, status="beaten", loss=None) if run.place == large and run.learning_rate > best * 1.01 else run
        for run in swept()
    ]
    folder = write_run(tmp_path / "run", found)
    study = Study(name="t", trainer="a:b", widths=(32, 64, 128), scales={"steps": (40, 80, 160)}, targets=targets)
    (folder / "study.toml").write_text(to_toml(study))
    (folder / "ending.json").write_text(StopReason(Ending.TRIALS_SPENT, "so").to_json())
    where = "" if targets else " (hidden 128, steps 160)"
    shown = findings(load_run(folder))
    assert shown.advice == f"Train one run above the best rate to its end, as a resumed search does{where}."
    assert shown.command.partition(" --trials ")[0] == f"lrtune search {folder}/study.toml --out {folder}"


def test_an_image_of_several_panels_spreads_the_points_over_each(tmp_path: Path) -> None:
    found = swept()
    rule = fit_law(found, scales=("hidden_size", "steps")).rule
    write_images([figure for figure in figures(found, rule, None) if figure.name == "law"], tmp_path)
    places = re.findall(r'"point" transform="translate\(([-.0-9]+),', (tmp_path / "law.svg").read_text())
    first, second = [float(place) for place in places[:3]], [float(place) for place in places[3:]]
    assert min(first) >= 0 and max(first) - min(first) > 60 and max(second) - min(second) > 60


def test_only_charts_with_data_are_drawn() -> None:
    found = swept()
    drawn = {figure.name: figure for figure in figures(found, fit_law(found).rule, None)}
    assert set(drawn) == {"loss", "law", "courses"}  # nothing collapsed, nothing was saved
    assert "diversity" not in drawn["courses"].says and "published" not in drawn["law"].says
    one = [record for record in found if record.hidden_size == 64 and record.steps == 80]
    assert {figure.name for figure in figures(one, fit_law(one).rule, None)} == {"loss", "courses"}


def test_a_measure_is_drawn_as_it_was_reported_with_the_best_at_the_top() -> None:
    """A search that maximises keeps minus the measure as its loss."""
    found = [replace(record, maximize=True, loss=-0.9 + (record.loss or 0) / 100) for record in records()]
    drawn = {figure.name: figure for figure in figures(found, fit_law(found).rule, None)}
    spec = drawn["loss"].panels[0].to_dict()
    shown = next(layer for layer in spec["layer"] if layer["mark"].get("type") == "point")["encoding"]["y"]
    assert shown["title"] == "measure" and shown["scale"]["reverse"] and "-datum.value" in shown["axis"]["labelExpr"]
    titles = [line["title"] for layer in spec["layer"] for line in layer["encoding"].get("tooltip", ())]
    assert "measure" in titles and "loss" not in titles and drawn["loss"].title == "Measure against learning rate"
    assert "best measure 0.86" in drawn["loss"].says and "The measure and diversity" in drawn["courses"].says


def test_a_run_over_several_scales_names_them_in_its_tooltips_and_commands() -> None:
    found = [replace(record, scales={**record.scales, "batch": b}) for record in swept() for b in (8.0, 16.0)]
    rule = fit_law(found, scales=("hidden_size", "steps", "batch")).rule
    words = " ".join(verify_words(rule, 64, Path("runs/x/study.toml")))
    assert words == "verify 64 --study runs/x/study.toml --scale batch=16"
    places = {trial_row(record)["place"] for record in found}
    assert len(places) == len({tuple(record.place.items()) for record in found}) == 18


def test_many_places_are_drawn_at_the_largest_other_scales() -> None:
    found = [replace(record, scales={**record.scales, "batch": b}) for record in swept() for b in (8.0, 16.0)]
    fit = fit_law(found, scales=("hidden_size", "steps", "batch"))
    loss = figures(found, fit.rule, fit)[0]
    assert len(loss.panels) == 3 and "3 of 18 places are drawn" in loss.says


@pytest.mark.parametrize(("model", "others"), [("bitnet-b1.58", {"TriLM", "BitNet v2"}), ("my GPT", {"GPT-3"})])
def test_published_rules_are_those_of_the_models_family(model: str, others: set[str]) -> None:
    found = [replace(r, facts=replace(r.facts, conditions={"model": model})) for r in of_a_known_model()]
    [law] = [figure for figure in figures(found, fit_law(found).rule, None) if figure.name == "law"]
    named = set(re.findall(r'"name": "([^"]+)", "where"', json.dumps(law.panels[0].to_dict())))
    assert others <= named
    assert named.isdisjoint({"GPT-3"} if "bitnet" in model else {"BitNet", "TriLM"})


def test_a_run_without_finished_trials_still_has_a_report(tmp_path: Path) -> None:
    failed = finished_run(32, 0.1, None, status="failed", why="Traceback\nValueError: no", steps_done=0)
    folder = write_run(tmp_path / "run", [failed], rule=False)
    page = write_report(folder).read_text()
    assert "No rule was found" in page and "1 failed" in page
    empty = write_run(tmp_path / "empty", [], rule=False)
    assert "no run has ended yet" in write_report(empty).read_text()


def test_a_damaged_line_is_named_and_the_rest_reported(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", records())
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"trial": 99, "hid')
    page = write_report(folder).read_text()
    assert "line 22 of records.jsonl" in page and "21 runs were trained" in page


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the folder of a search"):
        write_report(tmp_path)


def test_every_verdict_has_its_own_shape() -> None:
    assert len({SHAPES[status] for status in STATUSES}) == len(STATUSES)


def test_a_curve_far_above_its_panel_is_drawn_just_above_it() -> None:
    """A renderer that meets coordinates of millions draws nothing at all."""
    found = records()
    far = replace(found[0], trial=900, learning_rate=1e-6, status="beaten", loss=None, why="beaten")
    fit = fit_law([*found, far])
    [figure] = [one for one in figures([*found, far], fit.rule, fit) if one.name == "loss"]
    spec = figure.panels[0].to_dict()
    [line] = [layer for layer in spec["layer"] if layer["mark"]["type"] == "line"]
    bottom, top = line["encoding"]["y"]["scale"]["domain"]
    heights = [row["shown"] for row in spec["datasets"][line["data"]["name"]]]
    assert top < max(heights) < top + 2 * (top - bottom)
