"""``python -m lrtune`` and the console script ``lrtune``."""

import sys
from collections.abc import Sequence


def main() -> None:
    """Run the command line and exit with its code."""
    answer = _plain_answer(sys.argv[1:])
    if answer is not None:
        print(answer)
        return
    from lrtune.cli import run

    sys.exit(run(sys.argv[1:]))


def _plain_answer(arguments: Sequence[str]) -> str | None:
    """What ``lr HIDDEN --plain`` prints: scripts ask this often, and building the command line costs ten times more.

    None for anything else, errors included, which the command line then says in its own words.
    """
    if len(arguments) != 3 or arguments[0] != "lr" or "--plain" not in arguments:
        return None
    hidden = next((word for word in arguments[1:] if word.isdecimal()), None)
    if hidden is None:
        return None
    from lrtune.errors import LrtuneError
    from lrtune.rule.ask import recommend

    try:
        return f"{recommend(int(hidden)).learning_rate:.3g}"
    except LrtuneError:
        return None


if __name__ == "__main__":
    main()
