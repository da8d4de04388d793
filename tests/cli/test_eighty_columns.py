"""In a terminal of 80 columns no verb prints a longer line or a broken word."""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrtune.cli import run as run_cli

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FRAME = re.compile("[│╭╮╰╯─]")
_CHART = re.compile("[┤└┬\u2800-\u28ff]")
SEARCH = "search --trainer analytic:train --widths 32,64,128 --steps 40 --report-every 10 --engine inline"
VERBS = [
    *(
        "lr 256",
        "lr 256 --rule packaged",
        "lr 1024 --given 128=0.003",
        "lr 100000 --strict",
        "lr 100000",
        "lr 256 512 1024",
        "lr 256 --compare",
        "lr 256 --compare --rule packaged --scale depth=4",
    ),
    *(
        "fit sweep.csv",
        "fit runs/own",
        "fit nowhere.csv",
        "use runs/own",
        "status runs/own",
        "doctor",
        "report runs/own",
    ),
    *(
        "check lrtune-rule.json --against runs/own",
        "check lrtune-rule.json --against sweep.csv",
        "init --force",
        "export --format yaml --rule packaged",
    ),
    *(
        "search --dry-run --trainer analytic:train --widths 32,64 --tolerance 0.1",
        "search --trainer nowhere:train",
        "dashboard none",
    ),
    "verify 64 --study runs/own/study.toml --out runs/v",  # before a budget enters the study
    *(f"{SEARCH} --budget 0.5s", f"{SEARCH} --out runs/two --scale steps=40,80 --tolerance 0.001 --trials 8"),
    *("compare arms.toml --dry-run", "worker --storage sqlite:///x.db --study y", "check-trainer analytic:train"),
    *(f"{verb} --help" for verb in ("search", "compare", "verify", "worker", "lr", "export", "fit", "check", "use")),
    *(f"{verb} --help" for verb in ("status", "report", "dashboard", "init", "check-trainer", "doctor")),
    "--help",
]
TWICE = (f"{SEARCH} --out", "fit", "use", "check", "verify", "init")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(line: str, width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a terminal of this width gets from a command."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        run_cli(line.split())
    return [_ESCAPE.sub("", text).rstrip() for text in screen.getvalue().splitlines()]


def words(lines: list[str]) -> Iterator[str]:
    """The words without digits: times differ from run to run, and a chart's ticks from width to width."""
    for text in lines:
        if not _CHART.search(text):
            yield from (word for word in _FRAME.sub(" ", text).split() if not re.search(r"\d", word))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A project with a search in runs/own, its rule and a sweep; its path is short, since a path is never broken."""
    with tempfile.TemporaryDirectory(prefix="w") as name:
        yield project(Path(name))


def project(folder: Path) -> Path:
    (folder / "pyproject.toml").touch()
    rows = [f"{width},{rate},{3 + abs(rate * width - 0.6)}" for width in (64, 128) for rate in (1e-3, 3e-3, 1e-2, 3e-2)]
    (folder / "sweep.csv").write_text("hidden_size,lr,loss\n" + "\n".join(rows) + "\n")
    (folder / "arms.toml").write_text('[study]\ntrainer = "analytic:train"\n[arms.a]\nlearning_rate = 0.01\n')
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(folder)
        assert run_cli([*SEARCH.split(), "--quiet"]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "toml", "python"])
def test_the_text_of_a_format_is_never_wrapped(form: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word may be longer than a line there, and a wrapped line would be another text."""
    monkeypatch.chdir(folder)
    assert run_cli(["export", "--format", form, "-o", "written"]) == 0
    written = [text.rstrip() for text in Path("written").read_text(encoding="utf-8").splitlines()]
    assert shown(f"export --format {form}", 80, monkeypatch) == written


@pytest.mark.slow
@pytest.mark.parametrize("line", VERBS)
def test_no_line_is_longer_and_no_word_broken(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    first = shown(line, 80, monkeypatch)
    # What trains or writes has more to say the first time.
    again = shown(line, 80, monkeypatch) if line.startswith(TWICE) else first
    wide = shown(line, 400, monkeypatch)
    assert first and [text for text in (*first, *again) if len(text) > 80] == []
    # Only a narrow screen has the mark of a continued command, the shorter heading, or the unit of another time.
    assert set(words(again)) - set(words(wide)) <= {"\\", "LR", "s"}
