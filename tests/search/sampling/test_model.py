"""The search's model on records whose law is known."""

import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from builders import finished_run

from lrtune.law.fit import fit_law
from lrtune.law.geometry import Geometry
from lrtune.law.model import Model, pilot
from lrtune.law.observations import cell_data, measure_of
from lrtune.law.posterior import Size, infer
from lrtune.law.prediction import predict, predict_from_priors
from lrtune.law.tables import tabulate
from lrtune.records.record import Status, TrialRecord
from lrtune.search.sampling.assessment import Assessment, Known, by_rule
from lrtune.search.sampling.model import SearchModel
from lrtune.search.sampling.proposals import choice, next_run
from lrtune.search.sampling.space import Place, Space, cost_of

RATES = range(-9, 0)
NUMBERS = count()


def record(
    width: int, x: float, loss: float | None = None, *, status: Status = "finished", **scales: float
) -> TrialRecord:
    return finished_run(width, 2.0**x, loss, trial=next(NUMBERS), scales=scales, status=status)


def sweep(width, best, *, curvature=0.012, rates=RATES, noise=None, **scales):
    jitter = np.zeros(len(rates)) if noise is None else noise
    heights = [min(curvature * (x - best) ** 2, 0.6) + e for x, e in zip(rates, jitter, strict=True)]
    return [record(width, float(x), math.exp(1.4 + h), **scales) for x, h in zip(rates, heights, strict=True)]


def space(widths, *, targets=None, scales=("hidden_size",), **more):
    places = tuple(w if isinstance(w, tuple) else (float(w),) for w in widths)
    costs = tuple(p[0] ** 2 for p in places)
    given = {"low": -13.0, "high": 0.0, "focus": (-13.0, 0.0), **more}
    return Space(scales=scales, places=places, targets=targets or places, costs=costs, **given)


def fed(records, scales=("hidden_size",)):
    model = SearchModel(0, scales)
    for each in records:
        model.take(each.trial, each)
    return model


def known(model, where):
    return model.assess(where).known


def test_the_law_of_small_widths_carries_to_a_large_one():
    runs = [run for width in (32, 64, 128) for run in sweep(width, 1.0 - 1.5 * math.log2(width / 8))]
    far = known(fed(runs), space((32, 64, 128), targets=((32.0,), (256.0,))))[1]
    assert math.log2(far.learning_rate) == pytest.approx(1.0 - 1.5 * 5, abs=0.5)
    assert 0.3 < math.log2(far.high / far.low) < 4
    assert far.trials == 0


def test_what_one_step_count_learns_about_width_serves_the_other():
    """A joint law: widths at 300 steps, and one width at 1200, tell the rest."""
    best = {(w, s): -5.0 - math.log2(w / 64) - 0.4 * math.log2(s / 300) for w in (32, 64, 128) for s in (300, 1200)}
    runs = [run for w in (32, 64, 128) for run in sweep(w, best[w, 300], steps=300.0)]
    runs += sweep(32, best[32, 1200], steps=1200.0)
    scales = ("hidden_size", "steps")
    where = space([(float(w), float(s)) for w, s in sorted(best)], scales=scales)
    told = {(k.hidden_size, int(k.scales["steps"])): k for k in known(fed(runs, scales), where)}
    assert math.log2(told[128, 1200].learning_rate) == pytest.approx(best[128, 1200], abs=0.4)
    narrow, wide = (math.log2(told[at].high / told[at].low) for at in ((128, 300), (128, 1200)))
    assert narrow < wide < 3.5


def test_losses_that_are_not_positive_are_compared_by_difference():
    seen = [record(64, x, 0.03 * (x + 5) ** 2 - 1.0) for x in RATES]
    first = record(64, -4.0, 2.0)  # begins positive, then turns out not to be
    for runs in (seen, [first, *seen]):
        assert math.log2(known(fed(runs), space((64,)))[0].learning_rate) == pytest.approx(-5.0, abs=0.6)


