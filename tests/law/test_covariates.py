"""What varies with the sizes without being a scale: along with them, it is part of the law; else, nobody knows."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import finished_run

from lrtune.law.covariates import variance
from lrtune.law.fit import fit_law
from lrtune.records.columns import Columns
from lrtune.records.importers import read_sources
from lrtune.records.record import TrialRecord
from lrtune.rule import recommend
from lrtune.trainer.trial import Facts

WIDTHS = (64, 128, 256, 512)


def sweep(depths: dict[int, int] | None = None) -> list[TrialRecord]:
    """Best rates 1.28/width, seven rates 0.75 octaves apart at each, every width at one depth."""
    rng = np.random.default_rng(0)
    return [
        finished_run(
            width,
            1.28 / width * 2.0**u,
            3 + 0.08 * u * u + float(rng.normal(0, 0.003)),
            facts=Facts(conditions={"depth": depths[width]} if depths else {}),
        )
        for width in WIDTHS
        for u in np.arange(-2.25, 2.3, 0.75) + 0.1
    ]


def test_with_an_independent_depth_no_size_between_the_measured_ones_is_supported() -> None:
    rule = fit_law(sweep({64: 40, 128: 3, 256: 24, 512: 6})).rule
    answer = recommend(180, rule=rule)
    assert not answer.supported and answer.high / answer.low > 4
    assert "depth varies independently of hidden_size" in rule.reason
    assert recommend(128, rule=rule).supported, "what was measured was measured at its depth"


@pytest.mark.slow
@pytest.mark.parametrize("depths", [{64: 4, 128: 6, 256: 8, 512: 12}, dict.fromkeys(WIDTHS, 8)])
def test_a_depth_that_goes_along_changes_nothing(depths: dict[int, int]) -> None:
    plain, along = fit_law(sweep()).rule, fit_law(sweep(depths)).rule
    assert recommend(1024, rule=along).low == pytest.approx(recommend(1024, rule=plain).low)
    assert along.reason == plain.reason


def test_a_depth_that_varies_within_a_size_is_not_its_companion() -> None:
    records = [replace(record, facts=Facts(conditions={"depth": 2 + i % 7})) for i, record in enumerate(sweep())]
    assert "depth" not in fit_law(records).rule.reason


def test_the_scatter_counts_as_an_undeclared_slope() -> None:
    """Slope 1 octave an e-fold, scatter 0.7, one degree of freedom: t(0.95) is 6.314 there, 1.645 of a normal."""
    assert variance({"depth": 0.7}, 1) == pytest.approx((0.7 * 6.314 / 1.645) ** 2, rel=1e-3)
    assert variance({}, 0) == 0.0


def test_a_table_keeps_the_columns_that_move_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text("width,num_layers,lr,loss,note\n64,4,0.1,3.0,a\n64,4,0.2,3.1,b\n128,,0.1,2.9,c\n")
    columns = Columns(scales={"hidden_size": "width"})
    assert [dict(r.facts.conditions) for r in read_sources([path], columns).records] == [{"depth": 4}, {"depth": 4}, {}]
    declared = Columns(scales={"hidden_size": "width", "depth": "num_layers"})
    assert all(not r.facts.conditions for r in read_sources([path], declared).records)
    assert math.isclose(read_sources([path], declared).records[0].scales["depth"], 4)
