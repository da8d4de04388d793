"""Files from a stranger: whatever is in them, they are read or refused in one line, and never run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrtune.errors import InputError
from lrtune.records.importers import Columns, read_table
from lrtune.records.jsonl import from_json, read_records, to_json
from lrtune.records.record import TrialRecord
from lrtune.rule import parse_rule
from lrtune.study.toml import parse_study, to_toml

RULE = (Path(__file__).resolve().parents[2] / "lrtune" / "rule" / "packaged-rule.json").read_text()
RECORD = to_json(
    TrialRecord(
        trial=1,
        hidden_size=32,
        learning_rate=0.01,
        seed=0,
        status="finished",
        steps=10,
        steps_done=10,
        loss=3.0,
        curve={"step": [0, 10], "loss": [4.0, 3.0]},
    )
)
STUDY = to_toml(parse_study('[study]\nname = "x"\n[options]\ndataset = "stdlib"\n'))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NASTY = [
    "__import__('os').system('true')",
    '{"__reduce__": ["os.system", ["true"]]}',
    "[" * 5000,
    '{"a":' * 5000,
    "1e999",
    "-Infinity",
    "\x00\x01\x02",
    "[[[[1]]]]",
    "9" * 5000,
    "\ud7ff" * 100,
    "!!python/object/apply:os.system [true]",
    "file:///etc/passwd",
    "../../../../etc/passwd",
]
SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PARSERS: dict[str, tuple[Callable[[str], object], str]] = {
    "rule": (parse_rule, RULE),
    "record": (from_json, RECORD),
    "study": (parse_study, STUDY),
}


def refused_or_read(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except InputError as error:
        assert "\n" not in str(error), f"more than one line: {error}"
        assert len(str(error)) < 1000


@pytest.mark.parametrize("kind", PARSERS)
@SETTINGS
@given(data=st.data())
def test_a_file_with_bytes_changed(kind: str, data: st.DataObject) -> None:
    parse, text = PARSERS[kind]
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 20))
    put = data.draw(st.text(max_size=20) | st.sampled_from(NASTY))
    refused_or_read(parse, text[:at] + put + text[at + cut :])


@pytest.mark.parametrize("kind", ["rule", "record"])
@SETTINGS
@given(data=st.data())
def test_a_file_with_a_value_of_another_kind(kind: str, data: st.DataObject) -> None:
    parse, text = PARSERS[kind]
    whole = json.loads(text)
    place = whole
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [value for value in (place.values() if isinstance(place, dict) else place) if value]
        inner = [value for value in inner if isinstance(value, dict | list)]
        if not inner:
            break
        place = data.draw(st.sampled_from(inner))
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = data.draw(VALUES)
    refused_or_read(parse, json.dumps(whole))


@pytest.mark.parametrize("kind", PARSERS)
@SETTINGS
@given(text=st.text(max_size=200) | st.sampled_from(NASTY) | VALUES.map(json.dumps))
def test_a_file_of_anything(kind: str, text: str) -> None:
    refused_or_read(PARSERS[kind][0], text)


@SETTINGS
@given(lines=st.lists(st.binary(max_size=80) | st.just(RECORD.encode()), max_size=6))
def test_a_records_file_of_anything_is_read_around(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = read_records(path)
    assert len(found.records) >= lines.count(RECORD.encode())
    assert all("\n" not in why for _, why in found.bad_lines)


@SETTINGS
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_of_anything(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(content)
    columns = Columns(learning_rate="lr", loss="loss", scales={"hidden_size": "width"})
    refused_or_read(lambda _: read_table(path, columns), "")
