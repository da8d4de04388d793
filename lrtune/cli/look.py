"""Verbs that look at a run: `status`, `report`, `dashboard`."""

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
