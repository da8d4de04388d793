"""What the verbs print with: text that fits the terminal and cannot drive it."""

import contextlib
import io
from collections.abc import Callable

import pytest

from lrtune.cli import terminal
from lrtune.cli.terminal import result, say, table

LONG = "extrapolated at hidden_size 256; a power law over sizes that were left out in turn, and predicted very well"


class Screen(io.StringIO):
    """A terminal of 60 columns."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, call: Callable[[str], None], text: str) -> str:
    """What a terminal of 60 columns gets."""
    monkeypatch.setenv("COLUMNS", "60")
    screen = Screen()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        call(text)
    return screen.getvalue()


def test_long_lines_wrap_between_words_below_their_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, result, table([("why", LONG), ("rule", "mine.json")], ("what", ""))).splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(line[6:] for line in lines[1:-1]) == LONG
    assert all(line.startswith(" " * 6) for line in lines[2:-1]) and lines[-1] == "rule  mine.json"


def test_what_is_piped_stays_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    result(LONG)
    assert capsys.readouterr().out == LONG + "\n"


@pytest.mark.parametrize("call", [result, say])
def test_what_others_wrote_cannot_drive_the_terminal(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[str], None]
) -> None:
    text = shown(monkeypatch, call, "study \x1b]52;c;cm0gLXJm\x07mine: \u202egnp")
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


NEXT = [
    ("lrtune lr 256", "ask for another size"),
    ("lrtune verify 64 --study runs/x/study.toml --scale steps=1600", "check"),
]


def test_commands_that_are_too_long_stand_below_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, lambda _: terminal.say_commands(NEXT), "").splitlines()
    assert lines == [
        "  ask for another size",
        "    lrtune lr 256",
        "  check",
        "    lrtune verify 64 --study runs/x/study.toml --scale \\",
        "      steps=1600",
    ]
    one = shown(monkeypatch, lambda _: terminal.say_commands(NEXT[:1]), "")
    assert one == "  lrtune lr 256  ask for another size\n"


def test_a_command_line_quotes_its_words() -> None:
    assert terminal.command("status", "runs/my run; ls").endswith("status 'runs/my run; ls'")
