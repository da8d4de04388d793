"""Records survive the file they are kept in, and a bad line is named while the rest is read."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtune.errors import InputError
from lrtune.records.jsonl import from_json, hand_in, read_records, to_json, write_records
from lrtune.records.record import TrialRecord
from lrtune.trainer.trial import Facts


def record(**changes) -> TrialRecord:
    values = {
        "trial": 3,
        "hidden_size": 64,
        "learning_rate": 0.026,
        "seed": 1,
        "status": "finished",
        "steps": 300,
        "steps_done": 300,
        "tokens": 307_200,
        "loss": 4.05,
        "diversity": 0.5,
        "scales": {"depth": 4.0},
        "curve": {"step": [0, 150, 300], "loss": [6.9, 5.0, 4.05], "diversity": [0.9, None, 0.5]},
        "facts": Facts(parameters=300_000, tokens_per_step=1024, regime_changes=(150,), conditions={"depth": 4}),
        "plan": {"threads": 1, "dtype": "float32"},
        "fingerprint": "abc",
    }
    return TrialRecord(**{**values, **changes})


def test_a_record_reads_back_as_itself() -> None:
    assert from_json(to_json(record())) == record()


def test_the_verdict_on_a_run_is_kept_and_one_that_the_run_defied_is_known() -> None:
    verdict = {"step": 90.0, "loss": 4.1, "peer": 0.01}
    defiant, upheld = record(beaten=verdict), record(beaten={**verdict, "loss": 4.0})
    assert from_json(to_json(defiant)) == defiant
    assert (defiant.is_check, defiant.defies) == (True, True) and (upheld.is_check, upheld.defies) == (True, False)
    cut = record(status="beaten", steps_done=90, beaten=verdict)
    assert not cut.is_check and not cut.defies
    assert "beaten" not in json.loads(to_json(record())) and not record().is_check
    accuracy = record(loss=-0.93, maximize=True, curve={}, beaten={"step": 90.0, "loss": -0.9})
    assert json.loads(to_json(accuracy))["beaten"]["loss"] == 0.9
    assert from_json(to_json(accuracy)) == accuracy and accuracy.defies


def test_a_measure_to_maximise_keeps_its_sign_in_files_and_is_a_loss_in_memory() -> None:
    accuracy = record(loss=-0.93, maximize=True, curve={"step": [0, 300], "loss": [None, -0.93]})
    data = json.loads(to_json(accuracy))
    assert (data["loss"], data["curve"]["loss"], data["maximize"]) == (0.93, [None, 0.93], True)
    assert from_json(to_json(accuracy)) == accuracy and accuracy.measure == 0.93
    assert from_json(hand_in(accuracy)) == accuracy
    assert record().measure == 4.05 and "maximize" not in json.loads(to_json(record()))


def test_numbers_that_are_not_finite_become_null_and_the_line_stays_json() -> None:
    line = to_json(record(loss=math.nan, diversity=math.inf, curve={"step": [0, 1], "loss": [6.9, math.nan]}))
    assert "NaN" not in line and json.loads(line)["loss"] is None
    assert from_json(line).curve["loss"] == [6.9, None]


def test_cost_is_tokens_times_parameters_or_steps_times_width_squared() -> None:
    assert record(steps_done=10).cost == 10 * 1024 * 300_000
    assert record(steps_done=10, facts=Facts()).cost == 10 * 64**2


def test_scales_by_name() -> None:
    assert record().scale("hidden_size") == 64
    assert record().scale("tokens") == 307_200
    assert record().scale("depth") == 4
    assert record().scale("parameters") == 300_000
    assert record().scale("batch") is None


def test_a_file_is_in_order_of_trials_and_names_its_bad_lines(tmp_path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [record(trial=2), record(trial=0)])
    assert [r.trial for r in read_records(path).records] == [0, 2]
    whole = path.read_text()
    path.write_text(whole.splitlines()[0] + "\n{broken\n" + to_json(record(trial=9)) + "\n" + whole[:50])
    read = read_records(path)
    assert [r.trial for r in read.records] == [0, 9]
    assert [number for number, _ in read.bad_lines] == [2, 4]
    assert read.bad_lines[1][1].startswith("torn last line")


def test_a_missing_file_is_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot read the records: No such file"):
        read_records(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "won"}, "status: expected one of finished, collapsed"),
        ({"learning_rate": 0}, "learning_rate: expected a positive number"),
        ({"learning_rate": "0.1"}, "learning_rate: expected a positive number, but got '0.1'"),
        ({"learning_rate": 10**400}, "learning_rate: expected a number of at most 1e[+]300, but got a number of more"),
        ({"hidden_size": -4}, "hidden_size: expected a positive whole number, but got -4"),
        ({"hidden_size": 1.5}, "hidden_size: expected a positive whole number, but got 1.5"),
        ({"trial": True}, "trial: expected a whole number"),
        ({"loss": "low"}, "loss: expected a number, but got 'low'"),
        ({"scales": {"depth": 0}}, "scales.depth: expected a positive number"),
        ({"scales": {"depth": 1e31}}, "scales.depth: expected a number of at most 1e[+]30"),
        ({"curve": {"step": [1], "loss": [1, 2]}}, "curve: expected columns of one length"),
        ({"curve": {"step": ["a"]}}, "curve.step: expected a list of numbers"),
        ({"curve": []}, "curve: expected a table"),
        ({"facts": {"regime_changes": 4}}, "facts.regime_changes: expected a list of steps"),
        ({"facts": {"parameters": "many"}}, "facts.parameters: expected a number"),
        ({"arm": 3}, "arm: expected a string, but got 3"),
    ],
)
def test_an_invalid_record_names_its_field(change: dict, message: str) -> None:
    data = json.loads(to_json(record())) | change
    with pytest.raises(InputError, match=message):
        from_json(json.dumps(data))


def test_a_missing_field_is_named_and_unknown_ones_are_passed_over() -> None:
    data = json.loads(to_json(record()))
    del data["seed"]
    with pytest.raises(InputError, match="seed: expected a value, but it is missing"):
        from_json(json.dumps(data))
    assert from_json(json.dumps(json.loads(to_json(record())) | {"from_the_future": 1})) == record()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(json.loads(to_json(record())))), _json)
def test_any_value_in_any_field_is_a_record_or_one_clear_line(field: str, value: object) -> None:
    line = json.dumps(json.loads(to_json(record())) | {field: value})
    try:
        read = from_json(line)
    except InputError as error:
        assert str(error) and len(str(error)) < 300
    else:
        assert from_json(to_json(read)) == read


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"facts": Facts(parameters="12M")}, "facts.parameters: expected a number, but got '12M'"),  # type: ignore[arg-type]
        ({"facts": Facts(tokens_per_step=True)}, "facts.tokens_per_step: expected a number, but got True"),
        ({"facts": Facts(regime_changes=(1.5,))}, "facts.regime_changes: expected a whole number"),  # type: ignore[arg-type]
        ({"curve": {"step": [0, 1], "loss": [1.0]}}, "curve: expected columns of one length"),
        ({"curve": {"step": [0], "note": ["x"]}}, "curve.note: expected a list of numbers"),
        ({"texts": {"sample": "x" * 17_000_000}}, "at most"),
    ],
)
def test_what_a_worker_hands_in_is_what_every_reader_accepts(change: dict, words: str) -> None:
    """A record that cannot be kept is that of a failed run, in its own words; the search continues."""
    read = from_json(hand_in(record(**change)))
    assert (read.status, read.trial, read.learning_rate, read.loss) == ("failed", 3, 0.026, None)
    assert "cannot record" in read.why and words in read.why and "\n" not in read.why


def test_what_is_nested_without_end_fails_its_run_alone() -> None:
    nest: list = []
    nest.append(nest)
    assert from_json(hand_in(record(facts=Facts(conditions={"a": nest})))).status == "failed"  # type: ignore[dict-item]


def test_numbers_of_other_kinds_are_handed_in_as_plain_ones() -> None:
    np = pytest.importorskip("numpy")
    facts = Facts(parameters=np.int64(7), unigram_entropy=np.float32(0.5), conditions={"a": np.bool_(True)})
    curve = {"step": [np.int32(0), 1], "loss": [np.float64(6.5), 1e301], "gain": [-1e305, math.inf]}
    read = from_json(hand_in(record(loss=np.float32(4.5), facts=facts, curve=curve)))
    assert (read.status, read.loss, read.facts.parameters, read.facts.unigram_entropy) == ("finished", 4.5, 7, 0.5)
    assert read.curve == {"step": [0, 1], "loss": [6.5, None], "gain": [None, None]}
    assert read.facts.conditions == {"a": True}


def test_conditions_are_cut_to_what_a_rule_may_hold() -> None:
    said = {"two": "a\nb\x1b[1m", "long": "x" * 9000, "nan": math.nan, "huge": 1e305, "list": [1], "depth": 4}
    kept = from_json(hand_in(record(facts=Facts(conditions=said)))).facts.conditions  # type: ignore[arg-type]
    assert kept == {"two": "a b[1m", "long": "x" * 2000, "depth": 4}


def test_a_good_record_is_handed_in_as_it_is() -> None:
    assert hand_in(record()) == to_json(record())
