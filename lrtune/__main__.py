"""``python -m lrtune`` and the console script ``lrtune``."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from lrtune.cli import run

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not if it is closed, or somebody's own
            stream.reconfigure(errors="replace")  # an encoding without "≈" is no reason to fail
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
