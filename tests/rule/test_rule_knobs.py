"""A rule with knobs beside the learning rate: its file, its answers, its exports."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from builders import finished_run, knob_rule
from omegaconf import OmegaConf

from lrtune import get_learning_rate, recommend
from lrtune.cli import run as run_cli
from lrtune.errors import InputError
from lrtune.law.fit import fit_law
from lrtune.records.record import TrialRecord
from lrtune.report.plots.law import law_figure
from lrtune.rule import Rule, load_rule, parse_rule, rule_to_json, save_rule
from lrtune.rule.data import Zero
from lrtune.rule.display import knob_text
from lrtune.rule.doubt import Doubt
from lrtune.rule.export import export_rule, register_resolver
from lrtune.rule.knob import Coordinate

RATIO = {"adam_lr": Coordinate(times="learning_rate")}
WIDTHS = (32, 64, 128)


def best(width: float) -> tuple[float, float]:
    """log2 of the best rate, and of the best ratio of the second rate to it."""
    return -6 - math.log2(width / 32), -2 + 0.5 * math.log2(width / 32)


def runs(slope: float = 0.01, ratios: float = 2.0, zero: float | None = None) -> list[TrialRecord]:
    """12 runs a width, placed at random; the loss rises by 2% and `slope` an octave off the best."""
    rng = np.random.default_rng(5)
    records: list[TrialRecord] = []
    for width in WIDTHS:
        for number in range(12):
            x, r = (b + rng.uniform(-span, span) for b, span in zip(best(width), (2, ratios), strict=True))
            y = 0.02 * (x - best(width)[0]) ** 2 + slope * (r - best(width)[1]) ** 2 + rng.normal(0, 0.001)
            is_zero = zero is not None and number % 4 == 0
            y = 0.02 * (x - best(width)[0]) ** 2 + (zero or 0.0) if is_zero else y
            record = finished_run(
                width,
                2.0**x,
                3 * math.exp(y),
                trial=len(records),
                knobs={"adam_lr": 0.0 if is_zero else 2.0 ** (x + r)},
            )
            records.append(record)
    return records


@cache
def fitted() -> Rule:
    return fit_law(runs(), knobs=RATIO).rule


def test_each_knob_has_a_law_of_its_own() -> None:
    for width in WIDTHS:
        found = recommend(width, rule=fitted())
        one = found.knobs["adam_lr"]
        assert found.learning_rate == pytest.approx(2.0 ** best(width)[0], rel=0.15)
        assert one.value == pytest.approx(found.learning_rate * 2.0 ** best(width)[1], rel=0.2)
        assert one.low < one.value < one.high
        assert found.supported and one.supported and one.matters
        assert get_learning_rate(width, rule=fitted()) == found.learning_rate
        assert get_learning_rate(width, "adam_lr", rule=fitted()) == one.value
    assert fitted().knobs["adam_lr"].rule.reason.startswith("adam_lr/learning_rate ≈ 0.2")


def test_the_regret_is_that_of_all_knobs() -> None:
    found = recommend(64, rule=fitted())
    alone = recommend(64, rule=fitted()._replace(knobs={}))
    assert found.regret is not None and alone.regret is not None
    assert found.regret == pytest.approx(alone.regret + found.knobs["adam_lr"].regret)


def test_knobs_that_cost_too_much_together_are_not_supported() -> None:
    one = recommend(64, rule=fitted())
    assert one.regret is not None
    between = (one.regret + max(one.regret - one.knobs["adam_lr"].regret, one.knobs["adam_lr"].regret)) / 2
    strict = recommend(64, rule=fitted()._replace(tolerance=between))
    assert not strict.supported and strict.doubt is Doubt.COSTLY
    assert "its knobs together" in strict.warnings[0]


def test_a_knob_that_does_not_matter_is_said_not_to() -> None:
    rule = fit_law(runs(slope=0.0001), knobs=RATIO).rule
    one = recommend(64, rule=rule).knobs["adam_lr"]
    law = rule.knobs["adam_lr"].rule
    assert law.reason.startswith("adam_lr/learning_rate: any from 0.") and law.reason.endswith("under 1% of loss")
    cell = next(cell for cell in law.cells if cell.scales["hidden_size"] == 64)
    rate = recommend(64, rule=rule).learning_rate
    assert not one.matters and one.supported
    assert cell.tried_low is not None and one.safe_low is not None and one.safe_low < cell.tried_low * rate * 1.02
    assert cell.tried_high is not None and one.safe_high is not None and one.safe_high > cell.tried_high * rate / 1.02
    assert "costs under 1% of loss" in knob_text(one)


@pytest.mark.parametrize(("cost", "chosen"), [(-0.02, True), (0.05, False)])
def test_zero_is_the_answer_where_it_costs_less(cost: float, chosen: bool) -> None:
    rule = fit_law(runs(zero=cost), knobs=RATIO).rule
    zero = rule.knobs["adam_lr"].zero
    assert zero is not None and zero.above == pytest.approx(cost, abs=0.004)
    one = recommend(64, rule=rule).knobs["adam_lr"]
    assert (one.value == 0) is chosen and (one.low == 0) is chosen


def test_a_doubtful_zero_raises_the_regret_of_either_answer() -> None:
    law = fitted().knobs["adam_lr"]
    sure = recommend(64, rule=fitted()).knobs["adam_lr"].regret
    for above in (0.01, -0.01):
        rule = fitted()._replace(knobs={"adam_lr": law._replace(zero=Zero(above, 0.02))})
        one = recommend(64, rule=rule).knobs["adam_lr"]
        assert one.regret > sure + 0.002 and one.low == 0 and one.high > 0


def test_the_file_holds_the_knobs(tmp_path: Path) -> None:
    save_rule(fitted(), tmp_path / "rule.json")
    assert load_rule(tmp_path / "rule.json")._replace(source="") == fitted()


def test_the_file_grows_by_less_than_half_a_kilobyte_a_cell_and_knob() -> None:
    """Without the sentence about the law, which three sizes make longer than two, once for all."""
    few, more = (
        rule._replace(
            reason="",
            knobs={name: law._replace(rule=law.rule._replace(reason="")) for name, law in rule.knobs.items()},
        )
        for rule in (fit_law(runs()[:24], knobs=RATIO).rule, fitted())
    )
    assert len(rule_to_json(more)) - len(rule_to_json(few)) < 2 * 500


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("rule", "knobs"), {}, "unknown key 'knobs'"),
        (("rule", "form"), "table", "drawn law"),
        (("rule", "draws"), None, "draws: expected"),
        (("rule", "cells"), [], "cells: expected"),
        (("coordinate", "times"), "other", "relative to learning_rate"),
        (("coordinate", "over"), "learning_rate", "relative to learning_rate"),
        (("coordinate",), "*learning_rate", "coordinate: expected"),
        (("zero",), {"above": 1e9, "error": 0.0}, "zero.above"),
        (("more",), 1, "unknown key 'more'"),
    ],
)
def test_a_damaged_knob_is_named(where: tuple[str, ...], value: object, said: str) -> None:
    data = json.loads(rule_to_json(fitted()))
    part = data["knobs"]["adam_lr"]
    for name in where[:-1]:
        part = part[name]
    part[where[-1]] = value
    with pytest.raises(InputError, match=said):
        parse_rule(json.dumps(data))


def test_knobs_are_few_and_have_names_of_their_own() -> None:
    data = json.loads(rule_to_json(fitted()))
    law = data["knobs"]["adam_lr"]
    for knobs in ({f"k{i}": law for i in range(9)}, {"learning_rate": law}, {"hidden_size": law}):
        with pytest.raises(InputError, match="knobs"):
            parse_rule(json.dumps(data | {"knobs": knobs}))


def test_every_export_carries_the_knobs(monkeypatch: pytest.MonkeyPatch) -> None:
    value = get_learning_rate(64, "adam_lr", rule=fitted())
    module: dict[str, object] = {"__name__": "rates"}
    monkeypatch.setattr("sys.modules", {**__import__("sys").modules, "rates": __import__("types").ModuleType("rates")})
    exec(export_rule(fitted(), "python"), module)
    assert module["get_learning_rate"](64, "adam_lr") == value  # type: ignore[operator]
    for format in ("json", "yaml", "toml"):
        assert f"{value!r}" in export_rule(fitted(), format, sizes=[64])


def test_an_unknown_knob_is_refused() -> None:
    with pytest.raises(InputError, match="knob: expected one of learning_rate, adam_lr, but got 'wd'"):
        get_learning_rate(64, "wd", rule=fitted())


def test_runs_that_lack_a_knob_are_counted_and_left_out() -> None:
    bare = [replace(record, knobs={}) for record in runs()[:3]]
    assert fit_law([*runs(), *bare], knobs=RATIO).unused == {"no adam_lr": 3}
    with pytest.raises(InputError, match="'adam_lr' in the records"):
        fit_law(bare, knobs=RATIO)


def test_a_knob_with_one_value_is_a_condition() -> None:
    tied = [replace(record, knobs={"adam_lr": record.learning_rate / 4}) for record in runs()]
    rule = fit_law(tied, knobs=RATIO).rule
    assert rule.conditions["adam_lr/learning_rate"] == 0.25 and not rule.knobs


def test_the_answers_for_people_show_every_knob() -> None:
    told = recommend(64, rule=fitted())
    value = f"{told.knobs['adam_lr'].value:.3g}"
    assert value in told._repr_html_() and value in fitted()._repr_html_()
    assert "adam_lr/learning_rate ≈" in repr(fitted())


def test_lr_prints_every_knob_and_plain_any_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_rule(fitted(), "lrtune-rule.json")
    told = recommend(64, rule=fitted())
    value = f"{told.knobs['adam_lr'].value:.3g}"

    def printed(*arguments: str, code: int = 0) -> str:
        assert run_cli(["lr", *arguments]) == code
        found = capfd.readouterr()
        return found.err if code else found.out

    assert f"  adam_lr       {value} (" in printed("64")
    assert f"{value}" in printed("64", "128").splitlines()[1] and "adam_lr" in printed("64", "128").splitlines()[0]
    assert printed("64", "--plain").strip() == f"{told.learning_rate:.3g}"
    assert printed("64", "--plain", "--knob", "adam_lr").strip() == value
    assert json.loads(printed("64", "--json"))["knobs"]["adam_lr"]["value"] == told.knobs["adam_lr"].value
    assert "expected one of learning_rate, adam_lr" in printed("64", "--plain", "--knob", "wd", code=2)
    assert "expected --plain" in printed("64", "--knob", "adam_lr", code=2)


def test_the_chart_of_the_law_has_a_panel_for_each_knob() -> None:
    figure = law_figure(fitted())
    assert figure is not None and len(figure.panels) == 2
    assert '"adam_lr/learning_rate"' in figure.panels[1].to_json()
    assert f"For adam_lr: {recommend(128, rule=fitted()).knobs['adam_lr'].value:.3g}" in figure.says


def test_a_configuration_names_the_knob() -> None:
    register_resolver(fitted(), name="knobs")
    config = OmegaConf.create({"size": 64, "second": "${knobs:${size},{knob:adam_lr}}"})
    assert config.second == get_learning_rate(64, "adam_lr", rule=fitted())


def test_a_weight_decay_that_was_searched_is_the_advice() -> None:
    law = fitted().knobs["adam_lr"]
    rule = fitted()._replace(
        knobs={"weight_decay": law._replace(coordinate=Coordinate())}, advice={"weight_decay": 0.1}
    )
    told = recommend(64, rule=rule)
    assert told.weight_decay == told.knobs["weight_decay"].value != 0.1


def test_a_knob_cannot_be_relative_to_one_that_may_be_zero() -> None:
    law = fitted().knobs["adam_lr"]
    knobs = {
        "a": law._replace(coordinate=Coordinate(), zero=Zero(-0.1, 0.01)),
        "b": law._replace(coordinate=Coordinate(over="a")),
    }
    with pytest.raises(InputError, match=r"knobs\.b: expected a coordinate relative to"):
        parse_rule(rule_to_json(fitted()._replace(knobs=knobs)))


def test_a_doubt_about_the_cost_names_the_cost_of_all_knobs() -> None:
    far = knob_rule().recommend(1024)
    assert far.regret is not None and not far.supported
    assert f"its knobs together may cost {far.regret:.0%} of loss" in far.warnings[0]


def test_a_knob_matters_at_a_size_where_only_values_near_the_best_were_tried() -> None:
    wide, narrow = [(0, -2), (0, -1), (0, 0), (0, 1), (0, 2)], [(0, -0.3), (0, 0), (0, 0.3)]
    runs = [
        finished_run(width, 0.64 / width * 2.0**u, 3 * math.exp(0.02 * u**2 + 0.02 * v**2), {"beta": 0.1 * 2.0**v})
        for width, tries in ((32, wide), (64, narrow))
        for u, v in [*tries, (-1, 0), (1, 0), (2, 0)]
    ]
    rule = fit_law(runs, knobs={"beta": Coordinate()}).rule
    beta = rule.recommend(64).knobs["beta"]
    assert beta.matters and beta.low < 0.1 < beta.high
    assert "any from" not in beta.law