def test_thousands_of_runs_are_merged_and_make_the_answer_more_certain():
    rng = np.random.default_rng(3)
    x = rng.uniform(-12, -1, 3000)
    runs = [record(64, a, math.exp(1.4 + min(0.012 * (a + 5) ** 2, 0.4) + 0.004 * rng.standard_normal())) for a in x]
    few, many = (known(fed(some), space((64,)))[0] for some in (runs[:12], runs))
    assert 0.012 * (math.log2(many.learning_rate) + 5) ** 2 < 0.003
    assert math.log2(many.high / many.low) < math.log2(few.high / few.low)
    assert many.trials == 3000


def test_a_best_rate_above_the_runs_is_not_missing_because_the_runs_reach_the_lower_bound():
    model = fed([*sweep(64, -6.0, rates=range(-13, -7))])
    said = model.assess(space([64]))
    assert said.known[0].at_edge and not said.no_optimum


def test_an_optimum_beyond_the_bounds_is_advised_at_the_bound_and_is_never_enough():
    model = fed(sweep(64, 2.0, rates=range(-10, 1)))
    said = model.assess(space((64,), tolerance=0.5))
    assert math.log2(said.known[0].learning_rate) == pytest.approx(0.0, abs=0.2)
    assert said.known[0].at_edge
    assert not said.enough
    assert said.no_optimum == ({"hidden_size": 64.0},)


def test_a_rule_that_does_not_support_an_answer_is_not_enough():
    """Sizes left out that cost too much are a doubt about a target without runs, however small its own regret."""
    runs = [run for width in (32, 64, 128) for run in sweep(width, -math.log2(width / 8))]
    where = space((32, 64, 128), targets=((64.0,), (96.0,)), tolerance=0.02)
    said = fed(runs).assess(where)
    rule = fit_law(runs, tolerance=0.02).rule
    for left_out, enough in ((0.001, True), (0.03, False)):
        settled = by_rule(said, where, rule._replace(left_out=left_out), [known.scales for known in said.known])
        assert (said.enough, settled.enough) == (True, enough)


def test_a_flat_descent_far_below_the_optimum_is_not_enough_but_leads_upwards():
    """Runs at 2^-20 … 2^-17 whose loss falls a little at each doubling: regret looks small and is not."""
    model = fed([record(64, float(x), math.exp(1.4 - 1e-4 * (x + 20))) for x in (-20, -19, -18, -17)])
    where = space((64,), low=-20.0, high=3.0, focus=(-20.0, -17.0))
    said = model.assess(where)
    assert not said.enough
    _, x = next_run(model, where, [], number=4)
    assert x > -17


def test_proposals_lie_on_a_lattice_and_repeat_only_when_the_neighbours_are_taken():
    model, where = SearchModel(0, ("hidden_size",)), space((64,))
    seen: list[float] = []
    for turn in range(12):
        _, x = next_run(model, where, [], number=turn)
        assert (x * 8) % 1 == 0
        if x in seen:
            assert {x - 0.25, x - 0.125, x + 0.125, x + 0.25} <= set(seen)
        seen.append(x)
        model.take(turn, record(64, x, math.exp(1.4 + 0.01 * (x + 5) ** 2)))


def test_once_the_regret_is_small_places_that_lack_runs_come_first():
    model, where = fed(sweep(32, -5.0)), space((32, 64, 128), tolerance=0.9)
    assert model.lacking(where) == [(64.0,), (128.0,)]
    assert next_run(model, where, [], number=9)[0] == (64.0,)
    assert next_run(model, where, [((64.0,), -6.0)] * 3, number=12)[0] == (128.0,)


def test_with_several_scales_each_value_needs_three_runs_and_each_place_one():
    places = [(w, s) for w in (32.0, 64.0) for s in (300.0, 1200.0)]
    scales = ("hidden_size", "steps")
    where = space(places, scales=scales)
    runs = [run for w, s in places[:3] for run in sweep(int(w), -5.0, rates=(-6, -5), steps=s)]
    assert fed(runs, scales).lacking(where) == [(64.0, 1200.0)]
    assert fed([*runs, *sweep(64, -5.0, rates=(-5,), steps=1200.0)], scales).lacking(where) == []


