"""The model's numbers against slow, plain computations of the same."""

import math

import numpy as np
import pytest

from lrtune.law.evidence import SIGMA, Cell, Censored, Positions, WidthData, tabulate
from lrtune.law.shapes import COUNT, misfit, shapes
from lrtune.law.surface import draw
from lrtune.search.sampling.acquisition import advise
from lrtune.search.sampling.belief import Belief, Observation, Space

POSITIONS = Positions.over(-10.0, 0.0)


def observations(widths, best, *, curvature=0.012, rates=range(-9, 0)):
    return [
        Observation(width, float(x), "value", math.exp(1.4 + min(curvature * (x - best(width)) ** 2, 0.6)))
        for width in widths
        for x in rates
    ]


def space(widths, **more):
    costs = tuple(float(w) ** 2 for w in widths)
    return Space(widths=widths, targets=widths, costs=costs, low=-13.0, high=0.0, focus=(-13.0, 0.0), **more)


def test_height_is_zero_only_at_the_best_and_rises_to_both_sides():
    z = np.linspace(-6, 6, 241)
    height = shapes().height(z[None, :], np.arange(COUNT)[:, None])
    assert (height[:, 120] == 0).all()
    assert (np.diff(height[:, :121], axis=1) <= 0).all()
    assert (np.diff(height[:, 120:], axis=1) >= 0).all()
    assert height.max() <= 0.5


@pytest.mark.parametrize("more", [0, 20])
def test_the_table_is_the_gaussian_marginal_likelihood_with_the_floor_integrated_out(more):
    cells: tuple[Cell, ...] = (Cell(-5.0, 1.45), Cell(-3.5, 1.41), Cell(-2.25, 1.43, count=2, squares=2e-5))
    cells += tuple(Cell(-5.0 + 0.25 * k, 1.42 + 0.002 * k) for k in range(more))
    table = tabulate(WidthData(cells), POSITIONS, lowest=1.41)
    j, s, k = 3, 17, 30
    o = POSITIONS.x[k]
    g = np.array([shapes().height(np.array([cell.x - o]), np.array([s]))[0] for cell in cells])
    counts = np.array([cell.count for cell in cells])
    noise = SIGMA[j] ** 2
    cov = np.diag(noise / counts + 0.0007**2 + misfit(g) ** 2) + 0.3**2
    residual = np.array([cell.y for cell in cells]) - g - 1.41

    def plain(residual, cov):
        return -0.5 * residual @ np.linalg.solve(cov, residual) - 0.5 * np.linalg.slogdet(cov)[1]

    expected = plain(residual, cov) - 0.5 * np.log(noise) - (2e-5 + 0.0007**2) / (2 * noise)
    # The table leaves out the prior's constant, log(1/0.3). It is in single precision, 24 bits, of sums of up to 5,000:
    # a hundred times less than what would move a likelihood.
    assert table.log_likelihood[j, s, k] + math.log(1 / 0.3) == pytest.approx(expected, abs=1e-4)


def test_early_ends_lower_the_likelihood_of_optima_there_and_divergence_that_of_optima_above():
    beaten = tabulate(WidthData((), (Censored(-4.0, 0.015),)), POSITIONS, 1.4).log_likelihood.mean(axis=(0, 1))
    at = np.searchsorted(POSITIONS.x, -4.0)
    assert beaten[at] < beaten[at - 12] - 1
    assert beaten[at] < beaten[at + 12] - 1
    above = WidthData((), (Censored(-4.0, 0.1, above=True),))
    diverged = tabulate(above, POSITIONS, 1.4).log_likelihood.mean(axis=(0, 1))
    assert diverged[at + 12] < diverged[at - 12] - 1


def test_being_cut_beside_a_better_run_is_weighed_with_the_noise_of_both():
    """P(y > over + margin) against plain sampling: c from its prior, then the run's own noise."""
    over, margin, lowest = 1.37, 0.015, 1.4
    table = tabulate(WidthData((), (Censored(-4.0, margin, over=over),)), POSITIONS, lowest)
    j, s, k = 4, 17, 30
    g = shapes().height(np.array([-4.0 - POSITIONS.x[k]]), np.array([s]))
    rng = np.random.default_rng(8)
    c = lowest + 0.3 * rng.standard_normal(400_000)
    y = c + g + math.hypot(SIGMA[j], misfit(g)[0], margin / 2) * rng.standard_normal(len(c))
    exceeds = y > over + margin
    # four sd of a share of 400,000, and of the mean of its half
    # the table leaves out the prior's constant, 1/0.3
    assert math.exp(table.log_likelihood[j, s, k]) / 0.3 == pytest.approx(exceeds.mean(), abs=0.0032)
    assert table.floor[j, s, k] == pytest.approx(c[exceeds].mean(), abs=0.003)
    assert table.precision[j, s, k] ** -0.5 == pytest.approx(c[exceeds].std(), abs=0.003)


def test_one_lucky_run_does_not_drive_the_optimum_away_from_where_others_were_cut_beside_it():
    belief = Belief()
    noisy = [1.012, 0.985, 1.02, 0.99, 0.996, 1.01, 0.982, 1.015, 1.0]
    seen = observations((64,), lambda width: -5.0)
    belief.add(Observation(o.width, o.x, o.outcome, o.value * n) for o, n in zip(seen, noisy, strict=True))
    belief.add([Observation(64, -5.125, "value", math.exp(1.4) * 0.96)])  # two sd of this noise below
    belief.add(Observation(64, -5.0 + k / 8, "beaten") for k in range(-8, 9) if k not in (-1, 0))
    posterior = belief.posterior(space((64,)), np.random.default_rng(9))
    assert posterior.advice[64].x == pytest.approx(-5.0, abs=0.6)
    assert np.abs(posterior.draws.o[:, 0] + 5).max() < 3


