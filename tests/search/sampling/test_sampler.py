"""The sampler on surfaces whose optimum is known, in studies of its own and of anybody's."""

import math
import pickle
from itertools import pairwise

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState

from lrtune.errors import InputError
from lrtune.search.sampling.model import SearchModel
from lrtune.search.sampling.sampler import ScaleAwareSampler

SPACE = {"hidden_size": IntDistribution(1, 10**6), "learning_rate": FloatDistribution(1e-6, 10.0, log=True)}
WIDTHS = (32, 64, 128)
RANGE = (1e-4, 1.0)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def loss(width, rate, *, constant=0.3, exponent=-1.0, wobble=0.004):
    """Optimum at constant · width^exponent: flat bottom, steeper above, a little fixed noise."""
    z = math.log2(rate / (constant * width**exponent))
    height = 0.01 * z * z if z < 0 else 0.03 * z * z
    return 4.0 * math.exp(min(height, 0.6) + wobble * math.sin(1e4 * rate * width))


def octaves(rate, width, constant=0.3, exponent=-1.0):
    return math.log2(rate / (constant * width**exponent))


def run(study, trials, objective=loss):
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, objective(trial.params["hidden_size"], trial.params["learning_rate"]))


def in_memory(sampler, **more):
    return optuna.create_study(sampler=sampler, pruner=optuna.pruners.NopPruner(), **more)


@pytest.mark.slow
@pytest.mark.parametrize(("constant", "exponent"), [(0.3, -1.0), (20.0, -2.0), (0.001, 0.5), (0.02, 0.0)])
def test_finds_the_best_rate_of_every_width_for_any_law(constant, exponent):
    sampler = ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=SPACE, seed=1)
    study = in_memory(sampler)
    run(study, 22, lambda width, rate: loss(width, rate, constant=constant, exponent=exponent))
    for known in sampler.assessment(study, look_ahead=False).known:
        # 1% of loss is one octave below the best and 0.58 above it
        assert -1.0 < octaves(known.learning_rate, known.hidden_size, constant, exponent) < 0.58


@pytest.mark.slow
def test_most_runs_are_cheap_and_the_expensive_width_is_entered_near_its_best():
    study = in_memory(ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=SPACE, seed=2))
    run(study, 20)
    visited = [trial.params["hidden_size"] for trial in study.trials]
    assert visited[0] == 32
    assert visited.count(32) > visited.count(128)
    for trial in study.trials:
        if trial.params["hidden_size"] == 128:
            assert abs(octaves(trial.params["learning_rate"], 128)) < 3.5  # of 13 octaves in the range


def test_a_search_is_over_only_when_the_regret_is_small_and_every_width_was_run():
    sampler = ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=SPACE, seed=3)
    study = in_memory(sampler)
    run(study, 3)
    early = sampler.assessment(study)
    assert not early.enough
    assert early.regret_90 > 0.01
    assert early.ahead
    assert early.regret_ahead[-1] < early.regret_ahead[0]
    assert "more runs" in str(early)
    for _ in range(60):
        run(study, 1)
        late = sampler.assessment(study, look_ahead=False)
        if late.enough:
            break
    assert late.enough
    assert all(known.trials >= 3 for known in late.known)
    for known in late.known:
        assert loss(known.hidden_size, known.learning_rate, wobble=0) < 4.0 * 1.01
    strict = ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=SPACE, seed=3, tolerance=1e-5)
    assert not strict.assessment(study, look_ahead=False).enough


def test_a_tolerance_that_noise_forbids_ends_too():
    sampler = ScaleAwareSampler((64,), lr_range=RANGE, search_space=SPACE, tolerance=1e-6, seed=3)
    study = in_memory(sampler)
    for turn in range(60):
        params = {"hidden_size": 64, "learning_rate": 1e-4 * 1.16**turn}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=SPACE, value=loss(64, 1e-4 * 1.16**turn))
        )
    known = sampler.assessment(study)
    assert not known.enough
    assert known.exhausted
    assert "allow a larger tolerance" in str(known)


@pytest.mark.slow
def test_a_target_that_is_never_run_is_extrapolated_with_a_wider_interval():
    sampler = ScaleAwareSampler(WIDTHS, targets=(32, 128, 512), lr_range=RANGE, search_space=SPACE, seed=4)
    study = in_memory(sampler)
    run(study, 24)
    assert {trial.params["hidden_size"] for trial in study.trials} <= {32, 64, 128}
    known = {k.hidden_size: k for k in sampler.assessment(study, look_ahead=False).known}
    assert abs(octaves(known[512].learning_rate, 512)) < 1.0
    assert math.log(known[512].high / known[512].low) > math.log(known[32].high / known[32].low)


