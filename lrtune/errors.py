"""The errors that lrtune raises on purpose. Each message is one line: the problem and its fix."""

# `re` is imported where it is used: a script that asks for a rate needs none.

# Control characters except tab and line feed, bidirectional marks, line separators and undecodable bytes.
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
# Greedy up to the last @ of the line: a password may contain blanks, colons and @. Else it may contain a line break.
_PASSWORD = r"(?P<head>\b[\w+.-]+://[^:/@\n]*):(?:[^\n]{0,2000}|[^@]{0,100})@"
_PASSWORD_FIELD = r"""(?i)(?<!\w)(?P<head>\w*?(?:password|passwd|pwd)\s*=\s*)(?:'[^'\n]*'|"[^"\n]*"|[^&'"\n]+)"""


def plain(text: object) -> str:
    """Untrusted text without the control characters that could drive a terminal."""
    text = str(text)
    if text.isprintable():
        return text
    import re

    return re.sub(_UNPRINTABLE, "", text)


def counted(count: int, what: str) -> str:
    """A number of things for a message: ``1 run``, ``2 runs``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def redact(text: object) -> str:
    """Replace passwords in URLs and connection strings by ``***``."""
    import re

    return re.sub(_PASSWORD_FIELD, r"\g<head>***", re.sub(_PASSWORD, r"\g<head>:***@", str(text)))


class LrtuneError(Exception):
    """Base of all errors raised on purpose. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class InputError(LrtuneError):
    """A flag, file or field is not usable. Nothing was started or written.

    The message has the form ``field: expected …, but got …``, with file and line if known.
    """

    exit_code = 2


class MissingExtraError(InputError):
    """A command needs a package that is not installed; the message names the extra that installs it."""

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'lrtune[{extra}]'")


class RunFailedError(LrtuneError):
    """A search, a fit or a check started and failed (all trials failed, storage lost, …)."""


class NoActiveRuleError(RunFailedError):
    """A search or a fit found no rule, and the active rule file says so."""


class TrainerFailedError(RunFailedError):
    """The training program of one run failed; the search continues with the next run."""
