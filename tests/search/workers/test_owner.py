"""Names of processes: whose end may be concluded from this machine."""

import os
import sys

import pytest

from lrtune.search.workers.owner import is_gone, new_owner


@pytest.mark.skipif(sys.platform != "linux", reason="boot and process namespace are known on Linux only")
def test_only_a_process_of_this_boot_and_namespace_is_known_to_be_gone() -> None:
    me = new_owner("token")
    where, pid, started, token = me.rsplit(":", 3)
    assert pid == str(os.getpid()) and token == "token" and not is_gone(me)
    assert is_gone(f"{where}:{pid}:{int(started) - 1}:{token}"), "another process had this number"
    assert is_gone(f"{where}:{2**22 + 1}:{started}:{token}")
    host, boot, namespace = where.rsplit("/", 2)
    for other in (f"{host}/{boot[::-1]}x/{namespace}", f"{host}/{boot}/{namespace}1", f"{host}x/{boot}/{namespace}"):
        assert not is_gone(f"{other}:{2**22 + 1}:{started}:{token}"), "a machine of the same name is another machine"


@pytest.mark.parametrize("name", ["", "me", "a:b:c:d", ":::", "vm/1/2:-1:5:t", f"vm/1/2:{10**30}:5:t", "\x1b[2J:1:2:3"])
def test_a_name_that_is_none_is_not_gone(name: str) -> None:
    assert not is_gone(name)
