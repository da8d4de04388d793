"""The head of a Ray cluster that listens only on this machine's loopback address.

Runs as a script, ``python -P ray_head.py PORT``, until a signal ends it.
"""

import contextlib
import sys
from collections.abc import Iterator

from ray._private import services
from ray.scripts.scripts import start

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Keep Ray on 127.0.0.1: by default it replaces that with a public address, and no option prevents it."""
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