def test_one_lucky_run_does_not_drive_the_optimum_away_from_where_others_were_beaten():
    noisy = np.log([1.012, 0.985, 1.02, 0.99, 0.996, 1.01, 0.982, 1.015, 1.0])
    runs = sweep(64, -5.0, noise=noisy)
    runs.append(record(64, -5.125, math.exp(1.4) * 0.96))  # two sd of this noise below
    runs += [record(64, -5.0 + k / 8, status="beaten") for k in range(-8, 9) if k not in (-1, 0)]
    said = known(fed(runs), space((64,)))[0]
    assert math.log2(said.learning_rate) == pytest.approx(-5.0, abs=0.8)


def test_repeats_that_agree_exactly_do_not_move_the_optimum():
    """A deterministic objective: the same value at the same rate, again and again."""
    said = known(fed(sweep(64, -5.0) * 12), space((64,)))[0]
    assert math.log2(said.learning_rate) == pytest.approx(-5.0, abs=0.3)
    assert said.regret_90 < 0.02


def test_the_draws_before_any_run_have_the_prior_of_the_law():
    geometry = Geometry(scales=("hidden_size",), z=np.log([[32.0], [64.0], [128.0]]) - math.log(64), place=-5, near=2)
    drawn = predict_from_priors(geometry, 0.01, Size(strays=48), 4096, np.random.default_rng(0))
    slope = (drawn.optimum[:, 2] - drawn.optimum[:, 0]) / math.log(4)
    assert slope.mean() == pytest.approx(-0.9 * 0.9, abs=0.15)  # a tenth believes in none
    assert np.median(np.abs(drawn.optimum[:, 1] + 5)) == pytest.approx(0.6745 * 2, rel=0.35)


def test_draws_at_a_measured_place_follow_its_runs_and_the_noise_is_learned():
    rng = np.random.default_rng(10)
    noises = []
    for noise in (0.002, 0.02):
        cells = [sweep(w, -5.0, noise=noise * rng.standard_normal(len(RATES))) for w in (32, 64, 128)]
        measure = measure_of([run.loss for runs in cells for run in runs])
        data = [cell_data(runs, measure, 0.01) for runs in cells]
        geometry = Geometry(scales=("hidden_size",), z=np.log([[0.5], [1.0], [2.0]]), place=-5.0)
        size = Size(shapes=8, strays=12)
        unit = pilot(data)
        tables = tuple(tabulate(one, unit, size.resolution) for one in data)
        model = Model(
            unit=unit, centres=np.ones(1), geometry=geometry, tables=tables, posterior=infer(tables, geometry, size)
        )
        drawn = predict(model, data, np.log([[4.0]]), 256, np.random.default_rng(1))
        noises.append(float(np.median(drawn.noise)))
        assert drawn.optimum[:, :3].std(axis=0).max() < drawn.optimum[:, 3].std()
        assert noise / 5 < noises[-1] < 3 * noise  # far from the best, the misfit of the shapes explains noise too
    assert noises[1] > 3 * noises[0]


def test_costs_scale_from_the_nearest_known_place():
    scales = ("hidden_size", "steps")
    assert cost_of((128.0, 600.0), scales, {}) == 128**2 * 600
    known_costs: dict[Place, float] = {(64.0, 300.0): 10.0, (1024.0, 300.0): 1.0}
    assert cost_of((128.0, 600.0), scales, known_costs) == pytest.approx(10 * 4 * 2)


def test_a_run_that_failed_with_an_error_is_not_evidence():
    model = fed([record(64, -3.0, status="failed")])
    assert model.trials((64.0,)) == 0
    assert model.taken


