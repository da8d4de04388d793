"""Which learning rate should a model of this size be trained with?

The public names are listed in `_HOMES` and are imported when first used, so that ``import lrtune`` costs
nothing and ``get_learning_rate`` loads neither torch nor optuna nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrtune.errors import InputError as InputError
    from lrtune.errors import LrtuneError as LrtuneError
    from lrtune.trainer.trial import Trial as Trial

__version__ = "0.1.0"

# public name → the module that holds it
_HOMES = {
    "get_learning_rate": "lrtune.rule",
    "recommend": "lrtune.rule",
    "transfer_learning_rate": "lrtune.rule",
    "load_rule": "lrtune.rule",
    "save_rule": "lrtune.rule",
    "Rule": "lrtune.rule",
    "Recommendation": "lrtune.rule",
    "Trial": "lrtune.trainer.trial",
    "population": "lrtune.trainer.trial",
    "Study": "lrtune.study.study",
    "load_study": "lrtune.study.toml",
    "TrialRecord": "lrtune.records.record",
    "read_records": "lrtune.records.jsonl",
    "fit": "lrtune.law.sweep",
    "fit_law": "lrtune.law.fit",
    "run_search": "lrtune.search.run",
    "CollapsePruner": "lrtune.search.pruning.pruner",
    "report_diversity": "lrtune.search.pruning.pruner",
    "ScaleAwareSampler": "lrtune.search.sampling.sampler",
    "TrialCallback": "lrtune.trainer.huggingface",
    "register_resolver": "lrtune.rule.export",
    "LrtuneError": "lrtune.errors",
    "InputError": "lrtune.errors",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lrtune' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
