"""Training one run: the contract with a trainer, and the kinds of trainer."""

from lrtune.errors import InputError, MissingExtraError
from lrtune.trainer.trial import Trial, population

__all__ = ["InputError", "MissingExtraError", "Trial", "population"]
