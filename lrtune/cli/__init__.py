"""The command line: one thin verb over each function that does the work.

Results go to stdout, everything else to stderr. An error that the user can mend is one line; see `run`.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from lrtune.cli import ask, look, search, setup, tables
from lrtune.errors import LrtuneError

app = typer.Typer(
    name="lrtune",
    help="Find the peak learning rate that a model of a given hidden size should be trained with.",
    epilog="Example: lrtune search && lrtune lr 256",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (search, ask, tables, look, setup):
    module.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        from lrtune import __version__

        print(f"lrtune {__version__}")
        raise typer.Exit


_TRAINS = ("worker", "check-trainer")  # verbs in whose process a trainer runs, which may want its threads


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
) -> None:
    if context.invoked_subcommand not in _TRAINS:
        # Our own matrices are small: more threads would only wait for each other beside the workers, at full speed.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 1 for a failed run, 2 for bad input, 130 after Ctrl-C.

    With ``--debug`` anywhere, or LRTUNE_DEBUG set, an error leaves its traceback.
    """
    debug = "--debug" in arguments or bool(os.environ.get("LRTUNE_DEBUG"))
    try:
        arguments = [argument for argument in arguments if argument != "--debug"]
        return int(app(arguments, prog_name="lrtune", standalone_mode=False) or 0)
    except LrtuneError as error:
        return _complain(error, str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _complain(error, "interrupted", 130, debug)
    except BrokenPipeError:
        # Whoever read our output has seen enough (`lrtune lr 256 --compare | head -1`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (message := _usage_message(error)) is not None:
            return _complain(error, message, getattr(error, "exit_code", 2), debug)
        if isinstance(error, OSError):
            return _complain(error, f"{error.filename or 'file'}: {error.strerror or error}", 1, debug)
        unexpected = f"unexpected {type(error).__name__}: {error} (run again with --debug for the traceback)"
        return _complain(error, unexpected, 1, debug)


def _usage_message(error: Exception) -> str | None:
    """The one-line message of an error in the command line itself; None for any other error."""
    # Typer's usage errors have no public base class of one name over its versions.
    write = getattr(error, "format_message", None)
    if write is None:
        return None
    if type(error).__name__ == "NoArgsIsHelpError":  # the help is already on the screen
        return ""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "lrtune"
    return f"{' '.join(write().split())} (see: {command} --help)"


def _complain(error: BaseException, message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    elif message:
        print(f"lrtune: {message}", file=sys.stderr)
    return code
