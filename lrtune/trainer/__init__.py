"""Training one run: the contract with a trainer, and the kinds of trainer."""

from lrtune.errors import InputError, MissingExtraError
from lrtune.trainer.find import resolve_trainer
from lrtune.trainer.trial import (
    Facts,
    Interrupted,
    Report,
    Scalar,
    Trainer,
    Trial,
    is_finite,
    population,
)

__all__ = [
    "Facts",
    "InputError",
    "Interrupted",
    "MissingExtraError",
    "Report",
    "Scalar",
    "Trainer",
    "Trial",
    "is_finite",
    "population",
    "resolve_trainer",
]
