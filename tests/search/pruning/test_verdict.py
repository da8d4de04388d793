"""The verdict: curves with a known story, each with the decision that the story asks for."""

import math
from dataclasses import replace
from typing import Any

import pytest
from builders import finished_run
from hypothesis import given
from hypothesis import strategies as st

from lrtune.errors import InputError
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import phase_of, verdict
from lrtune.study.study import PruningPolicy
from lrtune.trainer.trial import Facts

POLICY = PruningPolicy()
VOCABULARY, ENTROPY = 8192, 6.09


def curve(losses, diversities, *, every=100, planned=2000, changes=(), entropy=ENTROPY, vocabulary=VOCABULARY, **rest):
    steps = [every * (i + 1) for i in range(len(losses))]
    return Curve(
        steps=steps,
        losses=losses,
        diversities=diversities,
        planned_steps=planned,
        regime_changes=changes,
        unigram_entropy=entropy,
        vocabulary_size=vocabulary,
        **rest,
    )


STUCK = [7.0] * 10  # flat, 0.9 nats above the unigram entropy
LOW = [0.03] * 10

# name: (losses, diversities, keywords) → (kind, phase, words in the reason)
STORIES: dict[str, tuple[Any, str, str, str]] = {
    "stuck for good": ((STUCK, LOW, {}), "collapsed", "collapsed", "no stage change ahead"),
    "stuck, loss rising": (([6.6 + 0.05 * i for i in range(10)], LOW, {}), "collapsed", "collapsed", "above"),
    "stuck at the unigram entropy": (([6.1] * 10, LOW, {}), "collapsed", "collapsed", "at the unigram entropy"),
    "stuck, stage change ahead": ((STUCK, LOW, {"changes": (1000,)}), "suspect", "unigram", "a stage change at"),
    "stuck, the stage change passed": ((STUCK, LOW, {"changes": (500,)}), "collapsed", "collapsed", "since step 600"),
    "just after the stage change": ((STUCK, LOW, {"changes": (900,)}), "suspect", "unigram", "1 of 3 reports"),
    "a stage change past the end never comes": ((STUCK, LOW, {"changes": (2000, 9999)}), "collapsed", "collapsed", ""),
    "still within grace": ((STUCK[:4], LOW[:4], {}), "suspect", "unigram", "grace"),
    "low since two reports": ((STUCK, [0.4] * 8 + [0.03] * 2, {}), "suspect", "unigram", "2 of 3 reports"),
    "dense reports, low for few steps": (
        (STUCK * 10, [0.4] * 90 + [0.03] * 10, {"every": 10}),
        "suspect",
        "unigram",
        "90 of 200 steps",
    ),
    "a short run, low for less than 50 steps": (
        (STUCK, LOW, {"every": 4, "planned": 60}),
        "suspect",
        "unigram",
        "36 of 50 steps",
    ),
    "a short run, low for 54 steps": ((STUCK, LOW, {"every": 6, "planned": 120}), "collapsed", "collapsed", "flat"),
    "diversity comes back": (
        (STUCK, [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.02, 0.04, 0.06, 0.08], {}),
        "suspect",
        "unigram",
        "rises",
    ),
    "undiverse on the way down": (
        ([8.9 - 0.15 * i for i in range(10)], LOW, {}),
        "suspect",
        "unigram",
        "loss falls, ",
    ),
    "undiverse, falling too slowly to arrive": (
        ([8.9 - 0.02 * i for i in range(10)], LOW, {}),
        "collapsed",
        "collapsed",
        "too slowly",
    ),
    "undiverse below the unigram entropy": (([5.5] * 10, LOW, {}), "keep", "learned", "below"),
    "healthy": (([4.8] * 10, [0.5] * 10, {}), "keep", "learned", "above the floor"),
    "diverse noise near ln V": (([8.95] * 10, [0.8] * 10, {}), "suspect", "uniform", "is still far above"),
    "diverse noise near ln V, early": (([8.95] * 2, [0.8] * 2, {}), "keep", "uniform", ""),
    "no diversity": ((STUCK, None, {}), "keep", "unigram", "no diversity"),
    "diversity missing at the end": ((STUCK, [*LOW[:9], None], {}), "keep", "unigram", "no diversity"),
    "diversity missing on the way": ((STUCK, [*LOW[:8], None, 0.03], {}), "collapsed", "collapsed", ""),
    "no entropy known, loss flat": ((STUCK, LOW, {"entropy": None}), "collapsed", "collapsed", "flat"),
    "no entropy known, loss falling": (
        ([8.9 - 0.15 * i for i in range(10)], LOW, {"entropy": None}),
        "suspect",
        "unknown",
        "still falls",
    ),
    "one point": (([8.9], [0.9], {}), "keep", "uniform", ""),
    "NaN now": (([6.0, 5.0, math.nan], [0.1, 0.2, 0.2], {}), "diverged", "diverged", "not finite at step 300"),
    "inf now": (([6.0, 5.0, math.inf], [0.1, 0.2, 0.2], {}), "diverged", "diverged", "not finite"),
    "NaN once, long ago": (([8.0, math.nan, 5.0], [0.3] * 3, {}), "keep", "learned", ""),
    "far above ln V": (([12.0], [0.0], {}), "diverged", "diverged", "above ln(vocabulary)"),
    "above ln V by less": (([10.5], [0.0], {}), "suspect", "unigram", "grace"),
    "no vocabulary, far above the first": (
        ([7.0, 9.5], None, {"vocabulary": None}),
        "diverged",
        "diverged",
        "first loss",
    ),
    "no vocabulary, little above a large first loss": (
        ([7e205, 7.5e205], None, {"vocabulary": None, "entropy": None}),
        "keep",
        "unknown",
        "loss 7.5e+205, no diversity",
    ),
    "no vocabulary, far above a large first loss": (
        ([7e205, 9.5e205], None, {"vocabulary": None}),
        "diverged",
        "diverged",
        "more than 1.4e+205 above the first loss",
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_stories(story):
    (losses, diversities, keywords), kind, phase, words = STORIES[story]
    found = verdict(curve(losses, diversities, **keywords), POLICY)
    assert (found.kind, found.phase) == (kind, phase), found.reason
    assert words in found.reason
    assert found.is_cut == (kind in ("collapsed", "diverged"))


def test_reason_reads_as_a_sentence():
    found = verdict(curve([9.0, 8.0, *[7.1] * 5], [0.9, 0.3, *[0.04] * 5]), POLICY)
    assert found.reason == (
        "diversity 0.04 since step 300, loss 7.1 above the unigram entropy 6.09, "
        "flat for 5 reports, no stage change ahead"
    )


def test_a_model_that_starts_above_uniform_has_not_diverged():
    start = Curve(steps=[0], losses=[14.0], planned_steps=100, vocabulary_size=VOCABULARY)
    assert verdict(start, POLICY).kind == "keep"
    worse = Curve(steps=[0, 10], losses=[14.0, 16.5], planned_steps=100, vocabulary_size=VOCABULARY)
    assert verdict(worse, POLICY).kind == "diverged"


# Phase 4: distinct argmax tokens over 20 prompts at 1k, 2k, 3k, 4k of 10k steps, and the losses that the write-up
# gives for the two bare learning rates. Diversity is 0 where one token is always the answer and 1 where all differ.
PHASE_4 = {
    "0.0015": ([19, 9, 4, 2], "suspect"),
    "0.0005": ([3, 10, 14, 18], "suspect"),  # diverse, but at 10.7 of ln V = 10.82 it has learned nothing
    "smoothing": ([20, 12, 2, 2], "collapsed"),
    "clip": ([12, 6, 2, 2], "collapsed"),
}
TWO_STAGE = {
    256: [16, 8, 2, 2, 2, 10, 14, 13],
    512: [14, 8, 4, 2, 2, 10, 12, 11],
    768: [18, 14, 4, 2, 2, 8, 11, 12],
    1024: [13, 8, 5, 2, 2, 9, 12, 11],
}
PATIENCE_2 = replace(POLICY, patience=2)


def phase_4_curve(counts, *, steps=None, losses=None, changes=()):
    steps = steps or [1000 * (i + 1) for i in range(len(counts))]
    falling = [10.80, 10.62, 10.43, 10.25, 10.2]
    return Curve(
        steps=steps,
        losses=losses or [*falling, *[7.2] * 10][: len(counts)],
        diversities=[(count - 1) / 19 for count in counts],
        planned_steps=10_000,
        regime_changes=changes,
        vocabulary_size=50_257,
        unigram_entropy=7.4,
    )


def prefixes(curve):
    for end in range(1, len(curve.steps) + 1):
        yield replace(curve, steps=curve.steps[:end], losses=curve.losses[:end], diversities=curve.diversities[:end])


@pytest.mark.parametrize("arm", PHASE_4)
def test_the_four_arms_of_phase_4(arm):
    counts, at_4k = PHASE_4[arm]
    losses = [9.89, 10.73, 10.73, 10.73] if arm == "0.0005" else None
    kinds = [verdict(part, PATIENCE_2).kind for part in prefixes(phase_4_curve(counts, losses=losses))]
    assert kinds[-1] == at_4k
    assert not {"collapsed", "beaten", "diverged"} & set(kinds[:-1])


def test_0_0015_is_cut_when_5k_repeats_4k():
    assert verdict(phase_4_curve([19, 9, 4, 2, 2]), PATIENCE_2).kind == "collapsed"


@pytest.mark.parametrize("hidden_size", TWO_STAGE)
def test_two_stage_runs_are_never_cut_though_all_collapse_in_stage_1(hidden_size):
    steps = [1000, 2000, 3000, 4000, 5000, 6000, 7000, 10_000]
    run = phase_4_curve(TWO_STAGE[hidden_size], steps=steps, changes=(5000,))
    kinds = {part.steps[-1]: verdict(part, PATIENCE_2).kind for part in prefixes(run)}
    assert kinds[4000] == kinds[5000] == "suspect"
    assert set(kinds.values()) <= {"keep", "suspect"}
    blind = replace(run, steps=steps[:5], losses=run.losses[:5], diversities=run.diversities[:5], regime_changes=())
    assert verdict(blind, PATIENCE_2).kind == "collapsed", "it is the stage change ahead that keeps them"


# Peers: finished runs of one width whose loss falls on a straight line, at every twentieth of 2000 steps.
def line(start, end, upto=20, diversity=0.5, **keywords):
    losses = [start + (end - start) * (i + 1) / 20 for i in range(upto)]
    return curve(losses, [diversity] * upto, **keywords)


PEER = line(6, 4.0, learning_rate=0.01)
LATE = (1800,)  # a stage change ahead


@pytest.mark.parametrize(
    ("run", "peers", "kind"),
    [
        (line(6, 5.9, 17), [PEER], "beaten"),
        (line(6, 5.9, 1), [PEER], "keep"),  # beaten_grace
        (line(6, 4.05, 17), [PEER], "keep"),
        (line(8, 4.0, 14), [PEER], "keep"),  # behind, but falls twice as fast
        (line(7, 4.6, 14), [PEER], "beaten"),  # falls faster, but not by enough
        (line(6, 5.9, 17), [], "keep"),
        (line(6, 5.9, 17), [line(6, 4, 19)] * 5, "keep"),  # none finished
        (line(6, 5.9, 17), [line(6, 4, planned=4000)] * 5, "keep"),  # another horizon
        (line(6, 5.9, 18), [PEER], "keep"),  # in the last tenth nothing is
        (line(6, 5.9, 20), [PEER], "keep"),  # it is at its end
        (line(6, 5.9, 17), [line(6, 5.95), PEER, line(6, 5.9)], "beaten"),  # one peer is enough
        # At half time the peer stands at 5.00 and has 1.00 to gain: 5.30 is in reach of 4.08 with the full margin of
        # 0.5, and no longer with the 0.1 that are left of it four octaves below the peer's rate.
        (line(6, 4.6, 10, learning_rate=0.01), [PEER], "keep"),
        (line(6, 4.6, 10, learning_rate=0.04), [PEER], "keep"),
        (line(6, 4.6, 10, learning_rate=0.01 / 16), [PEER], "beaten"),
        (line(6, 4.6, 10), [PEER], "keep"),  # no rate is known
        # Above the peer's rate a run has more to gain: 1.5 nats from 5.60 are too few for 4.08, 1.5 · 2^(0.2 · 2) not.
        (line(6, 5.2, 10, learning_rate=0.01), [PEER], "beaten"),
        (line(6, 5.2, 10, learning_rate=0.04), [PEER], "keep"),
        (line(7, 6.9, 10, learning_rate=0.04), [PEER], "beaten"),
        # Until a peer gets below the unigram entropy, where it stands means nothing.
        (line(8, 7.9, 11, diversity=None), [line(8, 4.4)], "keep"),
        (line(8, 7.9, 12, diversity=None), [line(8, 4.4)], "beaten"),
        # Without a unigram entropy: a third of the peer's descent, no change ahead, and collapse's grace.
        (line(6, 5.9, 7, entropy=None), [line(6, 4, entropy=None)], "keep"),
        (line(6, 5.9, 8, entropy=None), [line(6, 4, entropy=None)], "beaten"),
        (line(6, 5.9, 8, entropy=None, changes=LATE), [line(6, 4, entropy=None, changes=LATE)], "keep"),
        (line(6, 5.9, 4, entropy=None), [curve([4.5] * 19 + [4.0], None, entropy=None)], "keep"),
        # A loss may be anything that is minimised.
        (line(-1, -1.1, 17, entropy=None), [line(-1, -2.0, entropy=None)], "beaten"),
    ],
)
def test_beaten_by_peers(run, peers, kind):
    assert verdict(run, POLICY, peers).kind == kind
    assert verdict(run, replace(POLICY, beaten=False), peers).kind == "keep"
    assert verdict(replace(run, diversities=None), POLICY, peers).kind == kind


def test_why_a_run_is_beaten():
    assert verdict(line(6, 5.9, 17), POLICY, [PEER]).reason == (
        "loss 5.915 at step 1700; it could reach 5.465 at best, judged by its peer at 0.01, which ended at 4"
    )


@pytest.mark.parametrize(
    ("run", "peers", "reason"),
    [
        (
            line(-0.1, -0.2, 17, entropy=None, vocabulary=None, maximize=True),
            [line(-0.1, -0.9, entropy=None, learning_rate=0.01, maximize=True)],
            "measure 0.185 at step 1700; it could reach 0.365 at best, judged by its peer at 0.01, which ended at 0.9",
        ),
        (
            curve([-80.0, -40.0], None, entropy=None, vocabulary=None, maximize=True),
            [],
            "measure 40 at step 200, more than 16 below the first measure 80",
        ),
        (
            curve([9.0, 8.0, *[7.1] * 5], [0.9, 0.3, *[0.04] * 5], maximize=True),
            [],
            "diversity 0.04 since step 300, measure -7.1 below minus the unigram entropy -6.09, flat for 5 reports, "
            "no stage change ahead",
        ),
    ],
)
def test_a_measure_to_maximise_is_named_as_the_trainer_reported_it(run, peers, reason):
    found = verdict(run, POLICY, peers)
    assert found.is_cut and found.reason == reason


SCALES = {"accuracy": (0.1, 0.9, True), "accuracy of 0": (0.0, 0.9, True), "PSNR": (12.0, 24.0, True)}
SCALES["negative log-likelihood"] = (3.0, 5.0, False)


@pytest.mark.parametrize("facts", [{"entropy": None, "vocabulary": None}, {}], ids=["", "described"])
@pytest.mark.parametrize("scale", SCALES)
def test_a_negative_loss_is_judged_as_one_without_a_unigram_entropy(scale, facts):
    """A value in another unit than nats is not compared with them."""
    start, end, maximize = SCALES[scale]
    facts = {**facts, "maximize": maximize}
    flat, falling = [-start] * 10, [-start - (end - start) * i / 19 for i in range(10)]
    found = verdict(curve(flat, LOW, **facts), POLICY)
    assert found.kind == "collapsed" and found.reason.startswith("diversity 0.03 since step 100, flat for 10 reports")
    found = verdict(curve(falling, LOW, **facts), POLICY)
    assert found.kind == "suspect" and found.reason.endswith("still rises" if maximize else "still falls")
    # Beaten: after collapse's grace, and a third of its peer's way.
    late, stuck = line(-start, -end, **facts), curve(flat, None, learning_rate=0.001, **facts)
    early = curve([late.losses[0], *late.losses[10:], *[-end] * 9], None, **facts)
    for peer, first in ((late, 8), (early, 5)):
        peer = replace(peer, learning_rate=0.1)
        kinds = [verdict(stuck.until(count), POLICY, [peer]).kind for count in (first - 1, first)]
        assert kinds == ["keep", "beaten"]


def test_a_score_that_falls_far_below_the_first_one_has_diverged():
    assert verdict(curve([-24.0, -10.0], None, maximize=True), POLICY).reason == (
        "measure 10 at step 200, more than 4.8 below the first measure 24"
    )


def test_more_peers_may_be_asked_for():
    asks = replace(POLICY, peers=3)
    assert verdict(line(6, 5.9, 17), asks, [PEER] * 2).kind == "keep"
    assert verdict(line(6, 5.9, 17), asks, [PEER] * 3).kind == "beaten"


def test_order_and_repeats_of_reports_do_not_matter():
    straight = curve(STUCK, LOW)
    shuffled = replace(
        straight,
        steps=[*straight.steps[::-1], 1000],
        losses=[*STUCK, 7.0],
        diversities=[*LOW, 0.03],
    )
    assert verdict(shuffled, POLICY) == verdict(straight, POLICY)
    resumed = replace(straight, steps=[*straight.steps, 1000], losses=[*STUCK, 4.0], diversities=[*LOW, 0.5])
    assert verdict(resumed, POLICY).kind == "keep", "of a repeated step the last report counts"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"diversities": [-0.1]}, "diversities of at least 0"),
        ({"losses": [1.0, 2.0]}, "expected 1 losses"),
        ({"steps": [101]}, "within 0 … 100"),
        ({"steps": [-1]}, "within 0 … 100"),
        ({"planned_steps": 0}, "planned step"),
        ({"unigram_entropy": -1.0}, "unigram entropy"),
        ({"vocabulary_size": 0}, "vocabulary"),
    ],
)
def test_bad_input(change, words):
    good = {"steps": [1], "losses": [1.0], "planned_steps": 100}
    with pytest.raises(InputError, match=words):
        Curve(**(good | change))


