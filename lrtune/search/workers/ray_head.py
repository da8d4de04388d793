"""The head of a Ray cluster that listens on the loopback of this machine alone.

Run as a script, ``python -P ray_head.py PORT``, it lasts until it is ended.
"""

import contextlib
import sys
from collections.abc import Iterator

from ray._private import services
from ray.scripts.scripts import start

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Let Ray take 127.0.0.1 as it is: it puts an address that others reach in its place, and has no option for it."""
    resolve = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = resolve


def main(port: str) -> None:
    """Run the head."""
    arguments = ["--head", "--block", f"--port={port}", f"--node-ip-address={LOOPBACK}"]
    with on_loopback():
        start.main(args=[*arguments, "--include-dashboard=false", "--disable-usage-stats"], standalone_mode=False)


if __name__ == "__main__":
    main(sys.argv[1])
