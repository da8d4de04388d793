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
from lrtune.search.sampling.assessment import Assessment, by_rule
from lrtune.search.sampling.knobs import KnobsModel, Run
from lrtune.search.sampling.model import LEAST
from lrtune.search.sampling.proposals import looking_ahead
from lrtune.search.sampling.roles import (
    bounds,
    choices,
    described,
    doubts,
    holds,
    is_like_width,
    is_positive,
    is_whole,
    nearest,
    width_and_rate,
)
from lrtune.search.sampling.space import Place, Space
from lrtune.search.sampling.trials import Trials, record_of
from lrtune.study.knob import Knob

_LADDER = 6  # number of widths to try by default
_SCALES = ("hidden_size",)
# Each width gets at least one run in so many times the number of widths, up to the least number. With 2, searches on
# steep surfaces need up to four times the compute to 1% (studies/benchmarks/search.md).
_SHARE = 4
_MOST_UNDECIDED = 16  # running trials without parameters whose choice the model predicts


class ScaleAwareSampler(BaseSampler):
    """Chooses width, learning rate and `knobs` together; other parameters go to an independent sampler.

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
        knobs: names of further float parameters to choose, such as a second rate; searched in log.
        search_space: the distributions of these parameters by name; lets the sampler plan the first trials too.
        seed: of all random choices. With one worker, a seeded study is reproducible.
        independent_sampler: for all other parameters (default: random).

    Raises:
        InputError: the widths are not positive whole numbers (or, once a trial starts, not among the values of the
            parameter), or the range is not increasing.
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
        knobs: Sequence[str] = (),
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
        self._knobs = tuple(knobs)
        self._search_space = dict(search_space or {})
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._independent = independent_sampler or RandomSampler(seed=seed)
        self._model = KnobsModel(self._seed, _SCALES, {})
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
        """Width, learning rate and knobs, once a trial (or `search_space`) has them all."""
        trials = Trials(study)
        roles = self._roles(trials, trial.distributions)
        self._just_read.trials = (trial.number, trials)  # Optuna calls `sample_relative` next
        return {} if roles is None else {n: d for n, d in roles.items() if not d.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Width, rate and knobs for one trial; without the width if it is fixed (enqueued)."""
        number, trials = getattr(self._just_read, "trials", (None, None))
        self._just_read.trials = (None, None)
        if trials is None or number != trial.number or trials.study is not study:
            trials = Trials(study)
        roles = self._roles(trials, trial.distributions)
        if not search_space or roles is None:
            return {}
        fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        chosen = self._propose(trials, trial, roles, fixed.get(next(iter(roles))))
        return {name: value for name, value in chosen.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The smallest width and then a rate for it, before any trial has both. Other parameters: independent.

        Where trials have ended and the rate is still unknown, any width.
        """
        named = {**trial.distributions, param_name: param_distribution}
        trials = Trials(study)
        roles = self._roles(trials, named)
        if roles is not None and param_name in roles:
            fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            return self._propose(trials, trial, roles, fixed.get(next(iter(roles))))[param_name]
        if roles is None and self._is_width(param_name, param_distribution):
            ladder = self._ladder(param_name, param_distribution)
            if not any(other.state.is_finished() for other in trials.read()):
                return ladder[0]
            return int(np.random.default_rng([self._seed, trial.number]).choice(ladder))
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _is_width(self, name: str, distribution: BaseDistribution) -> bool:
        return is_whole(distribution) and (name == self._names[0] if self._names[0] else is_like_width(name))

    def assessment(self, study: Study, *, look_ahead: bool = True) -> Assessment:
        """The best rate of each target width, its expected regret, and the most useful next runs.

        Args:
            study: any study with the two parameters.
            look_ahead: whether to find the most useful next runs and their benefit; not with further knobs.

        Raises:
            InputError: no trial has both parameters yet.
        """
        trials = Trials(study)
        roles = self._roles(trials, {})
        if roles is None:
            raise InputError(f"study: {self._unclear(trials)}")
        with self._lock:
            running, _ = self._read(study, trials.read(), roles, own=-1)
            space = self._space(roles)
            said = self._model.assess(space)
            if look_ahead and not self._knobs:
                under = [(place, math.log2(rate)) for place, rate, _ in running]
                said = looking_ahead(self._model.plain, space, said, under, len(trials.read()))
            if not said.enough:
                return said
            model, tolerance = self._model, self._tolerance
            rule = fit_law(model.records, scales=_SCALES, tolerance=tolerance, knobs=model.coordinates).rule
            return by_rule(said, space, rule, [known.scales for known in said.known])

    def _propose(
        self, trials: Trials, trial: FrozenTrial, roles: Mapping[str, BaseDistribution], width: int | None
    ) -> dict[str, Any]:
        """The parameters of the next run, by name."""
        with self._lock:
            running, undecided = self._read(trials.study, trials.read(), roles, own=trial.number)
            space = self._space(roles)
            place = self._behind(space, running) if width is None else (float(width),)
            chosen, rate, knobs = self._model.next_run(
                space, running, number=trial.number, place=place, undecided=undecided
            )
        width_name, rate_name, *_ = roles
        found = {rate_name: rate, **knobs}
        return {width_name: int(chosen[0]), **{name: nearest(value, roles[name]) for name, value in found.items()}}

    def _behind(self, space: Space, running: Sequence[Run]) -> Place | None:
        """A width with too few runs: the study may end at any trial, and no width should then lack its least runs."""
        plain = self._model.plain
        count = {at: plain.trials(at) + sum(at == other for other, *_ in running) for at in space.places}
        started = sum(count.values())
        fewest = min(space.places, key=lambda at: count[at])
        return fewest if count[fewest] < min(LEAST, started // (_SHARE * len(count))) else None

    def _read(
        self, study: Study, trials: Sequence[FrozenTrial], roles: Mapping[str, BaseDistribution], own: int
    ) -> tuple[list[Run], int]:
        """Add newly ended trials to the model; returns the running trials and the number without parameters."""
        names = tuple(roles)
        ranges = {name: bounds(roles[name]) for name in self._knobs}
        of = (study.study_name, id(study._storage), names, *ranges.values())
        if of != self._of:
            knobs = {name: Knob(low=low, high=high) for name, (low, high) in ranges.items()}
            self._of, self._model = of, KnobsModel(self._seed, _SCALES, knobs)
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        running: list[Run] = []
        undecided = 0
        for trial in trials:
            if trial.number in self._model.taken:
                continue
            if trial.state.is_finished():
                self._model.take(trial.number, record_of(trial, names, sign))
                continue
            if trial.number == own:
                continue
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            if all(name in params for name in names):
                width, rate, *_ = (params[name] for name in names)
                running.append(((float(width),), rate, {name: params[name] for name in self._knobs}))
            elif trial.state == TrialState.RUNNING and trial.number < own:
                undecided += 1
        return running, min(undecided, _MOST_UNDECIDED)

    def _roles(self, trials: Trials, at_hand: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution] | None:
        """The parameters to choose by name: width, rate, knobs; None before any trial has them all."""
        roles = self._among({**self._search_space, **at_hand})
        if roles is None:
            found = (self._among(trial.distributions) for trial in reversed(trials.read()))
            roles = next((each for each in found if each is not None), None)
        if roles is None and not self._warned and any(trial.state.is_finished() for trial in trials.read()):
            self._warned = True
            warnings.warn(f"lrtune: {self._unclear(trials)}; until then all are sampled independently", stacklevel=2)
        return roles

    def _unclear(self, trials: Trials) -> str:
        """Which parameters no trial has so far, in words."""
        every = {name: each for trial in trials.read() for name, each in trial.distributions.items()}
        found = doubts(every, self._names, self._knobs)
        return "; ".join(found) or f"expected a trial with all of {', '.join(sorted(every))}, but got none"

    def _among(self, distributions: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution] | None:
        others = {name: each for name, each in distributions.items() if name not in self._knobs}
        roles = width_and_rate(others, self._names)
        if roles is None or not all(name in distributions for name in self._knobs):
            return None
        knobs = {name: distributions[name] for name in self._knobs}
        for name, each in knobs.items():
            if not is_positive(each) or bounds(each)[0] <= 0:
                raise InputError(f"knobs: expected a float parameter with positive bounds, but {name} is {each}")
        return roles | knobs

    def _ladder(self, name: str, distribution: BaseDistribution) -> tuple[int, ...]:
        if self._given is not None:
            if outside := [str(w) for w in self._given if not holds(distribution, w)]:
                raise InputError(f"widths: expected values of {described(name, distribution)}, but got {outside[0]}")
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
        (name, width), (_, rate), *_ = roles.items()
        widths = self._ladder(name, width)
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
            rates=choices(rate),
        )