def told(rates, how):
    """The interval of the best rate at width 64 after two plain runs and some told in another way."""
    study = in_memory(ScaleAwareSampler((64,), lr_range=RANGE, search_space=SPACE, seed=5))
    for rate in (0.001, 0.01, *rates):
        study.enqueue_trial({"hidden_size": 64, "learning_rate": rate})
        trial = study.ask(SPACE)
        if rate in rates:
            how(study, trial)
        else:
            study.tell(trial, 4.0)
    known = study.sampler.assessment(study, look_ahead=False).known[0]
    return known.low, known.high


def _diverged(study, trial):
    trial.set_user_attr("status", "diverged")
    study.tell(trial, state=TrialState.PRUNED)


def _last_report_infinite(study, trial):
    trial.report(math.inf, 1)
    study.tell(trial, state=TrialState.PRUNED)


def _beaten(study, trial):
    trial.report(9.0, 1)
    study.tell(trial, state=TrialState.PRUNED)


def _infeasible(study, trial):
    trial.set_constraint("diversity", 0.05)
    study.tell(trial, 3.0)


EARLY_ENDS = [_diverged, _last_report_infinite, _beaten, _infeasible, lambda study, trial: study.tell(trial, math.inf)]


@pytest.mark.parametrize("how", EARLY_ENDS)
def test_failed_trials_bound_the_rates(how):
    assert told((0.05, 0.2, 0.5), how)[1] < 0.75 * told((), how)[1]


def test_a_crashed_trial_is_not_evidence():
    def crash(study, trial):
        trial.set_user_attr("status", "failed")
        study.tell(trial, state=TrialState.FAIL)

    study = in_memory(ScaleAwareSampler((64,), lr_range=RANGE, search_space=SPACE, seed=5))
    for rate in (0.05, 0.2, 0.5):
        study.enqueue_trial({"hidden_size": 64, "learning_rate": rate})
        crash(study, study.ask(SPACE))
    known = study.sampler.assessment(study, look_ahead=False).known[0]
    assert known.trials == 0
    assert known.high > 0.2  # nothing was learnt: the range itself is what is known


def test_running_trials_are_taken_into_account():
    sampler = ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=SPACE, seed=7)
    study = in_memory(sampler)
    at_once = [study.ask(SPACE) for _ in range(4)]
    runs = sorted((t.params["hidden_size"], math.log2(t.params["learning_rate"])) for t in at_once)
    assert all(b[0] != a[0] or b[1] - a[1] > 0.2 for a, b in pairwise(runs))


def test_the_same_seed_gives_the_same_study_whatever_process_asks():
    def rates(restart):
        study = in_memory(ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=SPACE, seed=8))
        for _ in range(10):
            if restart:  # a process that was killed and started again knows only the storage
                study.sampler = pickle.loads(pickle.dumps(study.sampler))
            run(study, 1)
        return [(t.params["hidden_size"], t.params["learning_rate"]) for t in study.trials]

    assert rates(restart=False) == rates(restart=True)


@pytest.mark.parametrize("space", [SPACE, None], ids=["told", "read from the trials"])
def test_a_storage_is_read_once_for_each_ask_and_what_was_read_is_not_kept(monkeypatch, space):
    sampler = ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=space, seed=12)
    study = in_memory(sampler)
    run(study, 3)
    original, read = study.get_trials, []

    def get_trials(**how):
        read.append(original(**how))
        return read[-1]

    monkeypatch.setattr(study, "get_trials", get_trials)
    for asked in range(1, 4):
        run(study, 1)
        assert len(read) == asked
        assert len(read[-1]) == 3 + asked
    # Whoever suggests anything else later is not answered from what was read then.
    sampler.sample_relative(study, study.trials[-1], sampler.infer_relative_search_space(study, study.trials[-1]))
    before = len(read)
    sampler.sample_relative(study, study.trials[-1], SPACE)
    assert len(read) > before + 1  # the one of `study.trials`, and its own


def test_the_law_is_drawn_once_and_again_after_each_run(monkeypatch):
    drawn, original = [], SearchModel._drawn

    def posterior(*args, **more):
        drawn.append(original(*args, **more))
        return drawn[-1]

    monkeypatch.setattr(SearchModel, "_drawn", posterior)
    sampler = ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=SPACE, seed=13)
    study = in_memory(sampler)
    for ended in range(1, 4):
        trial, beside = study.ask(SPACE), study.ask(SPACE)
        assert trial.params != beside.params
        assert len(drawn) == ended
        study.tell(trial, loss(trial.params["hidden_size"], trial.params["learning_rate"]))
        study.tell(beside, state=TrialState.FAIL)
        known = sampler.assessment(study)
        assert [k.trials for k in known.known] == [t.trials for t in sampler.assessment(study).known]
        assert len(drawn) == ended + 1
    assert drawn[-1].advice[(32.0,)].x != drawn[-2].advice[(32.0,)].x


