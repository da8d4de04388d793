"""ScaleAwareSampler: an Optuna sampler in which the trials of each width inform all other widths.

For a study with an integer parameter for the width and a float one for the learning rate::

    sampler = lrtune.ScaleAwareSampler(widths=[64, 128, 256, 512])
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=40)      # objective suggests hidden_size and learning_rate
    print(sampler.assessment(study))            # the best rate at each width, with its uncertainty

Model: one loss curve per width, all similar in shape; the minimum moves with width by a law plus a deviation
(`lrtune.search.sampling.model`). Acquisition: the expected decrease of the law's regret at the target widths per unit
of cost (`lrtune.search.sampling.acquisition`), so cheap widths map the curve and expensive ones confirm its course. It
subtracts the information of running trials. A pruned trial means "bad there"; an infinite value, or a
pruned trial whose last report was not finite, means "too high". A failed trial means a weak "bad there": NaN ends in
failure, and the sampler would otherwise propose the same rate again.

Sources: Frazier et al. 2009 (knowledge gradient), Strong et al. 2014 (expected information from posterior draws by
regression), Swersky et al. 2013 (value per cost).

All answers depend on the study's trials alone; other state is a cache. So several processes, each with its own sampler,
can share a study.
"""

import math
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lrtune.errors import InputError
from lrtune.law.fit import fit_law
from lrtune.records.record import STATUSES, Status, TrialRecord
from lrtune.search.sampling.assessment import Assessment, by_rule
from lrtune.search.sampling.model import SearchModel
from lrtune.search.sampling.proposals import looking_ahead, next_run
from lrtune.search.sampling.roles import bounds, is_like_width, is_whole, nearest, width_and_rate
from lrtune.search.sampling.space import Place, Space
from lrtune.trainer.trial import Facts

_LADDER = 6  # number of widths to try by default
_SCALES = ("hidden_size",)
_MOST_RUNNING = 64
_MOST_UNDECIDED = 16  # running trials without parameters whose choice the model predicts


