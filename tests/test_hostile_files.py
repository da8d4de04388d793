"""Files and folders of a stranger: whatever they are, they are read or refused in one line, and nothing waits."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import finished_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitnet.data.tokens import load_tokens
from lrtune.errors import InputError
from lrtune.fields import show, unknown_key
from lrtune.records.folder import RunFolder
from lrtune.records.jsonl import read_records, to_json
from lrtune.rule import parse_rule
from lrtune.rule.file import load_rule
from lrtune.search.workers.local import LocalEngine
from lrtune.search.workers.storage import sqlite_url
from lrtune.study.study import Study, fingerprint
from lrtune.study.toml import load_study, to_toml

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
REFERENCE = Path(__file__).resolve().parents[1] / "studies" / "reference" / "rule.json"
READERS: dict[str, Callable[[Path], object]] = {
    "study.toml": load_study,
    "rule.json": load_rule,
    "records.jsonl": read_records,
}


def refused(read: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    return message


def read_or_refused(read: Callable[[], object]) -> None:
    try:
        read()
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["fifo", "zero", "folder", "no name"])
def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path = tmp_path / "a\0b"
    refused(lambda: READERS[name](path))


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(10**100),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NASTY = [
    "__import__('os').system('true')",
    '{"__reduce__": ["os.system", ["true"]]}',
    "[" * 9000,
    '{"a":' * 9000,
    "1e999",
    "-Infinity",
    "\x00\x01\x02",
    "\x1b]52;c;x\x07",
    "[[[[1]]]]",
    "9" * 9000,
    "\ud7ff" * 100,
    "!!python/object/apply:os.system [true]",
]
SECRET = "-----BEGIN PRIVATE KEY-----"
TEXTS = {
    "study.toml": to_toml(Study(options={"dataset": "stdlib"})),
    "rule.json": REFERENCE.read_text(),
    "records.jsonl": to_json(
        finished_run(32, 0.01, 3.0, trial=1, steps=10, curve={"step": [0, 10], "loss": [4.0, 3.0]})
    ),
}


@pytest.mark.parametrize("name", READERS)
@SETTINGS
@given(data=st.data())
def test_bytes_of_any_kind_are_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    whole = TEXTS[name].encode()
    at, cut = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 40))
    text = st.text(max_size=200) | st.sampled_from(NASTY) | VALUES.map(json.dumps)
    put = data.draw(st.binary(max_size=40) | text.map(lambda text: text.encode()))
    path = tmp_path / name
    path.write_bytes(data.draw(st.sampled_from([whole[:at] + put + whole[at + cut :], put])))
    read_or_refused(lambda: READERS[name](path))


@SETTINGS
@given(data=st.data())
def test_a_rule_with_a_value_of_another_kind_is_read_or_refused(data: st.DataObject) -> None:
    whole = json.loads(TEXTS["rule.json"])
    place = whole
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [value for value in (place.values() if isinstance(place, dict) else place) if value]
        inner = [value for value in inner if isinstance(value, dict | list)]
        if not inner:
            break
        place = data.draw(st.sampled_from(inner))
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = data.draw(VALUES)
    read_or_refused(lambda: parse_rule(json.dumps(whole)))


@SETTINGS
@given(lines=st.lists(st.binary(max_size=80) | st.just(TEXTS["records.jsonl"].encode()), max_size=6))
def test_the_good_lines_of_a_records_file_are_read(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = read_records(path)
    assert len(found.records) >= lines.count(TEXTS["records.jsonl"].encode())
    assert all("\n" not in why for _, why in found.bad_lines)


def test_no_content_of_an_unreadable_line_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f"{SECRET}\n{json.dumps({'token': SECRET})}\n[1]\n")
    bad = read_records(path).bad_lines
    assert [number for number, _ in bad] == [1, 2, 3] and SECRET[:10] not in str(bad)


def test_a_file_of_nothing_but_complaints_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("x\n" * 50_000)
    assert "the first 1,000 lines hold none" in refused(lambda: read_records(tmp_path / "records.jsonl"))


NAMES = (".lock", ".fingerprint", "study.toml", "records.jsonl", "logs", "checkpoints", "study.db", "study.db-wal")
KINDS = (
    "none",
    "file",
    "text",
    "fifo",
    "folder",
    "link out",
    "link to nothing",
    "link to a device",
    "link to a folder",
)


@SETTINGS
@given(kinds=st.tuples(*(st.sampled_from(KINDS) for _ in NAMES)))
def test_a_run_folder_of_any_make_changes_nothing_outside(
    tmp_path_factory: pytest.TempPathFactory, kinds: tuple[str, ...]
) -> None:
    base = tmp_path_factory.mktemp("stranger")
    run, home = base / "run", base / "home"
    run.mkdir()
    home.mkdir()
    (home / ".bashrc").write_text(SECRET)
    for name, kind in zip(NAMES, kinds, strict=True):
        _make(run / name, kind, home)
    study = Study()
    said = []
    folder = RunFolder(run)
    for step in (
        lambda: folder.open(study, fingerprint(study)),
        folder.read,
        lambda: sqlite_url(run),
        lambda: LocalEngine._log(run / "logs", 0).close(),
    ):
        try:
            step()
        except InputError as error:
            said.append(str(error))
    folder.close()
    assert {path.name: path.read_text() for path in home.iterdir()} == {".bashrc": SECRET}
    assert SECRET[:10] not in str(said) and not any("\n" in line for line in said)


def _make(path: Path, kind: str, home: Path) -> None:
    links: dict[str, Path | str] = {
        "link out": home / ".bashrc",
        "link to nothing": home / "new",
        "link to a device": "/dev/zero",
        "link to a folder": home,
    }
    if kind in links:
        path.symlink_to(links[kind])
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "none":
        path.write_text(SECRET if kind == "text" else "")


@SETTINGS
@given(value=VALUES, key=st.text(max_size=300), known=st.lists(st.text(max_size=90), max_size=30))
def test_any_value_and_any_key_make_one_short_line(value: Any, key: str, known: list[str]) -> None:
    assert len(show(value)) < 600 and "\n" not in show(value)
    assert len(unknown_key("table", key, known)) < 1000 and "\n" not in unknown_key("table", key, known)


def test_a_complaint_about_a_million_columns_names_ten() -> None:
    names = [f"column {number}" for number in range(1_000_000)]
    assert len(unknown_key("table", "wheight", names)) < 300


META: dict[str, Any] = {
    "schema": 1,
    "vocabulary_size": 300,
    "dtype": "<u2",
    "train": 9,
    "validation": 4,
    "fingerprint": "a",
    "facts": {},
}


def token_folder(folder: Path, ids: int = 299, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "meta.json").write_text(json.dumps({**META, **changes}))
    for name in ("train", "validation"):
        np.full(META[name], ids, dtype="<u2").tofile(folder / f"{name}.bin")
    return folder


@SETTINGS
@given(
    name=st.sampled_from(sorted(META)), value=VALUES | st.sampled_from(["O", "<u4", "<f8", "V2", "object", -1, 2**62])
)
def test_a_token_folder_maps_numbers_of_its_vocabulary_or_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    try:
        tokens = load_tokens(token_folder(tmp_path / "tokens", **{name: value}))
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert tokens.train.dtype in (np.dtype("<u2"), np.dtype("<u4")) and tokens.train.max() < tokens.vocabulary_size


def test_ids_beyond_the_vocabulary_and_pipes_are_refused(tmp_path: Path) -> None:
    assert load_tokens(token_folder(tmp_path / "tokens")).vocabulary_size == 300
    assert "holds the id 300" in refused(lambda: load_tokens(token_folder(tmp_path / "large", ids=300)))
    for name in ("meta.json", "train.bin"):
        folder = token_folder(tmp_path / name)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert "not a regular file" in refused(lambda folder=folder: load_tokens(folder))  # type: ignore[misc]