def test_a_fixed_width_keeps_its_width_and_gets_a_rate_for_it():
    study = in_memory(ScaleAwareSampler(WIDTHS, lr_range=RANGE, search_space=SPACE, seed=9))
    run(study, 14)
    study.enqueue_trial({"hidden_size": 128})
    trial = study.ask(SPACE)
    assert trial.params["hidden_size"] == 128
    assert abs(octaves(trial.params["learning_rate"], 128)) < 3


@pytest.mark.slow
def test_a_users_own_study():
    """Names of its own, a score to maximise that may be negative, other parameters, failures, no hints at all."""

    def objective(trial):
        width = trial.suggest_int("d_model", 64, 512, step=64)
        trial.suggest_float("dropout", 0.0, 0.5)
        rate = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        z = math.log2(rate / (0.5 / width))
        if z > 4:
            raise optuna.TrialPruned
        if z > 3:
            return math.nan
        return -0.02 * z * z - 0.3

    sampler = ScaleAwareSampler(seed=10)
    study = in_memory(sampler, direction="maximize")
    study.optimize(objective, n_trials=30)
    assert {trial.params["d_model"] for trial in study.trials} <= set(range(64, 513, 64))
    known = sampler.assessment(study, look_ahead=False).known
    assert [k.hidden_size for k in known] == list(range(64, 513, 64))
    assert all(abs(math.log2(k.learning_rate * k.hidden_size / 0.5)) < 1.5 for k in known)


def test_a_rate_of_steps_is_one_of_them_and_never_zero():
    for low, high in ((0.0, 0.01), (2e-4, 0.0101)):
        space = {**SPACE, "learning_rate": FloatDistribution(low, high, step=1e-4)}
        study = in_memory(ScaleAwareSampler((32, 64), search_space=space, seed=1))
        for _ in range(6):
            trial = study.ask(space)
            rate = trial.params["learning_rate"]
            assert rate > 0 and space["learning_rate"]._contains(rate)
            study.tell(trial, loss(trial.params["hidden_size"], rate))


CATEGORIES = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1]


def studied(objective, *, seed=2, trials=20, **more):
    """The pairs of width and rate of trials at four widths."""
    study = in_memory(ScaleAwareSampler(seed=seed, **more))

    def whole(trial):
        width = trial.suggest_int("hidden_size", 32, 128, step=32)
        return objective(trial, width)

    study.optimize(whole, n_trials=trials)
    return [tuple(trial.params.values())[:2] for trial in study.trials]


def least(pairs):
    return min([width for width, _ in pairs].count(width) for width in (32, 64, 96, 128))


def test_a_third_parameter_and_rates_as_categories_leave_no_width_without_runs():
    def third(trial, width):
        rate = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
        decay = trial.suggest_float("weight_decay", 1e-3, 1.0, log=True)
        return loss(width, rate) + 0.05 * math.log2(decay / 0.1) ** 2

    def categories(trial, width):
        return loss(width, trial.suggest_categorical("learning_rate", CATEGORIES), wobble=0)

    assert least(studied(third)) >= 1
    assert least(studied(third, trials=40)) >= 2
    pairs = studied(categories, seed=4)
    assert least(pairs) >= 1
    assert max(pairs.count(pair) for pair in pairs) <= 4, "a run that repeats another says little"


def test_two_possible_rates_are_named_and_the_widths_are_then_random():
    def two(trial, width):
        trial.suggest_float("lr_b", 1e-3, 1e-1, log=True)
        return loss(width, trial.suggest_float("lr_a", 1e-3, 1e-1, log=True))

    with pytest.warns(UserWarning, match=r'may be lr_b or lr_a: choose with .*\(learning_rate="lr_b"\)'):
        assert least(studied(two)) >= 1
    assert least(studied(two, learning_rate="lr_a")) >= 1

    def words(trial, width):
        return loss(width, {"low": 1e-3, "high": 1e-2}[trial.suggest_categorical("rate", ["low", "high"])])

    with pytest.warns(
        UserWarning,
        match=r"the learning rate: expected a positive float parameter .* rate \(categories 'low', 'high'\)",
    ):
        assert least(studied(words)) >= 1


