"""The errors that a user of lrtune can meet: each is one line that says what was expected and what to do."""

import re

# Controls but tab and line feed, marks that reorder text, line separators, and bytes that were no UTF-8.
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
# Greedy up to the last @ of a line: a password may hold blanks, colons and an @ of its own.
_PASSWORD = r"(?P<head>\b[\w+.-]+://[^:/@\n]*):[^\n]*@"
_PASSWORD_FIELD = r"""(?i)(?P<head>\w*(?:password|passwd|pwd)\s*=\s*)(?:'[^'\n]*'|"[^"\n]*"|[^&'"\n]+)"""


def plain(text: object) -> str:
    """Text of others as a terminal may show it: without control characters, which could drive the terminal."""
    return re.sub(_UNPRINTABLE, "", str(text))


def redact(text: object) -> str:
    """`text` with the passwords of URLs and connection strings in it replaced by ``***``."""
    return re.sub(_PASSWORD_FIELD, r"\g<head>***", re.sub(_PASSWORD, r"\g<head>:***@", str(text)))


class LrtuneError(Exception):
    """Base of all errors raised on purpose. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class InputError(LrtuneError):
    """Something that the user gave is not usable: a flag, a file, a field. Nothing was started or written.

    The message has the form ``field: what was expected, but got …`` with file and line where there is one.
    """

    exit_code = 2


class MissingExtraError(InputError):
    """A verb needs a package that is not installed; the message names the extra that brings it."""

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'lrtune[{extra}]'")


class RunFailedError(LrtuneError):
    """A search, a fit or a check ran and could not deliver (all trials failed, storage lost, …)."""


class TrainerFailedError(RunFailedError):
    """The program that trains one run failed; the search continues with the next run."""
