"""What workers read of a study in its storage: the study, and how to work on it."""

import json
from dataclasses import asdict, dataclass, fields

from lrtune.errors import InputError


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """What a search writes for its workers; no password is in it.

    Attributes:
        study: the study.toml.
        fingerprint: of the study with the trainer's data.
        checkpoints: the folder of checkpoints on the search's machine; empty for none.
        members, trial_timeout, lease_seconds, checkpoint_seconds: see `lrtune.search.options.SearchOptions`.
    """

    study: str
    fingerprint: str
    checkpoints: str = ""
    members: int | None = None
    trial_timeout: float | None = None
    lease_seconds: float = 60.0
    checkpoint_seconds: float = 30.0

    def to_json(self) -> str:
        """The specification as the storage keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "StudySpec":
        """The specification that a storage keeps; what a newer version adds to it is left out.

        Raises:
            InputError: the text is no specification.
        """
        names = {field.name for field in fields(cls)}
        try:
            return cls(**{name: value for name, value in json.loads(text).items() if name in names})
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"storage: cannot read what workers are to know of the study: {error!s:.200}") from None
