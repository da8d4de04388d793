"""The collapse verdict as a pruner for any Optuna study.

Optuna gives a pruner only the reported objective, so report the diversity separately, with `report_diversity`::

    import optuna
    from lrtune.search.pruning.pruner import CollapsePruner, report_diversity

    def objective(trial):
        rate = trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
        for step in range(100, 1001, 100):
            stuck = rate > 0.1  # a collapsed run: it always predicts one token, and the loss is flat
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

import contextlib
import json
import weakref
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

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
    """Report the diversity of one step; call it before `trial.report` of the same step.

    The trial's user attribute ``diversity`` keeps it, as a mapping from step to value.

    Args:
        value: diversity of the model's predictions relative to the reference, see `lrtune.diversity.diversity`.

    Raises:
        InputError: the value is negative.
    """
    if value < 0:
        raise InputError(f"diversity: expected a number of at least 0, but got {value:g}")
    reported = trial.user_attrs.get(_DIVERSITY, {})
    # Not every storage accepts NaN in JSON; a missing diversity means the same.
    entry = {str(int(step)): float(value)} if value == value else {}
    trial.set_user_attr(_DIVERSITY, {**(reported if isinstance(reported, dict) else {}), **entry})


@dataclass
class _Finished:
    """A cache of a study's finished trials: their numbers, and their curves by group and number."""

    numbers: set[int] = field(default_factory=set)
    groups: dict[object, dict[int, Curve]] = field(default_factory=dict)


class CollapsePruner(BasePruner):
    """Prunes runs that collapsed, diverged, or cannot catch up with the finished runs of their width.

    The study must minimise a loss in nats and report it with the training step.

    Args:
        steps: the steps of a full run, in the unit of the reports.
        vocabulary_size, unigram_entropy: of the model and of its text, see `lrtune.trainer.trial.Facts`. Without them
            the first loss decides on divergence, and a loss that does not fall on collapse.
        regime_changes: steps at which the schedule changes (the second stage of two); no run counts as collapsed
            before the last one.
        group_by: the parameter or user attribute that defines peers: trials with equal values. Trials without it are
            peers of each other.
        policy: the constants, see `lrtune.study.study.PruningPolicy`; the default is that of a search with
            `least_steps` 0, since your study may count epochs.
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
        self._finished: weakref.WeakKeyDictionary[Study, _Finished] = weakref.WeakKeyDictionary()
        # Raises on bad arguments now rather than at the first report.
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
        """The verdict on a trial, with its reason in words.

        Raises:
            InputError: the study maximises, or a report is past `steps`.
        """
        if study.direction != StudyDirection.MINIMIZE:
            raise InputError("CollapsePruner: expected a study that minimises a loss, but this one maximises")
        return verdict(self._curve(trial), self._policy, self._peers(study, trial))

    def _peers(self, study: Study, trial: FrozenTrial) -> Iterator[Curve]:
        """Curves of the finished trials in the trial's group; reads lazily, and each trial once."""
        finished = self._finished.setdefault(study, _Finished())
        for peer in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if peer.number not in finished.numbers:
                finished.numbers.add(peer.number)
                with contextlib.suppress(InputError):  # a trial of another horizon is no peer
                    finished.groups.setdefault(self._group(peer), {})[peer.number] = self._curve(peer)
        group = finished.groups.get(self._group(trial), {})
        yield from [curve for number, curve in list(group.items()) if number != trial.number]

    def __getstate__(self) -> dict[str, object]:
        """The state without the cache: weak references cannot be pickled, and another process has other studies."""
        return {name: value for name, value in self.__dict__.items() if name != "_finished"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _finished=weakref.WeakKeyDictionary())

    def _group(self, trial: FrozenTrial) -> object:
        value = trial.params.get(self._group_by, trial.user_attrs.get(self._group_by))
        return value if isinstance(value, Hashable) else json.dumps(value)

    def _curve(self, trial: FrozenTrial) -> Curve:
        reports = trial.intermediate_values
        diversities = trial.user_attrs.get(_DIVERSITY)
        diversities = diversities if isinstance(diversities, dict) else None  # else it is the user's own attribute
        rate = trial.params.get("learning_rate")
        return replace(
            self._empty,
            steps=list(reports),
            losses=list(reports.values()),
            diversities=[diversities.get(str(step)) for step in reports] if diversities else None,
            learning_rate=float(rate) if isinstance(rate, int | float) else None,
        )
