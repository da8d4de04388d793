"""A file is written whole or not at all."""

import os

import pytest

from lrtune.files import write_whole


def test_a_write_that_fails_leaves_the_former_file_and_no_litter(tmp_path, monkeypatch) -> None:
    path = tmp_path / "rule.json"
    write_whole(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["rule.json"]


def test_bytes_and_text_and_the_usual_permissions(tmp_path) -> None:
    path = tmp_path / "a"
    write_whole(path, "é")
    assert path.read_bytes() == "é".encode()
    write_whole(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
