"""Rules: which file is read, what a bad one says, and what the answer says of itself."""

import json
import math
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from builders import power_rule
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrtune.errors import InputError
from lrtune.rule import (
    Boundary,
    Doubt,
    ExtrapolationWarning,
    Polynomial,
    find_rule,
    get_learning_rate,
    load_rule,
    parse_rule,
    recommend,
    rule_to_json,
    save_rule,
    transfer_learning_rate,
)
from lrtune.rule.data import Scale
from lrtune.rule.doubt import cost_text
from lrtune.rule.question import number


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRTUNE_RULE", raising=False)


def test_the_rule_passed_in_wins_then_environment_then_project_then_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_environment: None
) -> None:
    """Each source has another level, so that the rate tells which was read."""
    project = tmp_path / "project"
    deep = project / "a" / "b"
    deep.mkdir(parents=True)
    (project / "pyproject.toml").touch()
    monkeypatch.chdir(deep)
    levels = {"outside": 1.0, "project": 2.0, "here": 2.5, "environment": 3.0, "passed": 4.0}
    rules = {
        name: power_rule(cells=tuple(cell._replace(low=1e-9, learning_rate=r, high=10) for cell in power_rule().cells))
        for name, r in levels.items()
    }
    assert find_rule()[1] == "packaged"
    save_rule(rules["outside"], tmp_path / "lrtune-rule.json")
    assert find_rule()[1] == "packaged"  # the search ends at the project's root
    save_rule(rules["project"], project / "lrtune-rule.json")
    assert recommend(128).learning_rate == 2.0
    save_rule(rules["here"], deep / "lrtune-rule.json")  # the nearest of several
    assert recommend(128).learning_rate == 2.5
    save_rule(rules["environment"], tmp_path / "other.json")
    monkeypatch.setenv("LRTUNE_RULE", str(tmp_path / "other.json"))
    assert recommend(128).learning_rate == 3.0
    assert recommend(128, rule=rules["passed"]).learning_rate == 4.0
    assert find_rule() == (str(tmp_path / "other.json"), "$LRTUNE_RULE")
    monkeypatch.setenv("LRTUNE_RULE", str(tmp_path / "nowhere.json"))
    with pytest.raises(InputError, match=r"LRTUNE_RULE.*nowhere"):
        find_rule()


def test_the_packaged_rule_answers_without_any_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_environment: None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    assert 1e-4 < recommend(256).learning_rate < 0.1


@pytest.mark.slow
def test_asking_loads_nothing_heavy() -> None:
    heavy = "numpy scipy optuna torch typer rich dataclasses pathlib"
    code = (
        "import sys; from lrtune.rule.ask import get_learning_rate; "
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("mean", "worst", "said"),
    [
        (0.0825, 0.22, "8.25% of loss on average, more than 22% in one case of ten"),
        (0.4, 0.9, "30% or more of loss on average, more than 30% in one case of ten"),
        (1e-5, 4e-5, "under 0.01% of loss on average, under 0.01% in nine cases of ten"),
    ],
)
def test_a_cost_names_what_one_case_of_ten_exceeds(mean: float, worst: float, said: str) -> None:
    assert cost_text(mean, worst) == said


def test_a_rule_reads_back_as_it_was_written(tmp_path: Path) -> None:
    rule = power_rule(conditions={"a": 1.5, "b": "x", "c": True, "d": (1.0, 2.0)})
    path = tmp_path / "rule.json"
    save_rule(rule, path)
    assert load_rule(path) == rule._replace(source=str(path))
    save_rule(rule._replace(reason="newer"), path, backup=True)
    assert load_rule(tmp_path / "rule.json.bak").reason == "a power law"


def test_a_rule_with_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finite"):
        save_rule(power_rule(discrepancy=math.nan), tmp_path / "rule.json")
    assert not (tmp_path / "rule.json").exists()


