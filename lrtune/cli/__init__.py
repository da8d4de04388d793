"""The command line: one file per verb, each a thin layer over the function that does the work.

Results go to stdout, everything else to stderr. An error that the user can fix is one line; see `run`.
"""

import errno
import os
import sys
from collections.abc import Sequence

from lrtune.errors import LrtuneError, redact

_MOST_CHARACTERS = 2000  # of an error message
# Typer words a wrong number as pydantic does; these are the kinds of its errors.
_NUMBERS = {"int": "a whole number", "float": "a number"}
_NOT_USABLE = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 1 for a failed run, 2 for bad input, 130 after Ctrl-C.

    With ``--debug`` anywhere, or LRTUNE_DEBUG set, an error leaves its traceback.
    """
    debug = "--debug" in arguments or bool(os.environ.get("LRTUNE_DEBUG"))
    try:
        match [argument for argument in arguments if argument != "--debug"]:
            # Scripts call this often; building the command line takes ten times as long as the answer.
            case ["lr", hidden, "--plain"] | ["lr", "--plain", hidden] if hidden.isdecimal():
                return _print_rate(int(hidden), None)
            case ["lr", hidden, "--plain", "--rule", rule] | ["lr", hidden, "--rule", rule, "--plain"] if (
                hidden.isdecimal() and rule
            ):
                return _print_rate(int(hidden), rule)
            case words:
                from lrtune.cli.app import application

                code = int(application(words)(words, prog_name="lrtune", standalone_mode=False) or 0)
                print(end="", flush=True)  # so that a closed pipe raises here, not at exit
                return code
    except LrtuneError as error:
        return _complain(error, str(error), error.exit_code, debug)
    except KeyboardInterrupt as error:
        return _complain(error, "interrupted", 130, debug)
    except BrokenPipeError:
        # The reader closed the pipe (`lrtune lr 256 --compare | head -1`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        is_input = isinstance(error, _NOT_USABLE) or error.errno in (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
        named = error.filename or ("working folder" if isinstance(error, FileNotFoundError) else "file")
        reason = f"{named}: {error.strerror or error}"
        return _complain(error, reason, 2 if is_input else 1, debug)
    except Exception as error:
        if type(error).__name__ == "Abort":
            return _complain(error, "interrupted", 130, debug)
        if (message := _usage_message(error)) is not None:
            return _complain(error, message, getattr(error, "exit_code", 2), debug)
        unexpected = f"unexpected {type(error).__name__}: {error!s:.500} (run again with --debug for the traceback)"
        return _complain(error, unexpected, 1, debug)


def _print_rate(hidden: int, rule: str | None) -> int:
    from lrtune.cli.rates import print_rate
    from lrtune.rule.ask import recommend_briefly

    print_rate(recommend_briefly(hidden, rule))
    return 0


def _usage_message(error: Exception) -> str | None:
    """The one-line message of an error in the command line itself; None for any other error."""
    # Typer's usage errors have no public base class with one name in all its versions.
    write = getattr(error, "format_message", None)
    if write is None:
        return None
    if type(error).__name__ == "NoArgsIsHelpError":  # the help is already on the screen
        return ""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "lrtune"
    message = " ".join(write().split())
    [wrong, *_] = getattr(error.__context__, "errors", list)() or [{"type": ""}]
    if kind := _NUMBERS.get(wrong["type"].partition("_")[0]):
        flag = message.partition("'")[2].partition("'")[0]
        message = f"{flag}: expected {kind}, but got {wrong['input']!r:.40}"
    return f"{message} (see: {command} --help)"


def _complain(error: BaseException, message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    elif message:
        from lrtune.cli.terminal import say

        message = " ".join(line.strip() for line in redact(message).splitlines())
        cut = message if len(message) <= _MOST_CHARACTERS else f"{message[:_MOST_CHARACTERS]} … (cut)"
        say(f"lrtune: {cut}")
    return code
