"""``python -m lrtune`` and the console script ``lrtune``."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from lrtune.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