def test_empty_curve_is_kept():
    assert verdict(Curve(steps=[], losses=[], planned_steps=10), POLICY).kind == "keep"
    assert phase_of(Curve(steps=[], losses=[], planned_steps=10), POLICY) == "unknown"


def test_from_record():
    record = finished_run(
        64,
        0.01,
        5.0,
        trial=3,
        steps=300,
        curve={"step": [100, None, 300], "loss": [6.0, 5.5, 5.0], "diversity": [0.1, None, None]},
        facts=Facts(vocabulary_size=512, unigram_entropy=5.0, regime_changes=(150,)),
    )
    found = Curve.from_record(record)
    assert (list(found.steps), list(found.losses), found.final_loss) == ([100, 300], [6.0, 5.0], 5.0)
    assert (found.vocabulary_size, found.unigram_entropy, tuple(found.regime_changes)) == (512, 5.0, (150,))
    assert found.learning_rate == 0.01
    assert found.loss_at(200) == pytest.approx(5.5)
    assert found.loss_at(50) is None


numbers = st.one_of(st.none(), st.floats(min_value=0, max_value=30), st.just(math.nan), st.just(math.inf))


@given(
    rows=st.lists(st.tuples(st.integers(0, 1000), numbers, numbers), max_size=30),
    changes=st.lists(st.integers(-5, 2000), max_size=3),
    entropy=st.one_of(st.none(), st.floats(0, 10)),
    vocabulary=st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_any_curve_gets_a_verdict(rows, changes, entropy, vocabulary):
    run = Curve(
        steps=[row[0] for row in rows],
        losses=[row[1] for row in rows],
        diversities=[row[2] for row in rows],
        planned_steps=1000,
        regime_changes=changes,
        unigram_entropy=entropy,
        vocabulary_size=vocabulary,
    )
    found = verdict(run, POLICY, [run, run, run])
    assert found.reason
    if found.kind == "collapsed":
        last = run.reports[-1]
        assert last.diversity is not None and last.diversity < POLICY.floor
        assert not any(last.step <= change < 1000 for change in changes)
        assert entropy is None or last.loss >= entropy * 0.98
