"""The curve of a run that is being trained is that of its record when it ends."""

import math

from lrtune.records.record import TrialRecord
from lrtune.search.pruning.curve import Curve
from lrtune.search.pruning.verdict import verdict
from lrtune.search.workers.attempt import _columns
from lrtune.study.study import PruningPolicy
from lrtune.trainer.trial import Facts, Report


def test_reports_give_the_curve_of_their_record() -> None:
    facts = Facts(unigram_entropy=6.0, vocabulary_size=50, regime_changes=(30,))
    reports = [Report(0, 7.0, None, {"x": 1.0}), Report(20, math.nan, 0.5, {}), Report(40, 6.5, math.nan, {})]
    record = TrialRecord(
        trial=0, hidden_size=8, learning_rate=0.1, seed=0, status="finished", steps=100, steps_done=40, loss=6.5,
        curve=_columns(reports), facts=facts,
    )  # fmt: skip
    live, stored = Curve.from_reports(reports, facts, planned_steps=100, learning_rate=0.1), Curve.from_record(record)
    assert live.reports == stored.reports
    for name in ("planned_steps", "regime_changes", "vocabulary_size", "unigram_entropy", "learning_rate"):
        assert getattr(live, name) == getattr(stored, name)
    policy = PruningPolicy()
    assert verdict(live, policy, ()) == verdict(stored, policy, ())
    bare = [Report(0, 7.0, None, {})]
    assert Curve.from_reports(bare, facts, planned_steps=9, learning_rate=0.1).diversities is None
