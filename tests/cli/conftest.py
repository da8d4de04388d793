"""The fixture of a command."""

import os
from pathlib import Path

import pytest
from commands import Cli, Ran

from lrtune.cli import run as run_cli


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in an empty folder, with nothing set in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LRTUNE_") and "REQUIRE" not in name]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run_cli([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
