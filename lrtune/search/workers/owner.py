"""Names of processes in a storage, and a test whether a named process has ended."""

import contextlib
import os
import secrets
import socket
from pathlib import Path


def machine_id() -> str:
    """The scope of process ids: the host name and, on Linux, the boot and the process-id namespace."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(os.readlink("/proc/self/ns/pid").removeprefix("pid:[").removesuffix("]"))
    return "/".join(parts)


def new_owner(token: str = "") -> str:
    """A name for this process, unique across machines and time; it ends with `token`, if given."""
    return f"{machine_id()}:{os.getpid()}:{_started(os.getpid())}:{token or secrets.token_hex(4)}"


def is_gone(owner: str) -> bool:
    """True if `owner` was a process of this machine that has ended; False if unknown."""
    try:
        where, pid, started, _ = owner.rsplit(":", 3)
        process = int(pid)
    except ValueError:
        return False
    if where != machine_id():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(started) and _started(process) != started


def _started(pid: int) -> str:
    """The kernel's start time of a process, empty if unknown. Process ids repeat; id and start time together do not."""
    with contextlib.suppress(OSError, IndexError):
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return "gone" if status[0] == "Z" else status[19]
    return ""