class ScaleAwareSampler(BaseSampler):
    """Chooses width and learning rate together; other parameters go to an independent sampler.

    Args:
        widths: the widths of trials. Default: all values of the width parameter if there are at most twelve, else six,
            evenly spaced in log between its bounds.
        targets: widths that the rule is for; they may lie outside `widths`. Default: `widths`.
        lr_range: (low, high), a soft range for the best rate. Default: the bounds of the parameter.
        cost: compute of one trial at a width, in any unit. Default: the parameter count from the trials' user attribute
            ``facts``, as lrtune's searches write it, else width².
        width, learning_rate: names of the two parameters. Default: ``hidden_size`` or a similar name, else the only
            integer parameter; ``learning_rate`` or ``lr``, else the only float parameter with a log scale (or the only
            float one). Categories of whole numbers and of rates work too, under such names.
        tolerance: the sufficient regret, as a share of loss.
        search_space: the distributions of the two parameters by name; lets the sampler plan the first trials too.
        seed: of all random choices. With one worker, a seeded study is reproducible.
        independent_sampler: for all other parameters (default: random).

    Raises:
        InputError: the widths are not positive whole numbers, or the range is not increasing.
    """

    def __init__(
        self,
        widths: Sequence[int] | None = None,
        *,
        targets: Sequence[int] | None = None,
        lr_range: tuple[float, float] | None = None,
        cost: Callable[[int], float] | None = None,
        width: str | None = None,
        learning_rate: str | None = None,
        tolerance: float = 0.01,
        search_space: Mapping[str, BaseDistribution] | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        for name, values in (("widths", widths), ("targets", targets)):
            if values is not None and (not values or any(v != int(v) or v <= 0 for v in values)):
                raise InputError(f"{name}: expected positive whole numbers, but got {list(values)}")
        if lr_range is not None and not 0 < lr_range[0] < lr_range[1]:
            raise InputError(f"lr_range: expected 0 < low < high, but got {lr_range}")
        if not tolerance > 0:
            raise InputError(f"tolerance: expected a positive share of loss such as 0.01, but got {tolerance:g}")
        self._tolerance = tolerance
        self._given = None if widths is None else tuple(sorted({int(w) for w in widths}))
        self._targets = None if targets is None else tuple(sorted({int(w) for w in targets}))
        self._lr_range = lr_range
        self._cost = cost
        self._names = (width, learning_rate)
        self._search_space = dict(search_space or {})
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._independent = independent_sampler or RandomSampler(seed=seed)
        self._model = SearchModel(self._seed, _SCALES)
        self._of: object = None  # the study of the model's runs
        self._warned = False
        self._lock = threading.Lock()
        self._just_read = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_model": None, "_of": None, "_just_read": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _just_read=threading.local())

    def reseed_rng(self) -> None:
        """Reseed the independent sampler; ours is seeded by trial number."""
        self._independent.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuses multi-objective studies."""
        self._raise_error_if_multi_objective(study)
        self._independent.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Only calls the independent sampler: ours reads trials from the study."""
        self._independent.after_trial(study, trial, state, values)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The width and the learning rate, once a trial (or `search_space`) has both."""
        trials = _Trials(study)
        roles = self._roles(trials, trial.distributions)
        self._just_read.trials = (trial.number, trials)  # Optuna calls `sample_relative` next
        return {} if roles is None else {n: d for n, d in roles.items() if not d.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Width and rate for one trial, or only the rate for a fixed (enqueued) width."""
        number, trials = getattr(self._just_read, "trials", (None, None))
        self._just_read.trials = (None, None)
        if trials is None or number != trial.number or trials.study is not study:
            trials = _Trials(study)
        roles = self._roles(trials, trial.distributions)
        if not search_space or roles is None:
            return {}
        fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        (width_name, _), (rate_name, rate) = roles.items()
        width, x = self._propose(trials, trial, roles, fixed.get(width_name))
        chosen = {width_name: width, rate_name: nearest(2**x, rate)}
        return {name: value for name, value in chosen.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The smallest width and then a rate for it, before any trial has both. Other parameters: independent."""
        named = {**trial.distributions, param_name: param_distribution}
        trials = _Trials(study)
        roles = self._roles(trials, named)
        if roles is not None and param_name in roles:
            width_name, rate = next(iter(roles)), list(roles.values())[1]
            fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            width, x = self._propose(trials, trial, roles, fixed.get(width_name))
            return width if param_name == width_name else nearest(2**x, rate)
        if roles is None and self._is_width(param_name, param_distribution):
            return self._ladder(param_distribution)[0]
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _is_width(self, name: str, distribution: BaseDistribution) -> bool:
        return is_whole(distribution) and (name == self._names[0] if self._names[0] else is_like_width(name))

    def assessment(
        self, study: Study, *, tolerance: float | None = None, confidence: float = 0.9, look_ahead: bool = True
    ) -> Assessment:
        """The best rate of each target width, its expected regret, and the most useful next runs.

        Args:
            study: any study with the two parameters.
            tolerance: replaces the sampler's tolerance.
            confidence: the probability that the worst regret over all targets is within the tolerance.
            look_ahead: whether to find the most useful next runs and their benefit.

        Raises:
            InputError: the tolerance is not positive, or no trial has both parameters yet.
        """
        tolerance = self._tolerance if tolerance is None else tolerance
        if not tolerance > 0:
            raise InputError(f"tolerance: expected a positive share of loss such as 0.01, but got {tolerance:g}")
        trials = _Trials(study)
        roles = self._roles(trials, {})
        if roles is None:
            raise InputError("study: expected trials with an integer width and a float learning rate, but got none")
        with self._lock:
            running, _ = self._read(study, trials.read(), roles, own=-1)
            space = self._space(roles)
            said = self._model.assess(space, tolerance=tolerance, confidence=confidence)
            if look_ahead:
                said = looking_ahead(self._model, space, said, running, len(trials.read()))
            if not said.enough:
                return said
            rule = fit_law(self._model.records, scales=_SCALES, tolerance=tolerance).rule
            return by_rule(said, space, rule, [known.scales for known in said.known], confidence)

    def _propose(
        self, trials: "_Trials", trial: FrozenTrial, roles: Mapping[str, BaseDistribution], width: int | None
    ) -> tuple[int, float]:
        """The width and log2 rate of the next run."""
        with self._lock:
            running, undecided = self._read(trials.study, trials.read(), roles, own=trial.number)
            space = self._space(roles)
            place = None if width is None else (float(width),)
            chosen, x = next_run(self._model, space, running, number=trial.number, place=place, undecided=undecided)
            return int(chosen[0]), x

    def _read(
        self, study: Study, trials: Sequence[FrozenTrial], roles: Mapping[str, BaseDistribution], own: int
    ) -> tuple[list[tuple[Place, float]], int]:
        """Add newly ended trials to the model; returns the running trials and the number without parameters."""
        width_name, rate_name = roles
        of = (study.study_name, id(study._storage), width_name, rate_name)
        if of != self._of:
            self._of, self._model = of, SearchModel(self._seed, _SCALES)
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        running: list[tuple[Place, float]] = []
        undecided = 0
        for trial in trials:
            if trial.number in self._model.taken:
                continue
            if trial.state.is_finished():
                self._model.take(trial.number, _record(trial, width_name, rate_name, sign))
                continue
            if trial.number == own:
                continue
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            if width_name in params and rate_name in params:
                running.append(((float(params[width_name]),), math.log2(params[rate_name])))
            elif trial.state == TrialState.RUNNING and trial.number < own:
                undecided += 1
        return running[-_MOST_RUNNING:], min(undecided, _MOST_UNDECIDED)

    def _roles(self, trials: "_Trials", at_hand: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution] | None:
        """The two parameters by name, width first; None before any trial has both."""
        roles = width_and_rate({**self._search_space, **at_hand}, self._names)
        if roles is None:
            for trial in reversed(trials.read()):
                roles = width_and_rate(trial.distributions, self._names)
                if roles is not None:
                    break
        if roles is None and trials.read() and trials.read()[0].state.is_finished() and not self._warned:
            self._warned = True
            every = ", ".join(sorted({name for trial in trials.read() for name in trial.distributions})) or "none"
            warnings.warn(
                "lrtune: cannot tell the width and the learning rate among the parameters "
                f"({every}): name them with ScaleAwareSampler(width=…, learning_rate=…); until then all are sampled "
                "independently",
                stacklevel=2,
            )
        return roles

    def _ladder(self, distribution: BaseDistribution) -> tuple[int, ...]:
        if self._given is not None:
            return self._given
        if isinstance(distribution, CategoricalDistribution):
            return tuple(sorted(choice for choice in distribution.choices if isinstance(choice, int)))
        assert isinstance(distribution, IntDistribution)
        low, high, step = distribution.low, distribution.high, distribution.step
        if (high - low) // step < 2 * _LADDER:
            return tuple(range(low, high + 1, step))
        even = np.geomspace(max(low, 1), high, _LADDER)
        return tuple(sorted({min(low + step * round((w - low) / step), high) for w in even}))

    def _space(self, roles: Mapping[str, BaseDistribution]) -> Space:
        width, rate = roles.values()
        widths = self._ladder(width)
        least, most = bounds(rate)
        low, high = math.log2(max(least, most * 1e-9)), math.log2(most)
        focus = (math.log2(self._lr_range[0]), math.log2(self._lr_range[1])) if self._lr_range else (low, high)
        places = tuple((float(w),) for w in widths)
        return Space(
            scales=_SCALES,
            places=places,
            targets=tuple((float(w),) for w in self._targets or widths),
            costs=tuple(float(self._cost(int(p[0])) if self._cost else self._model.cost(p)) for p in places),
            low=low,
            high=high,
            focus=focus,
            tolerance=self._tolerance,
        )


class _Trials:
    """The trials of a study, read at most once: each read costs the storage seven statements."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._read: list[FrozenTrial] | None = None

    def read(self) -> list[FrozenTrial]:
        if self._read is None:
            self._read = self.study.get_trials(deepcopy=False)
        return self._read


def _record(trial: FrozenTrial, width_name: str, rate_name: str, sign: float) -> TrialRecord | None:
    """An ended trial as a record; None for other parameters, an arm, or a failed run of lrtune's search."""
    width, rate = trial.params.get(width_name), trial.params.get(rate_name)
    if width is None or rate is None or rate <= 0 or trial.user_attrs.get("arm") is not None:
        return None
    status, loss = _ended(trial, sign)
    facts = trial.user_attrs.get("facts")
    parameters = facts.get("parameters") if isinstance(facts, Mapping) else None
    return TrialRecord(
        trial=trial.number,
        hidden_size=int(width),
        learning_rate=rate,
        seed=int(trial.user_attrs.get("seed", 0)),
        status=status,
        steps=1,
        steps_done=1,
        loss=loss,
        facts=Facts(parameters=parameters if isinstance(parameters, int) else None),
    )


def _ended(trial: FrozenTrial, sign: float) -> tuple[Status, float | None]:
    """How a trial ended, and its final loss."""
    stored = trial.user_attrs.get("status")
    if stored in STATUSES and stored != "finished":
        return stored, None
    if trial.state == TrialState.COMPLETE:
        value = sign * float((trial.values or [math.nan])[0])
        if not math.isfinite(value):
            return ("diverged" if value > 0 else "collapsed"), None
        return ("collapsed", None) if any(excess > 0 for excess in trial.constraints.values()) else ("finished", value)
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    return ("diverged" if last is not None and not math.isfinite(last) else "beaten"), None