def test_unclear_parameters_are_described_also_where_the_first_trial_never_ends():
    study = in_memory(sampler := ScaleAwareSampler(seed=2))
    study.ask()  # of a worker that was killed

    def words(trial):
        width = trial.suggest_categorical("hidden_size", ["32", "64"])
        return loss(int(width), trial.suggest_float("lr", 1e-3, 1e-1, log=True))

    told = (
        r"the width: expected a positive integer .* got hidden_size \(categories '32', '64'\), lr \(floats from 0.001"
    )
    with pytest.warns(UserWarning, match=told):
        study.optimize(words, n_trials=4)
    with pytest.raises(InputError, match=told):
        sampler.assessment(study)


def test_a_whole_number_among_rates_is_a_rate():
    def rates(trial, width):
        return loss(width, trial.suggest_categorical("learning_rate", [1, 0.1, 0.01, 0.001]), wobble=0)

    pairs = studied(rates, seed=4)
    assert pairs[0][0] == 32 and least(pairs) >= 1


def test_given_widths_outside_the_parameter_are_an_error():
    def chosen(trial):
        return loss(trial.suggest_categorical("width", (32, 64)), trial.suggest_float("lr", 1e-3, 0.1))

    def ranged(trial):
        return loss(trial.suggest_int("width", 32, 64, step=32), trial.suggest_float("lr", 1e-3, 0.1))

    for objective, widths, text in (
        (chosen, (32, 48), r"width \(categories 32, 64\), but got 48"),
        (ranged, (64, 128), r"width \(integers from 32 to 64 in steps of 32\), but got 128"),
        (ranged, (32, 48), r"but got 48"),
    ):
        with pytest.raises(InputError, match=f"widths: expected values of .*{text}"):
            in_memory(ScaleAwareSampler(widths)).optimize(objective, n_trials=3)


TWO = {**SPACE, "adam_lr": FloatDistribution(1e-4, 1.0, log=True)}


def tell_both(study, trial):
    """Best at a rate of 0.3 / width and a second one of 0.02."""
    width, rate, second = (trial.params[name] for name in TWO)
    study.tell(trial, loss(width, rate) * math.exp(0.01 * math.log2(second / 0.02) ** 2))


@pytest.mark.slow
def test_a_second_rate_is_chosen_too():
    sampler = ScaleAwareSampler((32, 64), lr_range=RANGE, knobs=["adam_lr"], search_space=TWO, seed=3)
    study = in_memory(sampler)
    for _ in range(26):
        tell_both(study, study.ask(TWO))
    for known in sampler.assessment(study).known:
        assert abs(math.log2(known.knobs["adam_lr"] / 0.02)) < 1
        assert abs(octaves(known.learning_rate, known.hidden_size)) < 1


def test_a_trial_with_a_knob_depends_on_the_study_alone_and_keeps_its_width():
    def asked(width):
        sampler = ScaleAwareSampler((32, 64), lr_range=RANGE, knobs=["adam_lr"], search_space=TWO, seed=4)
        study = in_memory(sampler)
        for index in range(4):
            study.add_trial(
                optuna.create_trial(
                    params=dict(zip(TWO, (32, 0.01, 0.02 * 2**index), strict=True)),
                    distributions=TWO,
                    value=3 + index / 100,
                )
            )
        beside = study.ask(TWO)
        if width:
            study.enqueue_trial({"hidden_size": width})
        return beside.params, study.ask(TWO).params

    beside, params = asked(None)
    assert (beside, params) == asked(None) and beside != params
    assert 1e-4 <= params["adam_lr"] <= 1.0
    assert asked(128)[1]["hidden_size"] == 128, "a width outside of the sampler's own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": []}, "widths"),
        ({"widths": [64, -1]}, "widths"),
        ({"targets": [0]}, "targets"),
        ({"lr_range": (1.0, 0.1)}, "lr_range"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        ScaleAwareSampler(**arguments)


def test_a_multi_objective_study_and_one_without_the_two_parameters_are_refused():
    study = in_memory(ScaleAwareSampler(seed=0), directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match="multi-objective"):
        study.ask(SPACE)
    knob = {**SPACE, "momentum": FloatDistribution(0.0, 1.0)}
    with pytest.raises(InputError, match=r"knobs: .* positive bounds, but momentum is"):
        in_memory(ScaleAwareSampler(knobs=["momentum"], search_space=knob)).ask(knob)
    sampler = ScaleAwareSampler(seed=0)
    with pytest.raises(InputError, match="the width: expected a positive integer"):
        sampler.assessment(in_memory(sampler))
