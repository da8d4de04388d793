"""The study's specification for workers, in its storage."""

import json
from dataclasses import asdict, dataclass

from lrtune.errors import InputError
from lrtune.fields import number, optional, table, text


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """A search's specification for its workers, without passwords.

    Attributes:
        study: the text of study.toml.
        fingerprint: of the study with the trainer's data.
        function: the trainer as text, if it is a function that workers cannot import.
        checkpoints: the checkpoint folder on the search's machine; empty for none.
        members, trial_timeout, lease_seconds, checkpoint_seconds: see `lrtune.search.options.SearchOptions`.
    """

    study: str
    fingerprint: str
    function: str = ""
    checkpoints: str = ""
    members: int | None = None
    trial_timeout: float | None = None
    lease_seconds: float = 60.0
    checkpoint_seconds: float = 30.0

    def to_json(self) -> str:
        """The specification as JSON for the storage."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, content: str) -> "StudySpec":
        """The specification from a storage's JSON; ignores fields of newer versions.

        Raises:
            InputError: the text is not a specification.
        """
        try:
            return cls(**_SPEC("", json.loads(content)))
        except (ValueError, RecursionError, InputError) as error:
            raise InputError(f"storage: cannot read the study's specification for workers: {error!s:.200}") from None


_SECONDS = number(0, above=True)
_SPEC = table(
    {
        "study": text(2**24),
        "fingerprint": text(64),
        "function": text(2**26),
        "checkpoints": text(5000),
        "members": optional(number(0, 2**20, above=True, whole=True)),
        "trial_timeout": optional(_SECONDS),
        "lease_seconds": _SECONDS,
        "checkpoint_seconds": number(0),
    },
    needed=("study", "fingerprint"),
    others_pass=True,
)
