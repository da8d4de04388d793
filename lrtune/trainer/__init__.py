"""How one run is trained: the contract, and every way to fulfil it."""

from lrtune.errors import InputError
from lrtune.trainer.trial import (
    Facts,
    Interrupted,
    Report,
    Scalar,
    Trainer,
    Trial,
    is_finite,
    population,
    resolve_trainer,
)

__all__ = [
    "Facts",
    "InputError",
    "Interrupted",
    "Report",
    "Scalar",
    "Trainer",
    "Trial",
    "is_finite",
    "population",
    "resolve_trainer",
]
