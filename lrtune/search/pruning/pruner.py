"""The collapse verdict as a pruner for any Optuna study.

Optuna hands a pruner the reported objective alone; the diversity goes beside it, with `report_diversity`::

    import optuna
    from lrtune.search.pruning.pruner import CollapsePruner, report_diversity

    def objective(trial):
        rate = trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
        for step in range(100, 1001, 100):
            stuck = rate > 0.1  # a run that collapses: one answer to everything, and the loss stands still
            loss = 7.0 if stuck else 7.0 - 3.0 * step / 1000 + abs(rate - 0.01)
            report_diversity(trial, step, 0.02 if stuck else 0.4)
            trial.report(loss, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    pruner = CollapsePruner(steps=1000, vocabulary_size=8192, unigram_entropy=6.1)
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=12)
"""

import json
import weakref
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lrtune.errors import InputError
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import Verdict, verdict
from lrtune.study.study import PruningPolicy

_DIVERSITY = "diversity"


def report_diversity(trial: optuna.Trial | FrozenTrial, step: int, value: float) -> None:
    """Hand over the diversity of one step; call it before `trial.report` of the same step.

    It is kept in the trial's user attributes under ``diversity``, as a mapping from step to value.

    Args:
        value: share of the reference's variety in the model's answers, see `lrtune.diversity.diversity`.

    Raises:
        InputError: the value is negative.
    """
    if value < 0:
        raise InputError(f"diversity: expected a number of at least 0, but got {value:g}")
    known = trial.user_attrs.get(_DIVERSITY, {})
    # JSON has no NaN that every storage takes, and a missing diversity is what NaN would mean.
    entry = {str(int(step)): float(value)} if value == value else {}
    trial.set_user_attr(_DIVERSITY, {**known, **entry})


@dataclass
class _Known:
    """What was read of a study's finished trials: their numbers, and their curves by group and number."""

    numbers: set[int] = field(default_factory=set)
    groups: dict[object, dict[int, Curve]] = field(default_factory=dict)


class CollapsePruner(BasePruner):
    """Prunes runs that collapsed for good, diverged, or cannot catch up with the finished runs of their width.

    The objective must be a loss in nats, minimised, and reported with the training step.

    Args:
        steps: the steps of a full run, counted as in the reports.
        vocabulary_size, unigram_entropy: of the model and of its text, see `lrtune.trainer.trial.Facts`. Without them
            divergence is judged against the first loss, and collapse by the loss not falling.
        regime_changes: steps at which the schedule changes (the second stage of two); before the last one
            nothing is called collapsed.
        group_by: the parameter or user attribute whose equal values make trials peers; trials without it
            are all peers of each other.
        policy: the constants, see `lrtune.study.study.PruningPolicy`; by default as in a search, but for `least_steps`,
            which is 0 here, since a study of one's own may count epochs.
    """

    def __init__(
        self,
        steps: int,
        *,
        vocabulary_size: int | None = None,
        unigram_entropy: float | None = None,
        regime_changes: Sequence[int] = (),
        group_by: str = "hidden_size",
        policy: PruningPolicy | None = None,
    ) -> None:
        self._policy = policy or PruningPolicy(least_steps=0)
        self._group_by = group_by
        self._known: weakref.WeakKeyDictionary[Study, _Known] = weakref.WeakKeyDictionary()
        # Checks the arguments now rather than at the first report.
        self._empty = Curve(
            steps=(),
            losses=(),
            planned_steps=steps,
            vocabulary_size=vocabulary_size,
            unigram_entropy=unigram_entropy,
            regime_changes=tuple(regime_changes),
        )

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return self.judge(study, trial).is_cut

    def judge(self, study: Study, trial: FrozenTrial) -> Verdict:
        """The verdict on a trial with its reason in words.

        Raises:
            InputError: the study maximises, or a report lies past `steps`.
        """
        if study.direction != StudyDirection.MINIMIZE:
            raise InputError("CollapsePruner: expected a study that minimises a loss, but this one maximises")
        return verdict(self._curve(trial), self._policy, self._peers(study, trial))

    def _peers(self, study: Study, trial: FrozenTrial) -> Iterator[Curve]:
        """Curves of the finished trials of the trial's group, read when they are asked for, and each of them once."""
        known = self._known.setdefault(study, _Known())
        for peer in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if peer.number not in known.numbers:
                known.groups.setdefault(self._group(peer), {})[peer.number] = self._curve(peer)
                known.numbers.add(peer.number)
        group = known.groups.get(self._group(trial), {})
        yield from [curve for number, curve in list(group.items()) if number != trial.number]

    def __getstate__(self) -> dict[str, object]:
        """Without what was read: weak references are not pickled, and another process has other studies."""
        return {name: value for name, value in self.__dict__.items() if name != "_known"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _known=weakref.WeakKeyDictionary())

    def _group(self, trial: FrozenTrial) -> object:
        value = trial.params.get(self._group_by, trial.user_attrs.get(self._group_by))
        return value if isinstance(value, Hashable) else json.dumps(value)

    def _curve(self, trial: FrozenTrial) -> Curve:
        reports = trial.intermediate_values
        diversities = trial.user_attrs.get(_DIVERSITY)
        rate = trial.params.get("learning_rate")
        return Curve(
            steps=list(reports),
            losses=list(reports.values()),
            diversities=[diversities.get(str(step)) for step in reports] if diversities else None,
            planned_steps=self._empty.planned_steps,
            vocabulary_size=self._empty.vocabulary_size,
            unigram_entropy=self._empty.unigram_entropy,
            regime_changes=self._empty.regime_changes,
            learning_rate=float(rate) if isinstance(rate, int | float) else None,
        )
