"""The head of a Ray cluster for one process: it listens only on this machine's loopback address, and needs a token.

`main` runs under a supervisor (`lrtune.trainer.supervisor`), until a signal ends it.
"""

import contextlib
import importlib
import os
import secrets
from collections.abc import Iterator, Mapping

from ray._private import services
from ray.scripts.scripts import start

from lrtune.trainer import supervisor

LOOPBACK = "127.0.0.1"
_ACCESS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Keep Ray on 127.0.0.1: by default it replaces that with a public address, and no option prevents it."""
    resolve = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = resolve


def new_access() -> dict[str, str]:
    """Ray's variables for a cluster with a new token: other users of this machine can reach loopback too."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def set_access(variables: Mapping[str, str]) -> dict[str, str]:
    """Set how this process and its child processes access a Ray cluster; returns the former variables."""
    former = {name: os.environ.pop(name) for name in _ACCESS if name in os.environ}
    os.environ.update(variables)
    raylet = importlib.import_module("ray._raylet")
    if hasattr(raylet, "AuthenticationTokenLoader"):  # before version 2.52, Ray has no tokens
        raylet.Config.initialize("")  # Ray keeps what it saw at its import
        raylet.AuthenticationTokenLoader.instance().reset_cache()
    return former


def main(port: str) -> None:
    """Run the head."""
    supervisor.end_with_supervisor()
    arguments = ["--head", "--block", f"--port={port}", f"--node-ip-address={LOOPBACK}"]
    with on_loopback():
        start.main(args=[*arguments, "--include-dashboard=false", "--disable-usage-stats"], standalone_mode=False)