def test_the_noise_is_learned_and_shared_by_all_widths():
    rng = np.random.default_rng(10)
    for noise in (0.003, 0.02):
        belief = Belief()
        for seen in observations((32, 64, 128), lambda width: -5.0):
            belief.add([Observation(seen.width, seen.x, "value", seen.value * math.exp(noise * rng.standard_normal()))])
        sigma = belief.posterior(space((32, 64, 128)), np.random.default_rng(11)).draws.sigma
        assert noise / 2 <= np.median(sigma) <= noise * 2


def test_draws_have_the_prior_of_the_law_where_nothing_is_known():
    widths = (5.0, 6.0, 7.0)
    drawn = draw({}, widths, POSITIONS, -5.0, 2.0, 1.4, 4000, np.random.default_rng(0))
    slope = (drawn.o[:, 2] - drawn.o[:, 0]) / 2
    # four sd of the mean of 4,000 draws; the slope's prior sd is .65, own deviations add to it
    assert slope.mean() == pytest.approx(-0.7, abs=4 * 0.9 / math.sqrt(4000))
    assert drawn.o[:, 1].mean() == pytest.approx(-5.0, abs=4 * 2.2 / math.sqrt(4000))
    assert 0.6 < slope.std() < 0.95


def test_the_posterior_carries_the_law_from_small_widths_to_a_large_one():
    belief = Belief()
    belief.add(observations((32, 64, 128), lambda width: 1.0 - 1.5 * math.log2(width / 8)))
    posterior = belief.posterior(space((32, 64, 128, 256)), np.random.default_rng(1))
    o = posterior.draws.o[:, posterior.widths.index(256)]
    assert o.mean() == pytest.approx(1.0 - 1.5 * 5, abs=0.5)
    assert 0.1 < o.std() < 1.2


def test_values_that_are_not_positive_are_compared_by_difference():
    plain, shifted = Belief(), Belief()
    seen = [Observation(64, float(x), "value", 0.03 * (x + 5) ** 2 - 1.0) for x in range(-9, 0)]
    plain.add(seen)
    shifted.add([Observation(64, -4.0, "value", 2.0), *seen])  # begins positive, then turns out not to be
    for belief in (plain, shifted):
        posterior = belief.posterior(space((64,)), np.random.default_rng(2))
        assert posterior.advice[64].x == pytest.approx(-5.0, abs=0.6)


def test_many_runs_are_summed_up_and_change_nothing_but_the_certainty():
    rng = np.random.default_rng(3)
    belief = Belief()
    for x in rng.uniform(-12, -1, 5000):
        loss = math.exp(1.4 + min(0.012 * (x + 5) ** 2, 0.4) + 0.004 * rng.standard_normal())
        belief.add([Observation(64, float(x), "value", loss)])
    posterior = belief.posterior(space((64,)), np.random.default_rng(4))
    # 0.3% of loss: with thousands of runs the fixed shapes bound it, of which none is symmetric
    assert 0.012 * (posterior.advice[64].x + 5) ** 2 < 0.003
    assert belief.trials(64) == 5000


def test_an_optimum_beyond_the_bounds_is_advised_at_the_bound():
    belief = Belief()
    belief.add(observations((64,), lambda width: 2.0, rates=range(-10, 1)))
    posterior = belief.posterior(space((64,)), np.random.default_rng(5))
    at = posterior.widths.index(64)
    assert posterior.advice[64].x == pytest.approx(0.0, abs=0.15)
    assert np.mean(posterior.draws.o[:, at] > 0) > 0.8
    assert advise(posterior.draws, at, -13.0, 4.0).x > 0.2


def test_proposals_lie_on_a_lattice_and_repeat_only_when_the_neighbours_are_taken():
    belief, where = Belief(), space((64,))
    seen: list[float] = []
    for turn in range(12):
        rng = np.random.default_rng(turn)
        chosen = belief.next_run(where, belief.posterior(where, rng), [], rng)
        assert (chosen.x * 8) % 1 == 0
        if chosen.x in seen:
            assert {chosen.x - 0.25, chosen.x - 0.125, chosen.x + 0.125, chosen.x + 0.25} <= set(seen)
        seen.append(chosen.x)
        belief.add([Observation(64, chosen.x, "value", math.exp(1.4 + 0.01 * (chosen.x + 5) ** 2))])


def test_when_the_regret_is_known_to_be_small_widths_that_lack_runs_come_first():
    belief, where = Belief(), space((32, 64, 128), tolerance=1.0)
    belief.add(observations((32,), lambda width: -5.0))
    rng = np.random.default_rng(6)
    posterior = belief.posterior(where, rng)
    assert belief.lacking(where) == [64, 128]
    assert belief.next_run(where, posterior, [], rng).width == 64
    assert belief.next_run(where, posterior, [(64, -6.0)] * 3, rng).width == 128


def test_repeats_that_agree_exactly_do_not_move_the_optimum_away():
    """A deterministic objective: the same value at the same rate, again and again."""
    belief = Belief()
    seen = observations((64,), lambda width: -5.0)
    belief.add(seen * 12)
    posterior = belief.posterior(space((64,)), np.random.default_rng(7))
    assert posterior.advice[64].x == pytest.approx(-5.0, abs=0.4)
    assert np.quantile(posterior.advice[64].by_draw, 0.95) < 0.02
