"""Diversity: 0 when one token is always the answer, 1 when the answers are as varied as the text."""

import math

import pytest

from lrtune.diversity import diversity, entropy


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        ([8, 0, 0, 0], [2, 2, 2, 2], 0.0),  # one token, always
        ([2, 2, 2, 2], [2, 2, 2, 2], 1.0),  # as varied as the text
        ([4, 4, 0, 0], [2, 2, 2, 2], 0.5),  # ln 2 ÷ ln 4
        ([1, 1], [5, 0], 0.0),  # a reference without variety says nothing
        ([], [1, 1], 0.0),
    ],
)
def test_diversity(predicted: list[int], reference: list[int], expected: float) -> None:
    assert diversity(predicted, reference) == pytest.approx(expected, abs=1e-12)


def test_entropy_does_not_depend_on_the_size_of_the_sample() -> None:
    assert entropy([1, 3]) == pytest.approx(entropy([100, 300]))
    assert entropy([1, 3]) == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
