"""The Python API: every public name is documented, its examples run, and a function object can be searched."""

import ast
import doctest
import importlib
import inspect
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from builders import power_rule

import lrtune
from lrtune.errors import InputError
from lrtune.search.options import SearchResult

ROOT = Path(__file__).resolve().parents[1]
# What an own training code calls; the others have an example in their docstring.
EXAMPLES = ("get_learning_rate", "recommend", "transfer_learning_rate", "fit", "run_search", "plot", "load_run")


def public(name: str) -> object:
    """A public name, unless the library that it needs is not installed."""
    if name == "TrialCallback":
        pytest.importorskip("transformers", reason="transformers is not installed")
    return getattr(lrtune, name)


@pytest.mark.parametrize("name", lrtune.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    found = public(name)
    assert inspect.getdoc(found), name
    if inspect.isfunction(found):
        assert all(parameter.annotation is not inspect.Parameter.empty for parameter in _parameters(found)), name


def _parameters(function: object) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())  # type: ignore[arg-type]


def test_editors_see_every_public_name() -> None:
    """The imports for type checkers and the names that are imported when used are the same."""
    tree = ast.parse((ROOT / "lrtune" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == lrtune._HOMES


def test_no_public_name_is_a_package() -> None:
    """Such a function disappears as soon as something imports the package."""
    modules = {path.stem if path.is_file() else path.name for path in (ROOT / "lrtune").iterdir()}
    assert modules & set(lrtune.__all__) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "plot":
        pytest.importorskip("altair", reason="Altair is not installed")
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(public(name), name)
    assert example.examples, f"{name} has no example"
    found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(example)
    assert found.failed == 0


SETTINGS: dict[str, Any] = {
    "widths": (16, 32, 64),
    "lr_min": 1e-4,
    "lr_max": 1e-2,
    "steps": 20,
    "report_every": 10,
    "trials": 9,
}


def descend(trial: lrtune.Trial) -> None:
    """A trainer that workers can import from this module."""
    weight = 4.0
    for step in range(trial.steps + 1):
        if step % trial.report_every == 0 and not trial.report(step, loss=1 + weight**2):
            return
        weight -= trial.learning_rate * trial.hidden_size * weight


def nested() -> Any:
    """A trainer that they cannot."""
    return lambda trial: descend(trial)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["", "local"])
def test_a_function_that_cannot_be_imported_is_searched_and_resumed(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, or by cloudpickle in others."""
    if engine:
        pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"engine": engine, "workers": 1} if engine else {}
    train = nested()
    done = lrtune.run_search(train, out="a", **SETTINGS, **options)
    assert len(done.records) == 9 and done.rule is not None
    assert done.rule.recommend(32).learning_rate == pytest.approx(1 / 32, rel=2)
    assert str(lrtune.load_run("a").ended) == done.stop_reason
    meanwhile = []

    def look(event: object) -> None:
        meanwhile.append(lrtune.load_run("a").ended)

    again = lrtune.run_search(train, out="a", on_event=look, **{**SETTINGS, "trials": 10}, **options)
    assert meanwhile and meanwhile[0] is None  # it does not end before its end
    assert len(again.records) == 10
    assert again.records[:9] == done.records


@pytest.mark.slow
def test_a_function_of_a_module_is_searched_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = lrtune.run_search(descend, engine="inline", **SETTINGS)
    assert done.out == Path("runs/descend") and len(done.records) == 9
    assert 'trainer = "test_api:descend"' in (done.out / "study.toml").read_text()


def test_an_unknown_setting_and_a_thing_that_cannot_train_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown key 'width'; did you mean 'widths'"):
        lrtune.run_search(descend, tmp_path, width=(16, 32))
    with pytest.raises(InputError, match="expected a function, module:function or a Study, but got 3"):
        lrtune.run_search(3, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="steps: expected in the study"):
        lrtune.run_search(lrtune.Study(), tmp_path, steps=3)
    with pytest.raises(InputError, match="'gone' was given as a Python object; pass it"):
        lrtune.run_search("function:gone", tmp_path)


def test_the_settings_of_a_call_make_a_study() -> None:
    from lrtune.search.call import settle

    study, options = settle(descend, {"widths": [16, 32], "budget": "10m", "tolerance": 0.02, "target": 512})
    assert (study.name, study.trainer, study.widths) == ("descend", "test_api:descend", (16, 32))
    assert (study.budget.seconds, study.budget.tolerance) == (600.0, 0.02)
    assert study.targets == ({"hidden_size": 512},) and options.engine == "local"
    assert settle(nested(), {})[1].engine == "inline"
    with pytest.raises(InputError, match="budget: expected once"):
        settle(descend, {"budget": "10m", "seconds": 3})


# Results display themselves.


def result(rule: lrtune.Rule | None) -> SearchResult:
    from lrtune.law.fit import LawFit
    from lrtune.search.ending import Ending, StopReason

    fit = None if rule is None else LawFit(rule=rule, cells=(), regrets={}, unused={})
    reason = StopReason(Ending.ENOUGH, "sure <enough>")
    return SearchResult(records=[], reason=reason, out=Path("runs/a"), fit=fit, why_no_rule="no run finished")


@pytest.mark.parametrize(
    "thing", [power_rule(), power_rule().recommend(128), result(power_rule()), result(None), result(power_rule()).fit]
)
def test_a_result_is_one_line_at_a_prompt_and_a_table_in_a_notebook(thing: object) -> None:
    line = repr(thing)
    assert "\n" not in line and 20 < len(line) < 400, line
    shown = thing._repr_html_()  # type: ignore[attr-defined]
    assert shown.startswith("<p>") and len(shown) < 5000
    assert "<enough>" not in shown


def test_the_table_of_a_rule_has_its_sizes_and_more() -> None:
    rule = power_rule()
    shown = rule._repr_html_()
    for cell in rule.cells:
        size = cell.scales["hidden_size"]
        assert f"<td>{size:g}</td><td>{rule.recommend(size).learning_rate:.3g}</td>" in shown
    assert f"<td>{4 * max(cell.scales['hidden_size'] for cell in rule.cells):g}</td>" in shown


def test_the_table_of_a_result_has_its_targets() -> None:
    rule = power_rule()
    told = rule.recommend(700)
    shown = replace(result(rule), targets=(told,))._repr_html_()
    assert f"<td>700</td><td>{told.learning_rate:.3g}</td>" in shown


def test_a_law_over_two_scales_has_a_row_for_each_size_at_the_longest_training() -> None:
    runs = [
        {"width": width, "steps": steps, "lr": rate, "loss": 3 + 0.1 * math.log2(rate * width * steps**0.5 / 3) ** 2}
        for width in (32, 64, 128)
        for steps in (100, 200, 400)
        for rate in (0.0005, 0.001, 0.002, 0.004, 0.008)
    ]
    rule = lrtune.fit(runs, lr="lr", loss="loss", hidden_size="width", steps="steps")
    shown = rule._repr_html_()
    assert "<th>hidden size</th><th>steps</th>" in shown
    rate = rule.recommend(64, steps=400).learning_rate
    assert f"<td>64</td><td>400</td><td>{rate:.3g}</td>" in shown and "<td>100</td>" not in shown


def test_a_chart_is_one_of_the_rule_or_the_run(tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="Altair is not installed")
    spec = lrtune.plot(power_rule()).to_dict()
    assert spec["title"]["text"] == "The law"
    with pytest.raises(InputError, match="chart: expected one of law, but got 'loss'"):
        lrtune.plot(power_rule(), "loss")
    with pytest.raises(InputError, match="no such folder"):
        lrtune.plot(tmp_path / "gone")


# The notebook of the examples.


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("altair", reason="Altair is not installed")
    nbformat: ModuleType = importlib.import_module("nbformat")
    notebook = nbformat.read(ROOT / "examples" / "search.ipynb", as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    client = nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=environment)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in shown if output["output_type"] == "error"]
    displayed = [output["data"] for output in shown if "data" in output]
    assert any("<table>" in data.get("text/html", "") for data in displayed)
    assert sum("vegaEmbed" in data.get("text/html", "") for data in displayed) == 2


@pytest.mark.slow
def test_two_processes_of_torchrun_report_once_and_stop_together(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    from lrtune.trainer.command import command_trainer
    from lrtune.trainer.trial import Report, Trial

    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = str(ROOT / "examples" / "distributed.py")
    line += [program, "--lr", "{learning_rate}", "--width", "{hidden_size}"]
    line += ["--steps", "{steps}", "--every", "{report_every}", "--seed", "{seed}"]
    trainer = command_trainer(line)
    assert trainer.train is not None
    for keep, expected in ((10**6, [0, 10, 20, 30]), (2, [0, 10])):
        found: list[Report] = []

        def on_report(report: Report, found: list[Report] = found, keep: int = keep) -> bool:
            found.append(report)
            return len(found) < keep

        steps = 30 if keep > 2 else 10**6  # one that only a stop ends
        trainer.train(Trial(hidden_size=16, learning_rate=0.01, steps=steps, report_every=10, on_report=on_report))
        assert [report.step for report in found][: len(expected)] == expected
        assert found[-1].loss < found[0].loss
        left = [p for p in psutil.process_iter(["cmdline"]) if program in (p.info["cmdline"] or [])]
        assert left == []
