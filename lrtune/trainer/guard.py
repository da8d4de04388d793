"""Runs one program and ends it, with all that it started, when the process that asked for it is gone.

Started as a script, in a session of its own, with a pipe from its starter as standard input: when that pipe
closes, even because the starter was killed, the whole process group is ended.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL


def main(arguments: list[str]) -> int:
    """Run the program; returns its exit code, 128 + the signal's number where a signal ended it."""
    # A handler, not SIG_IGN: the program would inherit that.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)
    threading.Thread(target=_watch, args=(process,), daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


def _watch(process: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
