"""Which learning rate should a model of this size be trained with?

Ask a rule: `get_learning_rate`, `recommend`. Make one from runs that exist (`fit`) or by training short ones
(`run_search`). Look at it: `load_run`, `plot`; rules, answers, runs and results also display themselves in a notebook.

Each name is imported when first used: ``import lrtune`` costs nothing, and ``get_learning_rate`` loads neither torch
nor optuna nor numpy.
"""

TYPE_CHECKING = False  # `typing` is not imported: see `lrtune.named`
if TYPE_CHECKING:
    from lrtune.errors import InputError as InputError
    from lrtune.errors import LrtuneError as LrtuneError
    from lrtune.law.fit import fit_law as fit_law
    from lrtune.law.sweep import fit as fit
    from lrtune.records.jsonl import read_records as read_records
    from lrtune.records.record import TrialRecord as TrialRecord
    from lrtune.report.plot import plot as plot
    from lrtune.report.run import Run as Run
    from lrtune.report.run import load_run as load_run
    from lrtune.rule import Recommendation as Recommendation
    from lrtune.rule import Rule as Rule
    from lrtune.rule import get_learning_rate as get_learning_rate
    from lrtune.rule import load_rule as load_rule
    from lrtune.rule import recommend as recommend
    from lrtune.rule import save_rule as save_rule
    from lrtune.rule import transfer_learning_rate as transfer_learning_rate
    from lrtune.rule.export import register_resolver as register_resolver
    from lrtune.search.options import SearchOptions as SearchOptions
    from lrtune.search.options import SearchResult as SearchResult
    from lrtune.search.pruning.pruner import CollapsePruner as CollapsePruner
    from lrtune.search.pruning.pruner import report_diversity as report_diversity
    from lrtune.search.run import run_search as run_search
    from lrtune.search.sampling.sampler import ScaleAwareSampler as ScaleAwareSampler
    from lrtune.study.study import Budget as Budget
    from lrtune.study.study import Study as Study
    from lrtune.study.toml import load_study as load_study
    from lrtune.trainer.huggingface import TrialCallback as TrialCallback
    from lrtune.trainer.trial import Trial as Trial
    from lrtune.trainer.trial import population as population

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
    "run_search": "lrtune.search.run",
    "SearchResult": "lrtune.search.options",
    "SearchOptions": "lrtune.search.options",
    "Trial": "lrtune.trainer.trial",
    "population": "lrtune.trainer.trial",
    "Study": "lrtune.study.study",
    "Budget": "lrtune.study.study",
    "load_study": "lrtune.study.toml",
    "fit": "lrtune.law.sweep",
    "fit_law": "lrtune.law.fit",
    "TrialRecord": "lrtune.records.record",
    "read_records": "lrtune.records.jsonl",
    "load_run": "lrtune.report.run",
    "Run": "lrtune.report.run",
    "plot": "lrtune.report.plot",
    "CollapsePruner": "lrtune.search.pruning.pruner",
    "report_diversity": "lrtune.search.pruning.pruner",
    "ScaleAwareSampler": "lrtune.search.sampling.sampler",
    "TrialCallback": "lrtune.trainer.huggingface",
    "register_resolver": "lrtune.rule.export",
    "LrtuneError": "lrtune.errors",
    "InputError": "lrtune.errors",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lrtune' has no attribute {name!r}")
    value = getattr(__import__(home, fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
