"""Exports: each carries the whole advice, and the Python module answers as the rule does, anywhere."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from builders import finished_run, power_rule

from lrtune.errors import InputError, MissingExtraError
from lrtune.law.fit import fit_law
from lrtune.rule import Boundary, Polynomial, Rule, Step, recommend, save_rule
from lrtune.rule.export import export_rule, register_resolver

RULES = {
    "power": power_rule(),
    "boundary": power_rule(boundary=Boundary(Polynomial(((0,),), (-4.9,), ((0.0,),)), 0.1)),
    "table": power_rule(form="table", law=None),
    "step": power_rule(form="step", law=None, step=Step("hidden_size", 128.0, 256.0, -5.0, -6.0, 0.01, 0.01)),
    "hostile": power_rule(
        reason='"""; raise SystemExit(3) # \\ $rule {definitions}',
        conditions={"'\\\"": "\"\"\"'''", "on": "yes", "!!int": "1"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_the_python_module_runs_alone_and_answers_the_same(tmp_path: Path, name: str) -> None:
    """In isolated mode without site-packages: nothing but the file and the standard library."""
    (tmp_path / "rates.py").write_text(export_rule(RULES[name], "python"), encoding="utf-8")
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); import rates\n"
        "print(json.dumps([[rates.get_learning_rate(w), rates.recommend(w).low, rates.recommend(w).high,\n"
        "  rates.get_learning_rate(w, stage=2), rates.recommend(w).supported] for w in (64, 100, 180, 512, 4096)]))\n"
        "assert not any('lrtune' in name for name in sys.modules)\n"
        "try: rates.recommend(-1)\nexcept ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers, complaint = done.stdout.splitlines()
    found = [recommend(width, rule=RULES[name]) for width in (64, 100, 180, 512, 4096)]
    assert json.loads(answers) == [[a.learning_rate, a.low, a.high, a.stage2_learning_rate, a.supported] for a in found]
    assert complaint == "hidden_size: expected a positive number up to 1e30, but got -1"


def test_the_python_module_imports_the_standard_library_alone() -> None:
    nodes = ast.walk(ast.parse(export_rule(power_rule(), "python")))
    named = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert named and {name.partition(".")[0] for name in named} <= sys.stdlib_module_names


@pytest.mark.parametrize("format", ["json", "yaml"])
@pytest.mark.parametrize("before", ["", "\\", "\\\\", "a $"])
def test_a_configuration_evaluates_nothing_of_an_export(format: str, before: str, tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf", reason="OmegaConf is not installed")
    said = before + "${oc.env:HOME} and ${nothing}"
    rule = power_rule(reason=said, conditions={"${oc.env:HOME}": said}, provenance={"by": said})
    (tmp_path / "rates").write_text(export_rule(rule, format))
    config = omegaconf.OmegaConf.load(tmp_path / "rates")
    read = omegaconf.OmegaConf.to_container(config, resolve=True)
    assert (read["reason"], read["provenance"]) == (said, {"by": said})


def test_yaml_without_pyyaml_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"export to YAML needs PyYAML: pip install 'lrtune\[config\]'"):
        export_rule(power_rule(), "yaml")


def _read(rule: Rule, format: str) -> dict[str, Any]:
    text = export_rule(rule, format)
    if format == "json":
        return json.loads(text)
    if format == "toml":
        return tomllib.loads(text)
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load(text)


@pytest.mark.parametrize("format", ["json", "yaml", "toml"])
@pytest.mark.parametrize("name", RULES)
def test_data_formats_carry_the_whole_advice(name: str, format: str) -> None:
    data = _read(RULES[name], format)
    assert data["advice"] == {"stage2_ratio": 0.5, "weight_decay": 0.1, "weight_decay_stage2": 0.0, "warmup_steps": 20}
    assert data["horizon"] == {"tokens": 1e6, "steps": 100}
    assert data["reason"] == RULES[name].reason
    rows = {row["hidden_size"]: row for row in data["learning_rates"]}
    assert list(rows) == [64, 128, 256, 512]
    for width, row in rows.items():
        answer = recommend(width, rule=RULES[name])
        assert row["learning_rate"] == pytest.approx(answer.learning_rate, rel=1e-12)
        assert row["stage2_learning_rate"] == pytest.approx(answer.learning_rate / 2, rel=1e-12)
        assert (row["basis"], row["supported"], row["weight_decay"]) == (answer.basis, answer.supported, 0.1)
        assert row.get("doubt") == (answer.doubt and answer.doubt.name.lower())
    assert set(data) == {
        *("reason", "provisional", "level", "advice", "horizon", "conditions", "provenance", "learning_rates")
    }


def test_sizes_and_scales_choose_the_rows() -> None:
    rows = json.loads(export_rule(RULES["power"], "json", sizes=(512, 1024)))["learning_rates"]
    assert [row["hidden_size"] for row in rows] == [512, 1024]
    assert rows[1]["learning_rate"] == recommend(1024, rule=RULES["power"]).learning_rate
    runs = [
        finished_run(
            width,
            0.3 / width * 2.0**octave,
            4 + 0.1 * octave**2 - steps / 1000,
            steps=int(steps),
            scales={"steps": steps},
        )
        for width in (32, 64)
        for steps in (100.0, 200.0)
        for octave in (-1, 0, 1)
    ]
    rule = fit_law(runs, scales=("hidden_size", "steps")).rule
    rows = json.loads(export_rule(rule, "json", scales={"steps": 300.0}))["learning_rates"]
    assert [(row["hidden_size"], row["steps"]) for row in rows] == [(32, 300), (64, 300)]
    for format, scales in (("python", {"steps": 300.0}), ("json", {"depth": 2.0})):
        with pytest.raises(InputError):
            export_rule(rule, format, scales=scales)


def test_small_numbers_stay_numbers_in_yaml() -> None:
    """YAML 1.1 reads 1e-05 as text."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    tiny = power_rule(cells=tuple(c._replace(learning_rate=1e-5, low=1e-6, high=2e-5) for c in power_rule().cells))
    rows = yaml.safe_load(export_rule(tiny, "yaml"))["learning_rates"]
    assert rows[0]["learning_rate"] == 1e-5 and rows[0]["low"] == 1e-6


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(InputError, match="expected one of python, json, yaml, toml, but got 'xml'"):
        export_rule(power_rule(), "xml")


def test_the_resolver_reads_the_size_from_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    omegaconf = pytest.importorskip("omegaconf", reason="OmegaConf is not installed")
    register_resolver(power_rule(), name="lrtune_test")
    config = omegaconf.OmegaConf.create(
        {
            "model": {"hidden_size": 256},
            "lr": "${lrtune_test:${model.hidden_size}}",
            "train": {"tokens": 1e6},
            "second": "${lrtune_test:${model.hidden_size},{stage:2,tokens:${train.tokens}}}",
        }
    )
    assert config.lr == pytest.approx(0.005) and config.second == pytest.approx(0.0025)
    save_rule(power_rule(), tmp_path / "rule.json")
    monkeypatch.setenv("LRTUNE_RULE", str(tmp_path / "rule.json"))
    register_resolver()
    assert omegaconf.OmegaConf.create({"lr": "${lrtune:128}"}).lr == pytest.approx(0.01)
