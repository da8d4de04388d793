"""What a message may say: no password, and one thing in the singular."""

import pytest

from lrtune.errors import counted, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@db/lrtune", "postgresql://me:***@db/lrtune"),
        ("no postgresql://me:secret word@db/x here", "no postgresql://me:***@db/x here"),
        ("postgresql://me:se:cr@et/secret@db/x", "postgresql://me:***@db/x"),
        ("postgresql://db/x?user=me&password=secret&sslmode=on", "postgresql://db/x?user=me&password=***&sslmode=on"),
        ("postgresql://db/x?sslpassword=secret word", "postgresql://db/x?sslpassword=***"),
        ("host=db password = 'secret word' port=1", "host=db password = *** port=1"),
        ("postgresql://me:sec\nret@db/x", "postgresql://me:***@db/x"),
        ("PGPASSWORD=secret", "PGPASSWORD=***"),
        ("one\npostgresql://me:secret@db\nwrite to me@home", "one\npostgresql://me:***@db\nwrite to me@home"),
        ("http://127.0.0.1/x and sqlite:///runs/a@b.db", "http://127.0.0.1/x and sqlite:///runs/a@b.db"),
    ],
)
def test_a_password_is_not_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_one_thing_is_counted_in_the_singular() -> None:
    assert [counted(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