GOOD = json.loads(rule_to_json(power_rule()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 5}, "schema: expected a whole number up to 4, but got 5"),
        ({"schema": True}, "schema: expected"),
        ({"form": "magic"}, "form: expected one of"),
        ({"form": ["power"]}, "form: expected one of"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"scales": {}}, "scales: expected at least one"),
        ({"cells": []}, "cells: expected a list of 1 to"),
        ({"cells": [{"scales": {"hidden_size": 8}, "learning_rate": 0.1, "low": 0.2, "high": 0.3}]}, "low ≤ learning_"),
        ({"cells": [{"scales": {"depth": 8}, "learning_rate": 0.1, "low": 0.1, "high": 0.3}]}, "expected the scales"),
        ({"law": None}, "law: expected a polynomial"),
        ({"law": {"exponents": [[0]], "coefficients": [1, 2], "covariance": [[1]]}}, "as many exponents"),
        ({"law": {"exponents": [[0]], "coefficients": [1], "covariance": [[-1]]}}, "no negative variance"),
        ({"law": {"exponents": [[0, 1]], "coefficients": [1], "covariance": [[1]]}}, "expected 1 exponents"),
        ({"discrepancy": "much"}, "discrepancy: expected a number"),
        ({"reason": "two\nlines"}, "reason: expected a printable string"),
        ({"reason": "\x1b[31mred"}, "reason: expected a printable string"),
        ({"advice": {"momentum": 1}}, "advice: unknown key 'momentum'"),
        ({"level": 1.5}, "level: expected a number of at most 0.999, but got 1.5"),
    ],
)
def test_a_bad_field_is_named_in_one_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "rule.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(InputError) as caught:
        load_rule(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected a rule file in JSON, but line 1, column 1 is not JSON; `lrtune fit"),
        (b"[]", "expected a JSON object"),
        (json.dumps(GOOD).replace("0.01", "NaN", 1).encode(), "NaN"),
        (json.dumps(GOOD).replace("0.01", "1e999", 1).encode(), "expected"),
        (b"[" * 1_000_000, "nested too deep"),
        (b"[" * 10_000_000, "larger than 4 MiB"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "expected"),
        (b"\xff\xfe\x00", "expected a rule file in JSON, but it is not text"),
    ],
)
def test_a_file_that_is_not_a_rule_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "rule.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_rule(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


WEIRD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=2),
)


def _paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in _paths(item, (*path, key)))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(_paths(GOOD)[1:]), value=WEIRD, delete=st.booleans(), cut=st.none() | st.integers(0, 900))
def test_a_malformed_rule_is_a_rule_or_one_line(
    path: tuple[object, ...], value: object, delete: bool, cut: int | None
) -> None:
    data = json.loads(json.dumps(GOOD))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if delete:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    text = json.dumps(data)[:cut]
    try:
        rule = parse_rule(text)
        answer = recommend(512, rule=rule)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
    else:
        assert 0 < answer.low <= answer.learning_rate <= answer.high < math.inf


@pytest.mark.parametrize(
    ("width", "basis", "factor"),
    [(128, "measured", 1), (90, "interpolated", 1), (512, "extrapolated", 2), (32, "extrapolated", 2)],
)
def test_the_basis_of_an_answer(width: int, basis: str, factor: float) -> None:
    answer = recommend(width, rule=power_rule())
    assert (answer.basis, answer.extrapolation) == (basis, factor)
    assert answer.learning_rate == pytest.approx(0.01 * 128 / width)
    assert any("extrapolated" in note for note in answer.warnings) == (basis == "extrapolated")


def test_intervals_widen_with_the_distance_and_end_as_not_supported() -> None:
    answers = [recommend(256 * 2.0**i + 1, rule=power_rule(curvature_sd=0.1)) for i in range(5)]
    widths = [answer.high / answer.low for answer in answers]
    assert widths == sorted(widths)
    assert [answer.supported for answer in answers] == [width <= 4 for width in widths]
    assert answers[0].supported and not answers[-1].supported
    assert answers[-1].doubt is Doubt.WIDE
    said = answers[-1].warnings[0]
    assert said.startswith("not supported by the data: ") and said.endswith(Doubt.WIDE.value)


def test_far_beyond_the_horizon_is_not_supported() -> None:
    assert recommend(128, rule=power_rule()).horizon_tokens == 1e6
    assert recommend(128, rule=power_rule(), tokens=1e6).warnings == ()
    assert recommend(128, rule=power_rule(), tokens=1.9e6).supported
    assert "2.1 times the measured length of 1,000,000" in recommend(128, rule=power_rule(), tokens=2.1e6).warnings[0]
    beyond = recommend(128, rule=power_rule(), tokens=4.1e6)
    assert beyond.doubt is Doubt.FAR_HORIZON and "4.1 times the measured length" in beyond.warnings[0]


def test_a_length_between_those_of_the_runs_is_not_far() -> None:
    """Where tokens follow the width, the rule's horizon is the longest of them."""
    follows = power_rule(conditions={"tokens": (1e6, 64e6)}, horizon={"tokens": 64e6})
    for tokens in (0.6e6, 1e6, 8e6, 64e6, 120e6):
        assert recommend(64, rule=follows, tokens=tokens).supported
    texts = [recommend(64, rule=follows, tokens=tokens).warnings[0] for tokens in (0.25e6, 256e6)]
    assert "0.25 times the measured length of 1,000,000" in texts[0]
    assert "4 times the measured length of 64,000,000" in texts[1]


def test_steps_follow_the_tokens_or_are_left_out() -> None:
    assert recommend(128, rule=power_rule()).horizon_steps == 100
    assert recommend(128, rule=power_rule(), tokens=2e6).horizon_steps is None
    known = power_rule(conditions={"tokens_per_step": 1e4})
    assert recommend(128, rule=known, tokens=2e6).horizon_steps == 200


def test_an_interval_is_at_most_a_factor_of_a_hundred_wide() -> None:
    answer = recommend(1e6, rule=power_rule(curvature_sd=1.0))
    assert answer.high / answer.learning_rate == pytest.approx(100) and not answer.supported


def test_no_answer_lies_above_the_line_where_one_run_in_ten_collapses() -> None:
    flat = Polynomial(((0,),), (math.log(0.008),), ((0.0,),))
    rule = power_rule(boundary=Boundary(flat, 0.1))
    line = 0.008 * 9**-0.1
    for width in (64, 100, 128, 200, 256, 512):
        answer = recommend(width, rule=rule)
        assert answer.collapse_10 == pytest.approx(line) and answer.collapse_50 == pytest.approx(0.008)
        assert answer.learning_rate == pytest.approx(min(1.28 / width, line))
        assert answer.low <= answer.learning_rate <= answer.high
        assert answer.safe_high is not None and answer.safe_high <= max(line, answer.learning_rate) * 1.000001


def test_conditions_are_compared_and_unknown_scales_refused() -> None:
    assert recommend(128, rule=power_rule(), depth=4).warnings == ()
    assert "measured at depth 4, asked for 6" in recommend(128, rule=power_rule(), depth=6).warnings[0]
    assert recommend(128, rule=power_rule(), depth=12).doubt is Doubt.FAR_CONDITION
    with pytest.raises(InputError, match="detph: this rule has no such scale"):
        recommend(128, rule=power_rule(), detph=12)
    own = power_rule(scales={**power_rule().scales, "batch": Scale(8.0, 32.0, 16.0)}, horizon={"steps": 100})
    with pytest.raises(InputError, match=r"it has batch, .*steps; batch is in the trainer's own unit"):
        recommend(128, rule=own, batch_tokens=4096)
    with pytest.raises(
        InputError, match=r"^hidden_size: expected a value, .* hidden_size 64 … 256; as in `lrtune lr 256`"
    ):
        recommend(rule=power_rule())
    for bad in (0, -1, math.nan, math.inf, True, "256"):
        with pytest.raises(InputError, match="hidden_size: expected a positive number"):
            recommend(bad, rule=power_rule())  # type: ignore[arg-type]


def test_an_answer_holds_the_whole_advice() -> None:
    answer = recommend(128, rule=power_rule())
    assert answer.stage2_learning_rate == pytest.approx(0.005)
    assert (answer.weight_decay, answer.weight_decay_stage2, answer.warmup_steps) == (0.1, 0.0, 20.0)
    assert get_learning_rate(128, rule=power_rule(), stage=2) == pytest.approx(0.005)
    with pytest.raises(InputError, match="stage: expected 1 or 2"):
        get_learning_rate(128, rule=power_rule(), stage=3)
    with pytest.raises(InputError, match="no rate for stage 2"):
        get_learning_rate(128, rule=power_rule(advice={}), stage=2)


def test_get_learning_rate_warns_where_it_extrapolates_and_only_there() -> None:
    with pytest.warns(ExtrapolationWarning, match=r"extrapolated: hidden_size is 2× the largest measured \(256\)"):
        get_learning_rate(512, rule=power_rule())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_learning_rate(128, rule=power_rule()) == 0.01


def test_a_table_interpolates_inside_and_holds_its_ends_outside() -> None:
    rule = power_rule(form="table", law=None)
    between = recommend(math.sqrt(64 * 128), rule=rule)
    assert between.learning_rate == pytest.approx(0.01 * math.sqrt(2)) and between.supported
    outside = recommend(1024, rule=rule)
    assert outside.learning_rate == pytest.approx(0.005) and not outside.supported


@pytest.mark.parametrize("slope", [-1.0, 0.3])
def test_transfer_carries_a_rate_by_the_ratio_of_the_law(slope: float) -> None:
    carried = transfer_learning_rate(0.003, 64, 256, rule=power_rule(slope))
    assert carried.learning_rate == pytest.approx(0.003 * 4**slope)
    assert carried.ratio_low < 4**slope < carried.ratio_high
    assert repr(carried).startswith(f"<Transfer: {carried.learning_rate:.3g} (") and "times the given rate" in repr(
        carried
    )
    same = transfer_learning_rate(0.003, 512, 512, rule=power_rule(slope))
    assert same.ratio_low == same.ratio == same.ratio_high == 1
    far = transfer_learning_rate(0.003, 64, 4096, rule=power_rule(slope, curvature_sd=0.2))
    assert (far.doubt, far.supported, far.basis) == (Doubt.WIDE, False, "extrapolated")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another user")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_rule_of_another_user_is_used_only_where_it_is_named(tmp_path: Path, what: str) -> None:
    inside = tmp_path / "theirs" / "inside"
    inside.mkdir(parents=True)
    (inside / ".git").touch()
    save_rule(power_rule(), inside / "lrtune-rule.json")
    assert find_rule(str(inside))[1] == "project"
    os.chown(inside if what == "folder" else inside / "lrtune-rule.json", 65534, 65534)
    assert find_rule(str(inside))[1] == "packaged"
    assert load_rule(inside / "lrtune-rule.json").form == "power"


def test_a_rule_is_written_through_a_link_only_where_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "real.json").touch(0o600)
    link = tmp_path / "lrtune-rule.json"
    link.symlink_to("real.json")
    save_rule(power_rule(), link, backup=True, follow_links=True)
    assert link.is_symlink() and load_rule(tmp_path / "real.json").form == "power"
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "real.json").write_text("untouched")
    save_rule(power_rule(), link)
    assert not link.is_symlink() and (tmp_path / "real.json").read_text() == "untouched"


def test_a_run_folder_is_read_for_its_rule(tmp_path: Path) -> None:
    save_rule(power_rule(), tmp_path / "rule.json")
    assert load_rule(tmp_path).source == str(tmp_path / "rule.json")
    with pytest.raises(InputError, match=r"expected a rule file, or a run folder with a rule\.json"):
        load_rule(tmp_path.parent)
    (tmp_path / "rule.json").rename(tmp_path / "records.jsonl")
    with pytest.raises(InputError, match=r"with a rule\.json; `lrtune fit` of its runs says why it has none"):
        load_rule(tmp_path)


def test_no_sentence_of_an_answer_contradicts_its_numbers() -> None:
    diving = Polynomial(((0,), (1,)), (math.log(0.008), -4.8), ((0.0, 0.0), (0.0, 0.0)))
    rules = [
        load_rule("packaged"),
        power_rule(curvature_sd=0.3),
        power_rule(boundary=Boundary(diving, 0.1), curvature_sd=1.0),
    ]
    for rule in rules:
        horizon = {"tokens": rule.scales["tokens"].high} if "tokens" in rule.scales else {}
        for width in (1, 40, 64, 100, 128, 300, 512, 1024, 4096, 10**6):
            told = recommend(width, rule=rule, **horizon)
            assert told.low <= told.learning_rate <= told.high
            assert (
                told.supported == (told.doubt is None) == (not any("not supported" in text for text in told.warnings))
            )
            if told.safe_low is None or told.safe_high is None:
                assert told.safe_low is told.safe_high is None
            else:
                assert told.supported and told.safe_low <= told.learning_rate <= told.safe_high
            if told.regret is not None and told.regret_90 is not None:
                assert told.regret <= rule.tolerance or not told.supported
            for said in re.findall(r"the interval is (\S+) … (\S+);", " ".join(told.warnings)):
                assert said == (f"{told.low:.3g}", f"{told.high:.3g}")


def test_the_packaged_rule_names_the_batch_that_it_assumes() -> None:
    assumed = recommend(256, rule="packaged")
    assert (assumed.scales["batch_tokens"], assumed.horizon_steps) == (1024, 3200)
    larger = recommend(256, rule="packaged", tokens=1e7, batch_tokens=4096)
    assert larger.horizon_steps == 2442 and larger.learning_rate > assumed.learning_rate and larger.supported


@pytest.mark.parametrize(
    ("value", "text"), [(2e10, "20,000,000,000"), (0.1 + 0.2, "0.3"), (1e18, "1e+18"), (512.0, "512")]
)
def test_a_scale_of_many_tokens_is_written_out(value: float, text: str) -> None:
    assert number(value) == text
