"""Files of others are opened with care; files of ours are written whole or not at all."""

import os
import stat
import subprocess
import sys

import pytest

from lrtune.errors import plain
from lrtune.files import is_private, make_private, open_file, open_handle, read_bytes, remove_leftovers, write_whole


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


def test_a_former_file_keeps_its_mode(tmp_path) -> None:
    path = tmp_path / "rule.json"
    path.touch(0o600)
    write_whole(path, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_text() == "secret"


def test_a_link_is_replaced_or_followed_as_asked(tmp_path) -> None:
    (tmp_path / "real").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("real")
    write_whole(link, "followed", follow=True)
    assert link.is_symlink() and (tmp_path / "real").read_text() == "followed"
    write_whole(link, "replaced")
    assert not link.is_symlink() and (tmp_path / "real").read_text() == "followed"


@pytest.mark.parametrize("follow", [True, False])
def test_a_pipe_or_device_is_never_replaced(tmp_path, follow: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        write_whole(path, "{}", follow=follow)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "link to a device"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_only_regular_files_are_opened_and_nothing_waits(tmp_path, kind: str, flags: int) -> None:
    path = tmp_path / "records.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    name = "/dev/zero" if kind == "device" else path
    with pytest.raises(OSError, match=r"not a regular file|a folder|directory"):
        open_handle(name, flags)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT])
def test_no_link_leads_out_of_the_folder(tmp_path, flags: int) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    (other / "secret").write_text("secret")
    (run / "out").symlink_to("../other/secret")
    (run / "logs").symlink_to("../other")
    (run / "nothing").symlink_to("../other/nothing")
    for name in ("out", "logs/secret", "logs/new", "nothing"):
        with pytest.raises(OSError, match="leads out of its folder"):
            open_handle(run / name, flags, within=run)
    assert os.listdir(other) == ["secret"]
    (run / "real").write_text("x")
    (run / "inside").symlink_to("real")
    assert read_bytes(run / "inside", within=run) == b"x"
    (tmp_path / "named").symlink_to("run")
    assert read_bytes(tmp_path / "named" / "real", within=tmp_path / "named") == b"x"


def test_sizes_are_limited_also_where_the_file_hides_its_own(tmp_path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bytes(path, most=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_bytes(path, most=4)
    with pytest.raises(OSError, match="larger than 4 bytes"):
        open_file(path, most=4)
    if os.path.exists("/proc/self/stat"):
        with pytest.raises(OSError, match="larger than 4 bytes"):
            read_bytes("/proc/self/stat", most=4)


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path) -> None:
    code = (
        "import os, sys, pathlib, lrtune.files as files\n"
        "def stop(*_):\n    print('writing', flush=True)\n    sys.stdin.read()\n    os._exit(1)\n"
        "files.os.replace = stop\nfiles.write_whole(pathlib.Path(sys.argv[1]), 'x')"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "rule.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None and writer.stdout.readline()
    remove_leftovers(tmp_path)
    assert len(os.listdir(tmp_path)) == 1
    writer.communicate()
    (tmp_path / ".vimrc.original").touch()
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [".vimrc.original"]


def test_a_cache_is_for_one_user_alone(tmp_path) -> None:
    cache = tmp_path / "a" / "b"
    make_private(cache)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    cache.chmod(0o770)
    assert not is_private(cache)
    make_private(cache)
    assert is_private(cache)
    (tmp_path / "link").symlink_to(cache)
    assert not is_private(tmp_path / "link")
    with pytest.raises(OSError, match="own"):
        make_private(tmp_path / "link")


def test_text_of_others_cannot_drive_the_terminal() -> None:
    assert plain("a\x1b]52;c;eA==\x07\r\x9b31m\u202eb\n\tc é 漢") == "a]52;c;eA==31mb\n\tc é 漢"
    plain("\ud800x").encode()