@pytest.mark.parametrize("loss", [None, 1e205])
def test_a_run_that_finished_without_a_usable_loss_is_a_failure_at_its_rate(loss: float | None) -> None:
    """A NaN would poison the cell; as evidence of nothing, the same rate would be proposed for ever."""
    runs = [*sweep(64, -5.0, rates=range(-9, -3)), record(64, -3.0, loss)]
    said = known(fed(runs), space((64,)))[0]
    assert math.log2(said.learning_rate) == pytest.approx(-5.0, abs=0.5)
    assert said.high < 2**-3.0
    assert said.trials == len(runs)


@pytest.mark.parametrize("unit", [2.0**681, 2.0**-681])  # about 1e205 and 1e-205
def test_the_unit_of_the_losses_does_not_matter(unit: float) -> None:
    runs = sweep(64, -5.0)
    scaled = [replace(run, loss=(run.loss or 0.0) * unit) for run in runs]
    assert known(fed(scaled), space((64,))) == known(fed(runs), space((64,)))


def test_a_loss_that_was_the_only_one_turns_out_to_be_far_too_large() -> None:
    first, then = record(64, -3.0, 1e205), sweep(64, -5.0, rates=range(-9, -3))
    assert known(fed([first, *then]), space((64,))) == known(fed([*then, first]), space((64,)))


def knows(regret_90: float, *, enough: bool, trials: int = 3) -> Assessment:
    """What a search knows of one target, with 1% wanted."""
    known = Known(
        scales={"hidden_size": 64.0},
        learning_rate=0.01,
        low=0.008,
        high=0.012,
        regret=0.002,
        regret_90=regret_90,
        trials=trials,
        at_edge=False,
    )
    return Assessment(known=(known,), regret_90=regret_90, tolerance=0.01, enough=enough)


@pytest.mark.parametrize(
    ("regret_90", "trials", "enough", "said"),
    [
        (0.0058, 3, True, "the rate at 64 costs less than 1% of loss in nine cases of ten, as wanted"),
        (
            0.0058,
            0,
            True,
            "the rate at 64 costs 0.20% of loss on average, less than 1% in nine cases of ten, as wanted",
        ),
        (0.0, 3, False, "the rate at 64 costs less than 0.01% of loss in nine cases of ten (wanted: 1%)"),
        (
            0.0158,
            0,
            True,
            "the rate at 64 costs 0.20% of loss on average, less than 1.58% in nine cases of ten (wanted: 1%)",
        ),
        (0.4, 3, False, "the rate at 64 may cost 30% of loss or more (wanted: 1%)"),
    ],
)
def test_the_cost_of_an_answer_is_a_sentence(regret_90: float, trials: int, enough: bool, said: str) -> None:
    assert str(knows(regret_90, trials=trials, enough=enough)) == said


def test_what_runs_could_not_reach_is_said_beside_what_the_answer_costs_on_average() -> None:
    said = str(replace(knows(0.026, enough=False), exhausted=True))
    assert said.startswith(
        "the rate at 64 costs 0.20% of loss on average, less than 2.60% in nine cases of ten (wanted"
    )


def test_places_are_listed_in_the_order_of_their_values() -> None:
    said = replace(knows(0.3, enough=False), no_optimum=({"hidden_size": 128.0}, {"hidden_size": 64.0}))
    assert "at 64, 128 runs still get better" in str(said)


def test_a_search_that_knows_enough_says_no_less_than_was_wanted():
    """It ends at the first bound below the tolerance, which picks low ones: how far below says little."""
    assert knows(0.0058, enough=False).bound == 0.0058
    assert knows(0.0058, enough=True).bound == 0.01
    assert knows(0.025, enough=True).bound == 0.025, "at a target without runs"


def test_hundreds_of_running_trials_leave_something_to_learn():
    """As many trials as the posterior has draws would explain every optimum, also one that they say nothing of."""
    model, where = fed(sweep(32, -5.0)), space((32, 128), targets=((128.0,),))
    running = [((32.0,), -5.0 + 0.01 * (i % 50)) for i in range(300)]
    assert choice(model, where, model.posterior(where), running, np.random.default_rng(0)).gain > 0
