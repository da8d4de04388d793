"""Verbs that train: `search`, `verify`, `compare`, `worker`."""

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
